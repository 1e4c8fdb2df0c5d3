"""What others do, as one function for a picture: RGB uint8 (H, W, 3) -> the same, `scale` times larger."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.clips import SHARED
from vidsr.model.colour import seen_luma
from vidsr.model.registry import find_model
from vidsr.model.upscaler import find_device
from vidsr.model.weights import load_weights

Picture = NDArray[np.uint8]
Enlarge = Callable[[Picture], Picture]
FSRCNN = SHARED / "peers" / "fsrcnn_tf"
REALESR = SHARED / "peers" / "realesr_ncnn"


class PeerMissing(Exception):
    """A peer cannot run here; the message says why."""


def make_peer(kind: str, scale: int, model: str) -> Enlarge:
    """A peer by name: fsrcnn, realesr, or plain (`model` in an ordinary PyTorch script).

    Raises:
        PeerMissing: its package or its weights are not here.
    """
    return {"fsrcnn": _fsrcnn, "realesr": _realesr}[kind](scale) if kind != "plain" else _plain(scale, model)


def _need(package: str, *files: Path) -> None:
    if importlib.util.find_spec(package) is None:
        raise PeerMissing(f"the package {package} is not installed (pip install {package})")
    for file in files:
        if not file.exists():
            raise PeerMissing(f"{file.name} is not in ../shared/data/peers")


def _fsrcnn(scale: int) -> Enlarge:
    """FSRCNN through OpenCV's dnn_superres."""
    weights = FSRCNN / f"FSRCNN_x{scale}.pb"
    _need("cv2", weights)
    import cv2

    if not hasattr(cv2, "dnn_superres"):
        raise PeerMissing("OpenCV is installed without its contrib modules (docs/performance.md says how to get them)")
    network: Any = cv2.dnn_superres.DnnSuperResImpl_create()  # type: ignore[attr-defined, unused-ignore]
    network.readModel(str(weights))
    network.setModel("fsrcnn", scale)
    return lambda rgb: np.ascontiguousarray(network.upsample(np.ascontiguousarray(rgb[..., ::-1]))[..., ::-1])


def _realesr(scale: int) -> Enlarge:
    """realesr-animevideov3 through ncnn on the CPU."""
    weights = REALESR / f"models__realesr-animevideov3-x{scale}.param"
    _need("ncnn", weights)
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = torch.get_num_threads()
    network.load_param(str(weights))
    network.load_model(str(weights.with_suffix(".bin")))

    def enlarge(rgb: Picture) -> Picture:
        height, width = rgb.shape[:2]
        pixels = ncnn.Mat.from_pixels(np.ascontiguousarray(rgb), ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        pixels.substract_mean_normalize([], [1 / 255] * 3)
        extractor = network.create_extractor()
        extractor.input("data", pixels)
        large = np.array(extractor.extract("output")[1]).transpose(1, 2, 0)
        return np.asarray(np.rint(large * 255).clip(0, 255), np.uint8)

    return enlarge


def _plain(scale: int, model: str) -> Enlarge:
    """The generator as most scripts run one: NCHW float32, one frame at a time, as it was trained, nothing folded; on
    the GPU where there is one."""
    device = find_device("auto")
    generator = load_weights(find_model(model, scale).path).to(device)
    luma = generator.config.colour == "luma"
    weights = torch.tensor([0.2126, 0.7152, 0.0722], device=device).reshape(1, 3, 1, 1)
    gain, offset = seen_luma(1)

    @torch.no_grad()
    def enlarge(rgb: Picture) -> Picture:
        x = torch.from_numpy(rgb).to(device).permute(2, 0, 1).unsqueeze(0).float() / 255
        if luma:
            y = (x * weights).sum(1, keepdim=True)
            colour = F.interpolate(x - y, scale_factor=scale, mode="bicubic", align_corners=False)
            x = (generator(y * gain + offset) - offset) / gain + colour
        else:
            x = generator(x)
        large: Picture = (x.clamp(0, 1) * 255).round().byte().squeeze(0).permute(1, 2, 0).cpu().numpy()
        return large

    return enlarge
