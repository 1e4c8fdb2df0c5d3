"""Steadier detail: each enlarged frame is mixed with the one before, moved along the motion of the source.

A network decides anew in every frame what a coded edge looked like, so its detail flickers more than its source. Where
the motion between two source frames explains the change from one to the other, both enlargements show the same thing:

    O'_t = O_t + strength * C * G * (W(O_t-1) - O_t)
    C = exp(-(I_t - W(I_t-1))^2 / (2 s^2)),    G = exp(-(O_t - W(O_t-1))^2 / (2 g^2))

with I the source, O its enlargement, both luma, and W the warp along the optical flow of the source (Lai et al. 2018
weigh their warping error by the same kind of C). G is for the pixels between two motions, which fit neither. Only
enlargements that were not mixed go in, so a frame depends on its two neighbours and nothing else, and a video may be
cut anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from vidsr.frames import FrameBatch, Plane

# Differences, in codes of 8 bits, of the warped source and of the warped enlargement at which trust is exp(-1/2).
SOURCE_SPREAD, LARGE_SPREAD = 8.0, 24.0
# Mean difference of two frames, in codes of 8 bits, from which they are of different scenes.
CUT = 0.12 * 255
# A pixel repeats if all pixels of the source so near do.
NEAR = 4
# The least side of a frame that is steadied: OpenCV's flow crashes on flat ones, such as 200x12.
SMALLEST = 16
# Rows of the enlarged frame that are computed at a time, about.
BAND = 64

Field = NDArray[np.float32]


def stabilise(pairs: Iterable[tuple[FrameBatch, FrameBatch]], strength: float) -> Iterator[FrameBatch]:
    """Steady the luma of consecutive frames.

    Where a source frame repeats the one before or is repeated by the next one, bit for bit, its enlargement stays as it
    is: still pictures cannot flicker, and do not change here either. The first frame, and that after a cut, stay too.

    Args:
        pairs: source frames and the same frames enlarged, in order, in batches of any length.
        strength: weight of the frame before where it is trusted, 0 to 0.5.

    Yields:
        The enlarged batches, each after the next pair was taken.
    """
    before: tuple[Plane, Plane] | None = None
    for pair, following in pairwise(chain(pairs, [None])):
        assert pair is not None
        source, large = (batch.planes[0] for batch in pair)
        steady = large.copy()
        for k in range(len(source)):
            after = source[k + 1] if k + 1 < len(source) else None if following is None else following[0].planes[0][0]
            if before is not None:
                steady[k] = _mixed(before, (source[k], large[k]), after, strength, pair[0].layout.depth)
            before = source[k], large[k]
        yield pair[1].with_planes((steady, *pair[1].planes[1:]))


def _mixed(
    before: tuple[Plane, Plane], now: tuple[Plane, Plane], after: Plane | None, strength: float, depth: int
) -> Plane:
    """An enlarged frame mixed with the one before; both come as (source, enlarged), (h, w) and (H, W)."""
    source, large = now
    moving = _changed(before[0], source)
    if after is not None:
        moving &= _changed(after, source)
    old, new = (plane.astype(np.float32) * 2 ** (8 - depth) for plane in (before[0], source))
    if not moving.any() or min(source.shape) < SMALLEST or np.abs(new - old).mean() > CUT:
        return large
    with _one_thread():
        flow = optical_flow(old.astype(np.uint8), new.astype(np.uint8))
        trust = np.exp((new - _warp(old, flow[..., 0], flow[..., 1], 0)) ** 2 / (-2 * SOURCE_SPREAD**2))
        ratio = large.shape[1] / source.shape[1], large.shape[0] / source.shape[0]
        fields = flow[..., 0] * ratio[0], flow[..., 1] * ratio[1], strength * trust * moving
        mixed = np.empty_like(large)
        step = _step(len(large), len(source))
        step *= max(BAND // step, 1)
        for top in range(0, len(large), step):  # what a band needs stays in the cache: a third of the time
            band = large[top : top + step].astype(np.float32)
            x, y, weight = _rows(fields, large.shape, top, top + len(band))
            change = _warp(before[1], x, y, top)
            change -= band
            gate = change**2
            gate /= -2 * (LARGE_SPREAD * 2 ** (depth - 8)) ** 2
            change *= np.exp(gate, out=gate)
            change *= weight
            band += change
            mixed[top : top + step] = np.rint(band, out=band)
    return mixed


def _rows(fields: Iterable[Field], shape: tuple[int, int], top: int, bottom: int) -> list[Field]:
    """Rows of fields (h, w) enlarged to `shape` (H, W) by bilinear interpolation.

    Enlarged are the rows that are needed and, as those at a border are repeated there, some more. `top` and `bottom`
    are multiples of `_step`, or H, so that the rows lie where they do in the whole.
    """
    height, width = shape

    def enlarged(field: Field) -> Field:
        less = _step(len(field), height)  # rows of the field that become `more`
        more = _step(height, len(field))
        first, last = max(top // more * less - less, 0), min(bottom // more * less + less, len(field))
        rows = cv2.resize(field[first:last], (width, (last - first) // less * more), interpolation=cv2.INTER_LINEAR)
        begin = first // less * more
        return np.asarray(rows[top - begin : bottom - begin], np.float32)

    return [enlarged(field) for field in fields]


def _step(height: int, other: int) -> int:
    """The least number of rows of `height` that are a whole number of rows of `other`."""
    return height // math.gcd(height, other)


def _changed(a: Plane, b: Plane) -> NDArray[np.uint8]:
    """(h, w), 1 where a pixel is near one that differs, else 0."""
    side = 2 * NEAR + 1
    return np.asarray(cv2.dilate((a != b).astype(np.uint8), np.ones((side, side), np.uint8)), np.uint8)


def optical_flow(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Field:
    """Where each pixel of `now` was in `before`: (h, w, 2), displacements (x, y) in pixels.

    OpenCV's DIS (Kroeger et al. 2016) at half the resolution instead of the presets' quarter: the finer flow makes the
    difference between a loss and a gain of PSNR, and fewer steps and patches pay for it.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    dis.setGradientDescentIterations(8)
    dis.setPatchStride(5)
    dis.setVariationalRefinementIterations(0)
    return np.asarray(dis.calc(now, before, np.zeros((*now.shape, 2), np.float32)), np.float32)


def _warp(plane: Plane | Field, x: Field, y: Field, top: int) -> Field:
    """The rows from `top` on of a plane (h, w), moved by x and y (rows, w); outside, its border is repeated."""
    columns = np.arange(x.shape[1], dtype=np.float32)
    lines = np.arange(top, top + len(x), dtype=np.float32)[:, None]
    moved = cv2.remap(plane, x + columns, y + lines, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV cuts a frame into as many strips as it has threads, and the flow depends on the strips."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
