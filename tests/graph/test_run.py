"""The main job on a real Ray: the same file, only larger; killed and resumed; retried; flat in memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import ray

import vidsr
from tests.graph.counting import Counting, frames_given
from tests.media.clips import Clip, make_clip
from tests.media.pipeline import write_segment
from vidsr.errors import ClusterError, InputMissing, Interrupted
from vidsr.evidence import read_record
from vidsr.graph import upscalers
from vidsr.graph.finish import finish
from vidsr.graph.prepare import prepare
from vidsr.graph.progress import Silent
from vidsr.graph.run import made_before, open_ledger, run
from vidsr.graph.session import Session
from vidsr.media.probe import probe
from vidsr.media.proof.verify import VerifyReport, verify
from vidsr.settings import ClusterSettings, UpscaleSettings

COMMAND = (sys.executable, "-m", "vidsr", "upscale")


def upscale(source: Path, model: Path, *words: object, check: bool = True) -> dict[str, object]:
    done = subprocess.run(
        [*COMMAND, str(source), "--model", str(model), "--json", *map(str, words)],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"error": done.stderr}


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with a key frame each second, B-frames and sound."""
    clip = Clip(frames=100, options={"g": "25", "bf": "2"}, sound=("aac",))
    return make_clip(tmp_path_factory.mktemp("drive") / "drive.mp4", clip)


def test_the_same_file_only_larger(drive: Path, nearest: Path, tmp_path: Path) -> None:
    result = tmp_path / "large.mp4"
    report = upscale(drive, nearest, "-o", result, "--segment-seconds", 1, "--crf", 1)
    assert report["segments"] == 4
    assert report["verified"] is True
    assert times_of(result) == times_of(drive)
    assert sound_of(result) == sound_of(drive)
    small, large = frames_of(drive), frames_of(result)
    assert len(small) == len(large) == 100
    for a, b in zip(small, large, strict=True):
        height = a.shape[0] * 2 // 3
        assert np.abs(a[:height].astype(int) - b[: 2 * height : 2, ::2]).mean() < 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.mp4", "large.mp4.vidsr.json"]


def test_python_api_does_the_same(drive: Path, nearest: Path, tmp_path: Path) -> None:
    outcome = vidsr.upscale(drive, tmp_path / "large.mp4", model=str(nearest), end=1.0)
    assert outcome.verify.ok
    assert outcome.plan.frames == 25
    assert times_of(tmp_path / "large.mp4") == times_of(drive)[:25]


def test_a_lost_frame_that_only_decoding_finds_stays_a_gap(nearest: Path, tmp_path: Path) -> None:
    """One bit of a VP9 header is wrong, so that the decoder gives nothing for a packet that looks whole."""
    source = make_clip(tmp_path / "source.mp4", Clip(codec="libvpx-vp9", frames=20))
    with av.open(str(source)) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.size][9]
    content = bytearray(source.read_bytes())
    content[at + 3] ^= 1
    source.write_bytes(content)
    assert probe(source).sequential is None and len(probe(source).table) == 20
    outcome = vidsr.upscale(source, tmp_path / "large.mp4", model=str(nearest))
    assert outcome.verify.ok and outcome.plan.frames == 19 and "1 frame is lost" in outcome.salvaged[0]
    assert times_of(tmp_path / "large.mp4") == [Fraction(n, 25) for n in range(20) if n != 9]


def wait_for_segment(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while not list(folder.glob("*[0-9].json")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


SHORT = ("--segment-seconds", "0.4")


@pytest.fixture(scope="module")
def whole(drive: Path, nearest: Path) -> Path:
    """What a run that nothing disturbs makes of short segments."""
    result = drive.with_name("whole.mp4")
    upscale(drive, nearest, "-o", result, *SHORT)
    return result


def test_python_completes_the_public_names() -> None:
    assert dir(vidsr) == sorted(vidsr.__all__)


@pytest.mark.parametrize("folder", [".", "", "card"])
def test_python_api_refuses_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (tmp_path / "card").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputMissing, match="is a folder"):
        vidsr.upscale(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["card"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_goes_on_where_it_stopped(
    drive: Path, whole: Path, nearest: Path, tmp_path: Path, number: signal.Signals
) -> None:
    killed = tmp_path / "killed.mp4"
    command = [*COMMAND, str(drive), "--model", str(nearest), "-o", str(killed), *SHORT]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    started = psutil.Process(process.pid)
    wait_for_segment(tmp_path / ".killed.mp4.vidsr", process)
    process.send_signal(signal.SIGSTOP)  # it must not end while its helpers are looked for
    helpers = started.children(recursive=True)
    os.killpg(process.pid, number)  # as `timeout`, shells and supervisors do
    process.send_signal(signal.SIGCONT)
    assert process.wait(300) == (-number if number == signal.SIGKILL else Interrupted.exit_code)
    assert not killed.exists()
    deadline = time.monotonic() + 60
    while any(helper.is_running() and not _is_agent(helper) for helper in helpers):
        assert time.monotonic() < deadline, "processes of the killed run live on"
        time.sleep(0.1)
    report = upscale(drive, nearest, "-o", killed, *SHORT)
    assert isinstance(report["computed_frames"], int)
    assert report["computed_frames"] < 100
    for a, b in zip(frames_of(whole), frames_of(killed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.mp4", "killed.mp4.vidsr.json"]


def _is_agent(process: psutil.Process) -> bool:
    """Whether it is one of Ray's, which try to report their raylet's death and leave a minute or two later."""
    try:
        return process.name().endswith("Agent")
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "work", ["LoadedUpscaler", "decode_segment", pytest.param("encode_segment", marks=pytest.mark.slow)]
)
def test_dead_processes_are_replaced(drive: Path, nearest: Path, tmp_path: Path, work: str) -> None:
    result = tmp_path / "large.mp4"
    command = [*COMMAND, str(drive), "--model", str(nearest), "-o", str(result), "--segment-seconds", "0.4", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_segment(tmp_path / ".large.mp4.vidsr", process)
    workers: list[psutil.Process] = []
    while not workers and process.poll() is None:
        workers = [p for p in psutil.Process(process.pid).children(recursive=True) if _does(p, work)]
    for worker in workers:
        worker.kill()
    printed, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert workers
    assert json.loads(printed)["verified"] is True
    assert max(map(len, errors.splitlines())) < 200, errors
    assert len(frames_of(result)) == 100


@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_head_that_ends_is_said(drive: Path, nearest: Path, tmp_path: Path, whole_folder: bool) -> None:
    """Ray ended the command, with 1 and words of its own, and a folder's videos stayed `running`."""
    source = drive
    if whole_folder:
        (source := tmp_path / "card").mkdir()
        (source / "drive.mp4").symlink_to(drive)
    out = tmp_path / ("large" if whole_folder else "drive.mp4")
    command = [*COMMAND, str(source), "--model", str(nearest), "-o", str(out), "--json", *SHORT]
    silence = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=silence)
    wait_for_segment((out if whole_folder else tmp_path) / ".drive.mp4.vidsr", process)
    helpers = psutil.Process(process.pid).children(recursive=True)
    busy = [p for p in helpers if _does(p, "LoadedUpscaler")]
    for each in busy:
        each.suspend()  # what is in flight would be finished without a head
    next(p for p in helpers if p.name() == "gcs_server").kill()
    printed, errors = process.communicate(timeout=600)
    for each in busy:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    assert process.returncode == ClusterError.exit_code, errors
    assert "Ray's head at 127.0.0.1" in json.loads(printed)["message"] and "Traceback" not in errors
    if whole_folder:
        record = json.loads((out / ".vidsr" / "videos" / "drive.mp4.json").read_text())
        assert record["state"] == "pending" and not list((out / ".vidsr" / "leases").iterdir())


def _does(process: psutil.Process, work: str) -> bool:
    try:
        return process.cmdline()[0].startswith(f"ray::{work}")
    except (psutil.Error, IndexError):
        return False


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_what_an_earlier_run_left_is_told_and_used_or_removed(drive: Path, nearest: Path, tmp_path: Path) -> None:
    settings = UpscaleSettings(model=str(nearest), device="cpu", segment_seconds=1)
    plan = prepare(drive, tmp_path / "large.mp4", settings, overwrite=False, gpu=False)
    told, folder = Told(), tmp_path / ".large.mp4.vidsr"
    assert open_ledger(plan, told) == list(plan.segments) and told.said == []
    for segment in plan.segments[:3]:
        plan.ledger.path(segment).write_bytes(b"its frames")
        plan.ledger.record(segment)
    assert open_ledger(plan, told) == list(plan.segments[3:])
    assert told.said == ["large.mp4: 3 of 4 segments are finished, going on"]
    (folder / "run.json").write_text(json.dumps({"vidsr": "0.0"}))
    assert open_ledger(plan, told) == list(plan.segments)
    changed = "vidsr, source, settings, weights, backend changed since the earlier run"
    assert told.said[1:] == [f"large.mp4: starting over, because {changed}"]
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_a_result_is_taken_as_made_before_only_if_it_is_what_would_be_made(
    drive: Path, nearest: Path, tmp_path: Path
) -> None:
    source, result = Path(shutil.copy(drive, tmp_path / "drive.mp4")), tmp_path / "large.mp4"
    settings = UpscaleSettings(model=str(nearest), device="cpu", end=0.4)
    plan = prepare(source, result, settings, overwrite=True, gpu=False)
    assert made_before(plan) is None
    for segment in open_ledger(plan, Silent()):
        write_segment(plan.ledger.path(segment), plan.info, segment.first, segment.stop, 2, plan.settings.encode)
    finish(plan, plan.frames, time.time(), Silent())
    assert made_before(plan) == read_record(result)
    assert made_before(replace(plan, model=replace(plan.model, sha256="of other weights"))) is None
    assert made_before(replace(plan, settings=replace(plan.settings, end=0.5))) is None
    (tmp_path / "another.mp4").write_bytes(b"another")
    assert made_before(replace(plan, source=tmp_path / "another.mp4")) is None
    for path in (source, result):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert made_before(plan) is None, path
        path.write_bytes(content)
    source.unlink()
    assert made_before(plan) == read_record(result), "the card was taken out"


def test_several_upscalers_share_one_short_video(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscalers, "UpscalerActor", ray.remote(Counting))
    settings = UpscaleSettings(model=str(nearest), device="cpu", segment_seconds=4)
    with Session(ClusterSettings(actors=2)) as session:
        plan = prepare(drive, tmp_path / "large.mp4", settings, overwrite=False, gpu=False)
        assert len(plan.segments) == 1
        session.load(plan.upscaler)
        while session.upscalers.alive < 2:  # a segment has those that work when it begins
            time.sleep(0.1)
            session.upscalers.look()
        assert run(plan, session, Silent(), threading.Event()).verify.ok
        frames = frames_given(session)
    assert min(frames) > 0.4 * sum(frames)


def test_real_footage_keeps_every_time(shared_data: Path, nearest: Path, tmp_path: Path) -> None:
    source, result = shared_data / "video" / "vfr-odd.mp4", tmp_path / "large.mp4"
    upscale(source, nearest, "-o", result, "--end", 2)
    times = times_of(source)
    assert times_of(result) == [t for t in times if t - times[0] < 2]


@pytest.mark.slow
def test_memory_is_flat(nearest: Path, tmp_path: Path) -> None:
    """Four times the frames need no more memory, over the whole process tree, once all its heaps are in use."""
    peaks = []
    for seconds in (20, 80):
        clip = Clip(frames=25 * seconds, width=640, height=360, options={"g": "25"}, still=True)
        source = make_clip(tmp_path / f"{seconds}.mp4", clip)
        command = [*COMMAND, str(source), "--model", str(nearest), "--codec", "libx264"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peaks.append(_peak_memory(process))
        assert process.returncode == 0
    assert peaks[1] <= peaks[0] * 1.1


def _peak_memory(process: subprocess.Popen[bytes]) -> int:
    peak = 0
    while process.poll() is None:
        total = 0
        for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            try:
                total += each.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(0.1)
    return peak


@pytest.mark.slow
def test_a_home_that_cannot_be_written_and_a_long_folder_for_temporary_files(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("t" * 60)
    deep.mkdir()
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("TMPDIR", str(deep))
    assert upscale(drive, nearest, "-o", tmp_path / "large.mp4")["verified"] is True


def test_ray_ends_beside_the_proof_of_the_last_video(
    tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waiting(*arguments: Any, **options: Any) -> VerifyReport:
        deadline = time.monotonic() + 30
        while ray.is_initialized() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not ray.is_initialized()
        return verify(*arguments, **options)

    monkeypatch.setattr("vidsr.graph.finish.verify", waiting)
    vidsr.upscale(make_clip(tmp_path / "drive.mp4", Clip(frames=6)), tmp_path / "large.mp4", model=str(nearest))
