"""Several videos of one camera behind one another in one file, by packet copy, with the time between them kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vidsr.errors import RunError, VerifyFailed
from vidsr.media import timing
from vidsr.media.chapters import moved_chapters
from vidsr.media.container import RAW_TAGS, AnyPacket, demux, made_whole, open_input, url_of
from vidsr.media.formats import MATROSKA_FAMILY, MOV_FAMILY, container_options, format_of, most_lead
from vidsr.media.matroska import add_copied, fill_rooms, make_room, needs_room
from vidsr.media.outlets import Outlet, attach_cover, is_remade, least_step, reorder_depth
from vidsr.media.probe import StreamInfo, VideoInfo, probe
from vidsr.media.tags import container_tags, stream_tags
from vidsr.paths import sync


@dataclass(frozen=True)
class Part:
    """A video and when it begins.

    Attributes:
        path: the file.
        offset: seconds from the begin of the joined video to the begin of this one.
    """

    path: Path
    offset: Fraction


def join(parts: Sequence[Part], target: Path) -> tuple[str, ...]:
    """Copy the packets of all parts into one file of the container that the target's suffix says.

    Pictures all stay; of everything else, what would come before the last packet of the part before is left out.

    Args:
        parts: in order of time, the first at 0; all with the same picture size and codec parameters.
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
    target.parent.mkdir(parents=True, exist_ok=True)
    with made_whole(target) as working:
        left = _write(parts, infos, working, format_of(target.suffix))
        if format_of(target.suffix) in MATROSKA_FAMILY:
            fill_rooms(working, infos[0].sample_aspect)
        _prove(parts, infos, working, target)
        sync(working)  # a power loss must not leave the name without what it names
    return left


def _check_shapes(infos: Sequence[VideoInfo]) -> None:
    first = infos[0]
    for info in infos[1:]:
        if (info.width, info.height, info.codec, info.pix_fmt) != (
            first.width,
            first.height,
            first.codec,
            first.pix_fmt,
        ):
            raise RunError(f"{info.path} has another picture than {first.path}; they cannot be one video")


def _write(parts: Sequence[Part], infos: Sequence[VideoInfo], working: Path, name: str) -> tuple[str, ...]:
    left: list[str] = []
    stamps = _stamps(parts, infos, name)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_input(part.path)) for part in parts]
        options = container_options(name, working.with_suffix("").suffix, infos[0])
        out = stack.enter_context(
            av.open(url_of(working), "w", format=name, container_options=options, metadata_errors=RAW_TAGS)
        )
        out.metadata.update(container_tags(infos[0].tags))
        outlets: dict[int, _Outlet] = {}
        remade = [
            {stream.index for stream in source.streams if is_remade(source, stream, info.streams[stream.index], name)}
            for info, source in zip(infos, sources, strict=True)
        ]
        covered = any(each.cover for each in infos[0].streams)
        for stream in sources[0].streams:
            if stream.index in remade[0]:
                continue
            if infos[0].streams[stream.index].cover and name == "matroska":
                attach_cover(out, parts[0].path, infos[0].streams[stream.index])
                continue
            outlet = _open_outlet(out, stream, infos[0], name)
            if outlet is None:
                left.append(f"{infos[0].streams[stream.index].label}: {name} has no place for it")
            else:
                outlets[stream.index] = outlet
        offsets = [part.offset for part in parts]
        if chapters := [*itertools.chain(*map(moved_chapters, sources, offsets))]:
            out.set_chapters(chapters)  # muxers number them anew where numbers come twice
        out.start_encoding()
        for part, info, source, anew in zip(parts, infos, sources, remade, strict=True):
            for each in outlets.values():
                each.begin_part()
            pairs = _pair(infos[0], info, outlets)
            unpaired = [each for each in info.streams if each.index not in {*pairs, *anew}]
            left += [
                f"{part.path.name}: {each.label} has no counterpart"
                for each in unpaired
                if info is not infos[0] and not (each.cover and covered)
            ]
            for packet in demux(source, *(source.streams[index] for index in pairs)):
                outlet = pairs[packet.stream_index]
                if packet.stream_index == info.stream_index:
                    if packet.pts is not None:
                        outlet.show(packet, next(stamps), infos[0].table.time_base)
                        out.mux(packet)
                elif outlet.follow(packet, part.offset):
                    out.mux(packet)
            left += [
                f"{part.path.name}: {each.late} packets of {each.label} left out, before the end of the part before"
                for each in outlets.values()
                if each.late
            ]
    return tuple(left)


def _stamps(parts: Sequence[Part], infos: Sequence[VideoInfo], name: str) -> Iterator[timing.Stamp]:
    """Times of all picture packets, in ticks of the first part's table.

    Raises:
        RunError: a part begins before the one before it ends, or was coded with other parameters.
    """
    base = infos[0].table.time_base
    orders = [_order(info, infos[0]) for info in infos]
    pts = [round(time / base) for part, info in zip(parts, infos, strict=True) for time in _times(info, part.offset)]
    for number in range(1, len(pts)):
        if pts[number] <= pts[number - 1]:
            raise RunError(f"{parts[-1].path} or one before it begins before the video before it ends")
    last = round(infos[-1].table.durations[-1] * infos[-1].table.time_base / base)
    durations = [after - before for before, after in itertools.pairwise(pts)] + [last]
    return timing.join(orders, pts, durations, most_lead(name, base))


def _order(info: VideoInfo, first: VideoInfo) -> list[int]:
    """The presentation position of each picture packet of a part, if it was coded as the first part was."""
    configurations = []
    for each in (info, first):
        with open_input(each.path) as container:
            context = container.streams[each.stream_index].codec_context
            configurations.append(context.extradata if context else None)
    if configurations[0] != configurations[1]:
        raise RunError(f"{info.path} was coded with other parameters than {first.path}; make both again")
    with open_input(info.path) as container:
        packets = demux(container, container.streams[info.stream_index])
        return timing.presentation_order([packet.pts for packet in packets if packet.pts is not None])


def _pair(first: VideoInfo, info: VideoInfo, outlets: dict[int, _Outlet]) -> dict[int, _Outlet]:
    """Which outlet each stream of a part goes to: that of the first part's stream of the same kind and place.

    A cover picture has one in the first part alone: of several parts, one is enough.
    """
    pairs, free = {}, dict(outlets)
    for stream in info.streams:
        if stream.index == info.stream_index:
            pairs[stream.index] = free.pop(first.stream_index)
            continue
        if stream.cover and info is not first:
            continue
        fit = next((i for i in free if i != first.stream_index and _alike(first.streams[i], stream)), None)
        if fit is not None:
            pairs[stream.index] = free.pop(fit)
    return pairs


def _alike(one: StreamInfo, other: StreamInfo) -> bool:
    return (one.kind, one.codec, one.language, one.cover) == (other.kind, other.codec, other.language, other.cover)


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
    return _Outlet(counterpart, step, reorder_depth(stream), label=label)


@dataclass(kw_only=True)
class _Outlet(Outlet):
    """A stream of the joined file, for those of all parts.

    Attributes:
        label: it in words.
        before: the last decode time of the parts before, in its ticks.
        late: packets of this part left out, other than sound, because they come before that.
    """

    label: str
    before: int | None = None
    late: int = 0

    def begin_part(self) -> None:
        """Take note that the next packets are of another part."""
        self.before, self.late = self.last, 0

    def show(self, packet: AnyPacket, stamp: timing.Stamp, base: Fraction) -> None:
        """Give a picture's packet its time, and make it out to this stream."""
        packet.pts, packet.dts, packet.duration, packet.time_base = stamp.pts, stamp.dts, stamp.duration, base
        packet.stream = self.stream

    def follow(self, packet: AnyPacket, offset: Fraction) -> bool:
        """Move another packet in time and make it out to this stream; False to leave it out."""
        self.make_out(packet, offset)
        dts = packet.dts if packet.dts is not None else packet.pts
        sound = self.stream.type == "audio"
        if dts is not None and self.before is not None and dts < self.before + sound:
            self.late += not sound  # that sound goes on for a moment after the picture is usual
            return False
        self.set_order(packet)
        return True


def _prove(parts: Sequence[Part], infos: Sequence[VideoInfo], working: Path, target: Path) -> None:
    """Hold every frame time of the joined file against those of its parts."""
    expected = [float(time) for part, info in zip(parts, infos, strict=True) for time in _times(info, part.offset)]
    made = probe(working)
    found = [float(time) for time in _times(made, Fraction(0))]
    if len(found) != len(expected):
        raise VerifyFailed(f"{target} would have {len(found)} frames, its parts have {len(expected)}")
    tick = float(made.table.time_base + infos[0].table.time_base)
    worst = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if worst > tick:
        raise VerifyFailed(f"{target} would show frames {worst:.4f} s beside their times")


def _times(info: VideoInfo, offset: Fraction) -> Iterator[Fraction]:
    return (pts * info.table.time_base + offset for pts in info.table.pts)
