"""Pretrained feature networks: AlexNet below LPIPS, and VGG19 for the perceptual loss.

The wheel of `lpips` holds only LPIPS's linear heads; the networks below them are published by torchvision. They come
from a file of the user, from torch's hub cache, or from the internet, and are never replaced by random weights.
"""

from __future__ import annotations

import hashlib
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.error import URLError
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from vidsr.errors import BadWeights, InputMissing, UnknownModel

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Backbone:
    """A published weights file.

    Attributes:
        name: torchvision's name of the network.
        url: where torchvision publishes it; the eight hexadecimal digits in the file name start its SHA-256.
    """

    name: str
    url: str

    @property
    def file_name(self) -> str:
        """The name of the file, in torch's hub cache too."""
        return self.url.rsplit("/", 1)[1]

    @property
    def digest(self) -> str:
        """The first eight hexadecimal digits of the published file's SHA-256."""
        return self.file_name.rsplit("-", 1)[1].removesuffix(".pth")


ALEXNET = Backbone("alexnet", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth")
VGG19 = Backbone("vgg19", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth")


class BackboneMissing(UnknownModel):
    """The weights are neither in a file, nor in the cache, nor can they be fetched."""


def torchvision_models() -> ModuleType:
    """`torchvision.models`, also beside a torch build without torchvision's compiled operators.

    torchvision registers shape functions for two of them when it is imported, which fails where the operators are
    missing; an empty declaration is enough, since no classification network uses them. Where they are there, a
    declaration before theirs would end the process.
    """
    try:
        import torchvision.models
    except RuntimeError:
        for operator in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                         "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"):  # fmt: skip
            name, schema = operator.split("(", 1)
            torch.library.define(f"torchvision::{name}", f"({schema}")
        import torchvision.models

    return torchvision.models  # type: ignore[no-any-return]


def locate(backbone: Backbone, file: Path | None = None) -> Path:
    """The weights file of a backbone: the user's, the hub cache's, or a fresh download into the cache.

    Raises:
        InputMissing: the user's file does not exist.
        BackboneMissing: no file was given, the cache has none and the internet cannot be reached.
    """
    if file is not None:
        if not file.is_file():
            raise InputMissing(f"{file}: no such file; give {backbone.name}'s weights ({backbone.file_name})")
        return file
    cached = Path(torch.hub.get_dir()) / "checkpoints" / backbone.file_name
    if cached.is_file():
        return cached
    try:
        socket.create_connection((urlsplit(backbone.url).hostname or "", 443), _CONNECT_SECONDS).close()
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(backbone.url, str(cached), backbone.digest, progress=False)
    except (OSError, URLError, RuntimeError) as error:
        raise BackboneMissing(
            f"{backbone.name}'s weights are not here and cannot be fetched ({type(error).__name__}); "
            f"copy {backbone.url} to {cached}, or name the file"
        ) from error
    return cached


def is_published(backbone: Backbone, file: Path) -> bool:
    """Whether a file is the published one, by its SHA-256; figures of another one compare with nobody's."""
    return hashlib.sha256(file.read_bytes()).hexdigest().startswith(backbone.digest)


def _load_features(backbone: Backbone, file: Path) -> dict[str, Tensor]:
    """The tensors `features.*` of a state dict, without the prefix."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        found = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    except Exception as error:  # torch.load raises nearly anything for a file that is no state dict
        raise BadWeights(f"{file} is no state dict of torch; give {backbone.file_name}") from error
    if not found:
        raise BadWeights(f"{file} does not hold the features of {backbone.name}; give {backbone.file_name}")
    return found


def _fill(features: nn.Module, backbone: Backbone, file: Path) -> None:
    """Load every tensor of a feature stack; a missing, surplus or misshapen one is an error."""
    try:
        features.load_state_dict(_load_features(backbone, file), strict=True)
    except RuntimeError as error:
        raise BadWeights(f"{file} does not fit {backbone.name}; give {backbone.file_name}") from error


def _freeze(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def lpips_network(file: Path) -> nn.Module:
    """LPIPS version 0.1 on AlexNet (Zhang et al. 2018), frozen: call with two (N, 3, H, W) in [-1, 1] -> (N, 1, 1, 1).

    Args:
        file: AlexNet's weights as torchvision publishes them. lpips' own `model_path` is for the heads; giving it
            these loads nothing and silently leaves random heads, so it is not used.

    Raises:
        BadWeights: the file is something else.
    """
    models = torchvision_models()
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision with arguments that it deprecates
        network: nn.Module = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    features = models.alexnet(weights=None).features
    _fill(features, ALEXNET, file)
    # lpips cuts AlexNet into net.slice1 ... net.slice5 and keeps torchvision's layer numbers within.
    own = {n.split(".", 2)[2]: t for n, t in network.named_parameters() if n.startswith("net.")}
    for name, tensor in features.state_dict().items():
        own.pop(name).data.copy_(tensor)
    assert not own, f"lpips' AlexNet has other layers than torchvision's: {sorted(own)}"
    return _freeze(network)


def vgg_features(file: Path) -> nn.Module:
    """VGG19 up to conv5_4 before its activation (as ESRGAN, Wang et al. 2018), frozen.

    Call with (N, 3, H, W) normalised by ImageNet's mean and deviation -> (N, 512, H / 16, W / 16).

    Raises:
        BadWeights: the file is not VGG19's.
    """
    build: Callable[..., nn.Module] = torchvision_models().vgg19
    features = build(weights=None).features
    assert isinstance(features, nn.Sequential)
    _fill(features, VGG19, file)
    return _freeze(features[:35])
