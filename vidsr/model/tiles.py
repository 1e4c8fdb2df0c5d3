"""Cutting a frame into windows that overlap by the network's halo, so that tiled and whole results are equal."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """A window to compute and the part of it to keep, as half-open pixel ranges of the small frame.

    Attributes:
        top, left: the window's corner; all windows of a grid have one size.
        keep: (top, bottom, left, right) of the part that this tile is for; the parts cover the frame once.
    """

    top: int
    left: int
    keep: tuple[int, int, int, int]


@dataclass(frozen=True)
class Grid:
    """Tiles of a frame. `height` and `width` are the windows' size."""

    height: int
    width: int
    tiles: tuple[Tile, ...]

    @property
    def window(self) -> int:
        """Pixels of one window."""
        return self.height * self.width


def make_grid(height: int, width: int, halo: int, limit: int) -> Grid:
    """Cut height x width into the fewest near-square windows of at most `limit` pixels, halo included.

    A window at the frame's border ends there, so the network's own padding acts where it would on the whole
    frame. Where even one row and column a tile exceeds the limit, the smallest window is used.
    """
    rows = columns = 1
    while _window(height, rows, halo) * _window(width, columns, halo) > limit:
        tall, wide = -(-height // rows), -(-width // columns)
        if max(tall, wide) <= max(8, halo // 2):
            break
        if tall > wide:
            rows += 1
        else:
            columns += 1
    window_height, window_width = _window(height, rows, halo), _window(width, columns, halo)
    tiles = []
    for top, bottom in _parts(height, rows):
        for left, right in _parts(width, columns):
            y = min(max(top - halo, 0), height - window_height)
            x = min(max(left - halo, 0), width - window_width)
            tiles.append(Tile(y, x, (top, bottom, left, right)))
    return Grid(window_height, window_width, tuple(tiles))


def _window(length: int, parts: int, halo: int) -> int:
    """The length of a window: a part and its halo, which of two parts each has on one side only."""
    return length if parts == 1 else min(length, -(-length // parts) + min(parts - 1, 2) * halo)


def _parts(length: int, parts: int) -> list[tuple[int, int]]:
    step = -(-length // parts)
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def changed_windows(changed: NDArray[np.bool_], halo: int) -> list[Grid]:
    """The least windows that must be computed again where some pixels of a frame changed, each a grid of one tile.

    Args:
        changed: (H, W), which input pixels differ from the frame before.
        halo: how far a change reaches.
    """
    height, width = changed.shape
    grids = []
    for top, bottom in _runs(changed.any(axis=1), halo):
        for left, right in _runs(changed[top:bottom].any(axis=0), halo):
            keep = (*_grown(top, bottom, halo, height), *_grown(left, right, halo, width))
            y, end_y = _grown(keep[0], keep[1], halo, height)
            x, end_x = _grown(keep[2], keep[3], halo, width)
            grids.append(Grid(end_y - y, end_x - x, (Tile(y, x, keep),)))
    return grids


def _runs(flags: Any, halo: int) -> list[tuple[int, int]]:
    """Half-open ranges of set flags; those are one whose windows would overlap."""
    where: NDArray[np.intp] = np.flatnonzero(flags)
    if not len(where):
        return []
    breaks = np.flatnonzero(np.diff(where) > 4 * halo)
    edges = [0, *(int(at) + 1 for at in breaks), len(where)]
    return [(int(where[a]), int(where[b - 1]) + 1) for a, b in itertools.pairwise(edges)]


def _grown(start: int, stop: int, halo: int, length: int) -> tuple[int, int]:
    return max(start - halo, 0), min(stop + halo, length)
