"""What tracks of MP4 and MOV say that PyAV does not tell: which are shown, how their timecode counts, their codes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vidsr.media.boxes import Box, children, descend, track_number
from vidsr.media.description import codec_tag, description_of

# HEVC whose parameter sets are in the header alone, and ProRes by its profile. FFmpeg's muxers would call all of the
# former hev1, which Apple's players do not take, and all of the latter HQ.
_KEPT_CODES = {"hvc1", "apco", "apcs", "apcn", "apch", "ap4h", "ap4x"}
_ENABLED = 1
_USUAL_RATE = b"\0\1\0\0"
_LONGEST_LIST = 1 << 20
_TIMECODE_ENTRY = 40  # bytes of a sample description up to the length of a frame of its first entry, a timecode


def turn_off(path: Path, tracks: Collection[int]) -> None:
    """Clear the flag of these tracks, by their numbers, that says that they are shown (ISO/IEC 14496-12, 8.3.2).

    FFmpeg's muxer turns on the first of each kind.
    """
    with path.open("r+b") as file:
        for track in list(_tracks(file, path.stat().st_size)):
            header = descend(file, track, "tkhd")
            if header and track_number(file, header) in tracks:
                file.seek(header.body + 3)
                (flags,) = file.read(1)
                file.seek(header.body + 3)
                file.write(bytes([flags & ~_ENABLED]))


def keep_code(track: Stream, stream: Stream) -> None:
    """Give a new track the four-character code of the stream that it is a copy of, where its muxer takes another."""
    source = stream.container
    if isinstance(track, VideoStream) and isinstance(source, InputContainer):
        code = codec_tag(description_of(source, stream))
        if code in _KEPT_CODES:
            track.codec_context.codec_tag = code


def timecode_rate(path: Path) -> Fraction | None:
    """How many frames a second an MP4's or MOV's first timecode track counts (QuickTime file format, `tmcd`).

    It need not be the picture's rate: of 60 frames a second two often have one number, and some may be left out.
    """
    with path.open("rb") as file:
        for track in _tracks(file, path.stat().st_size):
            box = descend(file, track, "mdia", "minf", "stbl", "stsd")
            if box is None:
                continue
            file.seek(box.body)
            entry = file.read(_TIMECODE_ENTRY)
            scale, length = int.from_bytes(entry[32:36], "big"), int.from_bytes(entry[36:40], "big")
            if entry[12:16] == b"tmcd" and scale and length:
                return Fraction(scale, length)
    return None


def changes_speed(path: Path) -> bool:
    """Whether an edit list of an MP4 or MOV plays something faster, slower or as a still (ISO/IEC 14496-12, 8.6.6)."""
    return any(edit[-4:] != _USUAL_RATE for edits in _edit_lists(path) for edit in edits if not _is_empty(edit))


def pauses(path: Path) -> bool:
    """Whether an edit list of an MP4 or MOV shows nothing for a while after it has shown something."""
    return any(
        _is_empty(after) and not _is_empty(edit) for edits in _edit_lists(path) for edit, after in pairwise(edits)
    )


def _edit_lists(path: Path) -> Iterator[list[bytes]]:
    """The edits of each track: duration, time and rate."""
    with path.open("rb") as file:
        for track in _tracks(file, path.stat().st_size):
            box = descend(file, track, "edts", "elst")
            if box is None:
                continue
            file.seek(box.body)
            content = file.read(min(box.stop - box.body, _LONGEST_LIST))
            length = 20 if content[:1] == b"\1" else 12
            yield [content[at : at + length] for at in range(8, len(content) - length + 1, length)]


def _is_empty(edit: bytes) -> bool:
    """Whether an edit shows nothing: its time is -1."""
    return not edit[len(edit) // 2 - 2 : -4].strip(b"\xff")


def _tracks(file: BinaryIO, size: int) -> Iterator[Box]:
    for moov in children(file, 0, size):
        for track in children(file, moov.body, moov.stop) if moov.kind == "moov" else ():
            if track.kind == "trak":
                yield track
