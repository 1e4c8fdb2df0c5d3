"""The packets of a file, in its order and on one clock: when each is shown, and which an edit list cuts out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from vidsr.media.boxes import begins_anew, is_fragmented
from vidsr.media.clock import JOINED_FORMATS, PERIODS, Clock
from vidsr.media.container import path_of
from vidsr.media.matroska import is_of_several

# What a packet's stream is, is a type parameter only in PyAV's type hints.
VideoPacket: TypeAlias = "Packet[VideoStream]"
AnyPacket: TypeAlias = "Packet[Any]"

NEW_HEADER: Final = "new_extradata"
# Before the beginning, as much as audio decoders need to start: Apple's AAC 2,112 samples.
LEAD_SECONDS = Fraction(1, 10)


def demux(container: InputContainer, *streams: Stream, clock: Clock | None = None) -> Iterator[AnyPacket]:
    """The packets of some streams that hold bytes, in file order; a read error ends them as the end of the file does.

    Streams that are not asked for are not read where the container allows it and the clock does not need them. PyAV
    18.1 ends with IndexError where MPEG-TS reveals a stream only in its middle; all packets were delivered by then.

    Args:
        container: it is read from where it is.
        streams: those of it that are wanted.
        clock: makes out the packets' times in formats whose clock may jump; a new one by default.
    """
    wanted = {stream.index for stream in streams}
    if _may_jump(container):
        clock, streams = clock or Clock(), ()
        clock.period = PERIODS.get(container.format.name)
    else:
        clock = None
        for stream in container.streams:
            if stream.index not in wanted:
                stream.discard = Discard.all
    for packet in _read(container, streams):
        if not packet.size:
            continue
        if clock:
            clock.unroll(packet)
        if packet.stream_index in wanted:
            yield packet


def _read(container: InputContainer, streams: tuple[Stream, ...]) -> Iterator[AnyPacket]:
    """The packets of some streams, of all if there are none; in MP4 and MOV behind those that cannot be read, too.

    There a sample that lies beyond the file's end ends the reading, of all streams. What its index lists after it may
    be in the file, above all where streams do not take turns in it.
    """
    left: int | None = None
    while left is None or left > 0:
        with suppress(StopIteration, IndexError, av.error.FFmpegError):
            packets = container.demux(*streams)
            while True:
                yield next(packets)
        left = sum(lost for lost, _ in beyond_end(container).values()) if left is None else left - 1


def beyond_end(container: InputContainer) -> dict[int, tuple[int, bool]]:
    """Per stream of MP4 and MOV: how many samples of its index lie beyond the file's end, and if its last does."""
    if "mov" not in container.format.name:
        return {}
    size, found = path_of(container).stat().st_size, {}
    for stream in container.streams:
        lost = [entry.pos + entry.size > size for entry in stream.index_entries]
        if any(lost):
            found[stream.index] = sum(lost), lost[-1]
    return found


def _may_jump(container: InputContainer) -> bool:
    """Whether a file may be of several that were put together: those of MPEG, FLV, some of MP4 and of Matroska."""
    name, path = container.format.name, path_of(container)
    if "mov" in name:
        return begins_anew(path)
    return name in JOINED_FORMATS or ("matroska" in name and is_of_several(path))


def new_header(packet: AnyPacket) -> bytes:
    """The header that comes with a packet whose stream is coded otherwise from there on; empty where none does."""
    return bytes(packet.get_sidedata(NEW_HEADER)) if packet.has_sidedata(NEW_HEADER) else b""


def moment_of(packet: AnyPacket) -> int | None:
    """When a packet is shown, in ticks; when it is decoded where it does not say."""
    return packet.pts if packet.pts is not None else packet.dts


def is_before_lead(time: Fraction) -> bool:
    """Whether a time, in seconds, lies further before 0 than what decoders need to start, which nobody is to hear."""
    return time < -LEAD_SECONDS


class Cuts:
    """Which packets an edit list cuts out of copied streams. Decoders may need those just before a stream's first.

    Files can hide only what lies before 0. In fragments, FFmpeg marks what does not come after the packet before as if
    it were cut out; writers of fragments of one frame give half of the sound such times, and all of it is to be heard.

    Args:
        path: the file that the packets are of.
    """

    def __init__(self, path: Path) -> None:
        self._begun: set[int] = set()
        self._fragmented = is_fragmented(path)

    def drops(self, packet: AnyPacket, keep_lead: bool = False) -> bool:
        """Whether a packet is not to be heard or seen, given each stream's packets in order.

        Args:
            packet: the next one.
            keep_lead: keep all that come before a stream's first that is played, not only what a decoder may need.
        """
        if not packet.is_discard:
            self._begun.add(packet.stream_index)
            return False
        if packet.stream_index in self._begun:
            return not self._fragmented
        stream = packet.stream
        # What comes before a sound that begins later than at 0 cannot be hidden: it would be played.
        late = stream.type != "video" and (stream.start_time or 0) > 0
        near = packet.pts is None or not is_before_lead(packet.pts * packet.time_base)
        return late or not (keep_lead or near)
