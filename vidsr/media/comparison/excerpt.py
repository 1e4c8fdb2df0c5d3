"""A short stretch of a source and its result, frame beside frame: what the comparison shows and measures.

Only the stretch is read, so that ten seconds out of an hour take seconds; the whole file only where its container does
not give each frame's time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from vidsr.errors import NotAVideo, SettingsError
from vidsr.frames import Colour
from vidsr.media.container import find_video, open_input
from vidsr.media.decoders import decode_in_order, decode_packet
from vidsr.media.packets import demux
from vidsr.media.pixels import rows_of, source_format, to_planar
from vidsr.media.probe import probe

# Seconds. Matroska rounds a frame's time and the first one's to whole milliseconds, so that a time may be one off; half
# a frame of the 240 a second that action cameras film is 2.08 ms.
SAME_TIME = 0.002
UNTIMED = ("avi", "mpeg")  # FFmpeg guesses the times of their frames, in the order of decoding


@dataclass(frozen=True)
class Clip:
    """One of the two videos, as far as the comparison needs to know it.

    Attributes:
        path: the file.
        codec: FFmpeg's name of the codec.
        pix_fmt: FFmpeg's name of the pixel format.
        width: coded width in pixels.
        height: coded height in pixels.
        aspect: width over height of a pixel.
        rotation: degrees by which a player turns the picture counter-clockwise.
        matrix: YUV to RGB matrix of ITU-T H.273.
        rate: frames per second on average, 0 where the file does not say.
        duration: seconds, infinity where the file does not say.
        begin: time of the first frame in the file's own clock, in seconds.
        size_bytes: size of the file.
        times: seconds of every frame from the first one, where the container does not give each frame's; else None.
    """

    path: Path
    codec: str
    pix_fmt: str
    width: int
    height: int
    aspect: float
    rotation: int
    matrix: int
    rate: float
    duration: float
    begin: float
    size_bytes: int
    times: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Pair:
    """A frame of the source and the frame of the result at the same time.

    Attributes:
        time: seconds from the start of the video.
        source, result: as decoded.
    """

    time: float
    source: VideoFrame
    result: VideoFrame


def open_clip(path: Path) -> Clip:
    """Look at a video's head and first frame.

    Raises:
        InputError: as `open_input` and `find_video` say, or no frame of it decodes.
    """
    try:
        with open_input(path) as container:
            stream = find_video(container, path)
            frame = next(container.decode(stream))
            source_format(frame.format.name)
            duration = stream.duration * stream.time_base if stream.duration and stream.time_base else None
            return Clip(
                path=path,
                codec=stream.codec_context.name,
                pix_fmt=frame.format.name,
                width=frame.width,
                height=frame.height,
                aspect=float(stream.sample_aspect_ratio or 1),
                rotation=int(frame.rotation),
                matrix=Colour(matrix=int(frame.colorspace)).resolved_matrix(frame.height),
                rate=float(stream.average_rate or 0),
                duration=float(duration) if duration else math.inf,
                begin=float((frame.pts or 0) * Fraction(stream.time_base or 1)),
                size_bytes=path.stat().st_size,
                times=_table_times(path) if frame.pts is None or container.format.name in UNTIMED else None,
            )
    except (av.error.FFmpegError, StopIteration, IndexError, ValueError) as error:
        raise NotAVideo(f"{path} cannot be decoded; name a video that plays") from error


def _table_times(path: Path) -> tuple[float, ...]:
    table = probe(path).table
    return tuple(float(table.time(number) - table.time(0)) for number in range(len(table)))


def times_differ(clip: Clip) -> bool:
    """Whether each coded picture of a video has a time, and no two have the same; reads the whole file."""
    with open_input(clip.path) as container:
        times = [packet.pts for packet in demux(container, find_video(container, clip.path))]
    return clip.times is None and None not in times and len(set(times)) == len(times)


def check_scale(source: Clip, result: Clip) -> float:
    """The factor by which the result is larger.

    Raises:
        SettingsError: the result's shape is not the source's, or it is smaller.
    """
    scale = result.width / source.width
    if scale < 1:
        raise SettingsError(
            f"{result.path} ({result.width}x{result.height}) is smaller than {source.path} "
            f"({source.width}x{source.height}); name the source first, then its result"
        )
    if abs(source.height * scale - result.height) > max(2.0, 0.01 * result.height):
        raise SettingsError(
            f"{result.path} ({result.width}x{result.height}) is not an enlargement of {source.path} "
            f"({source.width}x{source.height}); name a result of this source"
        )
    return scale


def read_frames(clip: Clip, start: float, seconds: float) -> Iterator[tuple[float, VideoFrame]]:
    """Decode the frames of a stretch.

    Args:
        clip: the video.
        start: seconds from its first frame.
        seconds: length; 0 gives the one frame that is shown at `start`, or the last one before it.

    Yields:
        (seconds from the first frame, frame as decoded), ascending.
    """
    shown: tuple[float, VideoFrame] | None = None
    for time, frame in _timed_frames(clip, start):
        if seconds == 0 and time > start + SAME_TIME:
            break
        if seconds > 0 and time >= start + seconds - SAME_TIME:
            return
        if seconds > 0 and time >= start - SAME_TIME:
            yield time, frame
        shown = (time, frame)
    if seconds == 0 and shown is not None:
        yield shown


def _timed_frames(clip: Clip, start: float) -> Iterator[tuple[float, VideoFrame]]:
    """All frames from the last key frame before `start` on or from an earlier one, each later than the one before."""
    with open_input(clip.path) as container:
        stream = find_video(container, clip.path)
        if clip.times is not None:
            frames = decode_in_order(clip.path, stream.index)
            yield from zip(clip.times, frames, strict=False)
            return
        stream.thread_type = "AUTO"
        tick = Fraction(stream.time_base or 1)
        if start > 0:
            container.seek(int((clip.begin + start) / tick), stream=stream)
        time = -math.inf
        for packet in itertools.chain(demux(container, stream), [None]):
            for frame in decode_packet(stream, packet):
                if frame.pts is not None:
                    # Where times stand still or go back, the frame table goes on by ticks too.
                    time = max(float(frame.pts * tick) - clip.begin, time + float(tick))
                    yield time, frame


def pair_frames(source: Clip, result: Clip, start: float, seconds: float) -> Iterator[Pair]:
    """The frames of both videos that have the same time, in order; a frame without a partner is passed over."""
    left = read_frames(source, start, seconds)
    right = read_frames(result, start, seconds)
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        if a[0] < b[0] - SAME_TIME:
            a = next(left, None)
        elif b[0] < a[0] - SAME_TIME:
            b = next(right, None)
        else:
            yield Pair(a[0], a[1], b[1])
            a, b = next(left, None), next(right, None)


def luma(frame: VideoFrame) -> NDArray[np.float32]:
    """The luma plane (height, width) of a decoded frame in 8-bit code values, 0 to 255."""
    form = source_format(frame.format.name)
    frame = to_planar(frame, form)
    rows = rows_of(frame.planes[0], np.uint8 if form.layout.depth == 8 else np.uint16)
    values: NDArray[np.float32] = rows[: frame.height, : frame.width].astype(np.float32)
    values /= 2 ** (form.layout.depth - 8)
    return values


def psnr_and_shift(source: NDArray[np.float32], result: NDArray[np.float32]) -> tuple[float | None, float]:
    """How well the result, made small again, agrees with the source.

    Args:
        source: luma (h, w), 0 to 255.
        result: luma (H, W), 0 to 255; it is reduced with the antialiased bicubic (a = -0.5).

    Returns:
        PSNR in dB (None where both are equal), and the mean difference in code values (above 0: brighter).
    """
    height, width = source.shape
    small = np.asarray(Image.fromarray(result).resize((width, height), Image.Resampling.BICUBIC))
    error = small - source
    mse = float(np.mean(np.square(error, dtype=np.float64)))
    return (10 * math.log10(255**2 / mse) if mse > 0 else None), float(np.mean(error, dtype=np.float64))
