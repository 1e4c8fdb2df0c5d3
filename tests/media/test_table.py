"""How long frames last and how many come in a second, by what packets declare."""

from __future__ import annotations

from fractions import Fraction

import pytest

from vidsr.media.table import FrameTable, _durations

PTS = (0, 10, 20, 40)


@pytest.mark.parametrize(
    ("declared", "by_sum", "last"),
    [
        ([10, 10, 10, 20], True, 10),  # of MP4, whose packets declare their distances in the order of decoding
        ([10, 10, 10, 20], False, 20),
        ([10, 0, 25, 20], True, 20),  # one does not say how long it lasts
        ([1, 1, 1, 5], True, 5),  # all together end before the last frame begins
        ([10, 10, 20, 4], False, 20),  # too short to be true
    ],
)
def test_the_last_frame_lasts_as_its_packet_says(declared: list[int], by_sum: bool, last: int) -> None:
    assert _durations(PTS, declared, by_sum) == (10, 10, 20, last)


def test_a_single_frame_lasts_a_tick_at_least() -> None:
    assert _durations((5,), [0], False) == (1,)
    assert _durations((), [], True) == ()


@pytest.mark.parametrize(("ticks", "declared", "rate"), [(334, 30, 30), (360, 30, Fraction(250, 9)), (400, 0, 25)])
def test_a_declared_rate_counts_where_it_is_nearly_true(ticks: int, declared: int, rate: Fraction) -> None:
    pts = tuple(range(0, 100 * ticks, ticks))
    table = FrameTable(pts, (True,) * 100, (ticks,) * 100, Fraction(1, 10_000))
    assert table.rate(Fraction(declared)) == rate


def test_a_measured_rate_can_be_that_of_television() -> None:
    table = FrameTable(tuple(range(0, 100 * 1001, 1001)), (True,) * 100, (1001,) * 100, Fraction(1, 30_000))
    assert table.rate(Fraction(0)) == Fraction(30_000, 1001)


def test_a_video_without_frames_has_a_rate() -> None:
    assert FrameTable((), (), (), Fraction(1, 1000)).rate(Fraction(0)) == 25
