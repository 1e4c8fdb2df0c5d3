"""Contact sheets: rows of labelled pictures as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.console import write_file
from training.measure.metrics import BLOCK, block_means
from training.pairs.data import Pixels

_GAP, _LINE = 8, 20


@dataclass(frozen=True)
class Tile:
    """A picture (H, W, 3) uint8 and the line below it."""

    pixels: Pixels
    label: str


def telling_window(truth: Pixels, other: Pixels, side: int) -> tuple[slice, slice]:
    """The square, of at most `side` pixels, where `other` is furthest from `truth`: (rows, columns)."""
    h, w = truth.shape[:2]
    side = min(side, h, w)
    error = block_means((truth.astype(np.float64) - other) ** 2).mean(-1)
    blocks = max(side // BLOCK, 1)
    windows = np.lib.stride_tricks.sliding_window_view(error, (min(blocks, h // BLOCK), min(blocks, w // BLOCK)))
    y, x = np.unravel_index(windows.mean((2, 3)).argmax(), windows.shape[:2])
    top, left = min(int(y) * BLOCK, h - side), min(int(x) * BLOCK, w - side)
    return slice(top, top + side), slice(left, left + side)


def window_around(box: tuple[float, float, float, float], size: tuple[int, int], side: int) -> tuple[slice, slice]:
    """The square, of at most `side` pixels, around a box (left, top, right, bottom) in a picture of (width, height)."""
    side = min(side, *size)
    left = int(np.clip((box[0] + box[2] - side) / 2, 0, size[0] - side))
    top = int(np.clip((box[1] + box[3] - side) / 2, 0, size[1] - side))
    return slice(top, top + side), slice(left, left + side)


def write_sheet(path: Path, rows: Sequence[Sequence[Tile]], zoom: int = 2) -> None:
    """Write the sheet as PNG, by rename.

    Args:
        path: the file to write.
        rows: tiles; each is shown with its pixels repeated `zoom` times.
        zoom: a whole factor.

    Raises:
        OutputUnwritable: its folder is missing or may not be written.
    """
    columns = max(len(row) for row in rows)
    width = max(tile.pixels.shape[1] for row in rows for tile in row) * zoom
    heights = [max(tile.pixels.shape[0] for tile in row) * zoom for row in rows]
    size = (columns * (width + _GAP) + _GAP, sum(h + _LINE + _GAP for h in heights) + _GAP)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = _GAP + column * (width + _GAP)
            large = np.kron(tile.pixels, np.ones((zoom, zoom, 1), np.uint8))
            sheet.paste(Image.fromarray(large), (left, top))
            draw.text((left, top + height + 2), tile.label, (0, 0, 0), font)
        top += height + _LINE + _GAP
    png = io.BytesIO()
    sheet.save(png, "PNG")
    write_file(path, png.getvalue())
