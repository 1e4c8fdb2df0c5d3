"""Cutting a frame into windows that overlap by the network's halo, so that tiled and whole results are equal."""

from __future__ import annotations

from dataclasses import dataclass


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
    """All tiles of a frame. `height` and `width` are the windows' size."""

    height: int
    width: int
    tiles: tuple[Tile, ...]


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
    return length if parts == 1 else min(length, -(-length // parts) + 2 * halo)


def _parts(length: int, parts: int) -> list[tuple[int, int]]:
    step = -(-length // parts)
    return [(start, min(start + step, length)) for start in range(0, length, step)]
