"""Pictures of a clip for people to look at: enlarged, upright, as H.264 that a browser plays or as RGB."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray
from PIL import Image

from vidsr.frames import Colour
from vidsr.media import timing
from vidsr.media.comparison.excerpt import Clip
from vidsr.media.container import find_video, open_input, url_of
from vidsr.media.packets import demux
from vidsr.media.pixels import rows_of, source_format, to_planar

CRF = "12"  # no visible loss; both sides of a comparison are coded alike
TIME_BASE = Fraction(1, 90_000)
BICUBIC = Interpolation.BICUBIC | Interpolation.ACCURATE_RND


def upright(frame: VideoFrame, clip: Clip, width: int, height: int, pix_fmt: str) -> VideoFrame:
    """A frame enlarged or reduced by bicubic to width x height, turned as a player turns it, in limited range.

    Args:
        frame: of the clip, as decoded.
        clip: the video.
        width: before turning, in pixels; even.
        height: before turning, in pixels; even.
        pix_fmt: yuv420p or yuv444p.
    """
    source = source_format(frame.format.name)
    shaped = (to_planar(frame, source) if source.rgb else frame).reformat(
        width=width,
        height=height,
        format=pix_fmt,
        interpolation=BICUBIC,
        dst_color_range=ColorRange.MPEG,
    )
    turns = round(clip.rotation / 90) % 4
    if turns == 0:
        return shaped
    turned = [np.rot90(rows_of(plane, np.uint8)[:, : plane.width], turns) for plane in shaped.planes]
    flat = np.concatenate([plane.ravel() for plane in turned])
    columns = turned[0].shape[1]
    shape = (3, -1, columns) if pix_fmt == "yuv444p" else (-1, columns)
    return VideoFrame.from_ndarray(flat.reshape(shape), format=pix_fmt, channel_last=False)


class ProxyEncoder:
    """Writes frames as H.264 in MP4, 8 bit 4:2:0 with square pixels, which every browser plays and steps through."""

    def __init__(self, path: Path, clip: Clip, width: int, height: int) -> None:
        """Open the file.

        Args:
            path: the file to write.
            clip: the video that the frames come from; its time and colour are kept.
            width: before turning, in pixels; even.
            height: before turning, in pixels; even.
        """
        self._clip, self._size = clip, (width, height)
        self._last = -1
        sideways = round(clip.rotation / 90) % 2 == 1
        self._container = av.open(url_of(path), "w", format="mp4", options={"movflags": "faststart"})
        stream = self._container.add_stream("libx264", rate=max(1, round(clip.rate)))
        stream.width, stream.height = (height, width) if sideways else (width, height)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.colorspace = clip.matrix
        stream.codec_context.color_range = ColorRange.MPEG
        # Short groups without B-frames: stepping back decodes a few frames only.
        stream.codec_context.gop_size = 12
        stream.codec_context.max_b_frames = 0
        stream.options = {"crf": CRF, "preset": "veryfast"}
        self._stream = stream

    def write(self, frame: VideoFrame, time: float) -> None:
        """Add a frame that is shown `time` seconds after the first one."""
        shaped = upright(frame, self._clip, *self._size, "yuv420p")
        # Two frames may be less than a tick apart.
        self._last = max(round(time / TIME_BASE), self._last + 1)
        shaped.pts, shaped.time_base = self._last, TIME_BASE
        shaped.pict_type = 0
        self._container.mux(self._stream.encode(shaped))

    def __enter__(self) -> ProxyEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def copy_packets(clip: Clip, path: Path, first: float) -> None:
    """Put a video's coded pictures, untouched, into an MP4 of their own.

    Args:
        clip: an H.264 video.
        path: the file to write.
        first: the time, in seconds from the start of the video, that becomes 0.
    """
    with open_input(clip.path) as source, av.open(url_of(path), "w", format="mp4") as target:
        stream = find_video(source, clip.path)
        copied = target.add_stream_from_template(stream)
        copied.metadata.clear()
        shift = round((clip.begin + first) / Fraction(stream.time_base or 1))
        packets = [(packet, packet.pts) for packet in demux(source, stream) if packet.pts is not None]
        pts = sorted(time for _, time in packets)
        last = next((packet.duration for packet, time in packets if time == pts[-1]), None) or 1
        durations = [after - now for now, after in pairwise(pts)] + [last]
        order = timing.presentation_order([time for _, time in packets])
        stamps = timing.join([order], [time - shift for time in pts], durations, sum(durations))
        for (packet, _), stamp in zip(packets, stamps, strict=True):
            packet.pts, packet.dts, packet.duration = stamp.pts, stamp.dts, stamp.duration
            packet.stream = copied
            target.mux(packet)


def to_rgb(frame: VideoFrame, matrix: int) -> NDArray[np.uint8]:
    """A yuv444p frame in limited range as RGB (height, width, 3), rounded, not cut off as swscale does.

    Formula: ITU-T H.273, equations for MatrixCoefficients 1, 5/6 and 9; `matrix` is one of its table 4.
    """
    kr, kb = Colour(matrix).luma_weights(frame.height)
    planes = frame.to_ndarray().astype(np.float32)
    y, cb, cr = (planes[0] - 16) / 219, (planes[1] - 128) / 224, (planes[2] - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    rgb: NDArray[np.uint8] = np.rint(np.stack([red, green, blue], -1).clip(0, 1) * 255).astype(np.uint8)
    return rgb


def to_picture(frame: VideoFrame, clip: Clip, width: int, height: int) -> Image.Image:
    """A decoded frame as an RGB picture: enlarged by bicubic, upright, with square pixels.

    Args:
        frame: of the clip, as decoded.
        clip: the video.
        width: before turning, in pixels of the clip's shape; even.
        height: before turning; even.
    """
    picture = Image.fromarray(to_rgb(upright(frame, clip, width, height, "yuv444p"), clip.matrix))
    aspect = 1 / clip.aspect if clip.rotation % 180 else clip.aspect
    if abs(aspect - 1) < 0.01:
        return picture
    wide, high = picture.size
    size = (round(wide * aspect), high) if aspect > 1 else (wide, round(high / aspect))
    return picture.resize(size, Image.Resampling.BICUBIC)
