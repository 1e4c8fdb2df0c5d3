"""Every kind of source through the real command, as one folder; the results are read here packet by packet."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import CASES, encodable, make_clip

# Matroska, into which AVI goes, counts milliseconds.
TOLERANCE = Fraction(1, 1000)


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [frame.pts * frame.time_base for frame in frames if frame.pts is not None]


def other_packets(path: Path) -> Counter[tuple[str, str]]:
    """How often each packet of sound and subtitles is in a file."""
    with av.open(str(path)) as container:
        return Counter(
            (packet.stream.type, hashlib.sha256(bytes(packet)).hexdigest())
            for packet in container.demux()
            if packet.size and packet.stream.type in ("audio", "subtitle")
        )


def upscale_folder(card: Path, nearest: Path) -> tuple[dict[str, object], Path]:
    large = card.with_name("large")
    command = [sys.executable, "-m", "vidsr", "upscale", str(card), "-o", str(large), "--model", str(nearest), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout)), large


def hold_against(source: Path, large: Path) -> list[str]:
    """What is wrong with the result of a source."""
    result = large / source.name
    if not result.exists():
        result = result.with_suffix(".mkv")
    ours, theirs = times_of(source), times_of(result)
    wrong = []
    if len(ours) != len(theirs):
        wrong.append(f"{source.name}: {len(theirs)} frames of {len(ours)}")
    elif any(abs((b - theirs[0]) - (a - ours[0])) > TOLERANCE for a, b in zip(ours, theirs, strict=True)):
        wrong.append(f"{source.name}: other times")
    if other_packets(source) - other_packets(result):
        wrong.append(f"{source.name}: sound or subtitles differ")
    return wrong


def test_every_kind_of_clip(nearest: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    sources = [make_clip(card / f"{name}.{suffix}", clip) for name, (suffix, clip) in CASES.items() if encodable(clip)]
    assert len(sources) >= 30
    summary, large = upscale_folder(card, nearest)
    assert summary["done"] == len(sources), summary
    assert not [fault for source in sources for fault in hold_against(source, large)]


@pytest.mark.slow
def test_every_real_file(nearest: Path, tmp_path: Path, shared_data: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    for path in (shared_data / "video").rglob("*.*"):
        if path.is_file() and path.stat().st_size < 3 << 20:
            shutil.copy(path, card / path.name.lower())
    summary, large = upscale_folder(card, nearest)
    assert summary["failed"] == 1, summary  # two-audio.mp4 has no picture
    # No picture; damaged; PyAV cannot demux to the end what reveals a stream in its middle.
    apart = ("two-audio.mp4", "corrupted.mp4", "no-initial-keyframe.ts", "novatek-hevc.ts")
    sound = [path for path in card.iterdir() if path.name not in apart]
    assert not [fault for source in sound for fault in hold_against(source, large)]
