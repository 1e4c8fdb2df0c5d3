"""Packets and tables of MPEG-TS (ISO/IEC 13818-1, 2.4.3 and 2.4.4), read without libav.

What is broken ends the reading and raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

TS_PACKET = 188
TS_SYNC = 0x47
_TS_CHUNK = 50_000
_WINDOW = 1 << 16  # bytes that are searched at once
_IN_A_ROW = 3
_UNIT_START = 0x40
_CRC_LENGTH = 4
_LENGTH, _PID = 0xFFF, 0x1FFF  # the bits of a length and of a packet identifier in tables


def ts_layout(file: BinaryIO) -> tuple[int, int] | None:
    """(offset of the first packet, distance between packets) of an MPEG-TS file, or None."""
    file.seek(0)
    head = file.read(TS_PACKET * 8)
    # M2TS puts a time stamp before each packet; broadcasts may have 16 bytes after it that correct errors.
    for stride in (TS_PACKET, TS_PACKET + 4, TS_PACKET + 16):
        for offset in range(stride):
            marks = head[offset::stride][:5]
            if len(marks) == 5 and set(marks) == {TS_SYNC}:
                return offset, stride
    return None


def ts_packets(file: BinaryIO, first: int, stride: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Chunks of whole packets: the offset of the first, and an array (n, 188). What is no packet is passed over.

    Where files were put together, one of them may end within a packet.
    """
    data, at = np.memmap(file, np.uint8, "r"), first
    while (count := min((len(data) - at + stride - TS_PACKET) // stride, _TS_CHUNK)) > 0:
        packets = as_strided(data[at:], (count, TS_PACKET), (stride, 1), writeable=False)
        in_sync = packets[:, 0] == TS_SYNC
        good = count if in_sync.all() else int(np.argmin(in_sync))
        if good:
            yield at, packets[:good]
        at += good * stride
        if good < count:
            at = _next_packet(data, at, stride)


def _next_packet(data: NDArray[np.uint8], at: int, stride: int) -> int:
    """Where the next packet begins, which others follow if the file does not end before; else the file's end."""
    while at < len(data):
        window = data[at : at + _WINDOW]
        for place in np.nonzero(window == TS_SYNC)[0].tolist():
            if (data[at + place :: stride][:_IN_A_ROW] == TS_SYNC).all():
                return at + int(place)
        at += len(window)
    return at


def pids_of(packets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The packet identifier of each packet of an array (n, 188)."""
    return (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]


def payload_start(packet: bytes | NDArray[np.uint8]) -> int:
    """Where the payload of one packet begins; 188 where it has none."""
    control = int(packet[3]) >> 4 & 3
    if not control & 1:
        return TS_PACKET
    return min(TS_PACKET, 5 + int(packet[4])) if control & 2 else 4


def programme_pids(packet: bytes) -> set[int]:
    """The identifiers of the programme map tables that a packet of the programme association table lists."""
    table = packet[5 + packet[4] :]
    end = 3 + _field(table, 1, _LENGTH) - _CRC_LENGTH
    return {_field(table, at + 2, _PID) for at in range(8, min(end, len(table)), 4)}


def map_entries(packet: bytes) -> Iterator[tuple[int, int, int]]:
    """Each stream's entry in a programme map (2.4.4.9), of those that lie whole in the packet that begins it.

    Yields:
        the stream's packet identifier, and where in the packet its entry begins and ends: a byte with the stream's
        type, two each with the identifier and a length, and the descriptors.
    """
    start = payload_start(packet)
    if not packet[1] & _UNIT_START or start >= TS_PACKET:
        return
    table = start + 1 + packet[start]
    stop = min(table + 3 + _field(packet, table + 1, _LENGTH) - _CRC_LENGTH, TS_PACKET)
    at = table + 12 + _field(packet, table + 10, _LENGTH)
    while at + 5 <= stop:
        end = at + 5 + _field(packet, at + 3, _LENGTH)
        if end <= stop:
            yield _field(packet, at + 1, _PID), at, end
        at = end


def _field(content: bytes, at: int, mask: int) -> int:
    """The lower bits of two bytes of a table."""
    return int.from_bytes(content[at : at + 2], "big") & mask
