"""A folder on a cluster of several nodes, with what goes wrong there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.folder import FolderJob, FolderOptions
from jobs.records import State, VideoRecord
from jobs.state import JobState
from jobs.storage import open_place
from tests.jobs import runs
from tests.jobs.conftest import RunningCluster, S3Server
from tests.media.clips import Clip, make_clip
from vidsr.errors import SomeFailed
from vidsr.evidence import EvidenceRecord
from vidsr.settings import UpscaleSettings


@pytest.mark.parametrize(
    ("state", "ours"), [("done", True), ("running", True), ("pending", True), ("failed", False), ("quarantined", False)]
)
def test_what_is_in_the_place_of_a_failed_result_is_not_ours(tmp_path: Path, state: State, ours: bool) -> None:
    """A user who made it with another program lost it to the next run."""
    card, out = tmp_path / "card", tmp_path / "out"
    card.mkdir()
    make_clip(card / "a.mp4", Clip(frames=1))
    error = "NotAVideo" if state == "failed" else ""
    record = VideoRecord(
        str(card / "a.mp4"), str(out / "a.mp4"), state, attempts=1, error_class=error, key="of another"
    )
    JobState(open_place(out)).write("a.mp4", record)
    (video,) = FolderJob(card, out, UpscaleSettings(), FolderOptions()).videos_to_do()
    assert video.overwrite is ours
    (out / "a.mp4.vidsr.json").write_text("{}")  # of an older attempt, at another version of the source
    (video,) = FolderJob(card, out, UpscaleSettings(), FolderOptions()).videos_to_do()
    assert video.overwrite


def test_a_result_of_another_folder_is_not_replaced(tmp_path: Path) -> None:
    """Two cards whose cameras number their files alike: the second took the place of the first, and was called done."""
    out = tmp_path / "out"
    for number, card in enumerate(("front", "rear")):
        (tmp_path / card).mkdir()
        make_clip(tmp_path / card / "a.mp4", Clip(frames=1 + number))
    (video,) = FolderJob(tmp_path / "front", out, UpscaleSettings(), FolderOptions()).videos_to_do()
    done = replace(video.record, state="done", attempts=1)
    JobState(open_place(out)).write("a.mp4", done)
    (out / "a.mp4").write_text("of front")
    job = FolderJob(tmp_path / "rear", out, UpscaleSettings(), FolderOptions())
    assert not job.videos_to_do()
    (why,) = job.summary.failures.values()
    assert (
        why == f"OutputExists: {out}/a.mp4 was made of {tmp_path}/front/a.mp4; use --overwrite, or -o for another place"
    )
    assert JobState(open_place(out)).read("a.mp4") == done
    (video,) = FolderJob(tmp_path / "rear", out, UpscaleSettings(), FolderOptions(overwrite=True)).videos_to_do()
    assert video.overwrite
    (out / "a.mp4").unlink()
    assert FolderJob(tmp_path / "rear", out, UpscaleSettings(), FolderOptions()).videos_to_do()


@pytest.mark.parametrize("time_ns", [10**18, -(10**18)])
def test_a_copied_folder_is_not_taken_for_another(tmp_path: Path, time_ns: int) -> None:
    """A copy has other times, as a card has in another time zone: all of its results were refused."""
    card, copy, out = tmp_path / "card", tmp_path / "copy", tmp_path / "out"
    card.mkdir()
    make_clip(card / "a.mp4", Clip(frames=1))
    (video,) = FolderJob(card, out, UpscaleSettings(), FolderOptions()).videos_to_do()
    JobState(open_place(out)).write("a.mp4", replace(video.record, state="done", attempts=1))
    (out / "a.mp4").write_text("of card")
    shutil.copytree(card, copy)
    os.utime(copy / "a.mp4", ns=(time_ns, time_ns))
    (video,) = FolderJob(copy, out, UpscaleSettings(), FolderOptions()).videos_to_do()
    assert video.overwrite and video.keep, "it is compared whole"


def wait_for(ready: Callable[[], bool], job: subprocess.Popen[str], seconds: float = 500) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < limit
        time.sleep(0.05)


def finished_segments(output: Path) -> int:
    return len(list(output.rglob(".*.vidsr/*.mkv")))


@pytest.mark.parametrize("program", ["vidsr", pytest.param("tests.jobs.impatient", marks=pytest.mark.slow)])
def test_a_broken_video_and_a_lost_node(cluster: RunningCluster, tmp_path: Path, nearest: Path, program: str) -> None:
    """Eight clips, one of them broken, on two nodes of which one is lost on the way: seven are done, exactly."""
    card, out = runs.make_card(tmp_path / "card", 7, frames=30), tmp_path / "out"
    (card / "broken.mp4").write_bytes((card / "day0" / "clip00.mp4").read_bytes()[:700])
    job = runs.start(card, out, nearest, "--address", cluster.address, program=program)
    wait_for(lambda: finished_segments(out) > 0, job)
    cluster.kill_node()
    try:
        report = runs.end(job, SomeFailed.exit_code)
    finally:
        cluster.add_node()
    assert list(report["failures"]) == [str(card / "broken.mp4")]
    assert (report["videos"], report["done"], report["failed"]) == (8, 7, 1)
    found = runs.records(out)
    assert found["broken.mp4"].state == "failed" and found["broken.mp4"].error_class == "NotAVideo"
    for name, record in found.items():
        if record.good:
            runs.assert_is_enlarged(card / name, out / Path(name).with_suffix(".mkv"))
            assert all((out / thumbnail).exists() for thumbnail in record.thumbnails)
    assert not list(out.rglob(".*.vidsr")) and not list((out / ".vidsr" / "leases").rglob("*.json"))


def noted_frames(output: Path) -> int:
    """Frames of all segments that are noted as finished; those that are being written are not yet."""
    return sum(_frames(note) for note in output.rglob(".*.vidsr/0*.json"))


def finished_frames(output: Path) -> int:
    """Frames of all noted segments, once no more are noted."""
    frames, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        found = noted_frames(output)
        if found != frames:
            frames, since = found, time.monotonic()
        time.sleep(0.2)
    return frames


def _frames(note: Path) -> int:
    segment = json.loads(note.read_text())
    return int(segment["stop"] - segment["first"])


def test_a_killed_job_goes_on(cluster: RunningCluster, tmp_path: Path, nearest: Path) -> None:
    card, out = runs.make_card(tmp_path / "card", 2, frames=144), tmp_path / "out"
    job = runs.start(card, out, nearest, "--address", cluster.address)
    wait_for(lambda: finished_segments(out) >= 3 and noted_frames(out) >= 24, job)
    job.kill()
    job.communicate()
    kept = finished_frames(out)  # the cluster ends what the job had begun
    assert kept >= 24
    report = runs.end(runs.start(card, out, nearest, "--address", cluster.address))
    assert report["computed_frames"] == 144 + 145 - kept
    assert report["done"] == 2
    for name in ("day0/clip00", "day1/clip01"):
        runs.assert_is_enlarged(card / f"{name}.mp4", out / f"{name}.mkv")


def test_two_jobs_on_one_output_share_the_work(cluster: RunningCluster, tmp_path: Path, nearest: Path) -> None:
    card, out = runs.make_card(tmp_path / "card", 4), tmp_path / "out"
    jobs = [runs.start(card, out, nearest, "--address", cluster.address, "--actors", 1) for _ in range(2)]
    reports = [runs.end(job) for job in jobs]
    assert [r["done"] for r in reports] == [4, 4]
    assert sum(r["computed_frames"] for r in reports) == sum(24 + n for n in range(4))
    assert {r.attempts for r in runs.records(out).values()} == {1}


def test_from_and_to_an_object_store_that_fails_sometimes(
    cluster: RunningCluster, bucket: str, s3: S3Server, tmp_path: Path, nearest: Path
) -> None:
    card = runs.make_card(tmp_path / "card", 3)
    store = open_place(bucket)
    for path in card.rglob("*.mp4"):
        store.upload(path, f"card/{path.relative_to(card).as_posix()}")
    broken = f"{bucket}/card/broken.mp4"
    store.write("card/broken.mp4", b"no video")
    s3.fail_every, before = 7, s3.failed
    words = ("--address", cluster.address, "--actors", 2)
    report = runs.end(runs.start(f"{bucket}/card", f"{bucket}/out", nearest, *words), SomeFailed.exit_code)
    s3.fail_every = 0
    assert (report["done"], report["computed_frames"]) == (3, 24 + 25 + 26)
    assert s3.failed > before
    assert report["failures"][broken].startswith(f"NotAVideo: {broken}: not a video"), "not called by a copy's name"
    names = {e.name for e in store.files("out")}
    for path in card.rglob("*.mp4"):
        name = path.relative_to(card).with_suffix(".mkv").as_posix()
        store.download(f"out/{name}", tmp_path / name)
        runs.assert_is_enlarged(path, tmp_path / name)
        record = EvidenceRecord.from_json((store.read(f"out/{name}.vidsr.json") or b"").decode())
        assert record.source.path == f"{bucket}/card/{path.relative_to(card).as_posix()}"
    assert not [name for name in names if "/segments/" in name or "/leases/" in name]


def test_a_segment_is_decoded_where_it_is_encoded(cluster: RunningCluster, tmp_path: Path, nearest: Path) -> None:
    """So frames do not cross the network on their way to the encoder's node, and the head decodes nothing."""
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=48, options={"g": "6"}))
    words = [sys.executable, "-m", "tests.jobs.placement", cluster.address, str(source), str(nearest)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, env={**os.environ, **runs.LOOPBACK})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["placed"]) == 8
    assert {encoded for _, encoded in found["placed"]} <= set(found["machines"])
    assert all(decoded == encoded for decoded, encoded in found["placed"]), found
