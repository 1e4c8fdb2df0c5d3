"""Procedural textures: road, hedge, sky. All are uint8 and deterministic under their generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.scene.camera import Floats

Bytes = NDArray[np.uint8]

ROAD_LEFT, ROAD_RIGHT = -5.3, 1.8  # metres; our lane's middle is 0
WALL_LEFT, HEDGE_RIGHT = -8.2, 5.4
GROUND_LEFT, GROUND_RIGHT = -9.0, 9.0
HEDGE_HEIGHT = 1.25


@dataclass(frozen=True)
class Texture:
    """A texture along a plane: samples (V, U, C), and metres per texel in (V, U)."""

    samples: Bytes
    texel: tuple[float, float]


def fractal_noise(rng: np.random.Generator, height: int, width: int, cell: int, octaves: int) -> Floats:
    """Smooth noise (height, width) in about -1 to 1; `cell` is the coarsest grain in samples."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        grain = max(1, cell >> octave)
        grid = rng.uniform(-1, 1, (max(2, height // grain), max(2, width // grain))).astype(np.float32)
        grid[-1] = grid[0]  # the first axis is the direction of travel, which wraps
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer)
        weight *= 0.55
    return total


def ground_texture(rng: np.random.Generator, detail: float) -> Texture:
    """Brightness of the road, its marks, kerbs, pavements and lawn; 36 m long, from GROUND_LEFT to GROUND_RIGHT."""
    texel_v, texel_u = 0.015 * detail, 0.005 * detail
    length, width = round(36 / texel_v), round((GROUND_RIGHT - GROUND_LEFT) / texel_u)
    x = GROUND_LEFT + (np.arange(width) + 0.5) * texel_u
    z = (np.arange(length) + 0.5) * texel_v
    image = np.full((length, width), 98.0, np.float32)
    image += 9 * fractal_noise(rng, length, width, max(2, round(1.5 / texel_v)), 5)
    image += 13 * rng.standard_normal(image.shape, np.float32)
    image *= _tyre_tracks(x)
    _draw_repairs(rng, image, texel_v, texel_u)
    paved = (x < ROAD_LEFT - 0.15) | (x > ROAD_RIGHT + 0.15)
    lawn = x > 4.0
    joints = ((z[:, None] % 0.6) < 0.03) | ((np.abs(x)[None, :] % 0.6) < 0.02)
    slabs = 150 + 10 * np.sin(np.floor(z / 0.6) * 12.9)[:, None] * np.sin(np.floor(x / 0.6) * 7.7)[None, :]
    image += (paved & ~lawn) * (slabs - 98 - 62 * joints).astype(np.float32)
    kerb = ((x > ROAD_RIGHT) & (x <= ROAD_RIGHT + 0.15)) | ((x < ROAD_LEFT) & (x >= ROAD_LEFT - 0.15))
    image += (kerb * (70 - 60 * ((z[:, None] % 1.0) < 0.02))).astype(np.float32)
    image[:, lawn] += 22 + 24 * rng.standard_normal((length, int(lawn.sum())), np.float32)
    wear = 0.86 + 0.14 * fractal_noise(rng, length, width, max(2, round(0.4 / texel_v)), 3)
    np.copyto(image, 214 * wear, where=_marks(x, z))
    return Texture(np.clip(image, 0, 255).astype(np.uint8)[:, :, None], (texel_v, texel_u))


def ground_tint(x: Floats) -> Floats:
    """The colour (..., 3) by which the ground's brightness at `x` metres is multiplied."""
    road = np.array([0.99, 1.0, 1.03], np.float32)
    stone = np.array([1.05, 1.0, 0.92], np.float32)
    grass = np.array([0.62, 0.95, 0.38], np.float32)
    paved = (x < ROAD_LEFT) | (x > ROAD_RIGHT)
    lawn = np.clip((x - 3.97) / 0.06, 0, 1)[..., None]
    base = np.where(paved[..., None], stone, road)
    return np.asarray(base + (grass - base) * lawn, np.float32)


def _tyre_tracks(x: NDArray[np.floating]) -> Floats:
    tracks = np.ones_like(x)
    for lane in (0.0, -3.5):
        for side in (-0.75, 0.75):
            tracks -= 0.13 * np.exp(-(((x - lane - side) / 0.28) ** 2))
    return tracks.astype(np.float32)[None, :]


def _marks(x: NDArray[np.floating], z: NDArray[np.floating]) -> NDArray[np.bool_]:
    dashed = (np.abs(x + 1.75) < 0.06)[None, :] & ((z % 12) < 4.5)[:, None]
    edges = (np.abs(x - 1.62) < 0.06) | (np.abs(x + 5.12) < 0.06)
    marks: NDArray[np.bool_] = dashed | edges[None, :]
    return marks


def _draw_repairs(rng: np.random.Generator, image: Floats, texel_v: float, texel_u: float) -> None:
    """Cracks, a patch and manhole covers, burnt into `image`."""
    canvas = Image.new("L", (image.shape[1], image.shape[0]), 128)
    draw = ImageDraw.Draw(canvas)
    for _ in range(26):
        u, v = rng.uniform(0, image.shape[1]), rng.uniform(0.05, 0.9) * image.shape[0]
        path = [(u, v)]
        for _ in range(int(rng.integers(4, 14))):
            u, v = u + rng.normal(0, 0.12) / texel_u, v + abs(rng.normal(0, 0.12)) / texel_v
            path.append((u, v))
        draw.line(path, fill=int(rng.integers(70, 100)), width=max(1, round(0.012 / texel_u)))
    for lane in (-3.2, 0.3):
        u, v = (lane - GROUND_LEFT) / texel_u, rng.uniform(0.2, 0.8) * image.shape[0]
        half_u, half_v = 0.75 / texel_u, rng.uniform(0.8, 2.0) / texel_v
        draw.rectangle((u - half_u, v - half_v, u + half_u, v + half_v), fill=114)
        u, v = (lane + 0.2 - GROUND_LEFT) / texel_u, rng.uniform(0.1, 0.9) * image.shape[0]
        for radius, shade in ((0.36, 96), (0.31, 138), (0.25, 118)):
            draw.ellipse(
                (u - radius / texel_u, v - radius / texel_v, u + radius / texel_u, v + radius / texel_v),
                shade,
            )
    image += np.asarray(canvas, np.float32) - 128


def hedge_texture(rng: np.random.Generator, detail: float) -> Texture:
    """RGBA of a hedge behind iron railings, 36 m long and HEDGE_HEIGHT high; U runs down from the top."""
    texel = 0.012 * detail
    length, height = round(36 / texel), round(HEDGE_HEIGHT / texel)
    leaf = fractal_noise(rng, height, length, max(2, round(0.25 / texel)), 5)
    leaf += 0.5 * rng.standard_normal(leaf.shape, np.float32)
    colour = np.array([58, 92, 40], np.float32) + leaf[:, :, None] * np.array([20, 27, 15], np.float32)
    rgba = np.concatenate([colour, np.full((height, length, 1), 255, np.float32)], axis=2)
    ragged = 0.12 + 0.05 * fractal_noise(rng, 2, length, max(2, round(0.3 / texel)), 3)[0]
    y = np.arange(height)[:, None] * texel
    rgba[:, :, 3] = 255 * (y > ragged[None, :])
    x = np.arange(length)[None, :] * texel
    iron = (((x % 0.15) < 0.025) & (y > 0.2)) | (np.abs(y - 0.35) < 0.02) | (np.abs(y - 1.1) < 0.02)
    rgba[iron] = (44, 48, 52, 255)
    samples = np.clip(rgba, 0, 255).astype(np.uint8)
    return Texture(np.ascontiguousarray(samples.transpose(1, 0, 2)), (texel, texel))


def sky(rng: np.random.Generator, width: int, height: int, horizon: float) -> Bytes:
    """(height, width, 3): sky with clouds above, distant hills and roofs at the horizon."""
    rows = np.clip(np.arange(height, dtype=np.float32) / horizon, 0, 1)[:, None, None]
    high, low = np.array([92, 140, 205], np.float32), np.array([206, 218, 230], np.float32)
    image = high + (low - high) * rows**1.3
    cloud = fractal_noise(rng, height, width, max(2, width // 7), 6)[:, :, None]
    cover = np.clip(cloud * 0.9 + 0.15, 0, 1) * (1 - 0.5 * rows)
    image = image + (np.array([246, 247, 249], np.float32) - image) * cover
    for layer, (tall, tone) in enumerate(((0.10, (168, 186, 204)), (0.06, (138, 158, 160)), (0.03, (104, 124, 108)))):
        grain = max(2, width // (5 + 9 * layer))
        ridge = horizon - height * tall * (0.7 + 0.45 * fractal_noise(rng, 2, width, grain, 5)[0])
        below = np.clip(np.arange(height)[:, None] - ridge[None, :], 0, 1)[:, :, None]
        image += (np.array(tone, np.float32) - image) * below
    soft = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(soft)
