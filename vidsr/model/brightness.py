"""Where a network changes the brightness of an area, bilinear interpolation takes its place as far as is needed.

A network was trained on photographs and roads. Of a dense pattern of single pixels (dither, a mesh, stars) it may make
anything, an even grey of another brightness for one. Whatever detail it adds, an area's mean has to stay as it was.
Bilinear interpolation keeps it, as nothing overshoots and is cut off. Road footage hardly ever comes near the limit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Side of an area in pixels of the source, and by how much its mean may change, of 1 between the least and the most.
SIDE, LIMIT = 8, 3 / 255
# What is cut off after mixing changes the means again, a little.
PASSES = 2
# A CPU takes the means of so many samples at a time that they stay in its cache.
_STRIP_SAMPLES = 1 << 18


def keep_brightness(source: Tensor, large: Tensor, least: float, most: float) -> None:
    """Mix an enlargement with the bilinear one, in place, where the mean of an area changed by more than LIMIT.

    Args:
        source: (N, C, h, w), floating point.
        large: (N, C, h * scale, w * scale), the same enlarged.
        least, most: where values will be cut off.
    """
    scale = large.shape[-1] // source.shape[-1]
    before = _means(source, SIDE, least, most)
    for _ in range(PASSES):
        change = (_means(large, SIDE * scale, least, most) - before).abs()
        frames = (change > LIMIT).flatten(1).any(1).nonzero().flatten().tolist()
        for k in frames:
            share = 1 - LIMIT / change[k : k + 1].clamp(min=LIMIT)  # so that LIMIT is left
            share = F.max_pool2d(share, 3, stride=1, padding=1)  # else it would be less between an area and the next
            size = [blocks * SIDE * scale for blocks in share.shape[-2:]]
            share = F.interpolate(share, size=size, mode="bilinear")[..., : large.shape[-2], : large.shape[-1]]
            large[k : k + 1].lerp_(F.interpolate(source[k : k + 1], scale_factor=scale, mode="bilinear"), share)
        if not frames:
            return


def _means(x: Tensor, side: int, least: float, most: float) -> Tensor:
    """Means (N, C, rows, columns) of squares of the values as cut off; the last ones of a side may be smaller."""
    height = x.shape[-2] // side * side
    rows = x.shape[-2] if x.device.type != "cpu" else max(_STRIP_SAMPLES // (x.shape[-1] * side), 1) * side
    strips = [*torch.split(x[..., :height, :], rows, -2), x[..., height:, :]]
    means = [
        torch.unflatten(strip.clamp(least, most), -2, (-1, min(side, strip.shape[-2]))).mean(-2)
        for strip in strips  # much faster than to pool them
        if strip.shape[-2]
    ]
    return F.avg_pool2d(torch.cat(means, -2), (1, side), ceil_mode=True, count_include_pad=False)
