"""What a Matroska file tells and FFmpeg does not read: it lies beside the result."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from tests.media.beside.test_telemetry import contents
from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from vidsr.media.beside.index import bin_path
from vidsr.media.beside.matroska_private import private_of_matroska
from vidsr.media.proof.verify import verify

SEGMENT = b"\x18\x53\x80\x67\x01"
CODE, LANGUAGE = b"\x22\xb5\x9c", b"\x22\xb5\x9d"
CHAPTERS, EDITION, ORDERED, ATOM, DISPLAY = b"\x10\x43\xa7\x70", b"\x45\xb9", b"\x45\xdd", b"\xb6", b"\x80"
TAGS, TAG, TARGETS, SIMPLE = b"\x12\x54\xc3\x67", b"\x73\x73", b"\x63\xc0", b"\x67\xc8"


def element(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return name + b"\x40" + bytes([len(content)]) + content


def text(name: str, value: str, *more: bytes) -> bytes:
    return element(SIMPLE, element(b"\x45\xa3", name.encode()), element(b"\x44\x87", value.encode()), *more)


def chapter(*titles: str, more: bytes = b"") -> bytes:
    shown = [element(DISPLAY, element(b"\x85", title.encode())) for title in titles]
    return element(ATOM, element(b"\x91", b"\0"), *shown, more)


def chapters(*atoms: bytes) -> bytes:
    return element(CHAPTERS, element(EDITION, *atoms))


def tags(*parts: bytes) -> bytes:
    return element(TAGS, element(TAG, *parts))


def with_more(path: Path, more: bytes, language: str = "und") -> Path:
    """A file with an element at its end, and the language of its first track as newer files say it."""
    content = make_clip(path, Clip(frames=8)).read_bytes()
    content = content.replace(CODE + b"\x83und", LANGUAGE + b"\x83" + language.encode(), 1)
    at = content.index(SEGMENT) + len(SEGMENT)
    size = int.from_bytes(content[at : at + 7], "big") + len(more)
    path.write_bytes(content[:at] + size.to_bytes(7, "big") + content[at + 7 :] + more)
    return path


@pytest.mark.parametrize(
    ("more", "unread"),
    [
        (chapters(chapter("Opening", "Titelmusik")), True),
        (chapters(chapter("Part", more=chapter("of it"))), True),
        (chapters(element(ORDERED, b"\1"), chapter("Opening")), True),
        (element(CHAPTERS, element(EDITION, chapter("a")), element(EDITION, chapter("b"))), True),
        (chapters(chapter("Opening"), chapter("End")), False),
        (tags(text("ACTOR", "A. Person"), text("actor", "B. Person")), True),
        (tags(text("ACTOR", "A. Person", text("CHARACTER", "Hero"))), True),
        (tags(element(SIMPLE, element(b"\x44\x85", b"\0\1"))), True),
        (tags(element(TARGETS, element(b"\x63\xca", b"SEASON")), text("PART_NUMBER", "2")), True),
        (tags(element(TARGETS, element(b"\x63\xca", b"MOVIE"), element(b"\x63\xc5", b"\1")), text("BPS", "2")), False),
        (tags(text("TITLE", "A film"), text("TITLE", "Ein Film", element(b"\x44\x7a", b"ger"))), False),
        (chapters(b"\xb6"), False),  # cut off
    ],
)
def test_chapters_and_tags_that_ffmpeg_does_not_read_whole(more: bytes, unread: bool, tmp_path: Path) -> None:
    found = contents(with_more(tmp_path / "source.mkv", more))
    assert list(found.values()) == ([more] if unread else [])


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_what_ffmpeg_does_not_read_lies_beside(suffix: str, tmp_path: Path) -> None:
    """Cantonese has no code of its own among those that FFmpeg reads."""
    source, result = with_more(tmp_path / "source.mkv", chapters(chapter("a", "b")), "yue"), tmp_path / f"new.{suffix}"
    assert list(contents(source)) == ["Segment/Tracks/TrackEntry[0]/LanguageBCP47", "Segment/Chapters"]
    upscale(source, result)
    assert bin_path(result).read_bytes() == b"".join(contents(source).values()) and verify(source, result).ok
    bin_path(result).unlink()
    assert [check.name for check in verify(source, result).checks if not check.ok] == ["private data"]


def test_a_live_recording_is_looked_through(tmp_path: Path) -> None:
    """Its segment and its clusters do not say how long they are."""
    path = with_more(tmp_path / "source.mkv", chapters(chapter("a", "b")))
    content = bytearray(path.read_bytes())
    for name in (SEGMENT[:-1], b"\x1f\x43\xb6\x75"):
        at = content.index(name) + len(name)
        wide = 9 - content[at].bit_length()
        content[at : at + wide] = ((1 << 7 * wide + 1) - 1).to_bytes(wide, "big")
    path.write_bytes(content)
    assert list(contents(path)) == ["Segment/Chapters"]


def test_a_file_may_end_anywhere(tmp_path: Path) -> None:
    content = make_clip(tmp_path / "drive.mkv", Clip(frames=2)).read_bytes()
    for length in range(len(content)):
        assert not list(private_of_matroska(BytesIO(content[:length]), length))


def test_what_is_no_element_ends_the_look(tmp_path: Path) -> None:
    content = make_clip(tmp_path / "drive.mkv", Clip(frames=2)).read_bytes()
    for wrong in (b"\0" * 40, b"\xec" + b"\0" * 40, SEGMENT + b"\0" * 40):
        assert not list(private_of_matroska(BytesIO(content + wrong), len(content) + len(wrong)))
