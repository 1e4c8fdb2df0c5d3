from __future__ import annotations

import numpy as np
import pytest

from training.scene.camera import Camera
from training.scene.planes import PlaneView
from training.scene.street import Street

RNG = np.random.default_rng(5)
TEXTURE = RNG.integers(0, 256, (40, 16, 2), dtype=np.uint8)


def view(depth: list[float], span: list[float], pixel: float = 0.1) -> PlaneView:
    """Lines that each have one pixel on every texel of 0.1 m."""
    lines = len(depth)
    line = np.repeat(np.arange(lines), 16)
    across = np.tile((np.arange(16) + 0.5) * 0.1, lines).astype(np.float32)
    sizes = (np.array(depth, np.float32), np.array(span, np.float32), np.full(lines, pixel, np.float32))
    return PlaneView(TEXTURE, (0.5, 0.1), *sizes, line, across)


def mean_over(start: float, stop: float) -> np.ndarray:
    """The texture's mean over a range of its first axis, in texels, by brute force."""
    fine = np.arange(start, stop, 1e-3) + 5e-4
    return TEXTURE[np.floor(fine).astype(int) % 40].astype(float).mean(axis=0)


@pytest.mark.parametrize("travelled", [0.0, 0.2, 19.9, 137.3])
def test_each_line_is_the_mean_of_the_depth_that_it_covers(travelled: float) -> None:
    depth, span = [3.0, 7.1, 30.0, 90.0], [0.5, 1.3, 7.0, 55.0]
    seen = view(depth, span).render(travelled).reshape(4, 16, 2)
    for row, z, length in zip(seen, depth, span, strict=True):
        middle = (z + travelled) / 0.5
        assert np.allclose(row, mean_over(middle - length, middle + length), atol=0.7)


def test_an_open_shutter_blurs_along_the_road() -> None:
    sharp, blurred = (view([3.0], [0.5]).render(0.0, shutter) for shutter in (0.0, 6.0))
    assert blurred.std() < 0.5 * sharp.std()


def test_distant_lines_read_a_reduced_texture() -> None:
    near, far = (view([3.0], [0.5], pixel).render(0.0) for pixel in (0.1, 0.4))
    assert far.std() < 0.8 * near.std()
    assert far.mean() == pytest.approx(near.mean(), abs=8)


def test_points_are_seen_where_the_camera_puts_them() -> None:
    camera = Camera(1000, 500)
    assert camera.project(0.0, camera.eye, 10.0) == (500, 225)
    assert camera.project(1.0, camera.eye - 1, 8.2) == (600, 325)


def test_the_street_comes_nearer_by_the_metres_driven() -> None:
    """The foot of the picture is a copy of what was `depth` metres further away, enlarged."""
    street = Street(320, 180, seed=1)
    camera = street.camera
    row = 150
    depth = camera.focal * camera.eye / (row + 0.5 - camera.horizon)
    far_row = round(camera.focal * camera.eye / (depth + 1.5) + camera.horizon - 0.5)
    right_edge = camera.project(1.62, 0.0, depth)[0], camera.project(1.62, 0.0, depth + 1.5)[0]
    before, after = (np.asarray(street.picture(time, 10.0)[0].convert("L"), float) for time in (0.0, 0.15))
    for picture, line, column in ((after, row, right_edge[0]), (before, far_row, right_edge[1])):
        mark = picture[line, round(column) - 8 : round(column) + 8]
        assert abs(int(mark.argmax()) - 8) <= 2
        assert mark.max() > mark.min() + 60
