"""Where the streams of MPEG programme streams and FLV begin: no header lists them, and FFmpeg looks at the start alone.

A DVD's first subtitle may come after many minutes. PyAV gives no packet of a stream that FFmpeg meets only later.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from vidsr.media.remembered import remembered

# FFmpeg holds in memory what it looks at; of what begins later in a file, nothing is read.
FARTHEST = 1 << 28
# Bytes that it looks at anyway, and those of a stream that tell what it is.
_USUAL = 1 << 12
_ENOUGH = 5_000_000
_WITHOUT_LIMIT = 10**15  # microseconds
_PACK, _PRIVATE = 0xBA, 0xBD
_SUBSTREAMS = range(0x20, 0xD0)  # subtitles and sound of DVDs
_STREAMS = {*range(0xC0, 0xF0), 0xFD}
_FILE_BEGINS = (
    re.compile(rb"FLV\x01[\0-\x05]\0\0\0\x09"),
    re.compile(rb"\x1a\x45\xdf\xa3.{0,48}?\x42\x82.{1,8}?(?:matroska|webm)", re.DOTALL),
)
_FLV = b"FLV"
_FLV_HEADER, _FLV_TAG, _FLV_SIZE = 13, 11, 4
_FLV_STREAMS = (8, 9)  # sound and picture


@remembered  # every opening asks, and a file is read to its end to answer
def late_begins(path: Path) -> tuple[int, ...]:
    """Where in a file those of its streams begin that FFmpeg may not find by itself, in bytes and ascending."""
    begins: dict[int, int] = {}
    with path.open("rb") as file:
        head = file.read(4)
        walk = _programme_stream if head == b"\0\0\1\xba" else _flv if head[:3] == _FLV else None
        if walk is None:
            return ()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for stream, at in walk(data):
                begins.setdefault(stream, at)
                if walk is _flv and len(begins) == len(_FLV_STREAMS):
                    break
    return tuple(sorted(at for at in begins.values() if at > _USUAL))


def options_for(path: Path) -> dict[str, str]:
    """Options of FFmpeg's demuxer with which it finds all of a file's streams but those beyond FARTHEST.

    Where the clock of FLV goes back to before the first packet, it would take it for one of 32 bits that begins anew,
    and add 49 days to all that follows.
    """
    options = {"correct_ts_overflow": "0"} if _is_flv(path) else {}
    within = [begin for begin in late_begins(path) if begin <= FARTHEST]
    if within:
        options |= {"probesize": str(within[-1] + _ENOUGH), "analyzeduration": str(_WITHOUT_LIMIT)}
    return options


def files_behind(path: Path, at: int) -> int:
    """How many files of FLV or Matroska begin in a file behind a place, as where several were put together.

    FFmpeg stops where another FLV file begins, and where the third one of Matroska does.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = next((begin for begin in _FILE_BEGINS if begin.match(data)), None)
        return sum(1 for _ in begin.finditer(data, max(at, 1))) if begin else 0


def _is_flv(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_FLV)) == _FLV


def _programme_stream(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """(number, place) of the stream of each packet (ISO/IEC 13818-1, 2.5.3)."""
    at, end = 0, len(data) - 16
    while 0 <= at < end:
        code = data[at + 3]
        if data[at : at + 3] != b"\0\0\1" or code < _PACK:
            at = data.find(b"\0\0\1\xba", at + 1)
        elif code == _PACK:
            at += 14 + (data[at + 13] & 7) if data[at + 4] >> 6 else 12
        else:
            if code in _STREAMS:
                yield code, at
            within = at + 9 + data[at + 8]
            if code == _PRIVATE and within < len(data) and data[within] in _SUBSTREAMS:
                yield code << 8 | data[within], at
            at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")


def _flv(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """(kind, place) of each tag of sound and picture (Video File Format Specification, E.4.1)."""
    at = _FLV_HEADER
    while at + _FLV_TAG < len(data):
        kind = data[at] & 0x1F
        if kind in _FLV_STREAMS:
            yield kind, at
        at += _FLV_TAG + int.from_bytes(data[at + 1 : at + 4], "big") + _FLV_SIZE
