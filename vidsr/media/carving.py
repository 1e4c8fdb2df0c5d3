"""H.264 and HEVC carved out of `mdat` without an index: the units that lie there, and the pictures that they make.

Samples are NAL units with 4-byte lengths, which form chains that can be told from sound.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from typing import TypeAlias

from vidsr.media.bitstream import START_CODE, NalFormat
from vidsr.media.boxes import Box

LARGEST_UNIT = 16 << 20
# A length below 16 MiB, and a header byte of the unit types that samples have.
_UNIT_START = {
    False: re.compile(rb"(?=\0[\0-\xff]{3}[\x01\x21\x41\x61\x25\x45\x65\x06\x09\x27\x47\x67\x28\x48\x68])", re.S),
    True: re.compile(rb"(?=\0[\0-\xff]{3}[\x00-\x2a\x40\x42\x44\x46\x4e\x50][\x01-\x07])", re.S),
}
# Emulation prevention keeps these out of every unit (H.264 and H.265, 7.4.1), and they are common in everything else.
_NEVER_INSIDE = re.compile(rb"\0\0[\0-\2]", re.S)

# Offset and length of a NAL unit in the file.
Unit: TypeAlias = tuple[int, int]


def carved_parameter_sets(content: mmap.mmap, media: list[Box], hevc: bool) -> bytes:
    """The first parameter sets that the stream itself carries, with start codes; empty unless all are there.

    Args:
        content: the file.
        media: its `mdat` boxes.
        hevc: HEVC, or else H.264.
    """
    form = NalFormat(hevc, 4)
    sets: dict[int, bytes] = {}
    for offset, size in _units(content, media, hevc):
        kind = form.kind(content[offset : offset + 1])
        if kind in form.parameter_sets:
            sets.setdefault(kind, content[offset : offset + size])
            if len(sets) == len(form.parameter_sets):
                return b"".join(START_CODE + sets[kind] for kind in form.parameter_sets)
    return b""


def carved_samples(content: mmap.mmap, media: list[Box], hevc: bool) -> Iterator[list[Unit]]:
    """The units of each picture: a picture ends where a delimiter, its parameters or a first slice follows a slice.

    Args:
        content: the file.
        media: its `mdat` boxes.
        hevc: HEVC, or else H.264.
    """
    form = NalFormat(hevc, 4)
    sample: list[Unit] = []
    has_slice = False
    for offset, size in _units(content, media, hevc):
        kind = form.kind(content[offset : offset + 1])
        coded = form.is_picture(kind)
        first = not coded or content[offset + (2 if hevc else 1)] & 0x80
        if kind == form.delimiter or (has_slice and first):
            if has_slice:
                yield sample
            sample, has_slice = [], False
        sample.append((offset, size))
        has_slice = has_slice or coded
    if has_slice:
        yield sample


def _units(content: mmap.mmap, media: list[Box], hevc: bool) -> Iterator[Unit]:
    """(offset, length) of every NAL unit that stands in `mdat` behind its length, in file order."""
    for box in media:
        at = box.body
        while at < box.stop:
            size = _unit_at(content, at, box.stop, hevc)
            if size:
                yield at + 4, size
                at += 4 + size
                continue
            start = _UNIT_START[hevc].search(content, at + 1, box.stop)
            if start is None:
                break
            at = start.start()


def _unit_at(content: mmap.mmap, at: int, end: int, hevc: bool) -> int:
    """The length of the NAL unit whose length field is at `at`, or 0."""
    size = int.from_bytes(content[at : at + 4], "big")
    if not 2 < size <= min(end - at - 4, LARGEST_UNIT) or not _UNIT_START[hevc].match(content, at):
        return 0
    last = content[at + 3 + size]
    return 0 if last == 0 or _NEVER_INSIDE.search(content, at + 4, at + 4 + size) else size
