"""Whether weights for clean pictures fit a source better than those for coded video.

They do where it is coded finely, which its codec and its bits per pixel say, and holds no noise, which they would
sharpen; docs/training.md has the measurements behind the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LOSSLESS = frozenset({
    "ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "v210", "v410", "r210", "png", "apng", "bmp",
    "tiff", "targa", "qtrle", "cllc", "lagarith",
})  # fmt: skip
# Bits a pixel from which a source is clean. Codecs that predict from other frames need fewer for the same picture.
CLEAN_FROM = {"h264": 0.7, "hevc": 0.5, "vp9": 0.5, "av1": 0.5, "webp": 2.5}
# Frames that stand alone (JPEG, MJPEG, ProRes, DNxHD, any codec with key frames only), and codecs older than H.264.
OTHERS_CLEAN_FROM = 4.0


def is_clean(
    codec: str, bits_per_pixel: float, lumas: Iterable[NDArray[np.float32]], key_frames_only: bool = False
) -> bool:
    """Whether clean weights fit a source: it is coded finely, and not most of its pictures hold noise.

    Args:
        codec: FFmpeg's name of it; pictures have theirs: png, mjpeg for JPEG.
        bits_per_pixel: of the coded pictures alone; a pixel is one of luma.
        lumas: some of its pictures, each (H, W) in [0, 255]; only looked at if it is coded finely.
        key_frames_only: a video none of whose frames is predicted from another.
    """
    if not is_coded_finely(codec, bits_per_pixel, key_frames_only):
        return False
    noisy = [is_noisy(luma, codec in LOSSLESS) for luma in lumas]
    return sum(noisy) <= len(noisy) / 2


def is_coded_finely(codec: str, bits_per_pixel: float, key_frames_only: bool = False) -> bool:
    """Whether a source's codec has left it what the camera saw; arguments as `is_clean`."""
    needed = OTHERS_CLEAN_FROM if key_frames_only else CLEAN_FROM.get(codec, OTHERS_CLEAN_FROM)
    return codec in LOSSLESS or bits_per_pixel >= needed


# Deviation of the noise from which a source is not clean, of 255; of what a lossy codec has left of it.
NOISY_FROM, NOISY_FROM_CODED = 1.2, 0.8
# Percentiles of the blocks' deviations. Noise is much the same all over a picture, detail is not: where nothing was
# lost, the second is at most so many times the first. A lossy codec smooths noise in some blocks, so that its pictures
# can only be asked whether all but a few blocks hold something like noise.
_LEAST, _LITTLE, _MANY = 2, 10, 20
_EVEN = 1.4
_BLOCK = 8
_UNSATURATED = 20, 230  # means of the blocks that are looked at: darker and brighter ones have their noise cut off


def is_noisy(luma: NDArray[np.float32], lossless: bool) -> bool:
    """Whether a picture holds noise that weights for clean pictures would sharpen.

    J. Immerkaer, "Fast Noise Variance Estimation", 1996, of small blocks instead of the whole picture.

    Args:
        luma: (H, W) in [0, 255].
        lossless: whether it is as the camera gave it; else some of its noise may be gone.

    Returns:
        False also where all blocks are nearly black or white, or the picture is smaller than one.
    """
    residual = np.abs(np.diff(np.diff(luma, 2, axis=0), 2, axis=1))  # 0 of planes; the noise weighs 6 times as much
    deviations = _block_means(residual) * math.sqrt(math.pi / 2) / 6
    brightness = _block_means(luma[1:-1, 1:-1])
    looked_at = deviations[(brightness > _UNSATURATED[0]) & (brightness < _UNSATURATED[1])]
    if not looked_at.size:
        return False
    least, little, many = np.percentile(looked_at, (_LEAST, _LITTLE, _MANY))
    return bool(least >= NOISY_FROM and little < _EVEN * least if lossless else many >= NOISY_FROM_CODED)


def _block_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = (side // _BLOCK for side in values.shape)
    blocks = values[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    means: NDArray[np.float32] = blocks.mean((1, 3))
    return means
