"""Tracks of a finished MP4 or MOV file that are not to be shown: its muxer turns on the first of each kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from vidsr.media.boxes import children

_ENABLED = 1


def turn_off(path: Path, tracks: Collection[int]) -> None:
    """Clear the flag of these tracks, by their numbers, that says that they are shown (ISO/IEC 14496-12, 8.3.2)."""
    with path.open("r+b") as file:
        for begin in list(_track_headers(file, path.stat().st_size)):
            file.seek(begin)
            header = file.read(24)
            at = 20 if header[0] else 12  # version 1 has dates of 64 bits before it
            if int.from_bytes(header[at : at + 4], "big") in tracks:
                file.seek(begin + 3)
                file.write(bytes([header[3] & ~_ENABLED]))


def _track_headers(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the content of each track's header is."""
    for moov in children(file, 0, size):
        for track in children(file, moov.body, moov.stop) if moov.kind == "moov" else ():
            for box in children(file, track.body, track.stop) if track.kind == "trak" else ():
                if box.kind == "tkhd":
                    yield box.body
