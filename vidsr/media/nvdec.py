"""Decoding on an NVIDIA GPU: taken where it gives the very samples that FFmpeg's own decoders give."""

from __future__ import annotations

import functools
import io
from fractions import Fraction

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidsr.media.pixels import empty_planes, fill_planes, planes_of, source_format

# Pixel formats of cameras' codecs that NVIDIA's cards decode, with the encoder that makes a sample to try.
TRIED_WITH = {
    ("h264", "yuv420p"): "libx264",
    ("h264", "yuvj420p"): "libx264",
    ("hevc", "yuv420p"): "libx265",
    ("hevc", "yuvj420p"): "libx265",
    ("hevc", "yuv420p10le"): "libx265",
}
SAMPLE_SIZE = 256, 144
SAMPLE_FRAMES = 12


def accelerator(codec: str, pix_fmt: str) -> HWAccel | None:
    """What `av.open` needs to decode a video on this machine's GPU, or None where FFmpeg's own decoder is to be used.

    Streams within the format that the card still cannot decode fall back to software.
    """
    return HWAccel("cuda", allow_software_fallback=True) if is_exact(codec, pix_fmt) else None


@functools.cache
def is_exact(codec: str, pix_fmt: str) -> bool:
    """Whether a coded sample comes out of this machine's NVDEC in the same bits as out of FFmpeg's own decoder."""
    encoder = TRIED_WITH.get((codec, pix_fmt))
    if encoder is None:
        return False
    try:
        HWAccel("cuda", allow_software_fallback=False).create(av.Codec(codec, "r"))
        sample = _coded(encoder, pix_fmt)
        return _planes(sample, pix_fmt, HWAccel("cuda", allow_software_fallback=False)) == _planes(sample, pix_fmt)
    except (av.error.FFmpegError, NotImplementedError, RuntimeError, ValueError):
        return False  # no card, no driver, or one that does not decode this


def _coded(encoder: str, pix_fmt: str) -> bytes:
    """A moving gradient with noise, so that every kind of block is in it."""
    file = io.BytesIO()
    rng = np.random.default_rng(1)
    layout = source_format(pix_fmt).layout
    with av.open(file, "w", format="matroska") as container:
        assert isinstance(container, OutputContainer)
        stream = container.add_stream(encoder, 25, options={"preset": "fast", "x265-params": "log-level=none"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = SAMPLE_SIZE
        stream.pix_fmt, stream.time_base = pix_fmt, Fraction(1, 25)
        peak = (1 << layout.depth) - 1
        planes = empty_planes(layout, *SAMPLE_SIZE, SAMPLE_FRAMES)
        for plane in planes:
            noise = rng.normal(np.linspace(peak * 0.2, peak * 0.8, plane.shape[2]), peak / 12, plane.shape[1:])
            plane[:] = [np.clip(np.roll(noise, 3 * number, axis=1), 0, peak) for number in range(SAMPLE_FRAMES)]
        for number in range(SAMPLE_FRAMES):
            frame = VideoFrame(*SAMPLE_SIZE, pix_fmt)
            fill_planes(frame, planes, number)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _planes(sample: bytes, pix_fmt: str, accel: HWAccel | None = None) -> list[bytes]:
    """All samples of the coded frames."""
    with av.open(io.BytesIO(sample), hwaccel=accel) as container:
        assert isinstance(container, InputContainer)
        layout = source_format(pix_fmt).layout
        return [plane.tobytes() for frame in container.decode(video=0) for plane in planes_of(frame, layout)]
