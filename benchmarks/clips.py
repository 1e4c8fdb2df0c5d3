"""The videos that are measured: real road clips where they are beside the checkout, else a rendered drive."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.footage import Planes, PlaneWriter, read_planes, resize
from training.scene.drive import DriveSpec, write_drive

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ROAD = {540: SHARED / "video" / "drive-960x540.mp4", 1080: SHARED / "video" / "thinkware-1080p-gps.mp4"}
RATE = Fraction(25)


def road(height: int) -> Path | None:
    """The real road clip of 540 or 1080 lines, or None."""
    return ROAD[height] if height in ROAD and ROAD[height].is_file() else None


def driving(folder: Path, height: int, frames: int) -> Path:
    """A clip of so many frames: of the real road clip, coded anew at CRF 18, or of a rendered drive."""
    path = folder / f"drive-{height}-{frames}.mp4"
    if path.exists():
        return path
    source = road(height)
    if source is None:
        size = (height * 16 // 9 // 4 * 4, height)
        spec = DriveSpec(min(frames, 100) / 25, *size, rate=25)
        source = write_drive(folder / f"rendered-{height}", spec).truth
    return _write(path, itertools.islice(itertools.cycle(list(read_planes(source, 0, frames))), frames), "18")


def parked(folder: Path, height: int, frames: int) -> Path:
    """The first frame of the clip again and again, without loss, with a clock in its corner that ticks each second."""
    still = next(read_planes(driving(folder, height, frames)))
    return _write(folder / f"parked-{height}-{frames}.mp4", (_clock(still, k // 25) for k in range(frames)), "0")


def endless(folder: Path, seconds: int) -> Path:
    """A tiny clip of any length."""
    planes = [resize(p, 160, 90) for p in read_planes(driving(folder, 540, 50))]
    return _write(folder / f"tiny-{seconds}.mp4", itertools.islice(itertools.cycle(planes), seconds * 25), "23")


def _clock(planes: Planes, second: int) -> Planes:
    luma = Image.fromarray(planes[0])
    width, height = luma.size
    place = (width // 48, height - height // 16)
    draw = ImageDraw.Draw(luma)
    draw.rectangle((*place, place[0] + width // 4, place[1] + height // 24), fill=16)
    draw.text(place, f"2026-01-01 12:{second // 60:02}:{second % 60:02}", fill=235, font_size=height // 28)
    return np.asarray(luma), planes[1], planes[2]


def _write(path: Path, frames: Iterable[Planes], crf: str) -> Path:
    iterator = iter(frames)
    first = next(iterator)
    height, width = first[0].shape
    with PlaneWriter(path, (width, height), RATE, {"crf": crf, "preset": "veryfast"}) as writer:
        for planes in itertools.chain([first], iterator):
            writer.write(planes)
    return path
