"""What a video file is: its streams, picture, colour, and the exact time of each frame.

A healthy file is only demuxed (plus a few frames decoded, for what only frames say). Where packets cannot be trusted
to tell the frames, the whole video is decoded once and `VideoInfo.sequential` says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vidsr.errors import NotAVideo
from vidsr.frames import Colour, PixelLayout
from vidsr.media import table as tables
from vidsr.media.boxes import is_fragmented
from vidsr.media.container import find_video, is_cover, open_input, printable
from vidsr.media.description import (
    chroma_location,
    codec_name,
    codec_tag,
    description_of,
    frame_cropping,
    is_dolby_vision,
    programmes_of,
    tags_of,
)
from vidsr.media.firstframe import FirstFrames, Hdr, not_said, read_first_frames
from vidsr.media.latecomers import FARTHEST, files_behind, late_begins
from vidsr.media.packets import is_before_lead
from vidsr.media.table import FrameTable
from vidsr.media.tags import begun_later, folded
from vidsr.media.tracks import changes_speed, pauses, timecode_rate

MOST_NUMBERS = 255  # of a timecode track, a second: its sample description says them in a byte
PROGRESSIVE_ORDERS = (0, 1)  # of FFmpeg's AVFieldOrder: unknown, progressive


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file.

    Attributes:
        index: its number in the file.
        kind: video, audio, subtitle, data or attachment.
        codec: FFmpeg's name of its codec; None where FFmpeg does not know it.
        language: ISO 639-2 code, or None.
        title: its title, handler or file name, or None.
        time_base: seconds per tick of its timestamps.
        start: its first timestamp in ticks, or None.
        disposition: FFmpeg's AV_DISPOSITION bits.
        cover: a cover picture or thumbnail rather than a film.
        tags: its metadata, as (key, value) pairs.
    """

    index: int
    kind: str
    codec: str | None
    language: str | None
    title: str | None = None
    time_base: Fraction = Fraction(1, 1000)
    start: int | None = None
    disposition: int = 0
    cover: bool = False
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The stream in words, such as "audio stream 2 (aac, eng)"."""
        details = printable(", ".join(part for part in (self.codec, self.language, self.title) if part))
        return f"{'cover picture' if self.cover else f'{self.kind} stream'} {self.index}" + (
            f" ({details})" if details else ""
        )


@dataclass(frozen=True)
class VideoInfo:
    """What a video file is. Picklable; holds nothing of FFmpeg.

    Attributes:
        path: the file.
        container: FFmpeg's name of its format, such as "mov,mp4,m4a,3gp,3g2,mj2".
        size_bytes: its size.
        mtime_ns: when it was last changed.
        stream_index: the stream that is upscaled: the first that is not a cover picture.
        codec: FFmpeg's name of the stream's codec.
        codec_tag: the stream's four-character code in its container, such as "hvc1", or "".
        pix_fmt: FFmpeg's name of the pixel format as decoded.
        width, height: of the decoded (cropped, not yet rotated) picture, in pixels.
        layout: the layout of the planes that `decode_range` gives.
        colour: what the samples of these planes mean.
        rotation: degrees counter-clockwise that a player turns the picture by, from the display matrix.
        display_matrix: the nine numbers of the display matrix as FFmpeg stores them, or None.
        sample_aspect: width to height of one pixel; 1 where the file does not say.
        rate: average frames per second.
        duration: seconds from the first frame's start to the last frame's end; None for an empty table.
        table: time of each frame.
        streams: all streams of the file.
        interlaced: whether frames are made of two fields.
        fields: whether each frame is one field, of the two in turn.
        sequential: None, or why the packets cannot be trusted: then `table` is what decoding the whole file gave,
            and the video cannot be cut into segments.
        notes: what the user should know, as sentences.
        changes: timestamps from which on the picture may have another size or format.
        missing: timestamps of pictures that the file promises and decoding does not give (damage).
        shows: which decoded frame each entry of `table` shows, where gaps were filled; empty where each its own.
        user_data: whether frames carry SEI user data messages (telemetry of some cameras).
        hdr: mastering display and content light level, or None.
        stream_bytes: of the packets of the stream that is upscaled.
        reorder_depth: frames that the decoder holds back to sort them.
        tags: the container's metadata, as (key, value) pairs.
        chapters: number of chapters.
        timecode_rate: frames a second that its timecode track counts; None where it has none.
    """

    path: Path
    container: str
    size_bytes: int
    mtime_ns: int
    stream_index: int
    codec: str
    codec_tag: str
    pix_fmt: str
    width: int
    height: int
    layout: PixelLayout
    colour: Colour
    rotation: int
    display_matrix: tuple[int, ...] | None
    sample_aspect: Fraction
    rate: Fraction
    duration: Fraction | None
    table: FrameTable
    streams: tuple[StreamInfo, ...]
    interlaced: bool
    sequential: str | None
    notes: tuple[str, ...] = ()
    fields: bool = False
    changes: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    shows: tuple[int, ...] = ()
    user_data: bool = False
    hdr: Hdr | None = None
    stream_bytes: int = 0
    reorder_depth: int = 0
    tags: tuple[tuple[str, str], ...] = ()
    chapters: int = 0
    timecode_rate: Fraction | None = None

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.table)

    @property
    def stream(self) -> StreamInfo:
        """The stream that is upscaled."""
        return self.streams[self.stream_index]

    @property
    def sound_lead(self) -> Fraction:
        """How long sound is heard before 0, in seconds that are whole ticks of the picture.

        0 where it is no longer than what decoders need to start, which nobody is to hear.
        """
        starts = (s.start * s.time_base for s in self.streams if s.kind == "audio" and s.start is not None)
        earliest, tick = min(starts, default=Fraction(0)), self.table.time_base
        return ceil(-earliest / tick) * tick if is_before_lead(earliest) else Fraction(0)

    @property
    def picture_lead(self) -> Fraction:
        """How long before 0 its first frame is shown, in seconds: where a clock of 33 bits is about to begin anew."""
        return max(-self.table.time(0), Fraction(0))

    def lead(self, in_mov: bool) -> Fraction:
        """How much later all is in a result, in seconds: no container has frames before 0, nor MP4 and MOV sound."""
        return max(self.sound_lead if in_mov else Fraction(0), self.picture_lead)

    def begun_at(self, first: int) -> VideoInfo:
        """The video with the tags that its part from frame `first` on has."""
        later = self.timecode_at(first)
        streams = tuple(replace(stream, tags=begun_later(stream.tags, *later)) for stream in self.streams)
        return replace(self, streams=streams, tags=begun_later(self.tags, *later))

    def rate_in(self, in_mov: bool) -> Fraction:
        """The rate that a muxer is told: those of MP4 and MOV count the timecode by it, and refuse some rates."""
        if not in_mov:
            return self.rate
        rate = self.timecode_rate or self.rate
        while rate > MOST_NUMBERS:  # several frames have one number
            rate /= 2
        return max(rate, Fraction(1))

    def timecode_at(self, first: int) -> tuple[int, Fraction]:
        """How many frames later than at its beginning the timecode is at frame `first`, and at which rate it counts."""
        if self.timecode_rate is None:
            return first, self.rate
        return round((self.table.time(first) - self.table.time(0)) * self.timecode_rate), self.timecode_rate

    def display_matrix_at(self, width: int, height: int) -> tuple[int, ...] | None:
        """The display matrix of the picture enlarged to that size: what it moves the turned picture by, grows too."""
        if self.display_matrix is None:
            return None
        a, b, u, c, d, v, x, y, w = self.display_matrix
        across, down = Fraction(width, self.width), Fraction(height, self.height)
        moved = (round(x * (across if a else down)), round(y * (down if d else across)))
        # Of a damaged file it may be anything.
        return a, b, u, c, d, v, *(min(max(by, -(2**31)), 2**31 - 1) for by in moved), w

    @property
    def bits_per_pixel(self) -> float:
        """How finely it is coded: bits of the stream over the pixels of all frames."""
        return 8 * self.stream_bytes / max(self.frames * self.width * self.height, 1)


def probe(path: str | Path, decode: bool = False) -> VideoInfo:
    """Find out what a video file is.

    Args:
        path: the file.
        decode: build the frame table by decoding the whole video even if its packets look healthy. For a file
            whose damage only showed while it was decoded.

    Raises:
        InputMissing, InputUnreadable, InputEmpty: by what the file system says.
        NotAVideo: no container that can be read, or no frame in it that can be decoded.
        NoPicture: sound only.
        Encrypted: the samples are encrypted.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = find_video(container, path)
        packets = tables.read_packets(container, stream, path)
        first = read_first_frames(path, stream.index)
        info = _describe(container, stream, path, first)
    reason = packets.distrust or tables.disagreement(packets, first.pts)
    if reason is None and decode:
        reason = "its pictures were counted by decoding them"
    return _with_table(info, packets, reason)


def _describe(container: InputContainer, stream: VideoStream, path: Path, first: FirstFrames) -> VideoInfo:
    """Everything but the frame table, which is left empty."""
    status = path.stat()
    context = stream.codec_context
    description = description_of(container, stream)
    # Of HEVC FFmpeg marks as interlaced only single fields, each of which it gives as a frame.
    fields = context.codec.canonical_name == "hevc" and first.interlaced
    return VideoInfo(
        path=path,
        container=container.format.name,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        stream_index=stream.index,
        codec=context.codec.canonical_name,
        codec_tag=codec_tag(description),
        pix_fmt=first.pix_fmt,
        width=first.width,
        height=first.height,
        layout=first.source.layout,
        colour=replace(first.colour, chroma_location=chroma_location(description)),
        rotation=first.rotation,
        display_matrix=first.display_matrix,
        sample_aspect=Fraction(stream.sample_aspect_ratio or 1),
        rate=Fraction(stream.average_rate or stream.guessed_rate or 0),
        duration=None,
        table=FrameTable((), (), (), Fraction(stream.time_base or Fraction(1, 1000))),
        streams=tuple(_stream_info(container, each) for each in container.streams),
        interlaced=not fields and (first.interlaced or context.field_order not in PROGRESSIVE_ORDERS),
        sequential=None,
        fields=fields,
        notes=(
            *first.notes,
            *_left_out(container, stream, description, first, fields),
            *_speed_note(container, path),
            *_pause_note(container, path),
            *_overlap_note(container, stream, path),
            *_late_note(path),
            *_others_note(container, stream),
            *_programmes_note(container),
        ),
        hdr=first.hdr,
        reorder_depth=context.reorder_depth,
        tags=tuple(sorted(tags_of(container).items())),
        chapters=len(container.chapters()),
        timecode_rate=timecode_rate(path) if "mov" in container.format.name else None,
    )


def _left_out(
    container: InputContainer, stream: VideoStream, description: str, first: FirstFrames, fields: bool
) -> Iterator[str]:
    """What only the container says of the picture, or only its frames and no tag, and no result can."""
    tags = folded(stream.metadata.items())
    if first.stereoscopic and "stereo_mode" not in tags:
        yield not_said("it is stereoscopic")
    if fields:
        yield not_said("each of its pictures is one of the two fields of a frame, and enlarged as it is")
    if first.timecode and "timecode" not in tags | folded(container.metadata.items()):
        yield not_said(f"its pictures have a timecode of their own ({first.timecode} at the beginning)")
    if is_dolby_vision(description):
        yield not_said("it is Dolby Vision")
    if cropping := frame_cropping(description):
        left, right, top, bottom = cropping
        edges = f"{left} columns at its left, {right} right, {top} lines above and {bottom} below"
        yield not_said(f"it is to be shown without {edges}")
    if tags.get("alpha_mode") == "1":
        yield "transparency is left out"


def _speed_note(container: InputContainer, path: Path) -> Iterator[str]:
    if "mov" in container.format.name and changes_speed(path):
        yield "its edit list changes the speed, which FFmpeg does not do: what it reads at the usual speed is enlarged"


def _pause_note(container: InputContainer, path: Path) -> Iterator[str]:
    if "mov" in container.format.name and pauses(path):
        yield "its edit list has a pause, in which FFmpeg reads what the track begins with: that is seen or heard there"


def _overlap_note(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[str]:
    """How many pictures FFmpeg leaves out, whose packets have been read: in fragments, those that do not go on."""
    hidden = sum(entry.is_discard for entry in stream.index_entries) if is_fragmented(path) else 0
    if hidden:
        yield f"{hidden} pictures are left out: by the times of its fragments they do not come after those before them"


def _late_note(path: Path) -> Iterator[str]:
    """How many streams begin so late in a file that nothing of them is read."""
    if beyond := sum(begin > FARTHEST for begin in late_begins(path)):
        yield f"{beyond} of its streams begin after {FARTHEST >> 20} MiB, where they are not looked for: left out"


def _others_note(container: InputContainer, stream: VideoStream) -> Iterator[str]:
    """Which videos of a file are not enlarged, as the rear view of dashcams that write it beside the front one."""
    for other in container.streams.video:
        if other.index != stream.index and not is_cover(other):
            label = _stream_info(container, other).label
            yield f"{label} is not enlarged, but kept as it is: of several videos stream {stream.index} is taken"


def _programmes_note(container: InputContainer) -> Iterator[str]:
    """That the programmes of MPEG-TS become one: PyAV makes no second one, and other containers have none."""
    if len(names := programmes_of(container)) > 1:
        yield f"its {len(names)} programmes ({', '.join(names)}) become one, with the streams of all"


def _stream_info(container: InputContainer, stream: Stream) -> StreamInfo:
    context = stream.codec_context
    tags = folded(stream.metadata.items())
    language = tags.get("language")
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=context.codec.canonical_name if context else codec_name(description_of(container, stream)),
        language=None if language in (None, "und") else language,
        title=tags.get("title") or tags.get("filename"),
        time_base=Fraction(stream.time_base or Fraction(1, 1000)),
        start=stream.start_time,
        disposition=int(stream.disposition),
        cover=stream.type == "video" and is_cover(stream),
        tags=tuple(sorted(stream.metadata.items())),
    )


def _with_table(info: VideoInfo, packets: tables.Packets, reason: str | None) -> VideoInfo:
    missing: tuple[int, ...] = ()
    notes = list(info.notes)
    if behind := files_behind(info.path, packets.last):
        notes.append(
            f"it is of several files, of which FFmpeg does not read the last ({behind}): left out; split them off"
        )
    table = packets.table()
    changes = packets.changes
    if reason is not None:
        table, missing, changes = tables.decode_table(info.path, info.stream_index, packets, info.rate)
        notes.append(f"frame times come from decoding the whole video: {reason}")
    if missing:
        notes.append(f"{len(missing)} pictures cannot be decoded; the time they take stays a gap")
    if not len(table):
        raise NotAVideo(f"{info.path}: no frame of it can be decoded")
    return replace(
        info,
        table=table,
        sequential=reason,
        notes=tuple(notes),
        changes=changes,
        missing=missing,
        user_data=packets.user_data,
        stream_bytes=packets.size,
        duration=table.duration,
        rate=table.rate(info.rate),
    )
