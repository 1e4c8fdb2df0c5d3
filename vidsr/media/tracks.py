"""Tracks of a finished MP4 or MOV file that are not to be shown: its muxer turns on the first of each kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from vidsr.media.boxes import Box, children, track_number

_ENABLED = 1


def turn_off(path: Path, tracks: Collection[int]) -> None:
    """Clear the flag of these tracks, by their numbers, that says that they are shown (ISO/IEC 14496-12, 8.3.2)."""
    with path.open("r+b") as file:
        for header in list(_track_headers(file, path.stat().st_size)):
            if track_number(file, header) in tracks:
                file.seek(header.body + 3)
                (flags,) = file.read(1)
                file.seek(header.body + 3)
                file.write(bytes([flags & ~_ENABLED]))


def _track_headers(file: BinaryIO, size: int) -> Iterator[Box]:
    for moov in children(file, 0, size):
        for track in children(file, moov.body, moov.stop) if moov.kind == "moov" else ():
            for box in children(file, track.body, track.stop) if track.kind == "trak" else ():
                if box.kind == "tkhd":
                    yield box
