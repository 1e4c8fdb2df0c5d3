"""Boxes of MP4 and MOV (ISO/IEC 14496-12, 4.2), read without libav.

Only positions are read, so that a file of any size costs a few seeks; what is broken ends the walk and raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vidsr.media.remembered import remembered

_FIRST_BOXES = {"ftyp", "styp", "moov", "moof", "mdat", "free", "skip", "wide", "pnot", "uuid", "sidx"}
TRUNCATED = {"moov", "moof", "mdat", "free", "skip", "mfra"}


@dataclass(frozen=True)
class Box:
    """One box, or what follows the last one: then `kind` is empty.

    Attributes:
        kind: its four-character code.
        start: offset of its header in the file.
        body: offset of its content.
        stop: offset after it; the file's end where `cut` is True.
        cut: whether the file ends before the box does.
    """

    kind: str
    start: int
    body: int
    stop: int
    cut: bool = False


def children(file: BinaryIO, begin: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets, and last the bytes that are no box, if there are any."""
    position = begin
    while position < end:
        box = _read_box(file, position, end)
        if box is None:
            yield Box("", position, position, end)
            return
        yield box
        position = box.stop


def _read_box(file: BinaryIO, position: int, end: int) -> Box | None:
    file.seek(position)
    header = file.read(16)
    if len(header) < 8 or position + 8 > end:
        return None
    size, code, body = int.from_bytes(header[:4], "big"), header[4:8], position + 8
    if not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in code):
        return None
    if size == 1:
        size, body = int.from_bytes(header[8:16], "big"), position + 16
    elif size == 0:
        size = end - position
    kind = code.decode("latin-1")
    if size < body - position or (position + size > end and kind not in TRUNCATED):
        return None
    return Box(kind, position, body, min(position + size, end), position + size > end)


def descend(file: BinaryIO, box: Box, *kinds: str) -> Box | None:
    """The box that is reached by going to the first child of each kind in turn; None where one has none."""
    for kind in kinds:
        found = next((each for each in children(file, box.body, box.stop) if each.kind == kind), None)
        if found is None:
            return None
        box = found
    return box


def is_mp4(file: BinaryIO, size: int) -> bool:
    """Whether the file begins with a box that MP4 and MOV files begin with."""
    first = next(children(file, 0, size), None)
    return first is not None and first.kind in _FIRST_BOXES


def is_fragmented(path: Path) -> bool:
    """Whether a file is an MP4 or MOV whose samples are told of in fragments, not in one table (8.8)."""
    with path.open("rb") as file:
        size = path.stat().st_size
        return is_mp4(file, size) and any(box.kind == "moof" for box in children(file, 0, size))


@remembered  # of hours of fragments, thousands are read, and every reader of packets asks
def begins_anew(path: Path) -> bool:
    """Whether the times of fragments (`tfdt`, 8.8.12) go back somewhere, as where files were put together."""
    latest: dict[int, int] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        if not is_mp4(file, size):
            return False
        for fragment in (box for box in children(file, 0, size) if box.kind == "moof"):
            for track in (box for box in children(file, fragment.body, fragment.stop) if box.kind == "traf"):
                header, decoded = descend(file, track, "tfhd"), descend(file, track, "tfdt")
                if header is None or decoded is None:
                    continue
                number, time = _number(file, header, 4, 4), _number(file, decoded, 4, decoded.stop - decoded.body - 4)
                if time < latest.get(number, 0):
                    return True
                latest[number] = time
    return False


def _number(file: BinaryIO, box: Box, at: int, length: int) -> int:
    """A number within a box's content; 0 where the file ends before it."""
    file.seek(box.body + at)
    return int.from_bytes(file.read(min(max(length, 0), 8)), "big")


def track_number(file: BinaryIO, header: Box) -> int:
    """The identifier in a track header (`tkhd`, ISO/IEC 14496-12, 8.3.2), which FFmpeg gives the stream."""
    file.seek(header.body)
    content = file.read(24)
    begin = 20 if content[:1] == b"\1" else 12  # version 1 has times of 64 bits before it
    return int.from_bytes(content[begin : begin + 4], "big")
