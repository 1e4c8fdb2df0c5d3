"""Stabilised detail: less flicker, no ghosts, and the same frames wherever a video is cut."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vidsr.errors import SettingsError
from vidsr.frames import Colour, FrameBatch, PixelLayout, Plane
from vidsr.model.steady import _moves, _rows, _step, stabilise
from vidsr.settings import UpscaleSettings, stabilising

GREY = PixelLayout(grey=True)


def batch(luma: Plane, layout: PixelLayout = GREY) -> FrameBatch:
    return FrameBatch(
        (luma, *[luma[:, ::2, ::2]] * (0 if layout.grey else 2)), layout, Colour(), tuple(range(len(luma)))
    )


def texture(seed: int, side: int = 200) -> NDArray[np.float64]:
    """Smooth blobs of 40 to 215."""
    import cv2

    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(side, side)), (0, 0), 3)
    return np.asarray(127 + 60 * np.clip(noise / noise.std(), -1.5, 1.5))


def drive(frames: int = 6, step: int = 2) -> tuple[NDArray[np.float64], Plane]:
    """A texture that moves by `step` pixels a frame: large truth (N, 192, 192), and each second sample of it."""
    truth = np.stack([texture(1, 192 + step * frames)[:192, step * k : step * k + 192] for k in range(frames)])
    return truth, np.rint(truth[:, ::2, ::2]).astype(np.uint8)


def flickering(truth: NDArray[np.float64], noise: float = 4.0) -> Plane:
    """The truth as a restless network enlarges it."""
    return np.rint(truth + np.random.default_rng(0).normal(0, noise, truth.shape)).clip(0, 255).astype(np.uint8)


def steadied(source: Plane, large: Plane, strength: float = 0.5, layout: PixelLayout = GREY) -> Plane:
    (result,) = stabilise([(batch(source, layout), batch(large, layout))], strength)
    return result.planes[0]


def test_flicker_on_a_moving_texture_is_damped_and_nothing_is_smeared() -> None:
    truth, source = drive()
    large = flickering(truth)
    error = (steadied(source, large) - truth)[1:, 16:-16, 16:-16]
    before = (large - truth)[1:, 16:-16, 16:-16]
    assert error.std() < 0.85 * before.std()  # two frames of equal weight and bilinear mixing: at best 0.71 or less
    assert abs(error.mean()) < 0.2


@pytest.mark.parametrize("depth", [10, 12])
def test_more_bits_are_steadied_as_eight_are(depth: int) -> None:
    truth, source = drive(3)
    large = flickering(truth)
    up = depth - 8
    eight = steadied(source, large).astype(int)
    deep = steadied(source.astype(np.uint16) << up, large.astype(np.uint16) << up, layout=PixelLayout(depth, grey=True))
    assert deep.dtype == np.uint16
    assert np.abs(deep / 2**up - eight).max() <= 0.75  # both round twice


def test_a_still_scene_stays_as_it_is_after_motion_too() -> None:
    """A frame that the source repeats has the same bits each time, and chroma is left alone."""
    truth, source = drive(4)
    source, truth = (np.concatenate([a, a[-1:], a[-1:]]) for a in (source, truth))
    large = flickering(truth)
    large[4:] = large[3]  # what the upscaler makes of the same input
    layout = PixelLayout()
    (result,) = stabilise([(batch(source, layout), batch(large, layout))], 0.5)
    for k in (3, 4, 5):
        np.testing.assert_array_equal(result.planes[0][k], large[3])
    assert (result.planes[0][2] != large[2]).any()
    np.testing.assert_array_equal(result.planes[1], large[:, ::2, ::2])


def test_an_overlay_on_a_moving_scene_stays_as_it_is() -> None:
    truth, source = drive()
    large = flickering(truth)
    clock = np.kron(np.indices((8, 16)).sum(0) % 2, np.ones((4, 4))) * 255  # 32 x 64 in the source
    source[:, 8:40, 8:72] = clock
    large[:, 16:80, 16:144] = np.kron(clock, np.ones((2, 2)))
    result = steadied(source, large)
    np.testing.assert_array_equal(result[:, 26:70, 26:134], large[:, 26:70, 26:134])


def test_a_cut_leaves_no_ghost() -> None:
    truth, source = drive(3)
    other = 255 - np.clip(truth, 0, 255)
    other[:] = np.where(texture(2, 192) > 127, other, other / 3)
    source[1:], large = np.rint(other[1:, ::2, ::2]), np.rint(truth).astype(np.uint8)
    large[1:] = np.rint(other[1:])
    assert np.abs(source[1] - source[0].astype(float)).mean() > 0.12 * 255
    np.testing.assert_array_equal(steadied(source, large)[1], large[1])


@pytest.mark.parametrize("fade", [-6.0, 6.0])
def test_a_fade_is_not_late(fade: float) -> None:
    """The frame before is darker or brighter: mixed in, it would be seen in the mean of every frame."""
    truth, source = drive()
    light = fade * np.arange(len(truth))[:, None, None]
    source = np.rint(truth[:, ::2, ::2] + light).clip(0, 255).astype(np.uint8)
    large = flickering(truth + light)
    assert np.abs((steadied(source, large) - large.astype(float)).mean((1, 2))).max() < 0.1


def test_something_that_appears_suddenly_has_no_ghost() -> None:
    """Where the source before does not explain the frame, the frame alone counts."""
    truth, source = drive(2, step=0)
    large = np.rint(truth).astype(np.uint8)
    source[1, 40:60, 40:60], large[1, 80:120, 80:120] = 250, 250
    result = steadied(source, large).astype(int)
    assert np.abs(result[1, 84:116, 84:116] - 250).max() <= 1


def test_nothing_of_the_frame_before_shows_that_the_source_does_not_tell_of() -> None:
    """As between two motions: the source fits, but the enlargements are of different things."""
    truth, source = drive(2, step=0)
    source[1] += 1  # nothing repeats
    large = flickering(truth)
    large[0, 100:104, 90:120] = large[1, 100:104, 90:120] + np.uint8(128)
    assert np.abs(steadied(source, large)[1, 100:104, 90:120] - large[1, 100:104, 90:120].astype(int)).max() <= 1


def test_frames_depend_on_their_neighbours_alone() -> None:
    """Batches of any length, and a beginning anywhere, give the same frames."""
    truth, source = drive(7)
    large = flickering(truth)
    whole = steadied(source, large)
    parts = [(batch(source[a:b]), batch(large[a:b])) for a, b in ((2, 3), (3, 6), (6, 7))]
    cut = np.concatenate([b.planes[0] for b in stabilise(parts, 0.5)])
    np.testing.assert_array_equal(cut[1:], whole[3:])
    assert (cut[0] != whole[2]).any()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 24), (12, 200), (24, 400), (27, 46)])
def test_small_and_odd_frames(height: int, width: int) -> None:
    random = np.random.default_rng(0)
    source = random.integers(100, 110, (2, height, width), np.uint8)  # too like each other for a cut
    large = random.integers(100, 110, (2, height * 3 // 2, width * 3 // 2), np.uint8)
    result = steadied(source, large)
    assert result.shape == large.shape
    assert (result != large).any() == (min(height, width) >= 24)


@pytest.mark.parametrize("height", [96, 135, 150])
def test_bands_leave_no_seams(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where half the source's rows are not a whole number of the enlarged frame's."""
    source = np.rint(np.stack([texture(1)[:height, k : k + 96] for k in (0, 3)])).astype(np.uint8)
    large = flickering(np.kron(source, np.ones((2, 2))))
    banded = steadied(source, large).astype(int)
    monkeypatch.setattr("vidsr.model.steady.BAND", 10_000)
    difference = np.abs(steadied(source, large) - banded)
    assert difference.max() <= 1  # sums of coordinates are rounded elsewhere
    assert difference.mean() < 1e-3


@pytest.mark.parametrize(("rows", "of"), [(67, 270), (67, 135), (48, 192), (135, 540), (90, 60)])
def test_rows_of_a_band_are_those_of_the_whole(rows: int, of: int) -> None:
    """Of fields smaller than the frame, half as high or so, and larger."""
    field = np.random.default_rng(0).random((rows, 32), np.float32)
    whole, step = _rows(field, (of, 64), 0, of), _step(of, rows)
    for top in range(0, of, step):
        bottom = min(top + step, of)
        np.testing.assert_allclose(_rows(field, (of, 64), top, bottom), whole[top:bottom], atol=1e-5)


def test_motion_is_scaled_as_each_side_is() -> None:
    """Of odd sizes one half is not the half that the other is."""
    x, y = _moves(np.ones((13, 23, 2), np.float32), (54, 92))
    assert (x == 4).all() and (y == np.float32(54 / 13)).all()


@pytest.mark.parametrize("value", ["0.51", "-0.1", "nan", "strong"])
def test_a_bad_strength_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="--stabilise-detail"):
        UpscaleSettings(stabilise_detail=stabilising(value))
    assert [stabilising(word) for word in ("auto", "off", "0.3")] == [None, 0.0, 0.3]
