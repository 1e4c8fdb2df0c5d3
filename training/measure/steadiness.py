"""Two figures of the real command that must be 0: what moves where the source is still, and what segment borders do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.footage import Planes, read_planes

# Chroma is enlarged by the bicubic, whose 2 samples at either side are 4 luma pixels, whatever the network's halo is.
_CHROMA_REACH = 4


@dataclass(frozen=True)
class StillScore:
    """A still scene, coded and enlarged: what its frames differ by. Values are of 255.

    Attributes:
        clip: whose frame it shows.
        crf: what it was coded at.
        source_change: mean absolute change of the decoded luma from frame to frame: what the codec moved.
        result_change: the same of the result's luma.
        at_rest: share of the result's pixels, over all steps, for which nothing that the network sees changed.
        change_at_rest: the largest change of a sample of these pixels; it must be 0.
    """

    clip: str
    crf: int
    source_change: float
    result_change: float
    at_rest: float
    change_at_rest: int


@dataclass(frozen=True)
class SeamScore:
    """A result that was made in segments, against the one that was made in one. Values are of 255.

    Attributes:
        clip: its name.
        crf: what it was coded at.
        segments: how many the result was made of.
        difference: the largest difference of a sample in all frames and planes; it must be 0.
    """

    clip: str
    crf: int
    segments: int
    difference: int


def score_still(clip: str, crf: int, coded: Path, result: Path, scale: int, halo: int) -> StillScore:
    """Compare each frame of a still scene with the one before.

    Args:
        clip, crf: what was coded.
        coded: the still scene, at least two frames.
        result: the same, enlarged `scale` times and coded losslessly.
        scale: 2 or 4.
        halo: how far the network looks, in pixels of `coded`.
    """
    source_changes, result_changes, rest, largest = [], [], [], 0
    frames = zip(read_planes(coded), read_planes(result), strict=True)
    for (small_before, large_before), (small, large) in pairwise(frames):
        still = at_rest(small_before, small, max(halo, _CHROMA_REACH)).repeat(scale, 0).repeat(scale, 1)
        source_changes.append(float(_change(small_before, small)[0].mean()))
        changes = _change(large_before, large)
        result_changes.append(float(changes[0].mean()))
        rest.append(float(still.mean()))
        chroma_still = still[::2, ::2] & still[1::2, 1::2]
        for change, where in zip(changes, (still, chroma_still, chroma_still), strict=True):
            largest = max(largest, int(change[where].max(initial=0)))
    return StillScore(
        clip=clip,
        crf=crf,
        source_change=float(np.mean(source_changes)),
        result_change=float(np.mean(result_changes)),
        at_rest=float(np.mean(rest)),
        change_at_rest=largest,
    )


def at_rest(before: Planes, after: Planes, halo: int) -> NDArray[np.bool_]:
    """(H, W) luma pixels of which no sample of any plane within `halo` pixels changed."""
    luma, u, v = (change > 0 for change in _change(before, after))
    moved = luma | (u | v).repeat(2, 0).repeat(2, 1)
    reach = np.ones((2 * halo + 1, 2 * halo + 1), np.uint8)
    return np.asarray(cv2.dilate(moved.astype(np.uint8), reach) == 0)


def score_seams(clip: str, crf: int, whole: Path, parts: Path, segments: int) -> SeamScore:
    """Compare the result of one segment with that of several, both coded losslessly."""
    frames = zip(read_planes(whole), read_planes(parts), strict=True)
    difference = max(int(change.max()) for pair in frames for change in _change(*pair))
    return SeamScore(clip, crf, segments, difference)


def _change(before: Planes, after: Planes) -> list[NDArray[np.int16]]:
    return [np.abs(a.astype(np.int16) - b) for b, a in zip(before, after, strict=True)]
