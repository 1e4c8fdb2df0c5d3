"""Exact resampling of planes by the Catmull-Rom bicubic (a = -0.5, as Pillow and MATLAB have it).

torch's own bicubic upsampling uses a = -0.75, which is another filter; its antialiased downscaling uses a = -0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# A CPU enlarges so much at a time that all sums stay in its cache, which whole frames do not.
_STRIP_SAMPLES = 1 << 16


def _cubic(x: float) -> float:
    """Keys' cubic convolution kernel at distance x (Keys 1981, eq. 4 for a = -0.5)."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@lru_cache(maxsize=64)
def _phase_kernel(scale: int, shift: float) -> tuple[tuple[float, ...], ...]:
    """For each of `scale` output phases, the weights of the input samples at offsets -3 to 3."""
    rows = []
    for phase in range(scale):
        centre = (phase + 0.5 + shift) / scale - 0.5  # where the output sample lies, in input samples
        row = [_cubic(offset - centre) for offset in range(-3, 4)]
        rows.append(tuple(w / sum(row) for w in row))
    return tuple(rows)


def bicubic_upscale(
    x: Tensor, scale: int | tuple[int, int], shift: tuple[float, float] = (0.0, 0.0), onto: Tensor | None = None
) -> Tensor:
    """Enlarge planes by whole factors.

    Args:
        x: (N, C, H, W), floating point.
        scale: the factor, or a (vertical, horizontal) pair.
        shift: (vertical, horizontal) displacement of the output grid, in output samples; chroma that is not
            sited in the middle of its luma samples needs one.
        onto: what the result is added to and returned as.

    Returns:
        (N, C, H * vertical, W * horizontal). Borders are replicated.
    """
    tall, wide = (scale, scale) if isinstance(scale, int) else scale
    padded = F.pad(x, (3, 3, 3, 3), mode="replicate")
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        longer = torch.stack([*_phases(padded, 3, wide, shift[1])], 4).flatten(3, 4)
        large = torch.stack([*_phases(longer, 2, tall, shift[0])], 3).flatten(2, 3)
        return large if onto is None else onto.add_(large)
    n, c, h, w = x.shape
    out = x.new_empty((n, c, h * tall, w * wide)) if onto is None else onto
    rows = max(_STRIP_SAMPLES // w, 8)
    for k in range(n):
        for top in range(0, h, rows):
            strip = padded[k : k + 1, :, top : top + rows + 6]
            longer = strip.new_empty((*strip.shape[:3], w * wide))
            for phase, columns in enumerate(_phases(strip, 3, wide, shift[1])):
                longer[..., phase::wide] = columns
            target = out[k : k + 1, :, top * tall : (top + rows) * tall]
            for phase, lines in enumerate(_phases(longer, 2, tall, shift[0])):
                if onto is None:
                    target[:, :, phase::tall] = lines
                else:
                    target[:, :, phase::tall] += lines
    return out


def _phases(x: Tensor, axis: int, scale: int, shift: float) -> Iterator[Tensor]:
    """Each `scale`-th sample of x enlarged along an axis that has a border of 3, then those that follow them.

    Sums of shifted copies: ten times as fast on a CPU as one-channel convolutions.
    """
    length = x.shape[axis] - 6
    for weights in _phase_kernel(scale, shift):
        (first, weight), *more = [(at, weight) for at, weight in enumerate(weights) if weight]
        total = x.narrow(axis, first, length) * weight
        for at, weight in more:
            total.add_(x.narrow(axis, at, length), alpha=weight)
        yield total


def bicubic_downscale(x: Tensor, scale: int) -> Tensor:
    """Reduce (N, C, H, W) by a whole factor with the antialiased bicubic (a = -0.5, as Pillow's BICUBIC)."""
    size = (x.shape[-2] // scale, x.shape[-1] // scale)
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)


def lanczos_resize(
    x: Tensor,
    height: int,
    width: int,
    ratio: tuple[float, float] | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Resize planes to any size with the antialiased Lanczos window of 3 lobes (Pillow's LANCZOS).

    Args:
        x: (N, C, H, W), floating point.
        height: rows of the result.
        width: columns of the result.
        ratio: (vertical, horizontal) distance of output samples, in input samples; by default both grids end together.
        shift: (vertical, horizontal) displacement of the output grid, in input samples.

    Returns:
        (N, C, height, width). Beyond a border there is nothing; the weights of what is inside sum to 1.
    """
    tall, wide = ratio or (x.shape[-2] / height, x.shape[-1] / width)
    rows = _lanczos_matrix(x.shape[-2], height, tall, shift[0]).to(x)
    columns = _lanczos_matrix(x.shape[-1], width, wide, shift[1]).to(x)
    return rows @ x @ columns.T


@lru_cache(maxsize=16)
def _lanczos_matrix(source: int, target: int, ratio: float, shift: float) -> Tensor:
    """(target, source) weights; each row sums to 1."""
    support = max(ratio, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * ratio - 0.5 + shift
    distance = (torch.arange(source, dtype=torch.float64)[None, :] - centres[:, None]) / support
    weights = torch.sinc(distance) * torch.sinc(distance / 3) * (distance.abs() < 3)
    return (weights / weights.sum(dim=1, keepdim=True)).float()
