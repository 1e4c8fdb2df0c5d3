"""Frames of any range of a video, exact to the frame and to the sample, a batch at a time."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidsr.errors import DamagedVideo, NotAVideo
from vidsr.frames import FrameBatch
from vidsr.media.bitstream import captions, is_banner
from vidsr.media.container import open_input
from vidsr.media.decoders import decode_in_order, decode_packet, decoder_threads, side_data
from vidsr.media.matroska import differ_in_coding
from vidsr.media.nvdec import accelerator
from vidsr.media.packets import VideoPacket, demux
from vidsr.media.pixels import SEMI_PLANAR, SourceFormat, copy_planes, empty_planes, source_format, to_planar
from vidsr.media.probe import VideoInfo
from vidsr.media.salvage import as_shown

Numbered = tuple[int, VideoFrame]
FILTER_TICK = Fraction(1, 1000)  # filters only have to tell frames apart
TRIES_BACK = (1, 2, 4)  # how many key frames before the wanted frame the first, second, ... try starts


class _SeekFailed(Exception):
    """Another frame came than the one that was due."""

    def __init__(self, frame: int) -> None:
        super().__init__(frame)
        self.frame = frame


def decode_range(
    info: VideoInfo,
    first: int,
    stop: int,
    batch_frames: int,
    threads: int = 0,
    deinterlace: bool = False,
    nvdec: bool = False,
) -> Iterator[FrameBatch]:
    """Decode frames first..stop-1 of `info.table`, in order.

    Args:
        info: the video, as probed.
        first: index of the first frame.
        stop: index after the last frame.
        batch_frames: frames per batch; the last batch may have fewer.
        threads: of the decoder; 0 leaves it to FFmpeg.
        deinterlace: make whole pictures of fields (bwdif), one per frame, before they are given out.
        nvdec: decode on an NVIDIA GPU if this machine has one that gives the same samples of an intact file. Errors
            in a damaged one are hidden by it and not reported.

    Yields:
        batches of consecutive frames with planes (N, h, w) in the layout `info.layout`; `index` counts in
        `info.table`.

    Raises:
        ValueError: the range is not within the table, or batch_frames < 1.
        DamagedVideo: a frame of the table cannot be decoded, or only with errors. After `probe(path, decode=True)`
            there are no such frames in the table, and those with errors are given.
        NotAVideo: the picture changes its size or format in mid-stream.
    """
    if not 0 <= first < stop <= len(info.table) or batch_frames < 1:
        raise ValueError(f"frames {first}..{stop} by {batch_frames} of {len(info.table)}")
    if deinterlace:
        frames = _deinterlaced(info, first, stop, threads)
    else:
        hwaccel = accelerator(info.codec, info.pix_fmt) if nvdec else None
        frames = _decoded(info, first, stop, threads, hwaccel)
    source = source_format(info.pix_fmt)
    while chunk := list(itertools.islice(frames, batch_frames)):
        yield _batch(info, source, chunk)


def check_one_picture(info: VideoInfo, first: int, stop: int) -> None:
    """Decode those of frames first..stop-1 from which on the picture may have another size or format.

    Raises:
        NotAVideo: it has, or parts of the file are coded so that FFmpeg does not see that.
    """
    if "matroska" in info.container and differ_in_coding(info.path):
        raise NotAVideo(
            f"{info.path} is of several files that are coded in different ways, and FFmpeg reads all like the first; "
            "split it and upscale the parts"
        )
    for time in info.changes:
        index = max(bisect.bisect_left(info.table.pts, time), first)
        if index < stop:
            with suppress(DamagedVideo):  # which a run finds out, and salvages
                next(decode_range(info, index, index + 1, 1))


def _batch(info: VideoInfo, source: SourceFormat, frames: list[Numbered]) -> FrameBatch:
    planes = empty_planes(info.layout, info.width, info.height, len(frames))
    for at, (_, frame) in enumerate(frames):
        copy_planes(to_planar(frame, source), planes, at)
    user_data = tuple(user_data_of(frame) for _, frame in frames)
    return FrameBatch(planes, info.layout, info.colour, tuple(i for i, _ in frames), user_data)


def user_data_of(frame: VideoFrame) -> tuple[bytes, ...]:
    """The frame's SEI user data messages (uuid and payload), without the encoder's banner, and its closed captions."""
    messages = [message for message in side_data(frame, Type.SEI_UNREGISTERED) if not is_banner(message)]
    for triplets in side_data(frame, Type.A53_CC):
        messages += captions(triplets)
    return tuple(messages)


def _decoded(
    info: VideoInfo, first: int, stop: int, threads: int, hwaccel: HWAccel | None = None
) -> Iterator[Numbered]:
    """Frames first..stop-1 as the decoder gives them, checked for size and format."""
    frames = _sequential(info, first, stop) if info.sequential else _sought(info, first, stop, threads, hwaccel)
    for index, frame in frames:
        if not _fits(frame, info):
            raise NotAVideo(
                f"{info.path}: the picture changes from {info.width}x{info.height} {info.pix_fmt} to {frame.width}x"
                f"{frame.height} {frame.format.name} at frame {index} ({float(info.table.time(index)):.3f} s); split "
                "the file there and upscale the parts"
            )
        yield index, frame


def _fits(frame: VideoFrame, info: VideoInfo) -> bool:
    """Whether a frame has the video's size and format."""
    found = frame.format.name
    if (frame.width, frame.height) != (info.width, info.height):
        return False
    return found.replace("yuvj", "yuv") == info.pix_fmt.replace("yuvj", "yuv") or found == SEMI_PLANAR.get(info.pix_fmt)


def _sequential(info: VideoInfo, first: int, stop: int) -> Iterator[Numbered]:
    """Decode from the beginning, just as the table was made, and count."""
    frames = as_shown(decode_in_order(info.path, info.stream_index), info.shows)
    yield from itertools.islice(enumerate(frames), first, stop)


def _sought(info: VideoInfo, first: int, stop: int, threads: int, hwaccel: HWAccel | None = None) -> Iterator[Numbered]:
    """Seek to a key frame at or before `first` and decode from there.

    Some containers land elsewhere than they are asked to, or time packets otherwise after seeking. What comes is
    checked against the table, and where it is not the frame that is due, the next try starts earlier and goes on with
    that frame; the last one starts at the beginning of the file. Only the first try uses other hardware than the CPU.
    """
    keys = [i for i in range(1, first + 1) if info.table.key[i]]
    tries: list[tuple[int | None, HWAccel | None]] = [(keys[-back], None) for back in TRIES_BACK if back <= len(keys)]
    if hwaccel:
        tries.insert(0, (keys[-1] if keys else None, hwaccel))
    for key, by in tries:
        try:
            for index, frame in _decode_from(info, key, first, stop, threads, by):
                yield index, frame
                first = index + 1
        except _SeekFailed:
            continue
        except NotAVideo:
            if by is None:
                raise
            continue  # a GPU without room, say
        return
    try:
        yield from _decode_from(info, None, first, stop, threads)
    except _SeekFailed as due:
        index = due.frame
        raise DamagedVideo(
            f"{info.path}: frame {index} at {float(info.table.time(index)):.3f} s cannot be decoded whole; "
            "the file is damaged there, salvage it"
        ) from None


def _decode_from(
    info: VideoInfo, key: int | None, first: int, stop: int, threads: int, hwaccel: HWAccel | None = None
) -> Iterator[Numbered]:
    """Frames first..stop-1, decoding from a key frame, or from the file's beginning where `key` is None."""
    table = info.table
    wanted = {table.pts[i]: i for i in range(first, stop)}
    due = first
    with open_input(info.path, hwaccel) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_type = ThreadType.AUTO
        stream.codec_context.thread_count = decoder_threads(info.codec, threads)
        for packet in itertools.chain(_packets_from(info, container, stream, key), [None]):
            for frame in _decode_on(stream, packet, due) if hwaccel else decode_packet(stream, packet):
                index = wanted.get(frame.pts) if frame.pts is not None else None
                if index is None:
                    continue
                # What hides an error differs with where decoding began; other hardware may crop otherwise.
                if index != due or frame.is_corrupt or (hwaccel and not _fits(frame, info)):
                    raise _SeekFailed(due)
                yield index, frame
                due += 1
                if due == stop:
                    return
    raise _SeekFailed(due)


def _decode_on(stream: VideoStream, packet: VideoPacket | None, due: int) -> list[VideoFrame]:
    """`decode_packet` on other hardware, which after an error may give pictures that hide it."""
    try:
        return list(stream.decode(packet))
    except FFmpegError:
        raise _SeekFailed(due) from None


def _packets_from(
    info: VideoInfo, container: InputContainer, stream: VideoStream, key: int | None
) -> Iterator[VideoPacket]:
    """Packets from a key frame on (from the beginning where `key` is None), in decode order."""
    if key is None:
        yield from demux(container, stream)
        return
    table = info.table
    try:
        container.seek(table.pts[key], stream=stream, backward=True)
    except FFmpegError:
        raise _SeekFailed(key) from None
    stream.codec_context.reorder_depth = info.reorder_depth  # flushing forgets it, and with it frames
    started = False
    for packet in demux(container, stream):
        started = started or _is_key(info, packet)
        if started:
            yield packet
    if not started:
        raise _SeekFailed(key)


def _is_key(info: VideoInfo, packet: VideoPacket) -> bool:
    if packet.pts is None:
        return False
    at = bisect.bisect_left(info.table.pts, packet.pts)
    return at < len(info.table) and info.table.pts[at] == packet.pts and info.table.key[at]


def _deinterlaced(info: VideoInfo, first: int, stop: int, threads: int) -> Iterator[Numbered]:
    """The same through bwdif, which looks at one frame before and one after each."""
    begin, end = max(first - 1, 0), min(stop + 1, len(info.table))
    graph = _bwdif(info)
    frames: Iterator[VideoFrame | None] = itertools.chain((f for _, f in _decoded(info, begin, end, threads)), [None])
    index = begin
    for number, frame in enumerate(frames):
        if frame is not None:
            frame.pts, frame.time_base = number, FILTER_TICK
        graph.vpush(frame)
        while (ready := _pull(graph)) is not None:
            if first <= index < stop:
                yield index, ready
            index += 1


def _bwdif(info: VideoInfo) -> Graph:
    graph = Graph()
    source = graph.add(
        "buffer",
        video_size=f"{info.width}x{info.height}",
        pix_fmt=info.pix_fmt,
        time_base=str(FILTER_TICK),
        pixel_aspect="1/1",
        colorspace=str(info.colour.matrix),
        range="pc" if info.colour.full_range else "tv",
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:parity=auto:deint=all"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pull(graph: Graph) -> VideoFrame | None:
    try:
        return graph.vpull()
    except (BlockingIOError, EOFError):
        return None
