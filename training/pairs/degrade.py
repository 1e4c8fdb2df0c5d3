"""Coded training pairs: photographs become short moving clips, pass a camera's optics, sensor and processing, are
reduced, and are coded with real x264 or x265; the decoded luma is the input and the clean frame's luma the target.

Milder than Real-ESRGAN's second-order degradation: most clips are only reduced and coded ("mild"), most of those
after having been recorded, so that the target is itself footage; the rest pass the whole chain. `pairs.bank` makes
many such clips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from training.pairs.data import Pixels, luma
from training.pairs.data import planes as generator_planes
from vidsr.settings import X265_LEAST_WIDTH

# `training.footage` is imported where it is called: a machine that trains from a finished bank needs no PyAV.
if TYPE_CHECKING:
    from training.footage import Planes

Picture = NDArray[np.float32]  # (H, W, 3) RGB in [0, 1]
GAMMA = 2.2
# Of the noise in linear light (`sensor_noise`). Together they have a deviation of 15 of 255 in a middle grey.
MOST_SHOT_NOISE, MOST_READ_NOISE = 0.012, 6 / 255
_SMALLEST = 192  # of a frame's sides; photographs have at least 256
KERNELS = {
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Degradation:
    """What happens to a clip; ranges are uniform, probabilities are per clip.

    Attributes:
        frames, keep: frames coded, and how many of them, drawn at random, become pairs.
        largest: (height, width) of the large frames at most.
        speed: pan, large pixels per frame at most.
        turning: probability that the path also zooms and rotates, with sub-pixel poses.
        mild: probability that nothing but reduction and coding happens.
        recorded: probability that a mild clip is first what a camera records of it, softened and coded; the decoded
            frames are then the target, as they are where footage that exists is reduced.
        motion_blur, lens_blur, low_light, noise, sharpening: probabilities of each step in the other clips.
        crf: constant rate factors of x264; x265's are 4 higher.
        h265: probability of x265.
    """

    frames: int = 7
    keep: int = 3
    largest: tuple[int, int] = (320, 448)
    speed: float = 12.0
    turning: float = 0.3
    mild: float = 0.75
    recorded: float = 0.7
    motion_blur: float = 0.3
    lens_blur: float = 0.4
    low_light: float = 0.25
    noise: float = 0.8
    sharpening: float = 0.4
    crf: tuple[int, int] = (18, 30)
    h265: float = 0.05


@dataclass(frozen=True)
class Pose:
    """Where a frame lies in the photograph: its centre in pixels, zoom (> 1 enlarges) and rotation in radians."""

    x: float
    y: float
    zoom: float = 1.0
    angle: float = 0.0


def camera_path(
    random: np.random.Generator, photo: tuple[int, int], frame: tuple[int, int], steps: int, speed: float, turning: bool
) -> list[Pose]:
    """Poses of a camera that pans over a photograph, and zooms and rotates if it is turning.

    Args:
        random: where the path comes from.
        photo, frame: (height, width).
        steps: poses.
        speed: pixels per step at most; less where the photograph has no room.
        turning: without it all poses lie on whole pixels, so that targets stay as sharp as the photograph.

    Returns:
        `steps` poses. Every frame of an untilted path lies inside the photograph.
    """
    room = np.array([photo[1] - frame[1], photo[0] - frame[0]], dtype=float)  # x, y
    heading, pace = random.uniform(0, 2 * math.pi), random.uniform(0, speed) * (steps - 1)
    travel = np.clip(pace * np.array([math.cos(heading), math.sin(heading)]), -room, room)
    start = np.where(travel < 0, -travel, 0) + random.uniform(0, 1, 2) * (room - np.abs(travel))
    growth, spin = random.uniform(-0.02, 0.02), random.uniform(-0.008, 0.008)
    poses = []
    for step in range(steps):
        corner = start + travel * (step / max(steps - 1, 1))
        if not turning:
            corner = np.rint(corner)
        x, y = corner + np.array([frame[1], frame[0]]) / 2
        poses.append(Pose(x, y, 1.04 + growth * step, spin * step) if turning else Pose(x, y))
    return poses


def render(photo: Image.Image, pose: Pose, frame: tuple[int, int]) -> Pixels:
    """What a camera at a pose sees: (height, width, 3) uint8, bicubic, exact on whole pixels."""
    h, w = frame
    cos, sin = math.cos(pose.angle) / pose.zoom, math.sin(pose.angle) / pose.zoom
    matrix = (cos, -sin, pose.x - cos * w / 2 + sin * h / 2, sin, cos, pose.y - sin * w / 2 - cos * h / 2)
    if pose.zoom == 1.0 and pose.angle == 0.0 and matrix[2] == int(matrix[2]) and matrix[5] == int(matrix[5]):
        left, top = int(matrix[2]), int(matrix[5])
        return np.asarray(photo.crop((left, top, left + w, top + h)))
    return np.asarray(photo.transform((w, h), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC))


def between(a: Pose, b: Pose, t: float) -> Pose:
    """The pose a part t of the way from a to b."""
    return Pose(*(p + (q - p) * t for p, q in zip(astuple(a), astuple(b), strict=True)))


def motion_blur(photo: Image.Image, poses: Sequence[Pose], at: int, frame: tuple[int, int], shutter: float) -> Picture:
    """The mean of 7 exposures centred on pose `at`, over `shutter` of a frame interval; linear light."""
    other = poses[at + 1] if at + 1 < len(poses) else poses[at - 1]
    seen = [render(photo, between(poses[at], other, shutter * (i / 6 - 0.5)), frame) for i in range(7)]
    light = np.mean([(s.astype(np.float32) / 255) ** GAMMA for s in seen], axis=0)
    return np.asarray(light ** (1 / GAMMA), dtype=np.float32)


def gaussian_kernel(sigma: tuple[float, float], angle: float) -> torch.Tensor:
    """An anisotropic Gaussian, normalised; sigma along and across `angle`, in pixels."""
    radius = max(1, math.ceil(3 * max(sigma)))
    grid = torch.arange(-radius, radius + 1, dtype=torch.float32)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    kernel = torch.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2))
    return kernel / kernel.sum()


def blur(picture: Picture, sigma: tuple[float, float], angle: float = 0.0) -> Picture:
    """Convolve with an anisotropic Gaussian, borders reflected."""
    kernel = gaussian_kernel(sigma, angle)
    radius = kernel.shape[0] // 2
    x = F.pad(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None], (radius,) * 4, mode="reflect")
    y = F.conv2d(x, kernel.expand(picture.shape[2], 1, *kernel.shape), groups=picture.shape[2])
    return np.asarray(y[0].permute(1, 2, 0).numpy())


def downscale(picture: Picture, scale: int, kernel: str) -> Picture:
    """Reduce each channel by a whole factor with one of Pillow's antialiased kernels."""
    h, w = picture.shape[:2]
    size = (w // scale, h // scale)
    channels = [Image.fromarray(np.ascontiguousarray(c)) for c in picture.transpose(2, 0, 1)]
    small = np.stack([np.asarray(c.resize(size, KERNELS[kernel])) for c in channels], axis=-1)
    return np.asarray(small.clip(0, 1), dtype=np.float32)


def expose(picture: Picture, gain: float) -> Picture:
    """Scale the light."""
    return np.asarray((picture * gain ** (1 / GAMMA)).clip(0, 1), dtype=np.float32)


def sensor_noise(picture: Picture, shot: float, read: float, random: np.random.Generator) -> Picture:
    """Poisson-Gaussian noise in linear light, of variance shot * light + read**2."""
    light = picture.astype(np.float64) ** GAMMA
    noise = random.standard_normal(picture.shape) * np.sqrt(shot * light + read**2)
    return np.asarray(np.clip(light + noise, 0, 1) ** (1 / GAMMA), dtype=np.float32)


def sharpen(picture: Picture, amount: float) -> Picture:
    """Unsharp mask of a deviation of one pixel, as camera processors apply it."""
    return np.asarray((picture + amount * (picture - blur(picture, (1.0, 1.0)))).clip(0, 1), dtype=np.float32)


def to_yuv420(picture: Pixels) -> Planes:
    """(H, W, 3) RGB -> 8-bit limited-range BT.709 planes; chroma is the mean of 2 x 2."""
    rgb = picture.astype(np.float64)
    y = luma(picture, "bt709")
    full = (y - 16.0) * (255.0 / 219.0)
    h, w = y.shape
    planes = [y]
    for channel, span in ((2, 1.8556), (0, 1.5748)):  # BT.709-6, 3.3: (B - Y) / 1.8556, (R - Y) / 1.5748
        c = 128.0 + (rgb[..., channel] - full) / span * (224.0 / 255.0)
        planes.append(c.reshape(h // 2, 2, w // 2, 2).mean((1, 3)))
    y8, u8, v8 = (np.rint(plane).clip(0, 255).astype(np.uint8) for plane in planes)
    return y8, u8, v8


def draw_codec(random: np.random.Generator, degradation: Degradation, width: int) -> tuple[str, dict[str, str]]:
    """An encoder and its options for frames of so many pixels a line."""
    crf = int(random.integers(degradation.crf[0], degradation.crf[1] + 1))
    preset = str(random.choice(["veryfast", "fast", "medium", "medium"]))
    if random.random() < degradation.h265 and width >= X265_LEAST_WIDTH:
        quiet = "log-level=none:pools=none:frame-threads=1"
        return "libx265", {"crf": str(crf + 4), "preset": "veryfast", "x265-params": quiet}
    return "libx264", {"crf": str(crf), "preset": preset}


def degrade_clip(
    photo: Image.Image, scale: int, degradation: Degradation, random: np.random.Generator
) -> list[tuple[Pixels, Pixels]]:
    """One coded clip over a photograph.

    Returns:
        (small (1, h, w), large (1, h * scale, w * scale)) luma of the kept frames.
    """
    from training.footage import code, resize

    step = 16 * scale  # whole macroblocks: x264 is not deterministic in the bytes with which it fills others
    share = random.uniform(0.7, 0.9)
    height, width = (
        max(min(int(side * share), most), _SMALLEST) // step * step
        for side, most in zip((photo.height, photo.width), degradation.largest, strict=True)
    )
    frame = height, width
    turning = random.random() < degradation.turning
    poses = camera_path(random, (photo.height, photo.width), frame, degradation.frames, degradation.speed, turning)
    large = [render(photo, pose, frame) for pose in poses]
    if random.random() >= degradation.mild:
        large, small = _camera(photo, poses, large, scale, degradation, random)
        targets, planes = [generator_planes(f, "luma", "bt709")[0] for f in large], [to_yuv420(f) for f in small]
    elif random.random() < degradation.recorded:
        recorded = record(large, random)
        targets, planes = [f[0] for f in recorded], [resize(f, width // scale, height // scale) for f in recorded]
    else:
        kernel = str(random.choice(list(KERNELS), p=[0.7, 0.15, 0.05, 0.1]))
        size = (width // scale, height // scale)
        small = [np.asarray(Image.fromarray(f).resize(size, KERNELS[kernel])) for f in large]
        targets, planes = [generator_planes(f, "luma", "bt709")[0] for f in large], [to_yuv420(f) for f in small]
    coded = code(planes, *draw_codec(random, degradation, width // scale))
    kept = sorted(random.choice(len(poses), degradation.keep, replace=False))
    return [(coded[k][0][None], np.ascontiguousarray(targets[k][None])) for k in kept]


def record(frames: Sequence[Pixels], random: np.random.Generator) -> list[Planes]:
    """What a camera makes of clean frames (H, W, 3): softened by its lens, coded well, and decoded."""
    from training.footage import code

    sigma = random.uniform(0.2, 0.9)
    soft = [blur(np.asarray(f / 255, dtype=np.float32), (sigma, sigma)) for f in frames]
    planes = [to_yuv420(np.asarray(np.rint(f * 255).clip(0, 255), dtype=np.uint8)) for f in soft]
    return code(planes, "libx264", {"crf": str(int(random.integers(16, 26))), "preset": "veryfast"})


def _camera(
    photo: Image.Image,
    poses: list[Pose],
    large: list[Pixels],
    scale: int,
    degradation: Degradation,
    random: np.random.Generator,
) -> tuple[list[Pixels], list[Pixels]]:
    """(clean large frames, degraded small frames) of a clip that passes the whole camera."""

    def happens(chance: float) -> bool:
        return bool(random.random() < chance)

    frame = large[0].shape[0], large[0].shape[1]
    shutter = random.uniform(0.2, 0.6) if happens(degradation.motion_blur) else 0.0
    widths = random.uniform(0.3, 0.5 * scale), random.uniform(0.3, 0.5 * scale)
    sigma = widths if happens(degradation.lens_blur) else None
    angle = random.uniform(0, math.pi)
    gain = random.uniform(0.1, 0.5) if happens(degradation.low_light) else 1.0
    noisy = happens(degradation.noise)
    shot, read = MOST_SHOT_NOISE * random.random() ** 2, MOST_READ_NOISE * random.random() ** 2  # mostly little
    amount = random.uniform(0.2, 0.6) if happens(degradation.sharpening) else 0.0
    kernel = str(random.choice(list(KERNELS), p=[0.45, 0.3, 0.15, 0.1]))
    targets, small = [], []
    for at, clean in enumerate(large):
        target = expose(np.asarray(clean / 255, dtype=np.float32), gain)
        seen = expose(motion_blur(photo, poses, at, frame, shutter), gain) if shutter else target
        seen = blur(seen, sigma, angle) if sigma else seen
        seen = downscale(seen, scale, kernel)
        seen = sensor_noise(seen, shot, read, random) if noisy else seen
        seen = sharpen(seen, amount) if amount else seen
        targets.append(np.rint(target * 255).astype(np.uint8))
        small.append(np.rint(seen * 255).astype(np.uint8))
    return targets, small
