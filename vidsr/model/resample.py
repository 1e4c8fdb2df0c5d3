"""Exact resampling of planes by the Catmull-Rom bicubic (a = -0.5, as Pillow and MATLAB have it).

torch's own bicubic upsampling uses a = -0.75, which is another filter; its antialiased downscaling uses a = -0.5.
"""

from __future__ import annotations

from functools import lru_cache

import torch.nn.functional as F
from torch import Tensor


def cubic(x: float, a: float = -0.5) -> float:
    """Keys' cubic convolution kernel at distance x (Keys 1981, eq. 4 for a = -0.5)."""
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


@lru_cache(maxsize=64)
def _phase_kernel(scale: int, shift: float) -> tuple[tuple[float, ...], ...]:
    """For each of `scale` output phases, the weights of the input samples at offsets -3 to 3."""
    rows = []
    for phase in range(scale):
        centre = (phase + 0.5 + shift) / scale - 0.5  # where the output sample lies, in input samples
        row = [cubic(offset - centre) for offset in range(-3, 4)]
        rows.append(tuple(w / sum(row) for w in row))
    return tuple(rows)


def bicubic_upscale(x: Tensor, scale: int, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Enlarge planes by a whole factor.

    Args:
        x: (N, C, H, W), floating point.
        scale: the factor.
        shift: (vertical, horizontal) displacement of the output grid, in output samples; chroma that is not
            sited in the middle of its luma samples needs one.

    Returns:
        (N, C, H * scale, W * scale). Borders are replicated.
    """
    n, c, h, w = x.shape
    rows = x.new_tensor(_phase_kernel(scale, shift[0]))
    columns = x.new_tensor(_phase_kernel(scale, shift[1]))
    flat = F.pad(x.reshape(n * c, 1, h, w), (3, 3, 3, 3), mode="replicate")
    tall = F.conv2d(flat, rows.reshape(scale, 1, 7, 1))
    wide = F.conv2d(tall.reshape(n * c * scale, 1, h, w + 6), columns.reshape(scale, 1, 1, 7))
    grid = wide.reshape(n * c, scale, scale, h, w)  # (plane, row phase, column phase, H, W)
    return grid.permute(0, 3, 1, 4, 2).reshape(n, c, h * scale, w * scale)


def bicubic_downscale(x: Tensor, scale: int) -> Tensor:
    """Reduce (N, C, H, W) by a whole factor with the antialiased bicubic (a = -0.5, as Pillow's BICUBIC)."""
    size = (x.shape[-2] // scale, x.shape[-1] // scale)
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
