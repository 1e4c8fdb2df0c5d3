"""Several videos of one camera behind one another in one file, by packet copy, with the time between them kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vidsr.errors import RunError, VerifyFailed
from vidsr.media import timing
from vidsr.media.bitstream import NalFormat, nal_units
from vidsr.media.chapters import moved_chapters
from vidsr.media.container import RAW_TAGS, is_cover, made_whole, open_input, url_of
from vidsr.media.formats import format_of
from vidsr.media.matroska import MATROSKA_FAMILY, add_copied, fill_rooms, make_room, needs_room
from vidsr.media.muxers import MOV_FAMILY, container_options, most_lead
from vidsr.media.outlets import Outlet, attach_cover, is_remade, least_step, reorder_depth, tracks_off
from vidsr.media.packets import AnyPacket, demux, is_before_lead
from vidsr.media.probe import StreamInfo, VideoInfo, probe
from vidsr.media.tags import container_tags, stream_tags
from vidsr.media.tracks import turn_off
from vidsr.media.untimed import demux_with_arrivals
from vidsr.paths import sync

_SAME_RATE = {
    "h264": "h264_metadata=tick_rate=1:fixed_frame_rate_flag=0:level=5.1",
    "hevc": "hevc_metadata=tick_rate=1:level=5.1",
}
# Seconds by which sound is usually longer than its picture, at most: some packets.
MOMENT = Fraction(1, 4)
# Sound whose packets say their rate and channels themselves, so that decoders follow where these change.
TELLING_SOUND = ("mp2", "mp3", "mp3float", "ac3", "eac3", "dca", "flac", "aac_latm")


@dataclass(frozen=True)
class Part:
    """A video and when it begins.

    Attributes:
        path: the file.
        offset: seconds from the begin of the joined video to the begin of this one.
    """

    path: Path
    offset: Fraction


@dataclass(frozen=True)
class _Clip:
    """A part as it was read.

    Attributes:
        info: the file.
        later: seconds by which all of it is later in the joined video.
    """

    info: VideoInfo
    later: Fraction

    def times(self) -> Iterator[Fraction]:
        """When its frames are shown in the joined video, in seconds."""
        return (pts * self.info.table.time_base + self.later for pts in self.info.table.pts)


def begin_of(info: VideoInfo) -> Fraction:
    """When a part begins on its own clock, which in MPEG-TS may go on from file to file: with its first frame.

    With its sound where damage took the frames before: they lasted longer than what decoders need to start.
    """
    frame = info.table.time(0)
    sounds = [s.start * s.time_base for s in info.streams if s.kind == "audio" and s.start is not None]
    return min((sound for sound in sounds if is_before_lead(sound - frame)), default=frame)


def join(parts: Sequence[Part], target: Path) -> tuple[str, ...]:
    """Copy the packets of all parts into one file of the container that the target's suffix says.

    Pictures all stay; of everything else, what would come before the last packet of the part before is left out.

    Args:
        parts: in order of time, the first at 0; all with the same `shape_of` and codec parameters.
        target: the file to write. It gets its name when it is whole and its frames' times are proven.

    Returns:
        what could not be carried, as sentences.

    Raises:
        RunError: the parts' pictures do not fit together.
        VerifyFailed: frames or times of the joined file are not those of the parts.
        OutputUnwritable: writing fails.
    """
    infos = [probe(part.path) for part in parts]
    _check_shapes(infos)
    begin = begin_of(infos[0])
    clips = [_Clip(info, part.offset + begin - begin_of(info)) for part, info in zip(parts, infos, strict=True)]
    target.parent.mkdir(parents=True, exist_ok=True)
    with made_whole(target) as working:
        left = _write(clips, working, format_of(target.suffix))
        if format_of(target.suffix) in MATROSKA_FAMILY:
            fill_rooms(working, infos[0].sample_aspect)
        _prove(clips, working, target)
        sync(working)  # a power loss must not leave the name without what it names
    return left


def shape_of(info: VideoInfo) -> tuple[int | str, ...]:
    """What must be equal of the pictures of one video: size, coding, container and colours, and how they are shown."""
    colour = info.colour
    colours = colour.matrix, colour.primaries, colour.transfer, int(colour.full_range)
    shown = info.rotation, str(info.display_matrix), str(info.sample_aspect)
    return info.width, info.height, info.codec, info.pix_fmt, info.container, *colours, *shown


def _tick(clips: Sequence[_Clip]) -> Fraction:
    """Seconds per tick of the joined video's frames: the finest of its parts', of which each may have another."""
    return min(clip.info.table.time_base for clip in clips)


def _check_shapes(infos: Sequence[VideoInfo]) -> None:
    first = infos[0]
    for info in infos[1:]:
        if shape_of(info) != shape_of(first):
            raise RunError(f"{info.path} has another picture than {first.path}; they cannot be one video")


def _write(clips: Sequence[_Clip], working: Path, name: str) -> tuple[str, ...]:
    stamps, first = _stamps(clips, name), clips[0].info
    options = container_options(name, working.with_suffix("").suffix, first)
    with av.open(url_of(working), "w", format=name, container_options=options, metadata_errors=RAW_TAGS) as out:
        out.metadata.update(container_tags(first.tags))
        outlets, left = _open_outlets(out, first, name)
        outlets[first.stream_index].count_in(_tick(clips))
        if chapters := list(_chapters(clips)):
            out.set_chapters(chapters)
        out.start_encoding()
        for clip in clips:
            left += _copy_clip(out, clip, first, outlets, stamps, name)
        off = tracks_off(name, (each.stream for each in outlets.values()))
    if off:
        turn_off(working, off)
    return tuple(left)


def _open_outlets(out: OutputContainer, info: VideoInfo, name: str) -> tuple[dict[int, _Outlet], list[str]]:
    """The outlets of the first part's streams, and what has none, as sentences."""
    outlets: dict[int, _Outlet] = {}
    left: list[str] = []
    with open_input(info.path) as source:
        for stream in source.streams:
            described = info.streams[stream.index]
            if is_remade(source, stream, described, name):
                continue
            if described.cover and name == "matroska":
                attach_cover(out, info.path, described)
                continue
            outlet = _open_outlet(out, stream, info, name)
            if outlet is None:
                left.append(f"{described.label}: {name} has no place for it")
            else:
                outlets[stream.index] = outlet
    return outlets, left


def _copy_clip(
    out: OutputContainer,
    clip: _Clip,
    first: VideoInfo,
    outlets: dict[int, _Outlet],
    stamps: Iterator[timing.Stamp],
    name: str,
) -> list[str]:
    """Copy the packets of a part; returns what was left out, as sentences. No other part is open: there may be many."""
    info = clip.info
    for each in outlets.values():
        each.begin_part()
    with open_input(info.path) as source:
        anew = [s.index for s in source.streams if is_remade(source, s, info.streams[s.index], name)]
        pairs = _pair(first, info, source, outlets)
        for packet in demux_with_arrivals(source, set(pairs), info.stream_index):
            outlet = pairs[packet.stream_index]
            if packet.stream_index == info.stream_index:
                if packet.pts is not None:
                    outlet.show(packet, next(stamps))
                    out.mux(packet)
            elif outlet.follow(packet, clip.later):
                out.mux(packet)
    covered = any(each.cover for each in first.streams)
    unpaired = [] if info is first else [each for each in info.streams if each.index not in {*pairs, *anew}]
    lost = [f"{info.path.name}: {each.label} has no counterpart" for each in unpaired if not (each.cover and covered)]
    return lost + [
        f"{info.path.name}: {each.late} packets of {each.label} left out, before the end of the part before"
        for each in outlets.values()
        if each.late and not each.is_usual
    ]


def _chapters(clips: Sequence[_Clip]) -> Iterator[Any]:
    """The chapters of all parts at their new times. Muxers number them anew where numbers come twice."""
    for clip in clips:
        if clip.info.chapters:
            with open_input(clip.info.path) as source:
                yield from moved_chapters(source, clip.later)


def _stamps(clips: Sequence[_Clip], name: str) -> Iterator[timing.Stamp]:
    """Times of all picture packets, in ticks of `_tick`.

    Raises:
        RunError: a part begins before the one before it ends, or was coded with other parameters.
    """
    base = _tick(clips)
    infos = [clip.info for clip in clips]
    orders = [_order(info) for info in infos]
    headers = [_header(info) for info in infos]
    for info, header in zip(infos, headers, strict=True):
        if header != headers[0]:
            raise RunError(f"{info.path} was coded with other parameters than {infos[0].path}; make both again")
    pts = [round(time / base) for clip in clips for time in clip.times()]
    for number in range(1, len(pts)):
        if pts[number] <= pts[number - 1]:
            raise RunError(f"{infos[-1].path} or one before it begins before the video before it ends")
    last = round(infos[-1].table.durations[-1] * infos[-1].table.time_base / base)
    durations = [after - before for before, after in itertools.pairwise(pts)] + [last]
    return timing.join(orders, pts, durations, most_lead(name, base))


def _order(info: VideoInfo) -> list[int]:
    """The presentation position of each picture packet of a part."""
    with open_input(info.path) as container:
        packets = demux(container, container.streams[info.stream_index])
        return timing.presentation_order([packet.pts for packet in packets if packet.pts is not None])


def _header(info: VideoInfo) -> object:
    """What the decoder of a part's pictures has to know, in a form that is equal where it is.

    How many frames a second there are, and the level that follows from it, are each part's own average: no decoder
    needs them, and clips of one camera differ in it. So do notes of the encoder.
    """
    with open_input(info.path) as container, av.open(BytesIO(), "w", format="matroska") as nowhere:
        stream = container.streams[info.stream_index]
        context = stream.codec_context
        extradata = context.extradata if context else None
        if extradata is None or info.codec not in _SAME_RATE:
            return extradata
        form, copy = NalFormat.of(info.codec, extradata), nowhere.add_stream_from_template(stream)
        try:
            BitStreamFilterContext(_SAME_RATE[info.codec], stream, copy)
        except av.error.FFmpegError:  # of parameters that FFmpeg cannot read
            return extradata
        units = nal_units(copy.codec_context.extradata or b"", NalFormat(form.hevc, 0))
        return form, [unit for unit in units if not form.is_sei(form.kind(unit))]


def _pair(first: VideoInfo, info: VideoInfo, source: InputContainer, outlets: dict[int, _Outlet]) -> dict[int, _Outlet]:
    """Which outlet each stream of a part goes to: that of the first part's stream of the same kind, coding and place.

    A cover picture has one in the first part alone: of several parts, one is enough.
    """
    pairs, free = {}, dict(outlets)
    for stream in info.streams:
        if stream.index == info.stream_index:
            pairs[stream.index] = free.pop(first.stream_index)
            continue
        if stream.cover and info is not first:
            continue
        coding = _coding(source.streams[stream.index])
        others = (i for i, outlet in free.items() if i != first.stream_index and outlet.coding == coding)
        fit = next((i for i in others if _alike(first.streams[i], stream)), None)
        if fit is not None:
            pairs[stream.index] = free.pop(fit)
    return pairs


def _alike(one: StreamInfo, other: StreamInfo) -> bool:
    return (one.kind, one.codec, one.language, one.cover) == (other.kind, other.codec, other.language, other.cover)


def _coding(stream: Stream) -> object:
    """What a decoder has to know of a stream besides its packets, and is told once for all parts."""
    if isinstance(stream, AudioStream):
        sound = stream.codec_context
        telling = sound.name in TELLING_SOUND or (sound.name == "aac" and not sound.extradata)
        return None if telling else (sound.sample_rate, sound.layout.nb_channels, sound.extradata)
    if isinstance(stream, VideoStream) and not is_cover(stream):
        picture = stream.codec_context
        return picture.width, picture.height, picture.extradata
    return None


def _open_outlet(out: OutputContainer, stream: Stream, info: VideoInfo, name: str) -> _Outlet | None:
    try:
        counterpart = add_copied(out, stream, stream_tags(info.streams[stream.index].tags, copied=True))
    except ValueError:
        return None
    is_picture = stream.index == info.stream_index
    counterpart.time_base = stream.time_base
    counterpart.disposition = stream.disposition
    if isinstance(counterpart, VideoStream) and is_picture:
        counterpart.codec_context.framerate = info.rate_in(name in MOV_FAMILY)
    if is_picture and needs_room(name, info.sample_aspect):
        make_room(counterpart)
    label, step = info.streams[stream.index].label, least_step(name, counterpart)
    return _Outlet(counterpart, step, reorder_depth(stream), label=label, coding=_coding(stream))


@dataclass(kw_only=True)
class _Outlet(Outlet):
    """A stream of the joined file, for those of all parts.

    Attributes:
        label: it in words.
        coding: `_coding` of the first part's stream.
        before: the last decode time of the parts before, in its ticks.
        late: packets of this part left out because they come before that.
        first: when the first of them would have begun, in its ticks.
        tick: seconds per tick of a picture's new times.
    """

    label: str
    coding: object
    before: int | None = None
    late: int = 0
    first: int = 0
    tick: Fraction = Fraction(1)

    def begin_part(self) -> None:
        """Take note that the next packets are of another part."""
        self.before, self.late = self.last, 0

    @property
    def is_usual(self) -> bool:
        """Whether only sound of a moment was left out of this part: that it goes on after the picture is usual."""
        overlap = ((self.before or 0) - self.first) * (self.stream.time_base or 1)
        return self.stream.type == "audio" and overlap < MOMENT

    def count_in(self, tick: Fraction) -> None:
        """Say in which ticks a picture's times will be."""
        self.stream.time_base = self.tick = tick

    def show(self, packet: AnyPacket, stamp: timing.Stamp) -> None:
        """Give a picture's packet its time, and make it out to this stream."""
        packet.pts, packet.dts, packet.duration, packet.time_base = stamp.pts, stamp.dts, stamp.duration, self.tick
        packet.stream = self.stream

    def follow(self, packet: AnyPacket, offset: Fraction) -> bool:
        """Move another packet in time and make it out to this stream; False to leave it out."""
        self.make_out(packet, offset)
        dts = packet.dts if packet.dts is not None else packet.pts
        sound = self.stream.type == "audio"
        if dts is not None and self.before is not None and dts < self.before + sound:
            self.first = self.first if self.late else dts
            self.late += 1
            return False
        self.set_order(packet)
        return True


def _prove(clips: Sequence[_Clip], working: Path, target: Path) -> None:
    """Hold every frame time of the joined file against those of its parts."""
    expected = [float(time) for clip in clips for time in clip.times()]
    made = probe(working)
    found = [float(time) for time in _Clip(made, Fraction(0)).times()]
    if len(found) != len(expected):
        raise VerifyFailed(f"{target} would have {len(found)} frames, its parts have {len(expected)}")
    tick = float(made.table.time_base + _tick(clips))
    worst = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if worst > tick:
        raise VerifyFailed(f"{target} would show frames {worst:.4f} s beside their times")
