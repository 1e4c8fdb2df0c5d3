from __future__ import annotations

import numpy as np
import pytest

from training.footage import Plane
from training.measure.flicker import Motion, optical_flow, warp
from training.scene.textures import fractal_noise


def scenery(seed: int = 0) -> Plane:
    noise = fractal_noise(np.random.default_rng(seed), 128, 192, 24, 4)
    return np.clip(128 + 70 * noise, 0, 255).astype(np.uint8)


def moved(picture: Plane, right: int) -> Plane:
    return np.roll(picture, right, axis=1)


def test_the_flow_leads_back_to_the_frame_before() -> None:
    before = scenery()
    flow = optical_flow(before, moved(before, 3))
    assert np.median(flow[20:-20, 20:-20, 0]) == pytest.approx(-3, abs=0.1)
    assert np.median(flow[20:-20, 20:-20, 1]) == pytest.approx(0, abs=0.1)
    cropped = optical_flow(
        before[:, :-6], moved(before, 3)[:, :-6]
    )  # not contiguous, as `footage.crop_to_multiple` leaves planes
    assert np.median(cropped[20:-20, 20:-20, 0]) == pytest.approx(-3, abs=0.1)


def test_warping_undoes_a_known_motion() -> None:
    before = scenery()
    flow = np.zeros((*before.shape, 2), np.float32)
    flow[:, :, 0] = -3
    assert np.array_equal(warp(before, flow)[:, 3:], moved(before, 3)[:, 3:].astype(np.float32))


def test_a_steady_result_has_no_error_and_a_flickering_one_has() -> None:
    before = scenery()
    after = moved(before, 2)
    motion = Motion.between(before, after)
    steady = motion.warping_error(before, after)
    unmoved = motion.warping_error(after, after)  # stands still while the truth moves
    assert steady < 0.2 * unmoved
    brighter = np.clip(after.astype(int) + 12, 0, 255).astype(np.uint8)
    assert motion.warping_error(before, brighter) > steady + 0.5 * (12 / 255) ** 2
    assert motion.flow_error(before, after) < 0.02
    assert motion.flow_error(before, moved(before, 5)) > 1


def test_what_was_uncovered_is_not_judged() -> None:
    before = scenery()
    after = moved(before, 2)
    after[40:80, 60:120] = 255 - after[40:80, 60:120]
    trust = Motion.between(before, after).trust
    assert trust[45:75, 65:115].mean() < 0.5 < trust[90:, :].mean()
