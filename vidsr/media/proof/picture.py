"""Does a frame of the result show its source's frame? Judged on small grids of area averages.

An upscaler may sharpen and a codec may blur, but both keep the average of a block of pixels; a shifted,
repeated, black, green or recoloured frame does not. Two statistics, both on samples scaled to 8 bits:

- the error itself: of the whole picture's mean, of the blocks' mean, of the worst blocks;
- the projection of the error r = R[i] - S[i] onto the motion m = S[i-1] - S[i] (and S[i+1] - S[i]):
  a = <r, m> / <m, m> is about 1 where R[i] shows the neighbour and about 0 where it shows S[i]. An encoder that
  drops the source's noise gives at most 1/2, so that the limit lies between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, TypeVar

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vidsr.media.pixels import rearranged, rgb_to_yuv, rows_of

T = TypeVar("T")
Blocks = NDArray[np.float32]
Factor = tuple[Fraction, Fraction]

# Columns of a grid at most, and pixels of the source at least on each side of a block.
CELLS, SMALLEST_CELL = 64, 4
# In 8-bit code values. A frame is wrong if its mean is off by more than MEAN_LIMIT, its blocks by BLOCK_LIMIT on
# average, or a WORST_SHARE of them by WORST_LIMIT. Upscaling and coding stay well below, also at coarse quality.
MEAN_LIMIT, BLOCK_LIMIT, WORST_LIMIT, WORST_SHARE = 5.0, 10.0, 40.0, 0.01
PROJECTION_LIMIT = 0.75
# Motion that is weaker says nothing: of one frame, and of all frames of a video on average.
MOTION_FLOOR, SLOW_MOTION_FLOOR = 0.5, 0.1
# Slow motion explains a video's errors if it leaves less than this share of them.
UNEXPLAINED_LIMIT = 0.35


@dataclass(frozen=True)
class Grid:
    """Block averages of one frame, in 8-bit code values: luma (h, w), and two of chroma unless it is grey."""

    planes: tuple[Blocks, ...]


def grid_size(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of the grid for a source of this size: at most 64 wide, cells of at least 4 pixels."""
    columns = max(1, min(CELLS, width // SMALLEST_CELL))
    return columns, max(1, min(round(columns * height / width), height // SMALLEST_CELL))


def grid_of(frame: VideoFrame, columns: int, rows: int, factor: Factor = (Fraction(1), Fraction(1))) -> Grid:
    """The grid of one decoded frame; chroma gets half the columns and rows.

    `factor` says how many times wider and higher the frame is than its source, so that both have the same borders.
    """
    return _grid(_planar(frame), columns, rows, factor, slice(None))


def fields_of(frame: VideoFrame, columns: int, rows: int, factor: Factor) -> tuple[Grid, ...]:
    """The grids of a frame's two fields, each alone, with the borders of the whole; none of one row."""
    if frame.height < 2:
        return ()
    frame, half = _planar(frame), (factor[0], factor[1] / 2)
    return tuple(_grid(frame, columns, rows, half, slice(first, None, 2)) for first in (0, 1))


def closest(grid: Grid, others: Sequence[Grid]) -> int:
    """The number of the grid whose luma is the most like another's; 0 where its shape is none of theirs."""
    luma = grid.planes[0]
    errors = [float(np.abs(luma - o.planes[0]).mean()) if o.planes[0].shape == luma.shape else math.inf for o in others]
    return errors.index(min(errors))


def _grid(frame: VideoFrame, columns: int, rows: int, factor: Factor, lines: slice) -> Grid:
    depth = frame.format.components[0].bits
    blocks = []
    for number, plane in enumerate(frame.planes[:3]):
        across, down = (max(1, columns // 2), max(1, rows // 2)) if number else (columns, rows)
        samples = rows_of(plane, np.uint8 if depth == 8 else np.uint16)[lines, : plane.width]
        blocks.append(_averages(samples, across, down, factor) / np.float32(2 ** (depth - 8)))
    return Grid(tuple(blocks))


def _planar(frame: VideoFrame) -> VideoFrame:
    """The frame with one plane per component, little endian."""
    components = frame.format.components
    bits = max(c.bits for c in components)
    depth = "16le" if bits > 8 else ""
    if frame.format.is_rgb or frame.format.has_palette:
        return rgb_to_yuv(frame, f"yuv444p{depth}")
    grey = sum(not c.is_alpha for c in components) == 1
    apart = len({c.plane for c in components}) == len(components) and bits >= 8
    if apart and not frame.format.is_big_endian:
        return frame
    return rearranged(frame, f"gray{depth}" if grey else f"yuv444p{depth}")


@lru_cache(maxsize=32)  # the same for every frame, and half of the time of looking at one
def _borders(length: int, blocks: int, factor: Fraction) -> NDArray[np.int64]:
    """Where the blocks of a side of `length` samples begin, and its end, at the source's borders times `factor`."""
    source = max(1, math.ceil(length / factor))
    blocks = min(blocks, source)
    borders = [min(round(i * source // blocks * factor), length) for i in range(blocks)]
    found = np.array([*borders, length])
    found.flags.writeable = False
    return found


def _averages(samples: NDArray[Any], columns: int, rows: int, factor: Factor) -> Blocks:
    """Means over columns x rows blocks of one plane; blocks differ by one pixel where the size does not divide."""
    across = _borders(samples.shape[1], columns, factor[0])
    down = _borders(samples.shape[0], rows, factor[1])
    bands = [samples[a:b].sum(axis=0, dtype=np.uint32) for a, b in pairwise(down)]
    sums = np.add.reduceat(np.stack(bands), across[:-1], axis=1, dtype=np.uint64)
    means: Blocks = (sums / np.outer(np.diff(down), np.diff(across))).astype(np.float32)
    return means


def with_neighbours(items: Iterable[T]) -> Iterator[tuple[T | None, T, T | None]]:
    """Each item with the one before and the one after it."""
    before: T | None = None
    current: T | None = None
    for after in chain(items, (None,)):
        if current is not None:
            yield before, current, after
        before, current = current, after


def _without_mean(blocks: Blocks) -> Blocks:
    centred: Blocks = blocks - blocks.mean()
    return centred


class PictureJudge:
    """Collects the faults of a video, a sentence for each faulty frame, one pair of frames at a time."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.worst = 0.0
        self._product = np.zeros(2)
        self._motion = np.zeros(2)
        self._error_energy = np.zeros(2)
        self._frames = 0

    def compare(self, number: int, result: Grid, before: Grid | None, source: Grid, after: Grid | None) -> None:
        """Judges frame `number` of the result against its source frame and that frame's neighbours."""
        self._frames += 1
        fault = self._error(result, source) or self._shift(result, before, source, after)
        if fault:
            self.faults.append(f"frame {number} {fault}")

    def finish(self) -> None:
        """Judges the video as a whole: slow motion shows a shift only over many frames.

        Here the motion may be weaker than the encoder's own error, so that it must also explain most of the error.
        """
        for side, name in enumerate(("earlier", "later")):
            motion, product, error = self._motion[side], self._product[side], self._error_energy[side]
            unexplained = error - 2 * product + motion
            moved = motion > self._frames * SLOW_MOTION_FLOOR**2 and product > PROJECTION_LIMIT * motion
            if moved and unexplained < UNEXPLAINED_LIMIT * error and not self.faults:
                self.faults.append(f"the frames show the picture of one frame {name}")

    def _error(self, result: Grid, source: Grid) -> str | None:
        if len(result.planes) != len(source.planes):
            return "has other planes than its source"
        for name, ours, theirs in zip(
            ("brightness", "blue chroma", "red chroma"), result.planes, source.planes, strict=False
        ):
            if ours.shape != theirs.shape:
                return "has another shape than its source"
            error = ours - theirs
            mean, block = abs(float(error.mean())), float(np.abs(error).mean())
            self.worst = max(self.worst, block)
            if mean > MEAN_LIMIT:
                return f"has another {name}: the mean differs by {mean:.1f} of 255"
            if block > BLOCK_LIMIT or float((np.abs(error) > WORST_LIMIT).mean()) > WORST_SHARE:
                return f"shows another picture: {name} differs by {block:.1f} of 255 on average"
        return None

    def _shift(self, result: Grid, before: Grid | None, source: Grid, after: Grid | None) -> str | None:
        error = _without_mean(result.planes[0] - source.planes[0])
        for side, (name, neighbour) in enumerate((("before", before), ("after", after))):
            if neighbour is None or neighbour.planes[0].shape != error.shape:
                continue
            motion = _without_mean(neighbour.planes[0] - source.planes[0])
            energy, product = float((motion**2).mean()), float((error * motion).mean())
            self._motion[side] += energy
            self._error_energy[side] += float((error**2).mean())
            self._product[side] += product
            if energy > MOTION_FLOOR**2 and product > PROJECTION_LIMIT * energy:
                return f"shows the frame {name} its own"
        return None
