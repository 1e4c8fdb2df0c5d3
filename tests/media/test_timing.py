"""Timestamps of joined segments, for any frame times, any reordering and any cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidsr.media.timing import join, presentation_order, reorder_depth

steps = st.lists(st.integers(1, 100_000), min_size=1, max_size=60)
starts = st.integers(-(10**9), 10**12)


@st.composite
def segment_orders(draw: st.DrawFn, frames: int) -> list[list[int]]:
    """Any cut of `frames` frames into segments, each in an order that an encoder with up to 4 B-frames could give."""
    orders = []
    left = frames
    while left:
        size = draw(st.integers(1, left))
        order: list[int] = []
        position = 0
        while position < size:
            run = draw(st.integers(1, min(5, size - position)))
            between = draw(st.permutations(range(position, position + run - 1)))
            order += [position + run - 1, *between]
            position += run
        orders.append(order)
        left -= size
    return orders


@given(st.data(), steps, starts)
def test_joined_times_suit_every_muxer(data: st.DataObject, durations: list[int], start: int) -> None:
    pts = list(itertools.accumulate(durations[:-1], initial=start))
    orders = data.draw(segment_orders(len(pts)))
    stamps = list(join(orders, pts, durations))

    assert sorted(stamp.pts for stamp in stamps) == pts
    assert all(a.dts < b.dts for a, b in itertools.pairwise(stamps))
    assert all(stamp.dts <= stamp.pts for stamp in stamps)
    shown = dict(zip(pts, durations, strict=True))
    assert all(stamp.duration == shown[stamp.pts] for stamp in stamps)


@given(st.data(), steps)
def test_frames_stay_in_their_segment_and_in_its_decode_order(data: st.DataObject, durations: list[int]) -> None:
    pts = list(itertools.accumulate(durations[:-1], initial=0))
    orders = data.draw(segment_orders(len(pts)))
    stamps = iter(join(orders, pts, durations))
    begin = 0
    for order in orders:
        for position in order:
            assert next(stamps).pts == pts[begin + position]
        begin += len(order)


@given(st.data(), steps, starts)
def test_the_track_ends_where_its_last_frame_does(data: st.DataObject, durations: list[int], start: int) -> None:
    """MP4 adds up the distances of decode times and the last packet's duration; each is how long its frame is shown."""
    pts = list(itertools.accumulate(durations[:-1], initial=start))
    stamps = list(join(data.draw(segment_orders(len(pts))), pts, durations, most_lead=sum(durations)))
    assert stamps[-1].dts - stamps[0].dts + stamps[-1].duration == sum(durations)
    shown = dict(zip(pts, durations, strict=True))
    assert all(a.duration == b.dts - a.dts for a, b in itertools.pairwise(stamps))
    assert all(stamp.duration == shown[stamp.pts] for stamp in stamps)
    assert all(stamp.dts <= stamp.pts for stamp in stamps)
    assert any(stamp.dts == stamp.pts for stamp in stamps)


def test_one_long_pause_does_not_part_all_pictures_from_their_sound() -> None:
    durations = [10, 10, 10, 5000, 10, 10, 10, 10]
    pts = list(itertools.accumulate(durations[:-1], initial=0))
    orders = [[0, 3, 1, 2, 6, 4, 5, 7]]
    assert next(join(orders, pts, durations, most_lead=5000)).dts == -5000
    stamps = list(join(orders, pts, durations, most_lead=100))
    assert [stamp.dts for stamp in stamps] == [-10, *pts[:-1]]
    assert stamps[-1].dts - stamps[0].dts + stamps[-1].duration == sum(durations)
    assert [stamp.duration for stamp in stamps[:-1]] == [durations[k] for k in orders[0][:-1]]


def test_without_reordering_frames_are_decoded_when_they_are_shown() -> None:
    stamps = list(join([[0, 1], [0]], [10, 13, 20], [3, 7, 5]))
    assert [(s.pts, s.dts, s.duration) for s in stamps] == [(10, 10, 3), (13, 13, 7), (20, 20, 5)]


def test_one_b_frame_moves_decoding_one_frame_ahead() -> None:
    stamps = list(join([[0, 2, 1, 3]], [0, 10, 20, 30], [10] * 4))
    assert [(s.pts, s.dts) for s in stamps] == [(0, -10), (20, 0), (10, 10), (30, 20)]


def test_presentation_order_of_a_segment() -> None:
    assert presentation_order([0, 80, 40, 120]) == [0, 2, 1, 3]
    with pytest.raises(ValueError, match="same timestamp"):
        presentation_order([0, 40, 40])


def test_reorder_depth_is_the_deepest_of_all_segments() -> None:
    assert reorder_depth([[0, 1, 2]]) == 0
    assert reorder_depth([[0, 1], [0, 4, 2, 1, 3]]) == 2
    assert reorder_depth([]) == 0


def test_a_lost_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 frames, not 3"):
        list(join([[0, 1]], [0, 1, 2], [1, 1, 1]))
