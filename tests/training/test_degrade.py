"""Each step of the degradation against a reference."""

from __future__ import annotations

import math
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.training.pictures import picture
from training import degrade
from training.degrade import Degradation, Pose


def _float(seed: int = 0) -> degrade.Picture:
    return np.asarray(picture(seed, 96, 128) / 255, dtype=np.float32)


@pytest.mark.parametrize("turning", [False, True])
def test_a_path_stays_in_the_photograph_and_under_the_speed(turning: bool) -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        poses = degrade.camera_path(random, (320, 480), (256, 400), 7, 12.0, turning)
        assert len(poses) == 7
        for pose in poses:
            assert 200 <= pose.x <= 280 and 128 <= pose.y <= 192
        steps = [math.dist((a.x, a.y), (b.x, b.y)) for a, b in pairwise(poses)]
        assert max(steps) <= 12 + (0 if turning else math.sqrt(2))
        assert turning or all(p.zoom == 1 and (p.x * 2) % 1 == 0 for p in poses)


def test_frames_on_whole_pixels_are_exact_cuts() -> None:
    photo = picture(1)
    seen = degrade.render(Image.fromarray(photo), Pose(100 + 64, 50 + 48), (96, 128))
    assert np.array_equal(seen, photo[50:146, 100:228])


def test_zoom_and_rotation_are_about_the_middle() -> None:
    photo = picture(1)
    image = Image.fromarray(photo)
    quarter = degrade.render(image, Pose(160, 144, 1.0, math.pi / 2), (100, 100))
    assert np.array_equal(quarter, np.rot90(photo[94:194, 110:210]))
    smooth = image.resize((32, 29), Image.Resampling.BOX).resize((320, 288), Image.Resampling.BICUBIC)
    double = degrade.render(smooth, Pose(160, 144, 2.0), (200, 200)).astype(int)
    reference = np.asarray(smooth.crop((110, 94, 210, 194)).resize((200, 200), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(double - reference)[8:-8, 8:-8].mean() < 1.0


def test_motion_blur_is_a_mean_of_light_along_the_path() -> None:
    photo = np.zeros((80, 200, 3), dtype=np.uint8)
    photo[:, 100] = 255
    poses = [Pose(100, 40), Pose(106, 40)]  # six pixels a frame
    still = degrade.motion_blur(Image.fromarray(photo), poses, 0, (40, 120), 0.0)
    moved = degrade.motion_blur(Image.fromarray(photo), poses, 0, (40, 120), 1.0)
    light = (moved[20] ** degrade.GAMMA).sum(axis=1) / 3
    assert light.sum() == pytest.approx(((still[20] ** degrade.GAMMA).sum() / 3), rel=0.05)
    assert (light > 0.05).sum() == 7 and (still[20, :, 0] > 0.05).sum() == 1


def test_lens_blur_is_scipys_gaussian() -> None:
    x = _float()
    ours = degrade.blur(x, (1.3, 1.3))
    reference = ndimage.gaussian_filter(x, (1.3, 1.3, 0), mode="mirror", truncate=4 / 1.3 - 1e-6)
    assert np.abs(ours - reference).max() < 2e-3
    wide = degrade.blur(x, (2.0, 0.5), angle=0.0)
    assert np.abs(wide - ndimage.gaussian_filter(x, (0.5, 2.0, 0), mode="mirror")).mean() < 3e-3
    assert (
        np.abs(
            degrade.blur(x, (2.0, 0.5), math.pi / 2) - ndimage.gaussian_filter(x, (2.0, 0.5, 0), mode="mirror")
        ).mean()
        < 3e-3
    )


@pytest.mark.parametrize("kernel", sorted(degrade.KERNELS))
def test_reduction_is_pillows(kernel: str) -> None:
    x = picture(2, 96, 128)
    ours = degrade.downscale(np.asarray(x / 255, dtype=np.float32), 4, kernel) * 255
    reference = np.asarray(Image.fromarray(x).resize((32, 24), degrade.KERNELS[kernel]))
    assert np.abs(ours - reference).max() <= 1.01
    if kernel == "area":
        assert ours == pytest.approx(x.reshape(24, 4, 32, 4, 3).mean((1, 3)), abs=1e-3)


def test_exposure_scales_light() -> None:
    x = _float() * 0.8
    assert degrade.expose(x, 0.25) ** degrade.GAMMA == pytest.approx(0.25 * x**degrade.GAMMA, abs=1e-5)
    assert np.array_equal(degrade.expose(x, 1.0), x)


@pytest.mark.parametrize(("shot", "read"), [(0.002, 0.0), (0.0, 0.01), (0.003, 0.01)])
def test_noise_has_the_variance_of_the_model_in_linear_light(shot: float, read: float) -> None:
    for light in (0.2, 0.6):
        flat = np.full((200, 200, 3), light ** (1 / degrade.GAMMA), dtype=np.float32)
        noisy = degrade.sensor_noise(flat, shot, read, np.random.default_rng(0)).astype(np.float64) ** degrade.GAMMA
        assert noisy.mean() == pytest.approx(light, abs=1e-3)
        assert noisy.var() == pytest.approx(shot * light + read**2, rel=0.03)


def test_sharpening_is_an_unsharp_mask() -> None:
    x = _float() * 0.5 + 0.25
    ours = degrade.sharpen(x, 0.5)
    reference = x + 0.5 * (x - ndimage.gaussian_filter(x, (1, 1, 0), mode="mirror"))
    assert np.abs(ours - reference.clip(0, 1)).max() < 3e-3


def test_planes_are_limited_range_bt709() -> None:
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=np.uint8)
    expected = [(235, 128, 128), (16, 128, 128), (63, 102, 240), (32, 240, 118)]  # ITU-R BT.709-6, 8 bits
    for rgb, (y, u, v) in zip(colours, expected, strict=True):
        for plane, value in zip(degrade.to_yuv420(np.tile(rgb, (16, 16, 1))), (y, u, v), strict=True):
            assert set(plane.flat) == {value}
    moving = picture(3, 64, 96)
    reference = av.VideoFrame.from_ndarray(moving, format="rgb24").reformat(
        format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
    )
    difference = np.abs(degrade.to_yuv420(moving)[0].astype(int) - reference.to_ndarray()[:64])
    assert difference.mean() < 1.0  # swscale rounds more coarsely


def test_low_light_darkens_both_sides() -> None:
    make = Degradation(mild=0, low_light=1, noise=1, motion_blur=1, lens_blur=1, sharpening=1, keep=1, frames=3)
    pairs = degrade.degrade_clip(Image.fromarray(picture(6)), 2, make, np.random.default_rng(0))
    low, high = pairs[0]
    bright = degrade.luma(picture(6), "bt709").mean()
    assert abs(float(low.mean()) - float(high.mean())) < 6
    assert high.mean() < bright - 15


def test_a_recording_is_softer_than_the_scene_and_in_place() -> None:
    photo = Image.fromarray(picture(8))
    frames = [degrade.render(photo, Pose(160 + 4 * k, 144), (128, 192)) for k in range(4)]
    recorded = degrade.record(frames, np.random.default_rng(1))
    for scene, seen in zip(frames, recorded, strict=True):
        clean = degrade.luma(scene, "bt709")
        assert [plane.shape for plane in seen] == [(128, 192), (64, 96), (64, 96)]
        assert 0.2 < np.abs(seen[0] - clean).mean() < 12
        assert np.abs(np.diff(seen[0].astype(float))).mean() < np.abs(np.diff(clean)).mean()


def test_recorded_clips_are_reductions_of_their_targets() -> None:
    make = Degradation(mild=1, recorded=1, crf=(1, 2), h265=0, frames=3, keep=1)
    ((low, high),) = degrade.degrade_clip(Image.fromarray(picture(9)), 2, make, np.random.default_rng(2))
    reduced = np.asarray(Image.fromarray(high[0]).resize(low.shape[:0:-1], Image.Resampling.BICUBIC))
    assert np.abs(reduced.astype(int) - low[0]).mean() < 1


def test_narrow_clips_are_not_coded_by_x265() -> None:
    always = Degradation(h265=1.0)
    names = {width: degrade.draw_codec(np.random.default_rng(0), always, width)[0] for width in (48, 64)}
    assert names == {48: "libx264", 64: "libx265"}
