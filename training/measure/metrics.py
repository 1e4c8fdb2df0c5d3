"""Picture metrics on numpy arrays; every range and window is explicit.

Y is BT.601 limited (`training.pairs.data.luma`), as in the super-resolution literature, with a border of `scale` pixels
cut off; RGB is compared whole. Figures of another convention do not compare with these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.backbones import ALEXNET, BackboneMissing, is_published, locate, lpips_network
from training.pairs.data import Pixels, luma
from vidsr.errors import UnsupportedSize
from vidsr.model.resample import bicubic_downscale

Array = NDArray[np.generic]
WINDOW = 11
BLOCK = 8
DRIFT_SCALE = 8


def psnr(output: Array, target: Array, data_range: float) -> float:
    """10 log10(data_range^2 / MSE) in dB of two arrays of one shape; infinite where they are equal."""
    error = np.mean((output.astype(np.float64) - target.astype(np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(data_range**2 / error))


def ssim(output: Array, target: Array, data_range: float) -> float:
    """Mean SSIM (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, without padding, in float64.

    Args:
        output, target: (H, W) or (H, W, C); channels are averaged.
        data_range: difference of the largest and smallest possible value, such as 255.

    Raises:
        UnsupportedSize: a side is under 11 pixels.
    """
    import pytorch_msssim  # only here: PSNR needs nothing of the training extra

    h, w = output.shape[:2]
    if min(h, w) < WINDOW:
        raise UnsupportedSize(f"SSIM's window of {WINDOW}x{WINDOW} does not fit into {w}x{h} pixels; use larger ones")
    x, y = (_planes(a) for a in (output, target))
    return float(pytorch_msssim.ssim(x, y, data_range=data_range, win_size=WINDOW))


def _planes(array: Array) -> torch.Tensor:
    """(H, W) or (H, W, C) -> (1, C, H, W) float64."""
    return torch.from_numpy(np.atleast_3d(array.astype(np.float64))).permute(2, 0, 1)[None]


def crop_border(array: Array, border: int) -> Array:
    """Cut a border off (H, W, ...)."""
    return array[border : array.shape[0] - border, border : array.shape[1] - border]


def psnr_inside(output: Array, target: Array, border: int) -> float:
    """PSNR of samples in 0 to 255 without a border."""
    return psnr(crop_border(output, border), crop_border(target, border), 255)


def block_means(array: Array) -> NDArray[np.float64]:
    """Means of 8x8 blocks of (H, W, ...); what is left over at the right and bottom is cut off."""
    h, w = (n // BLOCK for n in array.shape[:2])
    whole = array[: h * BLOCK, : w * BLOCK].astype(np.float64)
    return np.asarray(whole.reshape(h, BLOCK, w, BLOCK, *array.shape[2:]).mean((1, 3)))


def low_frequency_drift(output: Array, target: Array) -> float:
    """Drift of brightness and colour: mean absolute difference of two (H, W, C), both reduced eight times.

    Reduced as everything here is, by the antialiased bicubic (a = -0.5). Means of blocks would also count detail just
    finer than the blocks, which at 4x no enlargement can know: bicubic itself would have twice the drift.
    """
    h, w = (length // DRIFT_SCALE * DRIFT_SCALE for length in output.shape[:2])
    difference = torch.from_numpy(output[:h, :w].astype(np.float32) - target[:h, :w].astype(np.float32))
    return float(bicubic_downscale(difference.permute(2, 0, 1)[None], DRIFT_SCALE).abs().mean())


def ciede2000(output: Pixels, target: Pixels) -> float:
    """Mean CIEDE2000 (ISO/CIE 11664-6) of 8x8 means of two (H, W, 3) sRGB pictures; 1 is about just noticeable."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    a, b = (rgb2lab(block_means(p) / 255.0) for p in (output, target))
    return float(np.mean(deltaE_ciede2000(a, b)))  # type: ignore[no-untyped-call]


class Lpips:
    """LPIPS 0.1 on AlexNet, or, where its weights cannot be had, the reason why.

    Attributes:
        reason: None, or why there are no values.
        published: whether the backbone is torchvision's own file; values of another compare with nobody's.
    """

    def __init__(self, backbone: Path | None = None) -> None:
        """Load from the user's file, else from torch's hub cache or the internet.

        Raises:
            InputMissing: the user's file does not exist.
            BadWeights: it is not AlexNet's.
        """
        self.reason: str | None = None
        self.published = False
        self._network: torch.nn.Module | None = None
        try:
            file = locate(ALEXNET, backbone)
        except BackboneMissing as error:
            self.reason = error.message
            return
        self._network = lpips_network(file)
        self.published = is_published(ALEXNET, file)

    def __call__(self, output: Pixels, target: Pixels) -> float | None:
        """The distance of two (H, W, 3) uint8 pictures, 0 for equal ones; None where there are no weights."""
        if self._network is None:
            return None
        x, y = (torch.from_numpy(p.transpose(2, 0, 1)[None].astype(np.float32)) / 127.5 - 1 for p in (output, target))
        with torch.inference_mode():
            return float(self._network(x, y))


@dataclass(frozen=True)
class Score:
    """One picture against its truth, or the mean of several.

    Attributes:
        psnr_y, ssim_y: Y of BT.601 with a border of `scale` pixels cut off; dB and 0 to 1.
        psnr_rgb, ssim_rgb: all of the RGB picture.
        drift: `low_frequency_drift` of RGB, code values of 0 to 255.
        ciede2000: the same as a colour difference.
        lpips: None where its weights cannot be had.
    """

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float
    drift: float
    ciede2000: float
    lpips: float | None


def score(output: Pixels, target: Pixels, border: int, lpips: Lpips) -> Score:
    """Every metric of two (H, W, 3) uint8 pictures.

    Raises:
        UnsupportedSize: the pictures are too small for SSIM's window.
    """
    y, y_target = (crop_border(luma(p), border) for p in (output, target))
    return Score(
        psnr_y=psnr(y, y_target, 255),
        ssim_y=ssim(y, y_target, 255),
        psnr_rgb=psnr(output, target, 255),
        ssim_rgb=ssim(output, target, 255),
        drift=low_frequency_drift(output, target),
        ciede2000=ciede2000(output, target),
        lpips=lpips(output, target),
    )


def mean_score(scores: list[Score]) -> Score:
    """The mean of each metric."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(s, name) for s in scores]))

    names = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "drift", "ciede2000")
    known = all(s.lpips is not None for s in scores)
    return Score(**{name: mean(name) for name in names}, lpips=mean("lpips") if known else None)
