"""A recording without its index through the command: salvaged, said, and proved."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.media.clips import Clip, make_clip
from vidsr import errors
from vidsr.media.probe import probe


def test_unfinished_recording(nearest: Path, tmp_path: Path) -> None:
    clip = Clip(frames=30, options={"g": "10", "bf": "2", "preset": "veryfast"}, sound=("aac",))
    whole = make_clip(tmp_path / "0001.mp4", clip)
    damaged = Path(shutil.copy(whole, tmp_path / "0002.mp4"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[: content.rindex(b"moov") - 4])
    damaged.with_suffix(".gps").write_bytes(b"positions")
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
