"""Gain over bicubic on coded road clips with known truth.

The luma plane of real frames is the truth. The planes are reduced by Pillow's bicubic (a = -0.5), coded with x264 and
decoded; the enlarged luma is compared with the truth plane to plane, never through RGB. Noise may be added in between:
what a sensor makes at night, when the truth has none. The frames themselves may be made a night's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.measure.metrics import psnr_inside
from training.pairs.data import Pixels
from training.pairs.degrade import expose
from vidsr.errors import UnsupportedSize
from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.upscaler import Upscaler

# `training.footage` is imported where it is called: what measures pictures alone needs no PyAV.
if TYPE_CHECKING:
    from training.footage import Planes

NIGHT_LIGHT = 0.15  # of the day's
# Planes are reduced about their own middle, so chroma counts as lying in the middle of its luma samples.
_BT709_LIMITED = Colour(matrix=1, primaries=1, transfer=1, full_range=False, chroma_location=2)


@dataclass(frozen=True)
class ClipScore:
    """One clip at one CRF; PSNR of luma in dB, means over the frames.

    Attributes:
        clip: file name.
        crf: x264's constant rate factor.
        noise: standard deviation of the noise in the reduced luma, of 255.
        night: whether the frames are `darken`ed.
        frames: frames compared.
        bicubic: PSNR of bicubic.
        lanczos, gain: what Lanczos and the model have over it.
        worst: the gain of the worst frame.
    """

    clip: str
    crf: int
    noise: float
    night: bool
    frames: int
    bicubic: float
    lanczos: float
    gain: float
    worst: float


def read_planes(clip: Path, count: int, scale: int) -> list[Planes]:
    """(Y, U, V) planes of consecutive frames in a clip's middle, cut to multiples of 4 * scale luma pixels.

    Raises:
        InputMissing: no such file.
        NotAVideo: nothing in it can be decoded, or it is not 8-bit 4:2:0.
        UnsupportedSize: nothing is left of the frames, or there are none.
    """
    from training import footage

    frames = [
        footage.crop_to_multiple(planes, 4 * scale)
        for planes in footage.read_planes(clip, footage.middle(clip, count), count)
    ]
    if not frames or frames[0][0].size == 0:
        raise UnsupportedSize(f"{clip} has no frames of at least {4 * scale}x{4 * scale} pixels; give another clip")
    return frames


def enlarge_luma(upscaler: Upscaler, frames: Sequence[Planes]) -> list[Pixels]:
    """The luma planes of the enlarged frames."""
    batch = FrameBatch(
        planes=tuple(np.stack([planes[k] for planes in frames]) for k in range(3)),
        layout=PixelLayout(),
        colour=_BT709_LIMITED,
        index=tuple(range(len(frames))),
    )
    return list(upscaler.upscale(batch).planes[0])


def add_noise(frames: Sequence[Planes], deviation: float) -> list[Planes]:
    """The frames with white Gaussian noise in luma, of a deviation in code values; the same for the same frames."""
    random = np.random.default_rng(0)
    noisy = (y + deviation * random.standard_normal(y.shape) for y, _, _ in frames)
    return [(np.rint(y).clip(0, 255).astype(np.uint8), u, v) for y, (_, u, v) in zip(noisy, frames, strict=True)]


def darken(frames: Sequence[Planes]) -> list[Planes]:
    """The frames with NIGHT_LIGHT of their light, black at 0 and white at 255.

    So does many a camera write its luma, in video that by its tags is of limited range.
    """
    dark = (expose(((y - 16.0) / 219).clip(0, 1), NIGHT_LIGHT) for y, _, _ in frames)
    return [(np.rint(y * 255).astype(np.uint8), u, v) for y, (_, u, v) in zip(dark, frames, strict=True)]


def coded_gain(
    clip: Path, crf: int, upscaler: Upscaler, frames: int, noise: float = 0.0, night: bool = False
) -> ClipScore:
    """Code a clip at a CRF (preset medium) and compare the enlargements of the decoded luma.

    Args:
        clip: any video of 8-bit 4:2:0.
        crf: x264's constant rate factor.
        upscaler: enlarges the decoded frames.
        frames: how many, in its middle: clips begin with titles and standing cars.
        noise: deviation of the noise that the reduced luma gets before it is coded, of 255; the truth has none.
        night: `darken` the frames first.
    """
    from training import footage

    scale = upscaler.scale
    truth = read_planes(clip, frames, scale)
    if night:
        truth = darken(truth)
    height, width = truth[0][0].shape
    small = [footage.resize(planes, width // scale, height // scale) for planes in truth]
    coded = footage.code(add_noise(small, noise), "libx264", {"crf": str(crf), "preset": "medium"})
    ours = enlarge_luma(upscaler, coded)
    values = []
    for (y, _, _), (low, _, _), large in zip(truth, coded, ours, strict=True):
        kernels = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
        others = (np.asarray(Image.fromarray(low).resize((width, height), k)) for k in kernels)
        values.append([psnr_inside(p, y, scale) for p in (*others, large)])
    bicubic, lanczos, model = np.array(values).T
    return ClipScore(
        clip=clip.name,
        crf=crf,
        noise=noise,
        night=night,
        frames=len(values),
        bicubic=float(bicubic.mean()),
        lanczos=float((lanczos - bicubic).mean()),
        gain=float((model - bicubic).mean()),
        worst=float((model - bicubic).min()),
    )
