"""Where a network changes the brightness of an area, bilinear interpolation takes its place as far as is needed.

A network was trained on photographs and roads. Of a dense pattern of single pixels (dither, a mesh, stars) it may make
anything, an even grey of another brightness for one. Whatever detail it adds, an area's mean has to stay as it was.
Bilinear interpolation keeps it, as nothing overshoots and is cut off. Road footage hardly ever comes near the limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# A frame, and of its areas the first row and the one after the last, and so for columns.
Window = tuple[int, int, int, int, int]

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
        share = 1 - LIMIT / change.clamp(min=LIMIT)  # so that LIMIT is left
        share = F.max_pool2d(share, 3, stride=1, padding=1)  # else it would be less between an area and the next
        windows = _windows(share)
        for window in windows:
            _mix(source, large, share, window)
        if not windows:
            return


def _windows(share: Tensor) -> list[Window]:
    """Where to mix; on a GPU everywhere, for 0 leaves what is there.

    To look would be to wait until the network has computed, and meanwhile no thread would give the GPU its next work.
    """
    n, _, tall, wide = share.shape
    if share.device.type != "cpu":
        return [(k, 0, tall, 0, wide) for k in range(n)]
    mixed: NDArray[np.bool_] = (share > 0).any(1).numpy()
    return [
        (k, top, bottom, left, right)
        for k in range(n)
        for top, bottom in _runs(mixed[k].any(axis=1))
        for left, right in _runs(mixed[k, top:bottom].any(axis=0))
    ]


def _runs(flags: Any) -> list[tuple[int, int]]:
    """Half-open ranges of set flags, longer by one at each end, where mixing fades out."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).tolist()
    return [(max(start - 1, 0), min(stop + 1, len(flags))) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _mix(source: Tensor, large: Tensor, share: Tensor, window: Window) -> None:
    """Mix one window."""
    k, top, bottom, left, right = window
    scale = large.shape[-1] // source.shape[-1]
    weight = F.interpolate(share[k : k + 1, :, top:bottom, left:right], scale_factor=SIDE * scale, mode="bilinear")
    top, bottom, left, right = (edge * SIDE for edge in (top, bottom, left, right))
    target = large[k : k + 1, :, top * scale : bottom * scale, left * scale : right * scale]
    height, width = target.shape[-2:]
    # Cut off from what lies around it; but at an edge within the picture the weight is 0 (`_runs`).
    plain = F.interpolate(source[k : k + 1, :, top:bottom, left:right], scale_factor=scale, mode="bilinear")
    target.lerp_(plain, weight[..., :height, :width])


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
