"""A textured plane in perspective whose lines of equal depth are rows or columns of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scene.camera import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _LevelLines:
    """The lines that read one mip level, and the part of that level's texture that they need."""

    depth: Floats  # (lines,) metres
    span: Floats  # (lines,) metres along the depth that one pixel covers
    texture: NDArray[np.uint8]  # (V, U, C)
    cumulated: NDArray[np.int32]  # (V + 1, U, C), sums over V


class PlaneView:
    """Samples a texture along a plane, filtered exactly over each pixel's depth and by mip levels across.

    Args:
        texture: (V, U, C) uint8, periodic in V, the direction of travel.
        texel: metres per texel in (V, U).
        depth: (lines,) distance of each line in metres.
        span: (lines,) metres of depth that one pixel of each line covers.
        pixel: (lines,) metres across that one pixel of each line covers.
        line: (pixels,) the line on which each pixel to render lies.
        across: (pixels,) where on its line each pixel lies, in metres from the texture's first column.
    """

    def __init__(
        self,
        texture: NDArray[np.uint8],
        texel: tuple[float, float],
        depth: Floats,
        span: Floats,
        pixel: Floats,
        line: Ints,
        across: Floats,
    ) -> None:
        self._texel_v = texel[0]
        self._groups: list[_LevelLines] = []
        self._index = np.zeros(len(line), np.int64)
        self._weight = np.zeros((len(line), 1), np.float32)
        self._channels = texture.shape[2]
        levels = np.clip(np.round(np.log2(pixel / texel[1])), 0, 5).astype(int)
        offset = 0
        for level in np.unique(levels):
            lines = np.flatnonzero(levels == level)
            pixels = np.flatnonzero(levels[line] == level)
            if len(pixels) == 0:
                continue
            reduced = _reduce_across(texture, 2**level)
            u = across[pixels] / (texel[1] * 2**level) - 0.5
            first = np.floor(u).astype(np.int64)
            low, high = int(first.min()), int(first.max()) + 2
            columns = _reflect(np.arange(low, high), reduced.shape[1])
            part = np.ascontiguousarray(reduced[:, columns])
            self._groups.append(_LevelLines(depth[lines], span[lines], part, _cumulate(part)))
            number = np.zeros(len(depth), np.int64)
            number[lines] = np.arange(len(lines))
            self._index[pixels] = offset + number[line[pixels]] * (high - low) + first - low
            self._weight[pixels, 0] = u - first
            offset += len(lines) * (high - low)
        self._buffer = np.zeros((offset, self._channels), np.float32)

    def render(self, travelled: float, shutter: float = 0.0) -> Floats:
        """The pixels' colours, (pixels, C) in 0 to 255, after `travelled` metres.

        `shutter` is how many metres the camera moves while the shutter is open (motion blur).
        """
        offset = 0
        for group in self._groups:
            lines = self._filtered_lines(group, travelled, shutter).reshape(-1, self._channels)
            self._buffer[offset : offset + len(lines)] = lines
            offset += len(lines)
        left = self._buffer[self._index]
        right = self._buffer[self._index + 1]
        return left + (right - left) * self._weight

    def _filtered_lines(self, group: _LevelLines, travelled: float, shutter: float) -> Floats:
        """The mean of the texture over the depth that each line covers: (lines, U, C)."""
        period = len(group.texture)
        width = np.maximum(np.hypot(group.span, shutter) / self._texel_v, 1.0)
        start = (group.depth + travelled) / self._texel_v - width / 2
        first, last = np.floor(start), np.floor(start + width)
        first_turn, first_row = np.divmod(first.astype(np.int64), period)
        last_turn, last_row = np.divmod(last.astype(np.int64), period)
        sums = group.cumulated[last_row] - group.cumulated[first_row]
        sums += (last_turn - first_turn).astype(np.int32)[:, None, None] * group.cumulated[-1]
        total = sums.astype(np.float32)
        total += _column(start + width - last) * group.texture[last_row]
        total -= _column(start - first) * group.texture[first_row]
        total /= _column(width)
        return total


def _column(values: NDArray[np.floating]) -> Floats:
    """(lines,) as (lines, 1, 1), to multiply lines of texels."""
    return values.astype(np.float32)[:, None, None]


def _reduce_across(texture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The texture's mean over `factor` neighbouring columns."""
    if factor == 1:
        return texture
    length, width, channels = texture.shape
    whole = width // factor
    groups = texture[:, : whole * factor].reshape(length, whole, factor, channels)
    return np.asarray(np.rint(groups.mean(axis=2, dtype=np.float32)), np.uint8)


def _cumulate(texture: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Sums over the first axis, beginning with 0."""
    sums = np.zeros((len(texture) + 1, *texture.shape[1:]), np.int32)
    np.cumsum(texture, axis=0, dtype=np.int32, out=sums[1:])
    return sums


def _reflect(index: Ints, size: int) -> Ints:
    """Indices outside 0 to size - 1, mirrored into it."""
    turned = np.mod(index, 2 * size)
    return np.where(turned < size, turned, 2 * size - 1 - turned)
