"""Steadiness of a video against its truth: warping error and tOF, with OpenCV's DIS optical flow.

Both are computed on luma. The flow and the mask come from the truth, so that all methods are judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.footage import Plane

Flow = NDArray[np.float32]  # (H, W, 2): where each pixel was in the frame before, as a displacement (x, y) in pixels

_MASK_DECAY = 50.0  # of Lai et al. 2018, for samples in 0 to 1


def optical_flow(before: Plane, after: Plane) -> Flow:
    """Dense flow from `after` back to `before`, both (H, W) uint8 of at least 16 pixels a side."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    start = np.zeros((*after.shape, 2), np.float32)
    return np.asarray(dis.calc(np.ascontiguousarray(after), np.ascontiguousarray(before), start), np.float32)


def warp(picture: Plane, flow: Flow) -> NDArray[np.float32]:
    """`picture` moved along the flow, bilinear; outside, its border is repeated."""
    height, width = picture.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        picture.astype(np.float32),
        x + flow[:, :, 0],
        y + flow[:, :, 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.float32)


@dataclass(frozen=True)
class Motion:
    """What happens between two frames of the truth.

    Attributes:
        flow: from the later frame back to the earlier one.
        trust: (H, W), 0 to 1: exp(-50 (I_t - W(I_t-1))^2), near 0 where something was uncovered or the flow errs.
    """

    flow: Flow
    trust: NDArray[np.float32]

    @classmethod
    def between(cls, before: Plane, after: Plane) -> Motion:
        """The motion between two luma planes."""
        flow = optical_flow(before, after)
        error = (after.astype(np.float32) - warp(before, flow)) / 255
        return cls(flow, np.exp(-_MASK_DECAY * error**2))

    def warping_error(self, before: Plane, after: Plane) -> float:
        """Sum of trust * (O_t - W(O_t-1))^2 over the sum of trust, samples in 0 to 1 (Lai et al. 2018, eq. 9)."""
        error = (after.astype(np.float32) - warp(before, self.flow)) / 255
        return float((self.trust * error**2).sum() / self.trust.sum())

    def flow_error(self, before: Plane, after: Plane) -> float:
        """tOF: mean absolute difference of the flow to the truth's, in pixels (Chu et al. 2020)."""
        return float(np.abs(optical_flow(before, after) - self.flow).mean())
