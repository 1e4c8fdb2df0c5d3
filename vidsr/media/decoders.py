"""FFmpeg's decoders: the frames that a packet or a whole stream gives, and what frames carry beside their samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidsr.media.container import open_input
from vidsr.media.packets import VideoPacket, demux

# Decoders of this family hide errors without saying so, and how they do depends on the number of threads.
SILENT_CODECS = {
    "mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "h261", "h263", "h263p", "flv1", "msmpeg4v1", "msmpeg4v2",
    "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "rv10", "rv20",
}  # fmt: skip


def decoder_threads(codec: str, threads: int) -> int:
    """How many threads may decode a codec, so that a damaged stream gives the same frames each time."""
    return 1 if codec in SILENT_CODECS else threads


def decode_in_order(path: Path, stream_index: int) -> Iterator[VideoFrame]:
    """Every frame that a stream gives, from its beginning.

    Packets that cannot be decoded are passed over. One thread only: with more, which frames a damaged stream gives
    would depend on chance.
    """
    with open_input(path) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, VideoStream)
        yield from frames_of(container, stream)


def frames_of(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that a stream of an opened file gives, as `decode_in_order` does."""
    stream.codec_context.thread_count = 1
    for packet in itertools.chain(demux(container, stream), [None]):
        yield from decode_packet(stream, packet)


def decode_packet(stream: VideoStream, packet: VideoPacket | None) -> list[VideoFrame]:
    """The frames that come out when a packet goes in (None drains); none where the packet is damaged."""
    try:
        return list(stream.decode(packet))
    except av.error.FFmpegError:
        return []


def _unnamed(cls: type[Type], value: int) -> Type:
    """A kind of side data that FFmpeg has and PyAV no name for, such as EXIF: it would refuse all of the frame's."""
    kind: Any = object.__new__(cls)
    kind._name_, kind._value_ = f"UNNAMED_{value}", value
    return cast("Type", kind)


Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment]


def side_data(frame: VideoFrame, kind: Type) -> tuple[bytes, ...]:
    """A frame's side data of one kind.

    `frame.side_data` would make a cycle of references: frames would stay in memory until Python next looks for cycles,
    hundreds of them later.
    """
    view: Any = SideDataContainer  # its type hints know no constructor
    return tuple(bytes(item) for item in view(frame) if item.type == kind)
