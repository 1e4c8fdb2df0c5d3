"""A recording without its index through the command: salvaged, said, and proved."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, make_clip
from vidsr import errors
from vidsr.media.probe import probe


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A clip without its index beside a whole one."""
    clip = Clip(frames=30, options={"g": "10", "bf": "2", "preset": "veryfast"}, sound=("aac",))
    whole = make_clip(tmp_path / "0001.mp4", clip)
    path = Path(shutil.copy(whole, tmp_path / "0002.mp4"))
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])
    path.with_suffix(".gps").write_bytes(b"positions")
    return path


def test_dry_run_of_an_unfinished_recording_leaves_nothing(damaged: Path, nearest: Path) -> None:
    before = sorted(damaged.parent.rglob("*"))
    command = [sys.executable, "-m", "vidsr", "upscale", str(damaged), "--model", str(nearest), "--dry-run", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["source"], report["frames"]) == (str(damaged), 30)
    assert sorted(damaged.parent.rglob("*")) == before


def test_unfinished_recording(damaged: Path, nearest: Path, tmp_path: Path) -> None:
    result = tmp_path / "out" / "large.mp4"
    result.parent.mkdir()
    command = [sys.executable, "-m", "vidsr", "upscale", str(damaged), "-o", str(result), "--model", str(nearest)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=240)
    assert done.returncode == errors.SALVAGED, done.stderr
    report = json.loads(done.stdout)
    assert report["verified"] is True
    assert any("index is missing" in sentence for sentence in report["salvaged"])
    assert report["source"] == str(damaged)
    assert probe(result).frames == 30
    assert result.with_suffix(".gps").read_bytes() == b"positions"
    assert not list(result.parent.glob("*recovered*")) and not list(result.parent.glob(".*recovered*"))


def test_salvaging_is_no_change_of_the_source(nearest: Path, tmp_path: Path) -> None:
    clip = Clip(frames=30, options={"g": "10", "bf": "0"}, muxer={"movflags": "+faststart"})
    source = make_clip(tmp_path / "clip.mp4", clip)
    with av.open(str(source)) as container:
        spoilt = [(p.pos, p.size) for p in container.demux(video=0) if p.is_keyframe][1]
    content = bytearray(source.read_bytes())
    content[spoilt[0] + 12 : sum(spoilt)] = b"\x55" * (spoilt[1] - 12)  # its length stays: only decoding shows it
    source.write_bytes(content)
    command = [sys.executable, "-m", "vidsr", "upscale", str(source), "--model", str(nearest)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == errors.SALVAGED, done.stderr
    assert "is damaged" in done.stderr
    assert "starting over" not in done.stderr
