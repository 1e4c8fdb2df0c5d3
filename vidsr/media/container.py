"""Opening files, reading their packets, making new ones: PyAV's errors become ours, and its traps are avoided."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer, Type
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidsr.errors import InputMissing, NoPicture, NotAVideo
from vidsr.media.clock import JOINED_FORMATS, Clock
from vidsr.paths import check_source, refuse_still, write_error

# What a packet's stream is, is a type parameter only in PyAV's type hints.
VideoPacket: TypeAlias = "Packet[VideoStream]"
AnyPacket: TypeAlias = "Packet[Any]"

# Before the beginning, as much as audio decoders need to start: Apple's AAC 2,112 samples.
LEAD_SECONDS = Fraction(1, 10)
# PyAV's `metadata_errors`: bytes of tags that are not UTF-8 (old cameras write GBK, Latin-1) go from file to file.
RAW_TAGS = "surrogateescape"
OWN_SERVICE = ("Service01", "FFmpeg")  # what its MPEG-TS muxer calls the service and the provider if nobody does
TIMECODE = "tmcd"  # the codec tag of MP4's timecode tracks
CHROMA_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")


# Decoders of this family hide errors without saying so, and how they do depends on the number of threads.
SILENT_CODECS = {
    "mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "h261", "h263", "h263p", "flv1", "msmpeg4v1", "msmpeg4v2",
    "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "rv10", "rv20",
}  # fmt: skip


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


def decoder_threads(codec: str, threads: int) -> int:
    """How many threads may decode a codec, so that a damaged stream gives the same frames each time."""
    return 1 if codec in SILENT_CODECS else threads


def open_input(path: Path, hwaccel: HWAccel | None = None) -> InputContainer:
    """Open a media file for reading, and for decoding by other hardware than the CPU where `hwaccel` is given.

    Raises:
        InputMissing, InputUnreadable, InputEmpty: by what the file system says.
        NotAVideo: FFmpeg finds no container in it, or it is a picture in one.
    """
    check_source(path)
    if not path.is_file():
        raise InputMissing(f"{path} is no file; check the name")
    refuse_still(path)
    try:
        return av.open(url_of(path), metadata_errors=RAW_TAGS, hwaccel=hwaccel)
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAVideo(f"{path}: not a video that can be read ({reason_of(error)})") from error


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """Another name to write a media file under; it gets its own at the end, and is removed after an error.

    Raises:
        OutputUnwritable, DiskTooSmall: writing fails.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
    except (av.error.FFmpegError, OSError) as error:
        part.unlink(missing_ok=True)
        raise write_error(target, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(target)


def url_of(path: Path) -> str:
    """A path as FFmpeg takes it for sure: "12:30.mp4" alone would be a protocol named 12."""
    return f"file:{path}"


def printable(text: str) -> str:
    """A text out of a file, for people and JSON: bytes that are not UTF-8 become U+FFFD."""
    return text.encode(errors=RAW_TAGS).decode(errors="replace")


def reason_of(error: Exception) -> str:
    """What FFmpeg says was wrong, in a few words."""
    return (getattr(error, "strerror", None) or str(error)).lower().rstrip(".")


def find_video(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture and that FFmpeg can decode.

    Raises:
        NoPicture: there is sound but no such stream.
        NotAVideo: there is nothing that can be decoded.
    """
    for stream in container.streams.video:
        if not is_cover(stream) and stream.codec_context is not None:
            return stream
    if container.streams.audio:
        raise NoPicture(f"{path}: it has sound but no picture")
    raise NotAVideo(f"{path}: no video stream in it can be decoded")


def is_cover(stream: Stream) -> bool:
    """Whether the stream is a cover picture or thumbnail, not a film."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def is_attached(stream: Stream) -> bool:
    """Whether the stream is a cover picture: one picture of the whole film, at no time."""
    return bool(stream.disposition & Disposition.attached_pic)


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
    if container.format.name in JOINED_FORMATS:
        clock = clock or Clock()
        packets = container.demux()
    else:
        clock = None
        for stream in container.streams:
            if stream.index not in wanted:
                stream.discard = Discard.all
        packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError, av.error.FFmpegError):
            return
        if not packet.size:
            continue
        if clock:
            clock.unroll(packet)
        if packet.stream_index in wanted:
            yield packet


def moment_of(packet: AnyPacket) -> int | None:
    """When a packet is shown, in ticks; when it is decoded where it does not say."""
    return packet.pts if packet.pts is not None else packet.dts


def is_before_lead(time: Fraction) -> bool:
    """Whether a time, in seconds, lies further before 0 than what decoders need to start, which nobody is to hear."""
    return time < -LEAD_SECONDS


class Cuts:
    """Which packets an edit list cuts out of copied streams. Decoders may need those just before a stream's first.

    Files can hide only what lies before 0.
    """

    def __init__(self) -> None:
        self._begun: set[int] = set()

    def out(self, packet: AnyPacket, keep_lead: bool = False) -> bool:
        """Whether a packet is not to be heard or seen, given each stream's packets in order.

        Args:
            packet: the next one.
            keep_lead: keep all that come before a stream's first that is played, not only what a decoder may need.
        """
        if not packet.is_discard:
            self._begun.add(packet.stream_index)
            return False
        stream = packet.stream
        # What comes before a sound that begins later than at 0 cannot be hidden: it would be played.
        late = stream.type != "video" and (stream.start_time or 0) > 0
        near = packet.pts is None or not is_before_lead(packet.pts * packet.time_base)
        return late or packet.stream_index in self._begun or not (keep_lead or near)


def decode_in_order(path: Path, stream_index: int) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Every frame that a stream gives, from its beginning, and the stream's average rate (0 where unknown).

    Packets that cannot be decoded are passed over. One thread only: with more, which frames a damaged stream gives
    would depend on chance.
    """
    with open_input(path) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, VideoStream)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
        for frame in frames_of(container, stream):
            yield frame, rate


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


def chroma_location(description: str) -> int:
    """FFmpeg's AVChromaLocation of a stream by its `description_of`, 0 where the file does not say."""
    line = re.search(r" Video: .*", description)
    words = re.split(r"[(),] ?", line.group()) if line else []
    return next((CHROMA_LOCATIONS.index(word) for word in words if word in CHROMA_LOCATIONS), 0)


def tags_of(container: InputContainer) -> dict[str, str]:
    """A container's tags; of MPEG-TS also the name and the provider of its service, if they are not the muxer's own."""
    tags = dict(container.metadata)
    if container.format.name == "mpegts":
        for key, text in re.findall(r"^ +(service_name|service_provider) *: (.*)$", _description(container), re.M):
            value = re.sub(r"\\x([89a-f].)", lambda byte: chr(0xDC00 + int(byte[1], 16)), text)  # as RAW_TAGS has it
            if value not in OWN_SERVICE:
                tags.setdefault(key, value)
    return tags


def codec_tag(description: str) -> str:
    """A stream's four-character code in its container by its `description_of`, such as "hvc1"; "" where it has none.

    PyAV does not tell it of data streams, and raises where it is a number with a byte above 127, as MPEG-TS and AVI
    have it.
    """
    number = re.match(r"  Stream .* / 0x([0-9A-F]+)\)", description)
    code = int(number[1], 16).to_bytes(4, "little").decode("latin-1") if number else ""
    return code if code.isascii() and code.isprintable() else ""


def codec_name(description: str) -> str | None:
    """FFmpeg's name of a stream's codec by its `description_of`, also where it has no decoder; None if not known."""
    name = re.match(r"  Stream .*?: (?:Video|Audio|Subtitle|Data): (\w+)", description)
    return name[1] if name and name[1] not in ("none", "unknown_codec") else None


def description_of(container: InputContainer, stream: Stream) -> str:
    """FFmpeg's own words about a stream."""
    section = re.search(rf"^  Stream #0:{stream.index}\b.*\n(   .*\n)*", _description(container), re.MULTILINE)
    return section.group() if section else ""


def _description(container: InputContainer) -> str:
    """FFmpeg's own description of a file: PyAV tells of programmes and chroma locations nowhere else.

    It has the latter only at the verbose log level. Bytes that are not UTF-8 are escaped.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)
    av.logging.set_libav_level(av.logging.VERBOSE)
    try:
        return str(container.dumps_format())  # type: ignore[attr-defined]  # missing in the stubs
    finally:
        av.logging.set_level(level)
