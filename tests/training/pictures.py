"""Small photographs for the tests of training: smooth shapes and textures, the same in every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(seed: int, height: int = 288, width: int = 320) -> NDArray[np.uint8]:
    """(height, width, 3): overlapping gratings and bars with edges in many directions."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(float)
    layers = np.zeros((height, width, 3))
    for _ in range(6):
        angle, period = random.uniform(0, np.pi), random.uniform(5, 60)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
        wave = np.sign(wave) if random.random() < 0.4 else wave
        layers += wave[..., None] * random.uniform(5, 30, 3)
    return np.clip(128 + layers, 0, 255).astype(np.uint8)


def folder_of(path: Path, count: int) -> Path:
    """`count` PNG pictures in a new folder."""
    path.mkdir()
    for seed in range(count):
        Image.fromarray(picture(seed)).save(path / f"{seed}.png")
    return path
