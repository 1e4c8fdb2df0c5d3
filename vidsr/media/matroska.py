"""The shape of pixels in a finished Matroska file: its muxer takes it from a field that PyAV has no way to set.

The name of the picture's track holds the place: what is written there later moves nothing else in the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path

from av.stream import Stream

from vidsr.media.formats import MATROSKA_FAMILY

# More than two elements of the largest numbers need, and a longer size of the element that they are put into.
ROOM = "room for DisplayWidth and DisplayHeight"
SEGMENT, TRACKS, TRACK_ENTRY, VOID, CRC_32 = 0x18538067, 0x1654AE6B, 0xAE, 0xEC, 0xBF
NAME, VIDEO, PIXEL_WIDTH, PIXEL_HEIGHT = 0x536E, 0xE0, 0xB0, 0xBA
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = DISPLAY = 0x54B0, 0x54BA, 0x54B2
_LONGEST_HEADER = 12
_CRC_LENGTH = 6


def needs_room(name: str, aspect: Fraction) -> bool:
    """Whether pixels of that shape must be written into a finished file; of most codecs the stream does not say it."""
    return name in MATROSKA_FAMILY and aspect != 1


def make_room(stream: Stream) -> None:
    """Hold the place in the name of a track that is about to be written; `write_aspect` takes it."""
    title = next((key for key in stream.metadata if key.lower() == "title"), "title")
    stream.metadata[title] = stream.metadata.get(title, "") + ROOM


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The least whole numbers of the shape that a picture of such pixels has, not lower than the picture."""
    shape = aspect * width / height
    times = ceil(Fraction(height, shape.denominator))
    return shape.numerator * times, shape.denominator * times


def write_aspect(path: Path, aspect: Fraction) -> None:
    """Write the width to height of a pixel into the track whose name ends with ROOM, in its place."""
    with path.open("r+b") as file:
        position = 0
        while True:
            file.seek(position)
            kind, length, size = _header(file.read(_LONGEST_HEADER), 0)
            if kind == TRACKS:
                break
            position += length if kind == SEGMENT else length + size
        file.seek(position + length)
        content = file.read(size)
        checked = content[0] == CRC_32
        tracks = b"".join(
            head + (_with_aspect(body, aspect) if kind == TRACK_ENTRY and ROOM.encode() in body else body)
            for kind, head, body in _elements(content[_CRC_LENGTH * checked :])
        )
        if checked:
            tracks = _element(CRC_32, zlib.crc32(tracks).to_bytes(4, "little")) + tracks
        file.seek(position + length)
        file.write(tracks)


def _with_aspect(entry: bytes, aspect: Fraction) -> bytes:
    """The content of a track entry, as long as before."""
    made = b""
    for kind, head, body in _elements(entry):
        if kind == NAME:
            name = body.removesuffix(ROOM.encode())
            made += _element(NAME, name) if name else b""
        elif kind == VIDEO:
            inner = {kind: (head, body) for kind, head, body in _elements(body) if kind not in DISPLAY}
            width, height = (int.from_bytes(inner[kind][1], "big") for kind in (PIXEL_WIDTH, PIXEL_HEIGHT))
            across, down = display_size(width, height, aspect)
            kept = b"".join(head + body for head, body in inner.values())
            made += _element(VIDEO, kept + _number(DISPLAY_WIDTH, across) + _number(DISPLAY_HEIGHT, down))
        else:
            made += head + body
    return made + _element(VOID, bytes(len(entry) - len(made) - 2))


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(identifier, header, content) of each element."""
    at = 0
    while at < len(data):
        kind, length, size = _header(data, at)
        yield kind, data[at : at + length], data[at + length : at + length + size]
        at += length + size


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """(identifier, length of the header, length of the content) of the element there (RFC 8794, 4 to 6)."""
    middle = at + _length_of(data[at])
    end = middle + _length_of(data[middle])
    size = int.from_bytes(data[middle:end], "big") - (1 << 7 * (end - middle))
    return int.from_bytes(data[at:middle], "big"), end - at, size


def _length_of(first: int) -> int:
    return 9 - first.bit_length()


def _element(kind: int, content: bytes) -> bytes:
    length = next(n for n in range(1, 9) if len(content) < (1 << 7 * n) - 1)
    size = (len(content) | 1 << 7 * length).to_bytes(length, "big")
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + size + content


def _number(kind: int, value: int) -> bytes:
    return _element(kind, value.to_bytes((value.bit_length() + 7) // 8, "big"))
