"""8-bit 4:2:0 video as planes: read, written and resized without ever passing through RGB.

A measured picture is never converted: swscale's conversions truncate, which alone costs more than good models win.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from vidsr.errors import InputMissing, NotAVideo, UnsupportedSize
from vidsr.media.container import url_of
from vidsr.media.encoders import x264_params

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]  # Y (H, W), U and V (H / 2, W / 2)

SOUND_RATE = 48000  # samples per second
_BT709 = {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}


def rgb_to_planes(picture: Plane) -> Planes:
    """(H, W, 3) RGB -> limited-range BT.709 (ITU-R BT.709-6, 3.2 to 3.4), chroma sited left as H.264 assumes.

    Raises:
        UnsupportedSize: an odd side.
    """
    h, w = picture.shape[:2]
    if h % 2 or w % 2:
        raise UnsupportedSize(f"4:2:0 planes need even sides, not {w}x{h}; choose another size")
    red, green, blue = (picture[:, :, c].astype(np.float32) for c in range(3))
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = [16 + y * np.float32(219 / 255)]
    for colour, span in ((blue, 1.8556), (red, 1.5748)):
        rows = (colour[0::2] - y[0::2] + colour[1::2] - y[1::2]) * np.float32(0.5 * 224 / 255 / span)
        left = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
        planes.append(128 + 0.25 * left + 0.5 * rows[:, 0::2] + 0.25 * rows[:, 1::2])
    luma, u, v = (np.rint(p).clip(0, 255).astype(np.uint8) for p in planes)
    return luma, u, v


def planes_to_rgb(planes: Planes) -> Plane:
    """Limited-range BT.709 planes -> (H, W, 3) RGB in float, chroma doubled by the bicubic; for looking at."""
    y = (planes[0].astype(np.float32) - 16) * np.float32(255 / 219)
    size = (y.shape[1], y.shape[0])
    u, v = (
        (np.asarray(Image.fromarray(p.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)) - 128)
        * np.float32(255 / 224)
        for p in planes[1:]
    )
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    return np.asarray(np.rint(np.stack([red, green, blue], axis=2).clip(0, 255)), np.uint8)


def resize(planes: Planes, width: int, height: int, kernel: Image.Resampling = Image.Resampling.BICUBIC) -> Planes:
    """Each plane by Pillow's antialiased kernel (BICUBIC has a = -0.5), to width x height luma samples.

    Chroma that lies in the middle of its luma samples stays there; on their left, it would move.
    """
    sizes = ((width, height), (width // 2, height // 2), (width // 2, height // 2))
    y, u, v = (np.asarray(Image.fromarray(p).resize(s, kernel)) for p, s in zip(planes, sizes, strict=True))
    return y, u, v


def crop_to_multiple(planes: Planes, multiple: int) -> Planes:
    """The upper left part whose luma sides are multiples of `multiple`, an even number."""
    h, w = (side // multiple * multiple for side in planes[0].shape)
    y, u, v = planes[0][:h, :w], planes[1][: h // 2, : w // 2], planes[2][: h // 2, : w // 2]
    return np.ascontiguousarray(y), np.ascontiguousarray(u), np.ascontiguousarray(v)  # OpenCV's flow takes no views


def read_planes(path: Path, first: int = 0, count: int | None = None) -> Iterator[Planes]:
    """The decoded frames first, first + 1, ... of a video, at most `count`.

    Raises:
        InputMissing: no such file.
        NotAVideo: it cannot be read, or is not 8-bit 4:2:0.
    """
    stop = None if count is None else first + count
    with _opened(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if stop is not None and number >= stop:
                return
            if number >= first:
                if frame.format.name not in ("yuv420p", "yuvj420p"):
                    raise NotAVideo(f"{path} is {frame.format.name}; give a clip of 8-bit 4:2:0")
                yield _planes_of(frame)


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    """A video's container; what FFmpeg says of it becomes an error of the project."""
    if not path.is_file():
        raise InputMissing(f"{path}: no such clip; check the name")
    try:
        with av.open(url_of(path)) as container:
            yield container
    except (av.error.FFmpegError, IndexError) as error:
        raise NotAVideo(f"{path} cannot be read as a video ({error}); give a video file") from error


def _planes_of(frame: av.VideoFrame) -> Planes:
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
        for plane in frame.planes
    )
    return y, u, v


def _frame_of(planes: Planes) -> av.VideoFrame:
    height, width = planes[0].shape
    flat = np.concatenate([p.reshape(-1) for p in planes]).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(flat, format="yuv420p")


def count_frames(path: Path) -> int:
    """How many frames a video's packets promise.

    Raises:
        InputMissing: no such file.
        NotAVideo: it cannot be read.
    """
    with _opened(path) as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))


def middle(path: Path, frames: int) -> int:
    """The first of `frames` frames in the middle of a video."""
    return max(count_frames(path) - frames, 0) // 2


def frame_rate(path: Path) -> Fraction:
    """The average frame rate of a video.

    Raises:
        InputMissing: no such file.
        NotAVideo: it cannot be read.
    """
    with _opened(path) as container:
        return Fraction(container.streams.video[0].average_rate or 25)


def repeatable(codec: str, options: dict[str, str]) -> dict[str, str]:
    """An encoder's options, and with them those without which it gives other bits on every run."""
    return {"x264-params": x264_params(), **options} if codec == "libx264" else options


def code(frames: Sequence[Planes], codec: str, options: dict[str, str]) -> list[Planes]:
    """Code planes with a real encoder and decode them again, in memory.

    Args:
        frames: of one size.
        codec: an FFmpeg encoder, libx264 or libx265.
        options: the encoder's.

    Returns:
        The decoded frames in presentation order.
    """
    memory = io.BytesIO()
    with av.open(memory, "w", format="matroska") as out:
        stream = out.add_stream(codec, rate=Fraction(25), options=repeatable(codec, options))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0][0].shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for planes in frames:
            out.mux(stream.encode(_frame_of(planes)))
        out.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r") as back:
        back.streams.video[0].thread_count = 1
        return [_planes_of(frame) for frame in back.decode(video=0)]


class PlaneWriter:
    """Codes planes, tagged as limited-range BT.709, with sound if samples are given.

    A context manager; the file has another name (NAME.part) until it is left without an exception.

    Args:
        path: the MP4 or Matroska file to write.
        size: (width, height) in luma samples.
        rate: frames per second.
        options: the encoder's, such as {"crf": "23"}.
        sound: mono samples in -1 to 1 at SOUND_RATE, coded as AAC.
        codec: an FFmpeg encoder.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        rate: Fraction,
        options: dict[str, str],
        sound: NDArray[np.float32] | None = None,
        codec: str = "libx264",
    ) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        kind = "matroska" if path.suffix == ".mkv" else "mp4"
        self._container = av.open(url_of(self._part), "w", format=kind)
        video = self._container.add_stream(codec, rate=rate, options=repeatable(codec, options))
        assert isinstance(video, VideoStream)
        self._video = video
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.thread_count = 1  # another number gives other coded bits
        for name, value in _BT709.items():
            setattr(context, name, value)
        self._audio = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound is not None else None
        self._sound = sound
        self._frames, self._heard, self._rate = 0, 0, rate

    def write(self, planes: Planes) -> None:
        """Code one frame, and the sound that belongs to it.

        Raises:
            UnsupportedSize: it is not of the video's size; the encoder would resize it in silence.
        """
        height, width = planes[0].shape
        if (width, height) != (self._video.width, self._video.height):
            raise UnsupportedSize(
                f"a frame of {width}x{height} does not fit into {self._path}; write frames of one size"
            )
        frame = _frame_of(planes)
        frame.pts, frame.time_base = self._frames, 1 / self._rate
        self._container.mux(self._video.encode(frame))
        self._frames += 1
        self._write_sound(int(self._frames / self._rate * SOUND_RATE))

    def _write_sound(self, until: int) -> None:
        if self._audio is None or self._sound is None:
            return
        samples = self._sound[self._heard : until]
        if len(samples) == 0:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE, self._heard
        frame.time_base = Fraction(1, SOUND_RATE)
        self._container.mux(self._audio.encode(frame))
        self._heard += len(samples)

    def __enter__(self) -> PlaneWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._video.encode())
                if self._audio is not None:
                    self._container.mux(self._audio.encode())
            self._container.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)
