"""vidsr: the same video, only larger.

Names are loaded when they are first used, so that `vidsr --help` need not wait for torch, av and ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidsr.api import upscale as upscale
    from vidsr.errors import VidsrError as VidsrError
    from vidsr.frames import Colour as Colour
    from vidsr.frames import FrameBatch as FrameBatch
    from vidsr.frames import PixelLayout as PixelLayout
    from vidsr.media.probe import VideoInfo as VideoInfo
    from vidsr.media.probe import probe as probe
    from vidsr.media.proof.verify import verify as verify
    from vidsr.model.upscaler import Upscaler as Upscaler
    from vidsr.settings import EncodeSettings as EncodeSettings
    from vidsr.settings import UpscaleSettings as UpscaleSettings

__version__ = "0.1.0"

_HOMES = {
    "Colour": "vidsr.frames",
    "EncodeSettings": "vidsr.settings",
    "FrameBatch": "vidsr.frames",
    "PixelLayout": "vidsr.frames",
    "UpscaleSettings": "vidsr.settings",
    "Upscaler": "vidsr.model.upscaler",
    "VideoInfo": "vidsr.media.probe",
    "VidsrError": "vidsr.errors",
    "probe": "vidsr.media.probe",
    "upscale": "vidsr.api",
    "verify": "vidsr.media.proof.verify",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidsr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:  # for completion
    return sorted(__all__)
