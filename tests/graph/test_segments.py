"""Cutting into segments, and ranges."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.infos import info_of
from vidsr.errors import SettingsError
from vidsr.graph.segments import FrameRange, Segment, choose_range, cut
from vidsr.settings import UpscaleSettings


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.booleans()), min_size=1, max_size=200),
    st.floats(0.1, 20),
)
def test_segments_cover_the_range_once(steps: list[tuple[int, bool]], seconds: float) -> None:
    pts, key, now = [], [], 0
    for step, is_key in steps:
        pts.append(now)
        key.append(is_key or not now)
        now += step
    info = info_of(pts, key, Fraction(1, 1000))
    segments = cut(info, FrameRange(0, len(pts)), seconds)
    assert [k for s in segments for k in range(s.first, s.stop)] == list(range(len(pts)))
    assert [s.number for s in segments] == list(range(len(segments)))
    for segment in segments[:-1]:
        length = (pts[segment.stop] - pts[segment.first]) / 1000
        assert length >= seconds
        assert key[segment.stop] or length >= 2 * seconds


def test_cuts_at_key_frames_where_they_are_near() -> None:
    pts = list(range(0, 10_000, 100))
    info = info_of(pts, [k % 25 == 0 for k in range(100)], Fraction(1, 1000))
    assert [s.first for s in cut(info, FrameRange(0, 100), 3.0)] == [0, 50]
    assert [s.first for s in cut(info, FrameRange(0, 100), 2.5)] == [0, 25, 50, 75]


def test_cuts_between_key_frames_that_are_far_apart() -> None:
    info = info_of(list(range(100)), [k == 0 for k in range(100)], Fraction(1, 10))
    assert [s.first for s in cut(info, FrameRange(0, 100), 2.0)] == [0, 40, 80]


def test_what_must_be_decoded_in_one_go_is_one_segment() -> None:
    info = replace(info_of(list(range(100)), [True] * 100, Fraction(1, 10)), sequential="no key frames")
    assert cut(info, FrameRange(3, 90), 1.0) == (Segment(0, 3, 90),)


def test_ranges_count_from_the_first_frame() -> None:
    info = info_of([500, 540, 580, 620], [True] * 4, Fraction(1, 1000))
    assert choose_range(info, UpscaleSettings(end=0.08)) == FrameRange(0, 2)
    assert choose_range(info, UpscaleSettings(start=0.03)) == FrameRange(1, 4)
    with pytest.raises(SettingsError, match=r"no frame .*the last one is at 0\.12 s"):
        choose_range(info, UpscaleSettings(start=5))
    for start, end in ((math.nan, None), (math.inf, None), (0, math.nan), (0, math.inf)):  # JSON has none of them
        with pytest.raises(SettingsError, match="do not make a range"):
            UpscaleSettings(start=start, end=end)
