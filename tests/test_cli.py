"""The command as a user meets it: help, bad input, exit codes. What is not refused at once runs as a real process."""

import errno
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from PIL.ExifTags import IFD, Base

from tests.media.clips import Clip, make_clip
from vidsr import errors
from vidsr.batch import upscale_inputs
from vidsr.cli import main
from vidsr.console import make_progress
from vidsr.graph.ledger import Ledger
from vidsr.image import upscale_image
from vidsr.request import Request
from vidsr.settings import UpscaleSettings

VIDSR = (sys.executable, "-m", "vidsr")


def vidsr(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VIDSR, *map(str, words)], capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "drive.mp4", Clip(frames=6))


def refused(kind: type[errors.VidsrError], *words: object, cwd: Path | str = ".") -> str:
    """Run a command that must fail with one line of a class's exit code, in this process; return the line."""
    with chdir(cwd):
        done = CliRunner().invoke(main, [str(word) for word in words], prog_name="vidsr")
    assert done.exit_code == kind.exit_code, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_help_lists_the_commands() -> None:
    shown = vidsr("--help").stdout
    for command in ("upscale", "probe", "verify", "models", "doctor"):
        assert command in shown


def test_exit_codes_are_distinct() -> None:
    def below(kind: type[errors.VidsrError]) -> list[type[errors.VidsrError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))]

    # Ray makes subclasses of its own from errors that tasks raise.
    codes = [kind.exit_code for kind in below(errors.VidsrError) if kind.__module__ == errors.__name__]
    assert len(codes) == len(set(codes))
    assert errors.SALVAGED not in codes


INTERRUPTED = """
import signal
import vidsr.batch
from vidsr.cli import main

def interrupted(*arguments):
    signal.raise_signal(signal.SIGINT)
    print(arguments[-1].is_set(), flush=True)
    signal.raise_signal(signal.SIGINT)

vidsr.batch.upscale_inputs = interrupted
main(["upscale", "drive.mp4", "--json"])
"""


def test_the_second_interrupt_ends_with_the_code_of_interrupts() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    first, was_set, *_, last = done.stderr.splitlines()
    assert (first.split(";")[0], was_set) == ("vidsr: finishing the segments in flight", "True")
    assert last.startswith("vidsr: stopped at once")
    assert done.returncode == errors.Interrupted.exit_code
    assert json.loads(done.stdout)["error"] == "Interrupted"


AT_A_TERMINAL = """
import signal
from pathlib import Path
import vidsr.batch
from vidsr.cli import main
from vidsr.console import make_progress

def interrupted(*arguments):
    progress = make_progress()
    progress.begin(Path("drive.mp4"), 100, 0)
    signal.raise_signal(signal.SIGINT)
    progress.stop()
    return []

vidsr.batch.upscale_inputs = interrupted
main(["upscale", "drive.mp4"])
"""


def test_an_interrupt_breaks_no_bar_off() -> None:
    terminal, side = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", AT_A_TERMINAL], check=True, stderr=side, env=environment, timeout=60)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(side)
    os.close(terminal)
    before, said, _ = shown.partition("vidsr: finishing the segments in flight")
    assert "drive.mp4" in before and said
    assert before.endswith("\x1b[2K")  # the bar's line was wiped


def test_missing_file(tmp_path: Path) -> None:
    assert "missing.mp4" in refused(errors.InputMissing, "upscale", tmp_path / "missing.mp4")


def test_folder_without_videos(tmp_path: Path) -> None:
    refused(errors.NoVideos, "upscale", tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "0 bytes" in refused(errors.InputEmpty, "upscale", tmp_path / "empty.mp4")


def test_text_by_the_name_of_a_video(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("these are my notes\n" * 50)
    refused(errors.NotAVideo, "upscale", tmp_path / "notes.mp4")


def test_sound_only(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.m4a"
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(errors.NoPicture, "upscale", path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_to_read(clip: Path) -> None:
    clip.chmod(0)
    for words in (
        ("upscale", clip),
        ("probe", clip),
        ("verify", clip, clip),
        ("compare", clip, clip, "--png", "a.png"),
    ):
        refused(errors.InputUnreadable, *words)
    refused(errors.BadWeights, "export", clip, "-o", "a.onnx")


def test_no_permission_to_read_is_no_wrong_usage(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *words, **options: False)  # root may read everything
    for words in (("probe", clip), ("verify", clip, clip), ("compare", clip, clip, "--png", "a.png")):
        done = CliRunner().invoke(main, list(map(str, words)))
        assert done.exit_code == errors.InputUnreadable.exit_code and "chmod u+r" in done.stderr


def test_output_equals_input(clip: Path) -> None:
    before = clip.read_bytes()
    refused(errors.OutputIsInput, "upscale", clip, "-o", clip, "--overwrite")
    assert clip.read_bytes() == before


def test_output_exists(clip: Path) -> None:
    clip.with_name("drive_2x.mp4").write_text("mine")
    assert "--overwrite" in refused(errors.OutputExists, "upscale", clip)
    assert clip.with_name("drive_2x.mp4").read_text() == "mine"


def test_folder_that_cannot_be_made(clip: Path) -> None:
    refused(errors.OutputUnwritable, "upscale", clip, "-o", clip / "inside" / "a.mp4")


def test_job_files_that_cannot_be_written(clip: Path, tmp_path: Path, nearest: Path) -> None:
    leases = tmp_path / "out" / ".vidsr" / "leases"
    leases.parent.mkdir(parents=True)
    leases.touch()  # a file in the folder's place
    card = tmp_path / "card"
    card.mkdir()
    clip.rename(card / clip.name)
    done = vidsr("upscale", card, "-o", tmp_path / "out", "--model", nearest)
    assert done.returncode == errors.OutputUnwritable.exit_code, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert str(leases) in line and "-o for another place" in line and "Traceback" not in done.stderr


def test_disk_too_small(clip: Path) -> None:
    """A file that seems to have 100 TB, without having them."""
    with clip.open("r+b") as file:
        file.truncate(100 << 40 if _sparse_is_possible(clip.parent) else 0)
    line = refused(errors.DiskTooSmall, "upscale", clip)
    assert "GB free" in line


def _sparse_is_possible(folder: Path) -> bool:
    probe = folder / "sparse"
    try:
        with probe.open("wb") as file:
            file.truncate(100 << 40)
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    probe.unlink()
    return True


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("--codec", "no_such_codec"), errors.UnknownCodec),
        (("--codec", "h264_nvenc"), errors.EncoderMissing),
        (("--scale", "3"), errors.SettingsError),
        (("--scale", "0"), errors.SettingsError),
        (("--crf", "99"), errors.SettingsError),
        (("--crf", "60"), errors.SettingsError),
        (("--preset", "slwo"), errors.SettingsError),
        (("--height", "4320"), errors.SettingsError),
        (("--start", "5", "--end", "2"), errors.SettingsError),
        (("--device", "tpu"), errors.SettingsError),
        (("--cache-gb", "nan"), errors.SettingsError),
        (("--model", "no-such-model"), errors.UnknownModel),
        (("--scale", "2", "--height", "100"), errors.SettingsError),
    ],
)
def test_wrong_options(clip: Path, options: tuple[str, ...], kind: type[errors.VidsrError]) -> None:
    refused(kind, "upscale", clip, *options)
    assert [p.name for p in clip.parent.iterdir()] == [clip.name]


@pytest.mark.parametrize(
    "options",
    [("--join",), ("--limit", "1"), ("--pattern", "x"), ("--retry-failed",), ("--list", "names.txt")],
    ids=lambda options: options[0],
)
def test_options_of_folders_need_one(clip: Path, options: tuple[str, ...], nearest: Path) -> None:
    (clip.parent / "names.txt").touch()
    line = refused(errors.SettingsError, "upscale", clip, *options, "--model", nearest, cwd=clip.parent)
    assert f"{clip} is no folder" in line and options[0] in line
    assert not clip.with_name("drive_2x.mp4").exists()
    card = clip.parent / "card"
    card.mkdir()
    refused(errors.NoVideos, "upscale", card, *options, cwd=clip.parent)


@pytest.mark.parametrize(
    "options",
    [
        ("--codec", "libx265"), ("--crf", "20"), ("--preset", "slow"), ("--container", "mkv"), ("--start", "1"),
        ("--end", "2"), ("--segment-seconds", "9"), ("--stabilise-detail", "off"), ("--hwaccel", "nvdec"),
        ("--deinterlace", "off"), ("--fill-gaps",), ("--gpx",),
    ],
    ids=lambda options: options[0],
)  # fmt: skip
def test_options_of_videos_need_one(options: tuple[str, ...], tmp_path: Path, nearest: Path) -> None:
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png")
    line = refused(errors.SettingsError, "upscale", "a.png", *options, "--model", nearest, cwd=tmp_path)
    assert line == f"vidsr: a.png is a picture, and only videos take {options[0]}; leave that out"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.slow
def test_a_container_and_another_name(clip: Path, nearest: Path) -> None:
    words = ("upscale", clip, "--model", nearest, "--dry-run", "--container")
    for container, name in (("mp4", "x.mkv"), ("mkv", "x.mp4"), ("same", "x.mov")):
        line = refused(errors.SettingsError, *words, container, "-o", clip.with_name(name))
        assert f"--container {container}" in line and name in line
    for container, name in (("mp4", "x.m4v"), ("mkv", "x.MKV"), ("same", "x.mp4"), ("auto", "x.mkv")):
        done = vidsr(*words, container, "-o", clip.with_name(name))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [("--preset", "slwo"), ("--device", "cuda")])
def test_wrong_options_cost_nothing_that_is_finished(clip: Path, options: tuple[str, str]) -> None:
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    ledger = clip.with_name(".drive_2x.mp4.vidsr")
    ledger.mkdir()
    (ledger / "000000.mkv").write_bytes(b"of the earlier run")
    vidsr("upscale", clip, *options)
    assert [path.name for path in ledger.iterdir()] == ["000000.mkv"]


@pytest.mark.slow
def test_the_same_command_goes_on_with_the_next_input(tmp_path: Path, nearest: Path) -> None:
    first, second = make_clip(tmp_path / "a.mp4", Clip(frames=6)), tmp_path / "b.mp4"
    second.write_text("not yet a video")
    words = ("upscale", first, second, "--model", nearest, "--device", "cpu", "--json")
    assert vidsr(*words).returncode == errors.SomeFailed.exit_code
    made = first.with_name("a_2x.mp4").stat().st_mtime_ns
    make_clip(second, Clip(frames=7))
    done = vidsr(*words)
    assert done.returncode == 0, done.stderr
    assert "a_2x.mp4 is there from an earlier run" in done.stderr
    assert [report["computed_frames"] for report in json.loads(done.stdout)] == [0, 7]
    assert first.with_name("a_2x.mp4").stat().st_mtime_ns == made
    third = make_clip(tmp_path / "c.mp4", Clip(frames=6))
    otherwise = vidsr(*words[:3], third, *words[3:], "--fidelity", "1", "--crf", "20")
    assert otherwise.returncode == errors.SomeFailed.exit_code, otherwise.stderr
    *refusals, made_now = json.loads(otherwise.stdout)
    assert [reason.split(" exists;")[0] for report in refusals for reason in report["failures"].values()] == [
        f"OutputExists: {tmp_path / name}" for name in ("a_2x.mp4", "b_2x.mp4")
    ]
    assert made_now["computed_frames"] == 6


def test_an_input_that_is_missing_is_said_before_the_work(clip: Path, nearest: Path) -> None:
    gone = clip.with_name("gone.mp4")
    line = refused(errors.InputMissing, "upscale", clip, gone, "--model", nearest, "--device", "cpu")
    assert "gone.mp4 does not exist" in line
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]


def test_a_bad_input_does_not_stop_the_others(clip: Path, nearest: Path) -> None:
    empty, junk = clip.with_name("empty.mp4"), clip.with_suffix(".mkv")  # one stem, so it is looked at beforehand too
    empty.touch()
    junk.write_text("no video")
    words = ("upscale", empty, junk, clip, "-o", clip.parent / "large", "--model", nearest, "--device", "cpu", "--json")
    planned = vidsr(*words, "--dry-run")
    done = vidsr(*words)
    for outcome in (planned, done):
        assert outcome.returncode == errors.SomeFailed.exit_code, outcome.stderr
        assert "2 of the videos failed" in outcome.stderr.splitlines()[-1]
        assert str(empty) in outcome.stderr.splitlines()[-1]
        assert f"vidsr: {junk}" in outcome.stderr
        reports = json.loads(outcome.stdout)
        kinds = [[reason.split(":")[0] for reason in report["failures"].values()] for report in reports[:2]]
        assert kinds == [["InputEmpty"], ["NotAVideo"]]
        assert reports[2]["frames"] == 6
    assert (clip.parent / "large" / "drive_2x.mp4").exists()


def test_pictures_too_are_stopped(tmp_path: Path, nearest: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 12)).save(picture)
    stop = threading.Event()
    stop.set()
    settings = UpscaleSettings(model=str(nearest))
    with pytest.raises(errors.Interrupted):
        upscale_inputs(Request((picture,), settings=settings), stop)


def test_a_name_that_is_not_text_is_refused(clip: Path) -> None:
    odd = clip.rename(Path(os.fsdecode(os.fsencode(clip.parent) + b"/lat\xe9n.mp4")))
    assert "lat\\xe9n.mp4: its name is not UTF-8; rename it" in refused(errors.InputUnreadable, "upscale", odd)


def test_ray_is_not_started_with_names_that_are_not_text(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says something about surrogates, once there is a folder for the result."""
    odd = Path(os.fsdecode(os.fsencode(clip.parent) + b"/lat\xe9n"))
    odd.mkdir()
    clip.with_name("gone").mkdir()
    other = Path(shutil.copy(clip, clip.with_name("other.mp4")))

    def told(kind: type[errors.VidsrError], inputs: tuple[Path, ...], out: Path | None = None) -> str:
        with pytest.raises(kind, match=r"lat\\xe9n: its name is not UTF-8; ") as raised:
            upscale_inputs(Request(inputs, out), threading.Event())
        return raised.value.message.partition("; ")[2]

    assert told(errors.InputUnreadable, (other, odd)) == "rename it"
    assert told(errors.OutputUnwritable, (clip,), odd) == "give another with -o"
    monkeypatch.chdir(odd)
    assert told(errors.SettingsError, (clip,)) == "rename it, or run the command in another folder"
    monkeypatch.chdir(gone := clip.with_name("gone"))
    gone.rmdir()
    with pytest.raises(errors.SettingsError, match="the folder that the command runs in is gone"):
        upscale_inputs(Request((clip,)), threading.Event())
    assert sorted(path.name for path in clip.parent.iterdir()) == sorted([clip.name, odd.name, other.name])


@pytest.mark.parametrize("command", ["upscale", "probe"])
def test_names_that_no_file_has(tmp_path: Path, command: str) -> None:
    assert "too long" in refused(errors.InputMissing, command, tmp_path / f"{300 * 'a'}.mp4")


def test_a_file_is_no_folder_for_results(clip: Path, nearest: Path) -> None:
    card = clip.parent / "card"
    card.mkdir()
    clip = clip.rename(card / clip.name)
    (card.parent / "taken").write_text("a file")
    for output in ("taken", "taken/below"):
        done = vidsr("upscale", card, "-o", card.parent / output, "--model", nearest)
        assert done.returncode == errors.OutputUnwritable.exit_code, done.stderr
        assert "Traceback" not in done.stderr and "taken" in done.stderr


def test_names_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "[red]drive[b] 12:b:30.mp4", Clip(frames=3))
    assert clip.name in vidsr("probe", clip.name, cwd=tmp_path).stdout
    make_progress().say(clip.name)
    assert clip.name in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(closed: str, clip: Path, nearest: Path) -> None:
    words = (*VIDSR, "upscale", str(clip), "--model", str(nearest), "--device", "cpu")
    assert subprocess.run(f"{shlex.join(words)} {closed}", shell=True, timeout=120, check=False).returncode == 0


def test_transparency_that_jpeg_cannot_keep(tmp_path: Path, nearest: Path) -> None:
    Image.new("RGBA", (20, 12)).save(tmp_path / "a.png")
    words = ("upscale", tmp_path / "a.png", "-o", tmp_path / "b.jpg", "--model", nearest, "--dry-run")
    assert "-o NAME.png" in refused(errors.SettingsError, *words)


def test_a_picture_of_no_format_is_refused_before_the_work(tmp_path: Path, nearest: Path) -> None:
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png")
    for name in ("b.mp4", "b.psd"):
        with pytest.raises(errors.OutputUnwritable, match="another suffix with -o"):
            upscale_image(
                tmp_path / "a.png", tmp_path / "new" / name, UpscaleSettings(model=str(nearest)), False, dry_run=True
            )


def test_a_disk_that_becomes_full_leaves_no_half_picture(
    tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.DiskTooSmall):
        upscale_image(tmp_path / "a.jpg", None, UpscaleSettings(model=str(nearest)), False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_what_pictures_tell_is_kept(tmp_path: Path, nearest: Path) -> None:
    told = Image.Exif()
    told[Base.Make] = "ACME"
    grey = Image.new("L", (20, 12), 90)
    Image.new("RGB", (20, 12)).save(tmp_path / "a.tif", exif=told)
    grey.save(tmp_path / "b.png", transparency=90)
    assert vidsr("upscale", "a.tif", "b.png", "--model", nearest, cwd=tmp_path).returncode == 0
    assert Image.open(tmp_path / "a_2x.tif").getexif()[Base.Make] == "ACME"
    with Image.open(tmp_path / "b_2x.png") as made:
        assert made.mode == "LA" and made.getchannel("A").getextrema() == (0, 0)


def test_wrong_scale_for_the_model(clip: Path, nearest: Path) -> None:
    assert "--scale 2" in refused(errors.WrongScale, "upscale", clip, "--scale", 4, "--model", nearest)


def test_weights_that_cannot_be_used(clip: Path, nearest: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(nearest.read_bytes()[:-20])
    pickled = tmp_path / "pickled.safetensors"
    torch.save({}, pickled)
    for wrong in (truncated, pickled):
        refused(errors.BadWeights, "upscale", clip, "--model", wrong)


def test_absurd_sizes(tmp_path: Path, nearest: Path) -> None:
    tiny = make_clip(tmp_path / "tiny.mkv", Clip(codec="ffv1", width=1, height=1, frames=2, pix_fmt="yuv444p"))
    refused(errors.UnsupportedSize, "upscale", tiny, "--model", nearest)
    wide = make_clip(tmp_path / "wide.mkv", Clip(codec="ffv1", width=8400, height=16, frames=1))
    refused(errors.UnsupportedSize, "upscale", wide, "--model", nearest)
    narrow = make_clip(tmp_path / "narrow.mkv", Clip(codec="ffv1", width=24, height=40, frames=2))
    assert "x265" in refused(errors.UnsupportedSize, "upscale", narrow, "--model", nearest, "--codec", "libx265")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = vidsr("--debug", "upscale", tmp_path / "missing.mp4")
    assert done.returncode == errors.InputMissing.exit_code
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("vidsr: ")


def test_probe_and_models_speak_json(clip: Path) -> None:
    assert json.loads(vidsr("probe", clip, "--json").stdout)["table"]["frames"] == 6
    assert isinstance(json.loads(vidsr("models", "--json").stdout), list)
    assert "h264" in vidsr("probe", clip).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("upscale", "missing.mp4"),
        ("upscale", "missing.mp4", "--dry-run"),
        ("probe", "missing.mp4"),
        ("verify", "missing.mp4", "missing_2x.mp4"),
        ("evidence", "check", "missing_2x.mp4"),
        ("jobs", "list", "--address", "http://127.0.0.1:9"),
    ],
    ids=" ".join,
)
def test_errors_speak_json_too(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = vidsr(*words, "--json", cwd=tmp_path)
    kind = errors.ClusterError if words[0] == "jobs" else errors.InputMissing
    said = done.stderr.strip().removeprefix("vidsr: ")
    assert json.loads(done.stdout) == {"error": kind.__name__, "message": said, "exit_code": done.returncode}
    assert done.returncode == kind.exit_code
    assert vidsr(*words, cwd=tmp_path).stdout == ""


def test_an_error_after_the_reports_prints_no_second_value(clip: Path, nearest: Path) -> None:
    (clip.parent / "notes.mp4").write_text("these are my notes")
    done = vidsr("upscale", clip, clip.with_name("notes.mp4"), "--model", nearest, "--dry-run", "--json")
    assert done.returncode == errors.SomeFailed.exit_code
    assert len(json.loads(done.stdout)) == 2


def test_names_of_models_are_whole_in_a_narrow_terminal() -> None:
    shown = vidsr("models", env=os.environ | {"COLUMNS": "40"}).stdout
    assert "quality-4x-clean" in shown and "balanced-2x-sharp" in shown


def test_doctor_examines(tmp_path: Path) -> None:
    findings = {f["what"]: f for f in json.loads(vidsr("doctor", "--json").stdout)}
    assert findings["libx264"]["found"] == "works"
    assert findings["torch"]["ok"]


def _write_nothing() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_disk_without_room_for_temporary_files_is_said(clip: Path) -> None:
    larger = make_clip(clip.with_name("larger.mp4"), Clip(frames=6, width=192, height=128))
    page = clip.with_name("page.html")
    for command in (("upscale", clip), ("upscale", clip, "--dry-run"), ("compare", clip, larger, "-o", page)):
        done = vidsr(*command, preexec_fn=_write_nothing)
        assert done.returncode == errors.OutputUnwritable.exit_code, done.stderr
        assert len(done.stderr.splitlines()) == 1 and "TMPDIR" in done.stderr
    findings = {f["what"]: f for f in json.loads(vidsr("doctor", "--json", preexec_fn=_write_nothing).stdout)}
    assert not findings["temporary disk"]["ok"] and "TMPDIR" in findings["temporary disk"]["remedy"]


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (("front/0001.png", "rear/0001.png"), ()),
        (("front/a.mp4", "rear/a.mov"), ("--container", "mkv")),
        (("front/a.mkv", "rear/a.avi"), ()),
        (("front/clips", "rear/clips/"), ()),
        (("front/a.mp4", "front/a.mp4"), ("--overwrite",)),
    ],
)
def test_results_of_one_name_are_refused(tmp_path: Path, inputs: tuple[str, str], options: tuple[str, ...]) -> None:
    for name in inputs:
        path = tmp_path / name
        (path if name.endswith(("clips", "/")) else path.parent).mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.write_bytes(b"never read")
    line = refused(errors.SettingsError, "upscale", *inputs, "-o", "large", *options, cwd=tmp_path)
    assert all(name.rstrip("/") in line for name in inputs) and "-o" in line
    assert not (tmp_path / "large").exists()


@pytest.mark.parametrize("inputs", [("a.mp4", "a_2x.mp4"), ("card", "card_2x")])
def test_an_input_is_not_replaced_by_the_result_of_another(tmp_path: Path, inputs: tuple[str, str]) -> None:
    for name in inputs:
        (tmp_path / name).write_bytes(b"never read") if "." in name else (tmp_path / name).mkdir()
    line = refused(errors.SettingsError, "upscale", *inputs, "--overwrite", cwd=tmp_path)
    assert f"{inputs[1]}, which is an input too" in line and "-o" in line


def test_two_runs_do_not_make_one_result(clip: Path, nearest: Path) -> None:
    result = clip.with_name("drive_2x.mp4")
    with Ledger(clip.with_name(".drive_2x.mp4.vidsr")).held(result):
        line = refused(errors.OutputUnwritable, "upscale", clip, "--model", nearest, "--device", "cpu")
    assert "drive_2x.mp4 is being made by another run" in line


def test_a_part_is_verified_as_what_it_is(tmp_path: Path, nearest: Path) -> None:
    source, result = make_clip(tmp_path / "a.mp4", Clip(frames=30, options={"g": "10"})), tmp_path / "part.mp4"
    words = ("--start", "0.4", "--end", "0.8")
    vidsr("upscale", source, "-o", result, "--model", nearest, "--device", "cpu", *words)
    assert vidsr("verify", source, result).returncode == 0  # by the record
    result.with_name("part.mp4.vidsr.json").unlink()
    assert vidsr("verify", source, result).returncode == errors.VerifyFailed.exit_code
    assert vidsr("verify", source, result, *words).returncode == 0


def test_names_that_cannot_be_made_are_refused(clip: Path, nearest: Path) -> None:
    long = clip.rename(clip.with_name("\u8eca" * 80 + ".mp4"))
    line = refused(errors.OutputUnwritable, "upscale", long, "--model", nearest)
    assert "too long a name" in line and "-o" in line
    (clip.parent / "there_2x.mp4").mkdir()
    short = long.rename(clip.with_name("there.mp4"))
    line = refused(errors.OutputUnwritable, "upscale", short, "--model", nearest, "--overwrite")
    assert "there_2x.mp4 is a folder" in line


def test_the_folder_above_is_called_by_its_name(clip: Path, nearest: Path) -> None:
    below = clip.parent / "below"
    below.mkdir()
    done = vidsr("upscale", "..", "--model", nearest, "--dry-run", "--json", cwd=below)
    assert json.loads(done.stdout)["output"] == f"{clip.parent}_2x"
    other = clip.parent / "other"
    other.mkdir()
    shutil.copy(clip, other / "b.mp4")
    words = ("..", other, "-o", "large", "--model", nearest, "--dry-run", "--json")  # not above `large`
    done = vidsr("upscale", *words, cwd=below)
    assert json.loads(done.stdout)[0]["output"] == str(below / "large" / clip.parent.name)


def test_a_result_that_becomes_matroska_shares_no_name(tmp_path: Path, nearest: Path) -> None:
    """Whether MOV can hold what the result needs is known only from the content."""
    (tmp_path / "rear").mkdir()
    moved = make_clip(tmp_path / "a.mov", Clip(frames=6))
    plain = make_clip(tmp_path / "rear" / "a.mkv", Clip(frames=6))
    words = ("-o", tmp_path / "large", "--model", nearest, "--dry-run", "--codec", "ffv1")
    line = refused(errors.SettingsError, "upscale", moved, plain, *words)
    assert "a.mov" in line and "a.mkv" in line and "a_2x.mkv" in line


def test_results_of_one_stem_and_two_containers(clip: Path, nearest: Path) -> None:
    other = make_clip(clip.with_suffix(".mkv"), Clip(frames=6))
    done = vidsr("upscale", clip, other, "-o", clip.parent / "large", "--model", nearest, "--dry-run", "--json")
    assert [Path(r["result"]).name for r in json.loads(done.stdout)] == ["drive_2x.mp4", "drive_2x.mkv"]


def test_a_video_without_a_suffix_becomes_matroska_for_that(clip: Path, nearest: Path) -> None:
    words = ("upscale", clip.rename(clip.with_name("drive")), "--model", nearest, "--dry-run")
    report = json.loads(vidsr(*words, "--json").stdout)
    assert report["notes"] == ["files without a suffix cannot keep every frame's time, so the result is Matroska"]
    assert "files without a suffix cannot" in refused(errors.SettingsError, *words, "--container", "same")


def test_dry_run_estimates_and_writes_nothing(clip: Path, nearest: Path) -> None:
    done = vidsr("upscale", clip, "--model", nearest, "--dry-run", "--json")
    report = json.loads(done.stdout)
    assert report["frames"] == 6
    assert report["width"] == 192
    assert report["model_frames_per_second"] > 0
    shown = vidsr("upscale", clip, "--model", nearest, "--dry-run").stdout
    assert f"model {nearest.stem}" in " ".join(shown.split())
    assert [p.name for p in clip.parent.iterdir()] == [clip.name]


def test_dry_run_makes_no_folder(clip: Path, nearest: Path) -> None:
    new = clip.parent / "new" / "deeper"
    done = vidsr("upscale", clip, "--model", nearest, "-o", new, "--dry-run", "--json")
    assert json.loads(done.stdout)["result"] == str(new / "drive_2x.mp4")
    refused(errors.OutputUnwritable, "upscale", clip, "-o", clip / "inside" / "a.mp4", "--dry-run")
    assert [p.name for p in clip.parent.iterdir()] == [clip.name]


def test_a_dry_run_tells_notes_and_failures_in_words() -> None:
    from rich.console import Console

    from vidsr.describe import estimate_table

    console = Console(width=100)
    with console.capture() as told:
        console.print(estimate_table({"input": "card", "frames": 1000, "notes": ["a", "b"], "unreadable": {"x": "y"}}))
    assert [line.split() for line in told.get().splitlines()[1:]] == [
        ["frames", "1,000"], ["notes", "a"], ["b"], ["unreadable", "x:", "y"],
    ]  # fmt: skip


def test_a_dry_run_tells_sizes_and_times_with_their_units() -> None:
    from rich.console import Console

    from vidsr.describe import estimate_table

    console = Console(width=100)
    report = {"seconds": 2.2933333, "output_bytes": 649_852, "memory_bytes": 1_915_912_192, "model_seconds": 4210.4}
    with console.capture() as told:
        console.print(estimate_table(report))
    assert [line.split("  ", 1)[-1].strip() for line in told.get().splitlines()[1:]] == [
        "2.3 s", "649.9 kB", "1.9 GB", "1:10:10",
    ]  # fmt: skip


def test_dry_run_of_a_picture_writes_nothing(tmp_path: Path, nearest: Path) -> None:
    source = tmp_path / "still.png"
    Image.new("RGB", (20, 12)).save(source)
    words = ("upscale", source, "--model", nearest, "-o", tmp_path / "new")
    planned = json.loads(vidsr(*words, "--dry-run", "--json").stdout)
    assert [p.name for p in tmp_path.iterdir()] == [source.name]
    assert planned["result"] == str(tmp_path / "new" / "still_2x.png")
    assert nearest.stem in vidsr(*words, "--dry-run").stdout
    made = json.loads(vidsr(*words, "--json").stdout)
    assert made.pop("seconds") > 0
    assert made == planned
    with Image.open(made["result"]) as large:
        assert large.size == (planned["width"], planned["height"])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_keep_exif_and_profile(tmp_path: Path, nearest: Path, suffix: str) -> None:
    from PIL import ImageCms

    source = tmp_path / f"still{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (20, 12), (10, 200, 30)).save(source, exif=exif, icc_profile=profile)
    assert vidsr("upscale", source, "--model", nearest).returncode == 0
    with Image.open(tmp_path / f"still_2x{suffix}") as large:
        assert large.size == (40, 24)
        assert large.getexif()[0x0112] == 6
        assert large.info["icc_profile"] == profile


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><dc:rights>\xc2\xa9 me</dc:rights></x:xmpmeta>"


@pytest.mark.parametrize("into", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pictures_keep_exif_and_xmp(tmp_path: Path, nearest: Path, suffix: str, into: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    from vidsr.image import upscale_image

    texts, tags = PngInfo(), Image.Exif()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    tags[Base.Make], tags[Base.Orientation] = "ACME", 3
    tags[IFD.GPSInfo], tags[IFD.Exif] = {1: "N", 2: (48.0, 8.0, 0.5)}, {Base.DateTimeOriginal: "2026:11:27 12:00:00"}
    if suffix == ".tif":
        tags[700] = XMP
    Image.new("RGB", (20, 12)).save(tmp_path / f"a{suffix}", xmp=XMP, pnginfo=texts, exif=tags.tobytes())
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    assert not upscale_image(tmp_path / f"a{suffix}", tmp_path / f"b{into}", settings, False)["notes"]
    with Image.open(tmp_path / f"b{into}") as large:
        told = large.getexif()
        assert large.info["xmp"] == XMP and told[Base.Make] == "ACME"
        assert told.get_ifd(IFD.GPSInfo) == {1: "N", 2: (48.0, 8.0, 0.5)}
        assert told.get_ifd(IFD.Exif)[Base.DateTimeOriginal] == "2026:11:27 12:00:00"
        assert told.get(Base.Orientation, 1) == (1 if suffix == ".tif" else 3)  # Pillow turns a TIFF when it reads it


def test_pictures_keep_comments(tmp_path: Path, nearest: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    from vidsr.image import upscale_image

    texts = PngInfo()
    texts.add_text("Author", "A. Müller")
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png", pnginfo=texts)
    Image.new("RGB", (20, 12)).save(tmp_path / "b.jpg", comment=b"of the user")
    for name in ("a.png", "b.jpg"):
        upscale_image(tmp_path / name, None, UpscaleSettings(model=str(nearest), device="cpu"), False)
    with Image.open(tmp_path / "a_2x.png") as png, Image.open(tmp_path / "b_2x.jpg") as jpeg:
        assert png.text == {"Author": "A. Müller"} and jpeg.info["comment"] == b"of the user"  # type: ignore[attr-defined]


def test_a_jpeg_keeps_its_caption_and_tells_its_own_size(tmp_path: Path, nearest: Path) -> None:
    """Agencies write captions and rights as IPTC has them, into Photoshop's segment."""
    from vidsr.image import upscale_image

    caption = b"\x1c\x02\x78\x00\x0aA caption."
    segment = b"Photoshop 3.0\0008BIM\x04\x04\0\0\0\0\0\x0f" + caption + b"\0"
    tags = Image.Exif()
    tags[IFD.Exif] = {Base.ExifImageWidth: 20, Base.ExifImageHeight: 12, Base.MakerNote: b"note"}
    extra = b"\xff\xed\0" + bytes([len(segment) + 2]) + segment
    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", exif=tags, extra=extra)
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    assert not upscale_image(tmp_path / "a.jpg", None, settings, False)["notes"]
    with Image.open(tmp_path / "a_2x.jpg") as large:
        assert large.info["photoshop"] == {0x404: caption}
        told = large.getexif().get_ifd(IFD.Exif)
    assert told == {Base.ExifImageWidth: 40, Base.ExifImageHeight: 24, Base.MakerNote: b"note"}
    (note,) = upscale_image(tmp_path / "a.jpg", tmp_path / "b.png", settings, False)["notes"]
    assert note == "PNG has no place for its IPTC caption"


def test_a_png_keeps_what_its_colours_mean(tmp_path: Path, nearest: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    from vidsr.image import upscale_image

    chunks, meant = PngInfo(), {b"cICP": bytes([12, 13, 0, 1]), b"gAMA": (100_000).to_bytes(4, "big")}
    for name, content in meant.items():
        chunks.add(name, content)
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png", pnginfo=chunks)
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    assert not upscale_image(tmp_path / "a.png", None, settings, False)["notes"]
    made = (tmp_path / "a_2x.png").read_bytes()
    assert all(name + content in made for name, content in meant.items())
    (note,) = upscale_image(tmp_path / "a.png", tmp_path / "b.jpg", settings, False)["notes"]
    assert note == "JPEG has no place for how its colours are meant (cICP, gAMA)"


def test_tags_of_a_tiff_that_are_left_out_are_said(tmp_path: Path, nearest: Path) -> None:
    from vidsr.image import upscale_image

    tags = {269: "plate 7", 270: "kept", 65000: "of a program"}
    Image.new("RGB", (20, 12)).save(tmp_path / "a.tif", tiffinfo=tags, dpi=(300, 300))
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    (note,) = upscale_image(tmp_path / "a.tif", None, settings, False)["notes"]
    assert note == "TIFF's tags 269 (DocumentName), 65000 are left out"


def test_xmp_tells_the_new_size(tmp_path: Path, nearest: Path) -> None:
    """Of a picture of a sphere a viewer would otherwise show a quarter."""
    from vidsr.image import upscale_image

    xmp = (
        b"<x exif:PixelXDimension='20' tiff:ImageLength=\"12\" GPano:FullPanoWidthPixels='40' exif:ISO='100'>"
        b"<GPano:CroppedAreaTopPixels>3</GPano:CroppedAreaTopPixels><exif:PixelYDimension>12</exif:PixelYDimension></x>"
    )
    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", xmp=xmp)
    upscale_image(tmp_path / "a.jpg", tmp_path / "b.jpg", UpscaleSettings(model=str(nearest), device="cpu"), False)
    with Image.open(tmp_path / "b.jpg") as large:
        assert large.info["xmp"] == (
            b"<x exif:PixelXDimension='40' tiff:ImageLength=\"24\" GPano:FullPanoWidthPixels='80' exif:ISO='100'>"
            b"<GPano:CroppedAreaTopPixels>6</GPano:CroppedAreaTopPixels>"
            b"<exif:PixelYDimension>24</exif:PixelYDimension></x>"
        )


@pytest.mark.parametrize(
    ("xmp", "suffix", "said"),
    [
        (b"<a MicroVideoOffset='99'/>", ".jpg", "it is left out with them"),
        (b"<a hdrgm:Version='1.0'/>", ".png", "it is left out with them"),
        (XMP, ".bmp", "BMP has no place for its XMP"),
    ],
)
def test_xmp_that_cannot_be_kept_is_said(tmp_path: Path, nearest: Path, xmp: bytes, suffix: str, said: str) -> None:
    from vidsr.image import upscale_image

    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", xmp=xmp)
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    (note,) = upscale_image(tmp_path / "a.jpg", tmp_path / f"b{suffix}", settings, False)["notes"]
    assert said in note
    with Image.open(tmp_path / f"b{suffix}") as large:
        assert "xmp" not in large.info


@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "grey.png", "rgb.tif", "grey.tif"])
def test_pictures_of_more_than_8_bits_are_refused(tmp_path: Path, name: str) -> None:
    import cv2

    channels = {"rgb": (3,), "rgba": (4,), "grey": ()}[name.partition(".")[0]]
    assert cv2.imwrite(str(tmp_path / name), np.full((12, 20, *channels), 257, np.uint16))
    assert "8 bits" in refused(errors.NotAVideo, "upscale", tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("mode", "suffix"), [("1", ".tif"), ("1", ".png"), ("P", ".png"), ("RGB", ".tif")])
def test_pictures_of_8_bits_and_less_are_not(tmp_path: Path, nearest: Path, mode: str, suffix: str) -> None:
    source = tmp_path / f"still{suffix}"
    Image.new(mode, (20, 12)).save(source)
    assert vidsr("upscale", source, "--model", nearest, "--dry-run").returncode == 0


@pytest.mark.parametrize(("mode", "profile"), [("CMYK", b"of inks"), ("LAB", None)])
def test_pictures_that_are_not_rgb_lose_the_profile_that_says_so(
    tmp_path: Path, nearest: Path, mode: str, profile: bytes | None
) -> None:
    from PIL import ImageCms

    from vidsr.image import upscale_image

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.new(mode, (20, 12)).save(tmp_path / "still.tif", icc_profile=profile or lab)
    report = upscale_image(tmp_path / "still.tif", None, UpscaleSettings(model=str(nearest), device="cpu"), False)
    assert report["notes"] == [f"{mode} is converted to sRGB"]
    with Image.open(report["result"]) as large:
        found = large.info.get("icc_profile")
        assert large.mode == "RGB" and (found is None if profile else found[16:20] == b"RGB ")


@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_a_jpeg_keeps_its_sampling_of_colour(tmp_path: Path, nearest: Path, sampling: int) -> None:
    from PIL.JpegImagePlugin import get_sampling

    from vidsr.image import upscale_image

    Image.new("RGB", (20, 12), "red").save(tmp_path / "still.jpg", subsampling=sampling)
    report = upscale_image(tmp_path / "still.jpg", None, UpscaleSettings(model=str(nearest), device="cpu"), False)
    with Image.open(report["result"]) as large:
        assert get_sampling(large) == sampling


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_without_loss_stays_without(tmp_path: Path, nearest: Path, lossless: bool) -> None:
    from vidsr.image import upscale_image

    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 1), np.uint8).repeat(3, 2)  # the model enlarges luma
    Image.fromarray(noise).save(tmp_path / "a.webp", lossless=lossless, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    report = upscale_image(tmp_path / "a.webp", None, UpscaleSettings(model=str(nearest), device="cpu"), False)
    with Image.open(report["result"]) as large:
        same = np.array_equal(np.asarray(large), noise.repeat(2, 0).repeat(2, 1))
    assert same == lossless


def test_the_first_picture_of_a_phones_jpeg_is_enlarged(tmp_path: Path, nearest: Path) -> None:
    """Phones put a preview, a depth map or a gain map behind it."""
    preview = Image.new("RGB", (10, 6))
    Image.new("RGB", (20, 12), "white").save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    done = vidsr("upscale", "a.jpg", "--model", nearest, cwd=tmp_path)
    assert done.returncode == 0
    assert "holds 2 pictures" in done.stderr and "a_2x.jpg (40x24" in done.stderr
    with Image.open(tmp_path / "a_2x.jpg") as large:
        assert (large.format, large.size, large.getpixel((9, 9))) == ("JPEG", (40, 24), (255, 255, 255))


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65500), (".webp", 16383)])
def test_pictures_too_large_for_their_format_are_refused_before_the_work(
    tmp_path: Path, nearest: Path, suffix: str, most: int
) -> None:
    from vidsr.image import upscale_image

    Image.new("L", (most // 2 + 1, 2)).save(tmp_path / f"wide{suffix}")
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    with pytest.raises(errors.UnsupportedSize, match="at most"):
        upscale_image(tmp_path / f"wide{suffix}", None, settings, False, dry_run=True)


def test_broken_picture(tmp_path: Path) -> None:
    (tmp_path / "still.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    refused(errors.NotAVideo, "upscale", tmp_path / "still.png")


def test_help_needs_no_heavy_module() -> None:
    """torch, av and ray take seconds to import; help must not wait for them."""
    code = "import sys, vidsr.cli; print([m for m in ('torch', 'av', 'ray', 'rich.progress') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_empty_name_is_not_the_current_folder(clip: Path) -> None:
    for words in (("upscale", ""), ("upscale", clip, "-o", "")):
        done = vidsr(*words)
        assert done.returncode == errors.SettingsError.exit_code
        assert "it is empty" in done.stderr


def test_a_slash_after_a_result_says_that_it_is_a_folder(
    tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 12)).save(name)
    for inputs in (["a.png"], ["a.png", "b.png"]):
        words = ["upscale", *inputs, "-o", "2024.01.15/", "--model", str(nearest), "--device", "cpu", "--dry-run"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.stderr
        assert "2024.01.15/a_2x.png" in done.stdout


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_an_output_that_cannot_hold_what_is_said(tmp_path: Path, option: tuple[str, ...]) -> None:
    clip = make_clip(tmp_path / "Ärger.mp4", Clip(frames=3))
    done = vidsr("probe", clip.name, *option, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert (r"\u00c4rger" if option else r"\xc4rger") in done.stdout
    with open("/dev/full", "w") as full:
        done = subprocess.run([*VIDSR, "probe", clip, *option], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == errors.DiskTooSmall.exit_code
    assert done.stderr.startswith("vidsr: stdout cannot be written, the disk is full")
    assert done.stderr.count("\n") == 1
