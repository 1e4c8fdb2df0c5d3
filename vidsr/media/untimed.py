"""Data of MPEG-TS: what says when it holds, and what only lies among the pictures that it belongs to (MISB ST 1402).

FFmpeg's muxer goes by the kind of packets that KLV came in: of private packets it drops the times, however they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from av.container import InputContainer
from av.stream import DataStream

from vidsr.media.clock import JOINED_FORMATS
from vidsr.media.packets import AnyPacket, demux, moment_of

_KIND: Final = "mpegts_stream_id"
_PRIVATE, _METADATA = 0xBD, 0xFC


def demux_with_arrivals(container: InputContainer, wanted: set[int], picture: int) -> Iterator[AnyPacket]:
    """The packets of the wanted streams, as `demux` gives them; data without times has a decode time.

    That is the one of the picture in whose bytes it lies, which is all that such a file says of it.

    Args:
        container: it is read from where it is.
        wanted: numbers of streams.
        picture: number of the stream that has them.
    """
    if container.format.name not in JOINED_FORMATS:
        yield from demux(container, *(container.streams[index] for index in sorted(wanted)))
        return
    held: list[AnyPacket] = []
    latest: Fraction | None = None
    for packet in demux(container, *container.streams):
        moment = moment_of(packet)
        if packet.stream_index == picture and moment is not None:
            time = moment * packet.time_base
            # A picture is read to its end, where the next begins, and so comes after what lies in it.
            while held and (held[0].pos or 0) < (packet.pos or 0):
                yield _arrived(held.pop(0), time if latest is None else latest)
            latest = time
        if packet.stream_index not in wanted:
            continue
        if moment is None and isinstance(packet.stream, DataStream):
            held.append(packet)
        else:
            yield packet
    for each in held:
        yield _arrived(each, latest)


def _arrived(packet: AnyPacket, time: Fraction | None) -> AnyPacket:
    packet.dts = None if time is None else round(time / packet.time_base)
    return packet


def mark_klv(packet: AnyPacket) -> None:
    """Make MPEG-TS's muxer keep the times of a KLV packet that has them, and make up none for one that has none."""
    stream = packet.stream
    if isinstance(stream, DataStream) and stream.name == "klv" and packet.has_sidedata(_KIND):
        kind = packet.get_sidedata(_KIND)
        kind.update(bytes([_PRIVATE if packet.pts is None else _METADATA]))
        packet.set_sidedata(kind)
