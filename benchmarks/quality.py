"""How much better than the bicubic an enlarged road is: PSNR of luma, of clips coded at CRF 23."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.clips import SHARED
from benchmarks.peers import make_peer
from training.footage import Planes, PlaneWriter, crop_to_multiple, planes_to_rgb, read_planes, resize, rgb_to_planes
from training.measure.coded import enlarge_luma
from training.measure.metrics import psnr_inside
from vidsr.model.upscaler import Upscaler

CLIPS = ("drive-960x540.mp4", "drive-yellow.mp4")
BORDER = 8

Luma = Callable[[Planes], np.ndarray]


@cache
def gain(kind: str, scale: int, model: str, frames: int) -> float | None:
    """Decibels over the bicubic, mean over clips; None where the clips are not here.

    Args:
        kind: vidsr, lanczos, or a peer.
        scale: 2 or 4.
        model: for vidsr and the plain loop.
        frames: per clip.

    Raises:
        PeerMissing: the peer cannot run here.
    """
    paths = [SHARED / "video" / name for name in CLIPS]
    if not all(path.is_file() for path in paths):
        return None
    enlarge = _enlarger(kind, scale, model)
    tasks = (task for path in paths for task in _tasks(path, scale, frames))
    return float(np.mean([psnr_inside(enlarge(s), t, BORDER) - plain for t, s, plain in tasks]))


@cache
def _tasks(path: Path, scale: int, frames: int) -> list[tuple[np.ndarray, Planes, float]]:
    """The luma of each true frame, the coded small frame, and the bicubic's PSNR; the same for all that enlarge."""
    bicubic = _resampler(scale, Image.Resampling.BICUBIC)
    truth = [crop_to_multiple(planes, 4 * scale) for planes in read_planes(path, 50, frames)]
    return [(t[0], s, psnr_inside(bicubic(s), t[0], BORDER)) for t, s in zip(truth, _coded(truth, scale), strict=True)]


def _coded(truth: list[Planes], scale: int) -> list[Planes]:
    height, width = truth[0][0].shape
    size = (width // scale, height // scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.mp4"
        with PlaneWriter(path, size, Fraction(25), {"crf": "23"}) as writer:
            for planes in truth:
                writer.write(resize(planes, *size))
        return list(read_planes(path))


def _resampler(scale: int, kernel: Image.Resampling) -> Luma:
    return lambda planes: resize(planes, planes[0].shape[1] * scale, planes[0].shape[0] * scale, kernel)[0]


def _enlarger(kind: str, scale: int, model: str) -> Luma:
    if kind == "lanczos":
        return _resampler(scale, Image.Resampling.LANCZOS)
    if kind != "vidsr":
        peer = make_peer(kind, scale, model)
        return lambda planes: rgb_to_planes(peer(planes_to_rgb(planes)))[0]
    upscaler = Upscaler(model, "auto", scale)
    return lambda planes: enlarge_luma(upscaler, [planes])[0]
