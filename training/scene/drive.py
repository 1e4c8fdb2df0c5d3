"""A short drive through the street: high-resolution truth, and the dashcam clip that a camera made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.console import write_file
from training.footage import SOUND_RATE, Plane, Planes, PlaneWriter, rgb_to_planes
from training.scene.lettering import TextBox, burn_overlay
from training.scene.street import Street
from vidsr.errors import SettingsError

START = datetime(2031, 5, 14, 8, 12, 58)
SPEED = 9.2  # metres per second
NOISE = 1.6  # of 255, of every sample


@dataclass(frozen=True)
class DriveSpec:
    """What is filmed; the same spec gives the same pictures.

    Attributes:
        seconds: length, above 0.
        width, height: size of the truth in pixels.
        rate: frames per second.
        seed: chooses houses, trees, plates, paints and noise.

    Raises:
        SettingsError: a value out of its range.
    """

    seconds: float = 4.0
    width: int = 1280
    height: int = 720
    rate: int = 30
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.seconds * self.rate < math.inf:
            raise SettingsError(f"{self.seconds} s at {self.rate} frames/s has no frame or no end; give other seconds")
        if not (64 <= self.width <= 7680 and 36 <= self.height <= 4320):
            raise SettingsError(f"the drive cannot be {self.width}x{self.height}; use 64x36 to 7680x4320")

    @property
    def frames(self) -> int:
        """The number of frames."""
        return int(self.seconds * self.rate)


@dataclass(frozen=True)
class TruthFrame:
    """One rendered frame: (H, W, 3) RGB, and the texts that are on it."""

    picture: Plane
    texts: tuple[TextBox, ...]


@dataclass(frozen=True)
class DriveFiles:
    """What `write_drive` wrote."""

    truth: Path
    clip: Path
    labels: Path


def render(spec: DriveSpec) -> Iterator[TruthFrame]:
    """The truth, frame by frame."""
    street = Street(spec.width, spec.height, spec.seed)
    for number in range(spec.frames):
        time = number / spec.rate
        image, plate = street.picture(time, SPEED)
        overlay = burn_overlay(image, overlay_text(time))
        texts = (overlay,) if plate is None else (plate, overlay)
        yield TruthFrame(np.asarray(image), texts)


def overlay_text(time: float) -> str:
    """What the camera burns into the picture after `time` seconds: the clock, the speed and its name."""
    clock = START + timedelta(seconds=int(time))
    speed = round(3.6 * SPEED + 2 * np.sin(time))
    return f"{clock:%Y-%m-%d %H:%M:%S}  {speed} KM/H  CAM 1"


def engine_sound(seconds: float, seed: int) -> NDArray[np.float32]:
    """A four-cylinder engine at changing speed, with road noise: mono samples in -1 to 1 at SOUND_RATE."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE
    firing = 62 + 9 * np.sin(2 * np.pi * time / 5) + 3 * np.sin(2 * np.pi * time / 1.7)
    phase = 2 * np.pi * np.cumsum(firing) / SOUND_RATE
    engine = sum(np.sin(k * phase / 2 + k * k) / k**1.1 for k in range(1, 15))
    road = np.convolve(rng.standard_normal(len(time)), np.hanning(48) / 24, mode="same")
    return np.clip(0.11 * np.asarray(engine) + 0.05 * road, -1, 1).astype(np.float32)


def dashcam_frame(picture: Plane, scale: int, rng: np.random.Generator) -> Planes:
    """What a camera of 1 / scale the resolution sees: reduced (bicubic, a = -0.5), with noise of deviation NOISE."""
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    y, u, v = (
        np.rint(plane + NOISE * rng.standard_normal(plane.shape, np.float32)).clip(0, 255).astype(np.uint8)
        for plane in rgb_to_planes(np.asarray(small))
    )
    return y, u, v


def write_drive(folder: Path, spec: DriveSpec, scale: int = 2, crf: int = 23) -> DriveFiles:
    """Render the drive and write the truth, the dashcam clip and the labels into `folder`.

    Raises:
        SettingsError: the size is not a multiple of 2 * scale, or the scale is none.
    """
    if scale not in (2, 4):
        raise SettingsError(f"the drive can be filmed at 1/2 or 1/4 of its size, not 1/{scale}; use --scale 2 or 4")
    if spec.width % (2 * scale) or spec.height % (2 * scale):
        raise SettingsError(f"{spec.width}x{spec.height} is not a multiple of {2 * scale}; choose sides that are")
    folder.mkdir(parents=True, exist_ok=True)
    files = DriveFiles(folder / "truth.mp4", folder / "dashcam.mp4", folder / "labels.json")
    rng = np.random.default_rng(spec.seed)
    rate = Fraction(spec.rate)
    small = (spec.width // scale, spec.height // scale)
    lossless, coded = {"qp": "0", "preset": "ultrafast"}, {"crf": str(crf), "preset": "fast", "g": str(spec.rate)}
    sound = engine_sound(spec.frames / spec.rate, spec.seed)
    texts = []
    with (
        PlaneWriter(files.truth, (spec.width, spec.height), rate, lossless) as truth,
        PlaneWriter(files.clip, small, rate, coded, sound) as clip,
    ):
        for frame in render(spec):
            truth.write(rgb_to_planes(frame.picture))
            clip.write(dashcam_frame(frame.picture, scale, rng))
            texts.append([text.as_dict() for text in frame.texts])
    write_file(files.labels, json.dumps({"frames": texts}).encode())
    return files


def read_labels(path: Path) -> list[tuple[TextBox, ...]]:
    """The texts on each frame, from a labels.json."""
    frames = json.loads(path.read_text())["frames"]
    return [tuple(TextBox.from_dict(text) for text in texts) for texts in frames]
