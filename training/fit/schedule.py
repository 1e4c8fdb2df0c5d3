"""When a run is in which stage, and at which learning rate."""

from __future__ import annotations

import math

from training.fit.presets import Stage


def rate_factor(step: int, share: float, warmup: int) -> float:
    """The learning rate over its peak, `step` steps into a stage of which a part `share` is done: warm-up, cosine.

    The warm-up ends after `warmup` steps or a tenth of the stage, whichever is earlier.
    """
    warm = max((step + 1) / warmup, 10 * share) if warmup else 1.0
    return min(1.0, warm) * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * share)))


def stage_at(stages: tuple[Stage, ...], share: float) -> tuple[int, float]:
    """(number of the stage, done part of it) when a part `share` of the run is done."""
    total, before = sum(s.share for s in stages), 0.0
    for number, stage in enumerate(stages):
        part = stage.share / total
        if part and (share < before + part - 1e-12 or number == len(stages) - 1):
            return number, min((share - before) / part, 1.0)
        before += part
    return len(stages) - 1, 1.0
