"""Planes to RGB and back: the numbers of the standards, and every sample that comes back as it was."""

import numpy as np
import pytest
import torch

from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.colour import batch_to_rgb, rgb_to_planes, to_plane

CPU = torch.device("cpu")


def frame(codes: tuple[int, ...], layout: PixelLayout, colour: Colour, height: int = 4) -> FrameBatch:
    """A frame of one colour, 4 pixels wide."""
    kind = np.uint8 if layout.depth == 8 else np.uint16
    planes = (np.full((1, height, 4), code, kind) for code in codes)
    return FrameBatch(tuple(planes), layout, colour, (0,))


# Y, U and V of red, as the standards round them: BT.601, BT.709 and BT.2020 in limited range, BT.709 in full range.
RED = [
    (6, 8, False, (81, 90, 240)),
    (1, 8, False, (63, 102, 240)),
    (1, 10, False, (250, 409, 960)),
    (9, 10, False, (294, 387, 960)),
    (1, 8, True, (54, 99, 255)),
    (1, 10, True, (217, 395, 1023)),
]


@pytest.mark.parametrize(("matrix", "depth", "full", "codes"), RED)
def test_red_is_red(matrix: int, depth: int, full: bool, codes: tuple[int, ...]) -> None:
    colour, layout = Colour(matrix, full_range=full), PixelLayout(depth, 0, 0)
    rgb = batch_to_rgb(frame(codes, layout, colour), CPU)
    wanted = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand_as(rgb)
    torch.testing.assert_close(rgb, wanted, rtol=0, atol=1.5 / 2**depth * 2)
    back = rgb_to_planes(wanted, colour, layout, 4)
    assert [int(plane[0, 0, 0]) for plane in back] == list(codes)


@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize("full", [False, True])
def test_white_is_one_and_black_is_nothing(depth: int, full: bool) -> None:
    unit, layout = 2 ** (depth - 8), PixelLayout(depth, grey=True)
    black, white = (0, 2**depth - 1) if full else (16 * unit, 235 * unit)
    for code, value in ((black, 0.0), (white, 1.0)):
        rgb = batch_to_rgb(frame((code,), layout, Colour(full_range=full)), CPU)
        assert rgb.shape == (1, 3, 4, 4)
        torch.testing.assert_close(rgb, torch.full_like(rgb, value))


@pytest.mark.parametrize(("height", "red"), [(576, RED[0][-1]), (720, RED[1][-1])])
def test_the_sources_height_says_the_matrix_of_untagged_video(height: int, red: tuple[int, ...]) -> None:
    layout = PixelLayout(8, 0, 0)
    rgb = batch_to_rgb(frame(red, layout, Colour(), height), CPU)
    assert rgb[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0], abs=0.01)
    large = rgb.repeat(1, 1, 2, 2)
    assert [int(plane[0, 0, 0]) for plane in rgb_to_planes(large, Colour(), layout, height)] == list(red)


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True])
def test_every_sample_comes_back(depth: int, full: bool) -> None:
    """Blacker than black, whiter than white, and colours that no screen shows."""
    layout, colour, random = PixelLayout(depth, 0, 0), Colour(9, full_range=full), np.random.default_rng(1)
    kind = np.uint8 if depth == 8 else np.uint16
    planes = tuple(random.integers(0, 2**depth, (2, 64, 64)).astype(kind) for _ in range(3))
    back = rgb_to_planes(batch_to_rgb(FrameBatch(planes, layout, colour, (0, 1)), CPU), colour, layout, 64)
    for ours, theirs in zip(back, planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("location", range(7))
@pytest.mark.parametrize(("x", "y"), [(1, 1), (1, 0), (0, 1), (2, 2), (0, 0)])
def test_one_colour_reaches_the_border(x: int, y: int, location: int) -> None:
    """Of odd sizes too, where the last chroma sample is of a cell that is not full."""
    layout, colour = PixelLayout(8, x, y), Colour(1, chroma_location=location)
    planes = tuple(
        np.full((1, *shape), code, np.uint8)
        for shape, code in zip(layout.plane_shapes(23, 17), RED[1][-1], strict=True)
    )
    back = rgb_to_planes(batch_to_rgb(FrameBatch(planes, layout, colour, (0,)), CPU), colour, layout, 17)
    for ours, theirs in zip(back, planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_samples_are_rounded_and_limited_to_the_depth(depth: int) -> None:
    """A network's edges overshoot: beyond the largest code lies the smallest one."""
    top = 2**depth - 1
    values = torch.tensor([-300.0, -0.6, 0.4, 0.6, top - 1.6, top - 0.4, top + 0.4, top + 300.0])
    plane = to_plane(values.reshape(1, 1, 2, 4), depth)
    assert plane.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert plane.ravel().tolist() == [0, 0, 0, 1, top - 2, top, top, top]
