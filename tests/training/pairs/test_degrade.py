"""Each step of the degradation against a reference."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.training.pictures import picture
from training.pairs import degrade
from training.pairs.degrade import Degradation, Pose


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
    assert np.average(np.arange(120), weights=light) == pytest.approx(60, abs=0.1), "it is centred on the target"


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
    point = np.zeros((33, 33, 1), dtype=np.float32)
    point[16, 16] = 1
    slanted = degrade.blur(point, (2.0, 0.5), math.pi / 4)[..., 0]
    assert slanted[18, 18] / slanted[16, 16] == pytest.approx(math.exp(-0.5 * 8 / 2.0**2))
    assert slanted[18, 14] / slanted[16, 16] == pytest.approx(math.exp(-0.5 * 8 / 0.5**2), rel=0.01)


@pytest.mark.parametrize("kernel", sorted(degrade.KERNELS))
def test_reduction_is_pillows(kernel: str) -> None:
    x = picture(2, 96, 128)
    ours = degrade.downscale(np.asarray(x / 255, dtype=np.float32), 4, kernel) * 255
    reference = np.asarray(Image.fromarray(x).resize((32, 24), degrade.KERNELS[kernel]))
    assert np.abs(ours - reference).max() <= 1.01
    if kernel == "area":
        assert ours == pytest.approx(x.reshape(24, 4, 32, 4, 3).mean((1, 3)), abs=1e-3)
    edge = np.zeros((96, 128, 3), dtype=np.float32)
    edge[:, 60:] = 1
    small = degrade.downscale(edge, 4, kernel)
    assert small.min() >= 0 and small.max() <= 1, "light has no power of less than none"


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


@pytest.mark.parametrize(
    ("step", "contrast", "light"),
    [("motion_blur", 0.98, 1), ("lens_blur", 0.98, 1), ("low_light", 0.8, 0.8), ("noise", 1.03, 1),
     ("sharpening", 1.03, 1)],
)  # fmt: skip
def test_each_step_of_a_camera_is_seen_in_its_picture_and_only_light_in_the_target(
    step: str, contrast: float, light: float
) -> None:
    photo = Image.fromarray(picture(4))
    poses = [Pose(150, 140), Pose(162, 149)]
    large = [degrade.render(photo, pose, (96, 128)) for pose in poses]
    never = Degradation(motion_blur=0, lens_blur=0, low_light=0, noise=0, sharpening=0)
    found = []
    for made in (never, replace(never, **{step: 1.0})):  # type: ignore[arg-type]
        clips = [degrade._camera(photo, poses, large, 2, made, np.random.default_rng(seed)) for seed in range(8)]
        targets, small = (np.asarray(side, dtype=float) for side in zip(*clips, strict=True))
        found.append(
            (
                np.abs(np.diff(small, axis=-3)).mean() + np.abs(np.diff(small, axis=-2)).mean(),
                targets.mean(),
                small.mean(),
            )
        )
    base, with_it = np.array(found)
    assert with_it[0] < base[0] * contrast if contrast < 1 else with_it[0] > base[0] * contrast
    assert with_it[1] < base[1] * light if light < 1 else with_it[1] == base[1]
    assert with_it[2] == pytest.approx(with_it[1], rel=0.03), "both are as bright"


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
    details = []
    for recorded in (1.0, 0.0):
        make = Degradation(mild=1, recorded=recorded, crf=(1, 2), h265=0, frames=3, keep=3, turning=0)
        pairs = degrade.degrade_clip(Image.fromarray(picture(9)), 2, make, np.random.default_rng(2))
        assert len({high.tobytes() for _, high in pairs}) == 3, "each frame once"
        for low, high in pairs:
            assert low.shape[1] % 16 == low.shape[2] % 16 == 0, "whole macroblocks"
            reduced = np.asarray(Image.fromarray(high[0]).resize(low.shape[:0:-1], Image.Resampling.BICUBIC))
            assert not recorded or np.abs(reduced.astype(int) - low[0]).mean() < 1
        details.append(np.mean([np.abs(np.diff(high.astype(float))).mean() for _, high in pairs]))
    assert details[0] < 0.98 * details[1], "a recorded target is softer than the photograph"


def test_narrow_clips_are_not_coded_by_x265() -> None:
    always = Degradation(h265=1.0)
    drawn = {width: degrade.draw_codec(np.random.default_rng(0), always, width) for width in (48, 64)}
    assert {width: name for width, (name, _) in drawn.items()} == {48: "libx264", 64: "libx265"}
    assert int(drawn[64][1]["crf"]) == int(drawn[48][1]["crf"]) + 4
