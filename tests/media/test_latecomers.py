"""Streams that begin late in files whose header lists none: all of them are read."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from vidsr.media import probe as probing
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify

SMALL = Clip(width=32, height=32, codec="mpeg2video", frames=300, sound=("mp2", "mp2"))
SLOW = replace(SMALL, codec="flv1", frames=110, rate=Fraction(1), sound=("libmp3lame",))
PADDING = b"\0\0\1\xbe\xff\xff" + b"\xff" * 0xFFFF


def late_in_programme_stream(path: Path) -> Path:
    """Leaves of the second sound only what FFmpeg sees neither at the beginning nor at the end, which is far away."""
    content = make_clip(path, SMALL).read_bytes()
    kept, at, begin, end = b"", 0, len(content) * 16 // 20, len(content) * 19 // 20
    while at < len(content) and content[at + 3] != 0xB9:
        pack = content[at + 3] == 0xBA
        after = at + (14 if pack else 6 + int.from_bytes(content[at + 4 : at + 6], "big"))
        if content[at + 3] != 0xC1 or begin < at < end:
            kept += content[at:after]
        if at < end <= after:
            kept += PADDING * 5
        at = after
    path.write_bytes(kept)
    return path


def late_in_flv(path: Path) -> Path:
    """Takes the first 100 s out of the sound; the pictures are a second apart."""
    content = make_clip(path, SLOW).read_bytes()
    kept, at = bytearray(content[:13]), 13
    kept[4] = 1  # the header promises pictures alone
    while at < len(content):
        end = at + 15 + int.from_bytes(content[at + 1 : at + 4], "big")
        milliseconds = int.from_bytes(content[at + 4 : at + 7], "big")
        if content[at] == 9 or (content[at] == 8 and milliseconds > 100_000):
            kept += content[at:end]
        at = end
    path.write_bytes(kept)
    return path


@pytest.mark.parametrize(("suffix", "tracks"), [("vob", 2), ("flv", 1)])
def test_a_stream_that_begins_late_is_kept(suffix: str, tracks: int, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    source = late_in_programme_stream(path) if suffix == "vob" else late_in_flv(path)
    upscale(source, tmp_path / "result.mkv")
    proof = verify(source, tmp_path / "result.mkv")
    assert proof.ok, [check for check in proof.checks if not check.ok]
    with av.open(str(tmp_path / "result.mkv")) as container:
        assert len(container.streams.audio) == tracks
        packets = [packet for packet in container.demux(container.streams.audio[-1]) if packet.size]
        assert len(packets) > 20


def test_a_stream_that_begins_too_late_is_said_to_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = late_in_programme_stream(tmp_path / "clip.vob")
    assert not any("begin after" in note for note in probe(source).notes)
    monkeypatch.setattr(probing, "FARTHEST", 1 << 14)
    assert any("1 of its streams begin after" in note for note in probe(source).notes)


@pytest.mark.parametrize(("suffix", "files", "unread"), [("flv", 1, 0), ("flv", 2, 1), ("mkv", 2, 0), ("mkv", 4, 2)])
def test_files_that_are_not_read_are_said_to_be_left_out(suffix: str, files: int, unread: int, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / f"clip.{suffix}", Clip(frames=40, options={"bf": "0"}))
    clip.write_bytes(files * clip.read_bytes())
    info = probe(clip)
    assert info.frames == 40 * (files - unread)
    said = f"it is of several files, of which FFmpeg does not read the last ({unread}): left out; split them off"
    assert [note for note in info.notes if "left out" in note] == [said] * bool(unread)
