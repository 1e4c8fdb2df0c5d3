"""Tiles cover a frame once, and their windows hold the halo wherever the frame goes on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidsr.model.tiles import make_grid


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
