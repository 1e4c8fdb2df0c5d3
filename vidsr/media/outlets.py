"""Where each of the source's other streams goes in the result's container, and what cannot go anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.rational import AVRational
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from vidsr.media.chapters import fit_mp4, moved_chapters, plain_chapter
from vidsr.media.container import open_input, printable
from vidsr.media.description import TIMECODE, codec_tag, description_of
from vidsr.media.formats import fits, format_of
from vidsr.media.matroska import MATROSKA_FAMILY, add_copied
from vidsr.media.muxers import MOV_FAMILY, keep_pid, ticks_of_lines
from vidsr.media.packets import AnyPacket, demux
from vidsr.media.probe import StreamInfo, VideoInfo
from vidsr.media.streamheaders import StreamHeaders, has_adts, without_header
from vidsr.media.tags import container_tags, folded, stream_tags
from vidsr.media.untimed import mark_klv

_DVB_SYNC = b"\x0f"  # of each segment


@dataclass(frozen=True)
class MuxReport:
    """What became of the source's other contents.

    Attributes:
        carried: what is in the result, as short phrases.
        beside: files written beside the result.
        not_carried: what the result's container cannot take, as sentences.
        left: the streams among it, those with refused packets too.
    """

    carried: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()
    not_carried: tuple[str, ...] = ()
    left: tuple[StreamInfo, ...] = ()


def least_step(name: str, stream: Stream) -> int:
    """How many ticks, at least, a stream's decode times must be apart: Matroska and all subtitles and data take 0."""
    return int(stream.type in ("audio", "video") and name not in MATROSKA_FAMILY)


def reorder_depth(stream: Stream) -> int:
    """How many packets of a source's stream are decoded before its first frame is shown: those have no decode time."""
    return stream.codec_context.reorder_depth if isinstance(stream, VideoStream) else 0


def is_remade(source: InputContainer, stream: Stream, info: StreamInfo, name: str) -> bool:
    """Whether a container's muxer makes a track anew: chapter titles, which the demuxer hides, and timecode."""
    if stream.type != "data":
        return False
    # FFmpeg gives that tag to Sony's `rtmd` tracks too, which nobody makes anew.
    timecode = name in ("mp4", "mov") and "timecode" in folded(info.tags)
    return stream.discard == Discard.all or (timecode and codec_tag(description_of(source, stream)) == TIMECODE)


def tracks_off(name: str, streams: Iterable[Stream]) -> list[int]:
    """The numbers of MP4's tracks of subtitles, among a file's new streams, that are not to be shown at once."""
    subtitles = [stream for stream in streams if stream.type == "subtitle" and name in MOV_FAMILY]
    return [stream.index + 1 for stream in subtitles if not stream.disposition & Disposition.default]


@dataclass
class Outlet:
    """A stream of a file that is written, for the packets of a source's stream.

    Attributes:
        stream: it.
        step: its `least_step`.
        depth: `reorder_depth` of the source's stream.
        last: the decode time of its last packet, in its ticks.
    """

    stream: Stream
    step: int
    depth: int
    last: int | None = None

    def make_out(self, packet: AnyPacket, later: Fraction) -> None:
        """Make a packet out to the stream, so many seconds later.

        Its times are in the stream's ticks, which muxers compare, and rounded once: AVI counts whole packets of sound.
        """
        mark_klv(packet)
        packet.stream = self.stream
        base = self.stream.time_base or Fraction(1)
        times = (None if t is None else t * packet.time_base + later for t in (packet.pts, packet.dts))
        pts, dts = (None if time is None else round(time / base) for time in times)
        packet.rescale_ts(AVRational(base))
        packet.pts, packet.dts = pts, dts

    def set_order(self, packet: AnyPacket) -> None:
        """Give the next packet that was made out to the stream a decode time that the muxer accepts."""
        dts, length, last, depth = packet.dts, packet.duration or self.step, self.last, self.depth
        if dts is None and packet.pts is not None:
            dts = packet.pts - depth * length if last is None or not depth else min(last + length, packet.pts)
        if dts is None:
            dts = last or 0
        if last is not None:
            dts = max(dts, last + self.step)
        packet.dts = self.last = dts
        packet.pts = dts if packet.pts is None else max(packet.pts, dts)
        packet.duration = length


def _misfit(stream: Stream, name: str) -> str:
    """Why a stream does not go into a container."""
    if stream.type in ("audio", "video", "subtitle") and stream.codec_context is None:
        return "FFmpeg has no decoder for it here, without which it cannot be copied"
    if isinstance(stream, AudioStream) and not stream.codec_context.sample_rate:
        return "it begins too late in the file to know its sample rate, without which it cannot be copied"
    return f"{name} has no place for it"


def attach_cover(out: OutputContainer, path: Path, info: StreamInfo) -> bool:
    """Make a cover picture of a file an attachment of a Matroska file; whether there is a picture in its stream."""
    tags = folded(info.tags)
    kind = "image/png" if info.codec == "png" else "image/jpeg"
    name = tags.get("filename", f"cover.{'png' if info.codec == 'png' else 'jpg'}")
    with open_input(path) as container:
        picture = next(iter(demux(container, container.streams[info.index])), None)
        if picture is not None:
            out.add_attachment(printable(name), tags.get("mimetype", kind), bytes(picture))
    return picture is not None


class Outlets:
    """The result's counterparts of the source's other streams."""

    def __init__(self, out: OutputContainer, suffix: str, info: VideoInfo, source: InputContainer) -> None:
        self._out = out
        self._suffix, self._name = suffix, format_of(suffix)
        self._info = info
        self._source = source
        self._outlets: dict[int, Outlet] = {}
        self._carried: list[str] = []
        self._not_carried: list[str] = []
        self._left: list[StreamInfo] = []
        self._damaged: dict[int, int] = {}
        self._headers = StreamHeaders()
        self._unsaid: dict[int, int] = {}
        self._shown: dict[int, Fraction] = {}
        self._unordered: dict[int, int] = {}
        out.metadata.update(container_tags(info.tags))
        if info.display_matrix is not None and self._name == "mpegts":
            self._not_carried.append(f"rotation by {info.rotation} degrees: {self._name} has no place for it")

    def add(self, stream: Stream) -> None:
        """Give a source stream a counterpart, or note that it cannot have one."""
        info = self._info.streams[stream.index]
        if is_remade(self._source, stream, info, self._name):
            if stream.discard != Discard.all:
                self._carried.append(f"timecode track {info.index}")
            return
        if not fits(stream, self._info, self._suffix):
            self._leave(info, _misfit(stream, self._name))
        elif info.cover and self._name in MATROSKA_FAMILY:  # where it is an attachment
            if attach_cover(self._out, self._info.path, info):
                self._carried.append(info.label)
        elif (ticks := self._ticks_of(stream)) is None:
            self._leave(info, f"its lines are too far apart for the ticks that they need in {self._name}")
        else:
            counterpart = add_copied(self._out, stream, stream_tags(info.tags, copied=True))
            counterpart.disposition = stream.disposition
            keep_pid(counterpart, stream)
            if ticks:
                counterpart.time_base = ticks
            step = least_step(self._name, counterpart)
            self._outlets[stream.index] = Outlet(counterpart, step, reorder_depth(stream))
            self._carried.append(info.label)

    def _ticks_of(self, stream: Stream) -> Fraction | None:
        """The ticks of a stream's counterpart; 0 where they are its own, None where it cannot be written."""
        is_text = stream.type == "subtitle" and self.has_edit_lists
        return ticks_of_lines(stream, self._info) if is_text else Fraction(0)

    def _leave(self, info: StreamInfo, why: str) -> None:
        self._not_carried.append(f"{info.label}: {why}")
        self._left.append(info)

    def add_chapters(self, begin: Fraction | None, end: Fraction | None, shift: Fraction) -> None:
        """Copy the chapters that overlap the span, cut to it."""
        kept = moved_chapters(self._source, -shift, begin, end)
        if kept and self._name == "mpegts":
            self._not_carried.append(f"{len(kept)} chapters: {self._name} has no place for them")
        elif kept:
            self._out.set_chapters(kept)
            self._carried.append(f"{len(kept)} chapters")
            if self._name in MOV_FAMILY and not fit_mp4(map(plain_chapter, kept)):
                self._not_carried.append(f"gaps and overlaps of chapters: {self._name} has no place for them")

    @property
    def has_edit_lists(self) -> bool:
        """Whether the result can say that some of what it holds is not to be played."""
        return self._name in MOV_FAMILY

    @property
    def off(self) -> list[int]:
        """The numbers of MP4's tracks of subtitles that are not shown unless somebody asks for them."""
        return tracks_off(self._name, (outlet.stream for outlet in self._outlets.values()))

    @property
    def sources(self) -> list[Stream]:
        """The source streams that have a counterpart with packets."""
        return [self._source.streams[index] for index in self._outlets]

    def address(self, packet: AnyPacket, shift: Fraction) -> AnyPacket:
        """A source packet made out to its stream's counterpart, so many seconds earlier.

        It gets a decode time that muxers accept.
        """
        outlet = self._outlets[packet.stream_index]
        outlet.make_out(packet, -shift)
        outlet.set_order(packet)
        if self.has_edit_lists:  # MP4 does not show a last packet that takes no time, as DVDs' subtitles do
            packet.duration = packet.duration or 1
            return packet
        return without_header(packet)

    def is_damaged(self, packet: AnyPacket) -> bool:
        """Whether a packet that the muxer takes would not come back: DVB subtitles that are none (EN 300 743, 7.2)."""
        context = packet.stream.codec_context
        dvb = self._name == "mpegts" and context is not None and context.codec.canonical_name == "dvb_subtitle"
        return dvb and bytes(packet)[:1] != _DVB_SYNC

    def cannot_say(self, packet: AnyPacket) -> bool:
        """Whether the source's next packet has a header that its stream in the result cannot say.

        Containers that say one header for all cannot say another. MP4 and MOV can, where FFmpeg tells of the change.
        """
        if not self._headers.changed(packet):
            return False
        if has_adts(packet):
            return self._name != "mpegts"
        if self.has_edit_lists:
            self._headers.repeat(packet)
        return not self.has_edit_lists

    def note_unsaid(self, packet: AnyPacket) -> None:
        """Note that such a packet was left out."""
        self._unsaid[packet.stream_index] = self._unsaid.get(packet.stream_index, 0) + 1

    def leaves_out(self, packet: AnyPacket, begin: Fraction | None) -> bool:
        """Whether a line of subtitles is left out, and noted, as it begins before the one that comes before it.

        Muxers take packets in order of time alone, and it is not to be shown later.
        """
        index = packet.stream_index
        if packet.stream.type != "subtitle" or begin is None:
            return False
        if begin < self._shown.setdefault(index, begin):
            self._unordered[index] = self._unordered.get(index, 0) + 1
            return True
        self._shown[index] = begin
        return False

    def note_damaged(self, packet: AnyPacket) -> None:
        """Note that the muxer refused a packet of the source."""
        index = next(i for i, outlet in self._outlets.items() if outlet.stream is packet.stream)
        self._damaged[index] = self._damaged.get(index, 0) + 1

    def report(self) -> MuxReport:
        """What was carried and what was not."""
        damaged = (f"{count} damaged packets of {self._label(index)}" for index, count in self._damaged.items())
        unsaid = (
            f"{count} packets of {self._label(index)}: its coding changes in mid-stream, as {self._name} cannot say"
            for index, count in self._unsaid.items()
        )
        unordered = (
            f"{count} packets of {self._label(index)}: they begin before those that come before them in the file"
            for index, count in self._unordered.items()
        )
        incomplete = sorted({*self._damaged, *self._unsaid, *self._unordered})
        left = (*self._left, *(self._info.streams[index] for index in incomplete))
        return MuxReport(tuple(self._carried), (), (*self._not_carried, *damaged, *unsaid, *unordered), left)

    def _label(self, index: int) -> str:
        return self._info.streams[index].label
