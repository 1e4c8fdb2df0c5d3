from __future__ import annotations

import pytest

from training.fit.presets import Stage
from training.fit.schedule import rate_factor, stage_at


def test_stages_and_schedule() -> None:
    stages = tuple(Stage("content", share, 1.0, {"l1": 1.0}) for share in (2.0, 0.0, 1.0, 1.0))
    assert [stage_at(stages, s)[0] for s in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == [0, 0, 2, 2, 3, 3]
    assert stage_at(stages, 0.25)[1] == pytest.approx(0.5)
    assert rate_factor(0, 0.0, 10) == pytest.approx(0.1)
    assert rate_factor(50, 0.0, 10) == pytest.approx(1.0)
    assert rate_factor(50, 0.5, 10) == pytest.approx(0.5005)
    assert rate_factor(50, 1.0, 10) == pytest.approx(0.001)


@pytest.mark.parametrize("steps", [10, 100, 1000, 20_000])
def test_a_stage_of_any_length_reaches_its_rate(steps: int) -> None:
    rates = [rate_factor(step, step / steps, 200) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates[peak] > 0.97
    assert peak <= min(steps // 10, 200)
    assert rates[0] < 0.01 and rates[: peak + 1] == sorted(rates[: peak + 1])
