"""The final file: encoded segments joined, with everything else of the source copied packet by packet."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidsr.errors import RunError, SettingsError
from vidsr.media import timing
from vidsr.media.container import RAW_TAGS, is_attached, made_whole, open_input, url_of
from vidsr.media.formats import format_of
from vidsr.media.leads import Leads
from vidsr.media.matroska import MATROSKA_FAMILY, fill_rooms, make_room, needs_room
from vidsr.media.muxers import MOV_FAMILY, container_options, most_lead
from vidsr.media.outlets import MuxReport, Outlets
from vidsr.media.packets import AnyPacket, Cuts, demux, moment_of
from vidsr.media.probe import VideoInfo
from vidsr.media.tags import folded, stream_tags
from vidsr.media.tracks import keep_code, turn_off
from vidsr.media.untimed import demux_with_arrivals

__all__ = ["MuxReport", "mux"]

NOTE_TAGS = ("comment", "description", "synopsis")
HEVC_TAG = "hvc1"  # parameter sets in the header, as Apple's players need it


@dataclass(frozen=True)
class Span:
    """The part of the source that the result shows, in seconds of the source's clock.

    Attributes:
        begin: packets before it are left out; None keeps all.
        end: packets from it on are left out; None keeps all.
        shift: what is subtracted from every time.
    """

    begin: Fraction | None
    end: Fraction | None
    shift: Fraction

    @classmethod
    def of(cls, info: VideoInfo, first: int, stop: int, name: str) -> Span:
        """The span of frames first..stop-1 in a container.

        Times are kept unless the beginning is cut off, or what is seen or heard would not be.
        """
        begin = info.table.time(first) if first else None
        end = info.table.time(stop) if stop < len(info.table) else None
        return cls(begin, end, -info.lead(name in MOV_FAMILY) if begin is None else begin)

    def has(self, time: Fraction) -> bool:
        """Whether what begins then is kept."""
        return (self.begin is None or time >= self.begin) and (self.end is None or time < self.end)


def mux(info: VideoInfo, segments: Sequence[Path], target: Path, first: int, stop: int, note: str = "") -> MuxReport:
    """Join segments and the source's other streams into `target`.

    The suffix of `target` decides its container. It gets its name only when it is complete.

    Args:
        info: the source.
        segments: Matroska files of SegmentEncoder, in order; together they have frames first..stop-1.
        target: the file to write.
        first, stop: the range of the source's frames. From a later `first` on, times start at 0.
            Otherwise they are kept, but for `VideoInfo.lead`, by which all are later.
        note: a sentence for the result's metadata, put under the first of NOTE_TAGS that the source does not use.

    Returns:
        what went into the result and what its container cannot take.

    Raises:
        SettingsError: the container is not known or cannot hold the segments' codec.
        RunError: the segments do not fit the range or each other.
        OutputUnwritable: writing fails.
    """
    orders, extradata = _read_orders(segments)
    if sum(map(len, orders)) != stop - first:
        raise RunError(
            f"{target}: the segments have {sum(map(len, orders))} frames, not {stop - first}; "
            f"remove {target.parent} to start over"
        )
    if len(extradata) > 1:
        raise RunError(
            f"{target}: the segments were coded with different parameters; remove {target.parent} to start over"
        )
    info, name = info.begun_at(first), format_of(target.suffix)
    with made_whole(target) as part:
        span = Span.of(info, first, stop, name)
        stamps = _stamps(info, orders, first, span, name)
        report = _write(info, segments, stamps, span, part, target.suffix, note)
        if name in MATROSKA_FAMILY:
            fill_rooms(part, info.sample_aspect)
    return report


def _read_orders(segments: Sequence[Path]) -> tuple[list[list[int]], set[bytes]]:
    """Each segment's packets' presentation positions, and all different codec configurations."""
    orders: list[list[int]] = []
    extradata: set[bytes] = set()
    for path in segments:
        with open_input(path) as container:
            stream = container.streams.video[0]
            times = [packet.pts for packet in demux(container, stream) if packet.pts is not None]
            orders.append(timing.presentation_order(times))
            extradata.add(stream.codec_context.extradata or b"")
    return orders, extradata


def _write(
    info: VideoInfo,
    segments: Sequence[Path],
    stamps: Iterator[timing.Stamp],
    span: Span,
    part: Path,
    suffix: str,
    note: str,
) -> MuxReport:
    name = format_of(suffix)
    with ExitStack() as stack:
        source = stack.enter_context(open_input(info.path))
        sample = stack.enter_context(open_input(segments[0]))
        options = container_options(name, suffix, info)
        out = stack.enter_context(
            av.open(url_of(part), "w", format=name, container_options=options, metadata_errors=RAW_TAGS)
        )
        outlets = Outlets(out, suffix, info, source)
        _add_note(out, info, note)
        for stream in source.streams:
            if stream.index == info.stream_index:
                video = _add_video(out, name, sample.streams.video[0], info)
                video.id = stream.id if source.format.name == name == "mpegts" else video.id
            else:
                outlets.add(stream)
        outlets.add_chapters(span.begin, span.end, span.shift)
        out.start_encoding()
        pictures = _pictures(segments, stamps, video, info.table.time_base)
        others = _others(source, outlets, span, info)
        for packet in heapq.merge(pictures, others, key=_decode_time):
            _mux(out, packet, packet.stream is video, outlets)
    if outlets.off:
        turn_off(part, outlets.off)
    return outlets.report()


def _add_note(out: OutputContainer, info: VideoInfo, note: str) -> None:
    free = [tag for tag in NOTE_TAGS if tag not in folded(info.tags)]
    if note and free:
        out.metadata[free[0]] = note


def _add_video(out: OutputContainer, name: str, sample: VideoStream, info: VideoInfo) -> VideoStream:
    codec = sample.codec_context.codec.canonical_name
    try:
        stream = out.add_stream_from_template(sample, opaque=True)
    except ValueError:
        raise SettingsError(
            f"a {name} file cannot hold {codec} video; use --container mkv or another --codec"
        ) from None
    stream.time_base = info.table.time_base
    context = stream.codec_context
    context.framerate = info.rate_in(name in MOV_FAMILY)
    if codec == "hevc" and name in MOV_FAMILY:
        context.codec_tag = HEVC_TAG
    elif name == "mov":
        keep_code(stream, sample)
    context.sample_aspect_ratio = info.sample_aspect
    matrix = info.display_matrix_at(sample.width, sample.height)
    if matrix is not None:
        stream.set_display_matrix(matrix)
    stream.metadata.update(stream_tags(info.stream.tags, copied=False))
    if needs_room(name, info.sample_aspect):
        make_room(stream)
    stream.disposition = Disposition(info.stream.disposition)
    return stream


def _stamps(info: VideoInfo, orders: list[list[int]], first: int, span: Span, name: str) -> Iterator[timing.Stamp]:
    table = info.table
    stop = first + sum(map(len, orders))
    shift = round(span.shift / table.time_base)
    pts = [time - shift for time in table.pts[first:stop]]
    return timing.join(orders, pts, table.durations[first:stop], most_lead(name, table.time_base))


def _pictures(
    segments: Sequence[Path], stamps: Iterator[timing.Stamp], stream: Stream, time_base: Fraction
) -> Iterator[AnyPacket]:
    for path in segments:
        with open_input(path) as container:
            for packet in demux(container, container.streams.video[0]):
                stamp = next(stamps)
                packet.stream = stream
                packet.time_base = time_base
                packet.pts, packet.dts, packet.duration = stamp.pts, stamp.dts, stamp.duration
                yield packet


def _others(source: InputContainer, outlets: Outlets, span: Span, info: VideoInfo) -> Iterator[AnyPacket]:
    """The packets of the source's streams other than the picture that lie in the span, on the result's clock."""
    streams = outlets.sources
    if not streams:
        return
    shifts = {stream.index: _shift_of(span.shift, stream, outlets.has_edit_lists) for stream in streams}
    cuts, leads = Cuts(info.path), Leads(span.begin or Fraction(0))
    hides = span.begin is not None and outlets.has_edit_lists
    for packet in demux_with_arrivals(source, {stream.index for stream in streams}, info.stream_index):
        time, shift = moment_of(packet), shifts[packet.stream_index]
        begin = None if time is None else time * packet.time_base
        unsaid = outlets.cannot_say(packet)  # asked of all packets, as each is held against those before it
        if cuts.drops(packet, outlets.has_edit_lists) or outlets.leaves_out(packet, begin):
            continue
        if unsaid and (begin is None or span.has(begin)):
            outlets.note_unsaid(packet)
            continue
        if is_attached(packet.stream):  # which is of the whole film
            yield outlets.address(packet, Fraction(0))
        elif begin is None:
            yield outlets.address(packet, shift)
        elif span.end is not None and begin >= span.end:
            continue
        elif hides and packet.stream.type == "video":
            for each in leads.take(packet):
                yield outlets.address(each, shift)
        elif span.begin is None or begin >= span.begin:
            yield outlets.address(packet, shift)
        elif packet.stream.type == "subtitle" and begin + _length(packet) > span.begin:  # which is still shown then
            packet.duration = round((begin + _length(packet) - span.begin) / packet.time_base)
            yield outlets.address(packet, begin)
    for packet in leads.rest():
        yield outlets.address(packet, shifts[packet.stream_index])


def _shift_of(shift: Fraction, stream: Stream, hides: bool) -> Fraction:
    """What a stream is earlier by. Of video in a file that hides what lies before 0, no later frame may come there."""
    tick = stream.time_base or Fraction(1)
    return ceil(shift / tick) * tick if hides and stream.type == "video" else shift


def _length(packet: AnyPacket) -> Fraction:
    return (packet.duration or 0) * packet.time_base


def _decode_time(packet: AnyPacket) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _mux(out: OutputContainer, packet: AnyPacket, picture: bool, outlets: Outlets) -> None:
    """Write one packet; one of the source's that the muxer refuses is noted, one of ours is an error."""
    if not picture and outlets.is_damaged(packet):
        outlets.note_damaged(packet)
        return
    try:
        out.mux_one(packet)
    except (av.error.InvalidDataError, av.error.ArgumentError):
        if picture:
            raise
        outlets.note_damaged(packet)
