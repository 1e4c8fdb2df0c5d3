"""What a decoder of copied sound or video has to know, packet by packet: some files change it in mid-stream."""

from __future__ import annotations

from pathlib import Path

from av.packet import Packet, PacketSideData

from vidsr.media.container import open_input
from vidsr.media.packets import NEW_HEADER, AnyPacket, demux, new_header
from vidsr.media.remembered import remembered

# Bits of the third and fourth byte of ADTS (ISO 13818-7, 6.2) that say profile, sample rate and channels.
_CODING = (0xFD, 0xC0)


class StreamHeaders:
    """The header that each packet of a file's copied streams is coded with, given all of their packets in order.

    AAC in MPEG-TS has one before each packet (ADTS). Other files say one for all, and another where it changes.
    """

    def __init__(self) -> None:
        self._first: dict[int, bytes] = {}
        self._latest: dict[int, bytes] = {}
        self._came: dict[int, PacketSideData] = {}

    def take(self, packet: AnyPacket) -> bytes:
        """The header of the next packet."""
        index = packet.stream_index
        header = _own_header(packet)
        if not header:
            header = self._latest[index] if index in self._latest else _declared_header(packet)
        self._first.setdefault(index, header)
        self._latest[index] = header
        if packet.has_sidedata(NEW_HEADER):
            self._came[index] = packet.get_sidedata(NEW_HEADER)
        return header

    def changed(self, packet: AnyPacket) -> bool:
        """Whether the next packet has another header than the first of its stream."""
        return self.take(packet) != self._first[packet.stream_index]

    def repeat(self, packet: AnyPacket) -> None:
        """Put the header that came last onto the packet that was taken last: a part may begin behind its own one."""
        if came := self._came.get(packet.stream_index):
            packet.set_sidedata(came)


def has_adts(packet: AnyPacket) -> bool:
    """Whether a packet of AAC has its header before it."""
    context = packet.stream.codec_context
    if packet.stream.type != "audio" or context is None or context.codec.canonical_name != "aac":
        return False
    return begins_with_adts(bytes(packet))


def begins_with_adts(content: bytes) -> bool:
    """Whether coded AAC begins with ADTS: twelve bits of ones, and the layer 0."""
    return len(content) > 1 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0


def without_header(packet: AnyPacket) -> AnyPacket:
    """A packet as it is, without the header that came with it: live streams repeat theirs after each break.

    FFmpeg's muxer of Matroska writes that of AAC into the track's description again, and over what follows it there.
    PyAV takes nothing off a packet, so it is made anew.
    """
    if not packet.has_sidedata(NEW_HEADER):
        return packet
    made: AnyPacket = Packet(bytes(packet))
    made.stream, made.time_base, made.is_keyframe = packet.stream, packet.time_base, packet.is_keyframe
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    for data in packet.iter_sidedata():
        if data.data_type != NEW_HEADER:
            made.set_sidedata(data)
    return made


def _declared_header(packet: AnyPacket) -> bytes:
    """The header that the file says for the packet's whole stream; empty where it says none."""
    context = packet.stream.codec_context
    return bytes(context.extradata or b"") if context is not None else b""


def _own_header(packet: AnyPacket) -> bytes:
    """The header that comes with a packet; empty where none does."""
    if has_adts(packet):
        return bytes(byte & bits for byte, bits in zip(bytes(packet)[2:4], _CODING, strict=False))
    return new_header(packet)


@remembered  # each container that a result may have asks
def changes_header(path: Path, stream_index: int) -> bool:
    """Whether a stream of sound is coded with another header from somewhere on; its packets are read to see."""
    headers = StreamHeaders()
    with open_input(path) as container:
        return any(headers.changed(packet) for packet in demux(container, container.streams[stream_index]))
