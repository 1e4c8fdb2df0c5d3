"""Steadier detail: each enlarged frame is mixed with the one before, moved along the motion of the source.

A network decides anew in every frame what a coded edge looked like, so its detail flickers more than its source. Where
the motion between two source frames explains the change from one to the other, both enlargements show the same thing:

    O'_t = O_t + strength * C * G * (W(O_t-1) - O_t)
    C = exp(-(I_t - W(I_t-1))^2 / (2 s^2) - L^2 / (2 l^2)),    G = exp(-(O_t - W(O_t-1))^2 / (2 g^2))

with I the source, O its enlargement, both luma, and W the warp along the optical flow of the source (Lai et al. 2018
weigh their warping error by the same kind of C). L is the mean of I_t - W(I_t-1) around a pixel: where the light
changes, as in a fade, the frame before is of another brightness, and with it enlargements fell below bicubic ones. G is
for the pixels between two motions, which fit neither. Only enlargements that were not mixed go in, so a frame depends
on its two neighbours and nothing else, and a video may be cut anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from vidsr.frames import FrameBatch, Plane

# Differences, in codes of 8 bits, of the warped source and of the warped enlargement at which trust is exp(-1/2).
SOURCE_SPREAD, LARGE_SPREAD = 8.0, 24.0
# Side in pixels of the squares whose means, of three by three of them, are the light around a pixel, and the difference
# of light at which trust is exp(-1/2) too.
LIGHT_SIDE, LIGHT_SPREAD = 8, 1.5
# Mean difference of two frames, in codes of 8 bits, from which they are of different scenes.
CUT = 0.12 * 255
# A pixel repeats if all pixels of the source so near do.
NEAR = 4
# The least side of a frame that is steadied: OpenCV's flow wants 12 pixels at half the size, and crashed on flat ones.
SMALLEST = 24
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
    unit = 2 ** (depth - 8)
    with _one_thread():
        moving = _changed(before[0], source)
        if after is not None:
            moving &= _changed(after, source)
        difference = cv2.norm(before[0], source, cv2.NORM_L1) / source.size
        if not moving.any() or min(source.shape) < SMALLEST or difference > CUT * unit:
            return large
        flow = _flow(*(_halved(plane, depth) for plane in (before[0], source)))
        change, trust = _agreement(before[0], source, _moves(flow, source.shape), 0, SOURCE_SPREAD * unit)
        trust *= _same_light(change, LIGHT_SPREAD * unit)
        trust *= moving
        trust *= strength
        mixed, moves = np.empty_like(large), _moves(flow, large.shape)
        step = math.lcm(_step(len(large), len(source)), _step(len(large), len(flow)))
        step *= max(BAND // step, 1)
        for top in range(0, len(large), step):  # what a band needs stays in the cache: a third of the time
            bottom = min(top + step, len(large))
            change, weight = _agreement(before[1], large[top:bottom], moves, top, LARGE_SPREAD * unit)
            weight *= _rows(trust, large.shape, top, bottom)
            change *= weight
            change += large[top:bottom]
            mixed[top:bottom] = np.rint(change, out=change)
    return mixed


def _same_light(change: Field, spread: float) -> Field:
    """exp(-L^2 / (2 spread^2)) of the difference (h, w) of two frames, where L is its mean around each pixel."""
    height, width = change.shape
    squares = (-(-width // LIGHT_SIDE), -(-height // LIGHT_SIDE))
    light = cv2.blur(cv2.resize(change, squares, interpolation=cv2.INTER_AREA), (3, 3), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(np.exp(light * light / (-2 * spread**2)), (width, height)), np.float32)


def _agreement(before: Plane, rows: Plane, moves: Sequence[Field], top: int, spread: float) -> tuple[Field, Field]:
    """W(before) - rows, and how far the two agree: exp(-(W(before) - rows)^2 / (2 spread^2)).

    Args:
        before: the plane of the frame before, (H, W); outside, its border is repeated.
        rows: those of this frame's plane from row `top` on.
        moves: where pixels were, of any size: displacements x and y in the pixels of these planes.
        top: as `_rows` takes it.
    """
    x, y = (_rows(move, before.shape, top, top + len(rows)) for move in moves)
    y += top
    moved = cv2.remap(before, x, y, cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP, borderMode=cv2.BORDER_REPLICATE)
    change = np.asarray(cv2.subtract(moved, rows, dtype=cv2.CV_32F), np.float32)
    gate = cv2.multiply(change, change, scale=-1 / (2 * spread**2))
    return change, np.exp(gate, out=gate)


def _rows(field: Field, shape: tuple[int, int], top: int, bottom: int) -> Field:
    """Rows of a field (h, w) enlarged to `shape` (H, W) by bilinear interpolation.

    Enlarged are the rows that are needed and, as those at a border are repeated there, some more. `top` and `bottom`
    are multiples of `_step`, or H, so that the rows lie where they do in the whole.
    """
    height, width = shape
    less = _step(len(field), height)  # rows of the field that become `more`
    more = _step(height, len(field))
    first, last = max(top // more * less - less, 0), min(bottom // more * less + less, len(field))
    rows = cv2.resize(field[first:last], (width, (last - first) // less * more), interpolation=cv2.INTER_LINEAR)
    begin = first // less * more
    return np.asarray(rows[top - begin : bottom - begin], np.float32)


def _step(height: int, other: int) -> int:
    """The least number of rows of `height` that are a whole number of rows of `other`."""
    return height // math.gcd(height, other)


def _changed(a: Plane, b: Plane) -> NDArray[np.uint8]:
    """(h, w), 1 where a pixel is near one that differs, else 0."""
    side = 2 * NEAR + 1
    return np.asarray(cv2.dilate((a != b).astype(np.uint8), np.ones((side, side), np.uint8)), np.uint8)


def _halved(plane: Plane, depth: int) -> NDArray[np.uint8]:
    """Half the size and 8 bits."""
    height, width = plane.shape
    eight = (plane >> (depth - 8)).astype(np.uint8)
    return np.asarray(cv2.resize(eight, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


def _flow(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Field:
    """Where each pixel of `now` was in `before`: (h, w, 2), displacements (x, y) in pixels.

    OpenCV's DIS (Kroeger et al. 2016) at half the source's size, where the presets end at a quarter: the finer flow
    makes the difference between a loss and a gain of PSNR, and fewer steps and patches pay for it. To take each patch's
    mean off first cost time and PSNR.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(0)
    dis.setGradientDescentIterations(8)
    dis.setPatchStride(5)
    dis.setVariationalRefinementIterations(0)
    dis.setUseMeanNormalization(False)
    nothing = np.empty((1, 1, 2), np.float32)  # of the frame's size it would be a flow to begin from, and take time
    return np.asarray(dis.calc(now, before, nothing), np.float32)


def _moves(flow: Field, shape: tuple[int, ...]) -> tuple[Field, Field]:
    """The flow's x and y, of its own size, in pixels of a plane of `shape`."""
    return flow[..., 0] * np.float32(shape[1] / flow.shape[1]), flow[..., 1] * np.float32(shape[0] / flow.shape[0])


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV cuts a frame into as many strips as it has threads, and the flow depends on the strips."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
