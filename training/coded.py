"""Gain over bicubic on coded road clips with known truth.

The luma plane of real frames is the truth. The planes are reduced by Pillow's bicubic (a = -0.5), coded with x264 and
decoded; the enlarged luma is compared with the truth plane to plane, never through RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.data import Pixels
from training.degrade import code
from training.metrics import crop, psnr
from vidsr.errors import InputError, InputMissing, NotAVideo, UnsupportedSize
from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.upscaler import Upscaler

Planes = tuple[Pixels, Pixels, Pixels]
_BT709_LIMITED = Colour(matrix=1, primaries=1, transfer=1, full_range=False, chroma_location=1)


@dataclass(frozen=True)
class ClipScore:
    """One clip at one CRF; PSNR of luma in dB, means over the frames.

    Attributes:
        clip: file name.
        crf: x264's constant rate factor.
        frames: frames compared.
        bicubic: PSNR of bicubic.
        lanczos, gain: what Lanczos and the model have over it.
        worst: the gain of the worst frame.
    """

    clip: str
    crf: int
    frames: int
    bicubic: float
    lanczos: float
    gain: float
    worst: float


def read_planes(clip: Path, count: int, scale: int) -> list[Planes]:
    """The first frames' (Y, U, V) planes, cut to multiples of 4 * scale luma pixels.

    Raises:
        InputMissing: no such file.
        NotAVideo: nothing in it can be decoded.
        InputError: the frames are not 8-bit 4:2:0.
    """
    import av  # only here: a machine that evaluates pictures needs no PyAV

    if not clip.is_file():
        raise InputMissing(f"{clip}: no such clip")
    frames: list[Planes] = []
    try:
        with av.open(clip) as container:
            for frame in container.decode(video=0):
                if frame.format.name not in ("yuv420p", "yuvj420p"):
                    raise InputError(f"{clip} is {frame.format.name}; give a clip of 8-bit 4:2:0")
                frames.append(_cut(_split(frame.to_ndarray(), frame.height, frame.width), 4 * scale))
                if len(frames) == count:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise NotAVideo(f"{clip} holds no video that can be decoded ({error}); give another clip") from error
    if not frames or frames[0][0].size == 0:
        raise UnsupportedSize(f"{clip} has no frames of at least {4 * scale}x{4 * scale} pixels; give another clip")
    return frames


def _split(stacked: Pixels, height: int, width: int) -> Planes:
    """The planes of one (H * 3 / 2, W) array, as PyAV lays out yuv420p."""
    flat, chroma = stacked.reshape(-1), (height // 2, width // 2)
    size = height * width
    u, v = flat[size : size + size // 4], flat[size + size // 4 : size + size // 2]
    return stacked[:height], u.reshape(chroma), v.reshape(chroma)


def _cut(planes: Planes, step: int) -> Planes:
    h, w = (n // step * step for n in planes[0].shape)
    y, u, v = planes
    return y[:h, :w], u[: h // 2, : w // 2], v[: h // 2, : w // 2]


def _resize(plane: Pixels, height: int, width: int, kernel: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(plane).resize((width, height), kernel))


def coded_gain(clip: Path, crf: int, upscaler: Upscaler, frames: int) -> ClipScore:
    """Code a clip at a CRF (preset medium) and compare the enlargements of the decoded luma.

    Args:
        clip: any video of 8-bit 4:2:0.
        crf: x264's constant rate factor.
        upscaler: enlarges the decoded frames.
        frames: how many, from the first.
    """
    scale = upscaler.scale
    truth = read_planes(clip, frames, scale)
    height, width = truth[0][0].shape
    small = [[_resize(p, p.shape[0] // scale, p.shape[1] // scale, Image.Resampling.BICUBIC) for p in t] for t in truth]
    stacked = [np.concatenate([p.reshape(-1) for p in s]).reshape(height * 3 // (2 * scale), -1) for s in small]
    decoded = code(stacked, "libx264", {"crf": str(crf), "preset": "medium"})
    coded = [_split(d, height // scale, width // scale) for d in decoded]
    batch = FrameBatch(
        planes=tuple(np.stack([c[k] for c in coded]) for k in range(3)),
        layout=PixelLayout(),
        colour=_BT709_LIMITED,
        index=tuple(range(len(coded))),
    )
    ours = upscaler.upscale(batch).planes[0]
    values = []
    for (y, _, _), (low, _, _), large in zip(truth, coded, ours, strict=True):
        others = (_resize(low, height, width, k) for k in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS))
        values.append([psnr(crop(p, scale), crop(y, scale), 255) for p in (*others, large)])
    bicubic, lanczos, model = np.array(values).T
    return ClipScore(
        clip=clip.name,
        crf=crf,
        frames=len(values),
        bicubic=float(bicubic.mean()),
        lanczos=float((lanczos - bicubic).mean()),
        gain=float((model - bicubic).mean()),
        worst=float((model - bicubic).min()),
    )
