"""Tiles cover a frame once, and their windows hold the halo wherever the frame goes on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidsr.model.tiles import changed_windows, make_grid


@given(st.integers(2, 300), st.integers(2, 300), st.integers(1, 40), st.integers(400, 40_000))
def test_tiles_cover_the_frame_once(height: int, width: int, halo: int, limit: int) -> None:
    grid = make_grid(height, width, halo, limit)
    covered = np.zeros((height, width), int)
    for tile in grid.tiles:
        top, bottom, left, right = tile.keep
        covered[top:bottom, left:right] += 1
        assert 0 <= tile.top <= max(top - halo, 0)
        assert 0 <= tile.left <= max(left - halo, 0)
        assert min(bottom + halo, height) <= tile.top + grid.height <= height
        assert min(right + halo, width) <= tile.left + grid.width <= width
    assert (covered == 1).all()


def test_a_small_frame_is_one_tile() -> None:
    assert len(make_grid(100, 100, 20, 10_000).tiles) == 1


def test_windows_stay_within_the_limit() -> None:
    grid = make_grid(540, 960, 20, 100_000)
    assert grid.height * grid.width <= 100_000
    assert len(grid.tiles) <= 12


@given(
    st.integers(2, 120),
    st.integers(2, 120),
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=6),
)
def test_all_that_a_change_reaches_is_computed(
    height: int, width: int, halo: int, places: list[tuple[float, float]]
) -> None:
    changed = np.zeros((height, width), bool)
    reached = np.zeros((height, width), bool)
    for y, x in ((int(a * (height - 1)), int(b * (width - 1))) for a, b in places):
        changed[y, x] = True
        reached[max(y - halo, 0) : y + halo + 1, max(x - halo, 0) : x + halo + 1] = True
    for window in changed_windows(changed, halo):
        (tile,) = window.tiles
        top, bottom, left, right = tile.keep
        reached[top:bottom, left:right] = False
        assert tile.top == max(top - halo, 0) and tile.left == max(left - halo, 0)
        assert tile.top + window.height == min(bottom + halo, height)
        assert tile.left + window.width == min(right + halo, width)
    assert not reached.any()


def test_changes_far_apart_are_windows_of_their_own() -> None:
    changed = np.zeros((500, 900), bool)
    changed[10:20, 10:30] = changed[480:490, 10:30] = changed[480:490, 800:850] = True
    windows = changed_windows(changed, 20)
    assert len(windows) == 3
    assert sum(window.window for window in windows) < 0.05 * 500 * 900
    assert changed_windows(np.zeros((9, 9), bool), 4) == []
