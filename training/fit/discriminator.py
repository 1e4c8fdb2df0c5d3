"""Discriminators: the paper's VGG19-style classifier, and a U-Net that judges every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from vidsr.errors import SettingsError

_VGG19 = (2, 2, 4, 4, 4)  # convolutions in each group of VGG19 (Simonyan and Zisserman 2015, table 1 E)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The shape of a discriminator.

    Attributes:
        kind: "vgg19", the paper's: one logit a picture; or "unet", with spectral norm: one logit a pixel.
        channels: feature channels of the first layer; 64 is VGG19's.
        slope: of the leaky ReLU. The paper's "alpha = 8" is read as SRGAN's 0.2.
        hidden: units of the classifier's dense layer, "vgg19" only.
    """

    kind: Literal["vgg19", "unet"] = "vgg19"
    channels: int = 64
    slope: float = 0.2
    hidden: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in ("vgg19", "unet"):
            raise SettingsError(f"discriminator kind is {self.kind!r}; use 'vgg19' or 'unet'")
        if self.channels < 1 or self.hidden < 1 or not 0 <= self.slope < 1:
            raise SettingsError("a discriminator needs channels and hidden of at least 1, and a slope in [0, 1)")


class VggDiscriminator(nn.Module):
    """VGG19's sixteen 3x3 convolutions in five groups, each halving the size, then two dense layers.

    Batch norm after all but the first convolution and leaky ReLU are SRGAN's; adaptive pooling takes any size.
    """

    def __init__(self, config: DiscriminatorConfig, planes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = planes
        for group, count in enumerate(_VGG19):
            width = config.channels * min(2**group, 8)
            for at in range(count):
                layers.append(nn.Conv2d(before, width, 3, padding=1, bias=not layers))
                if len(layers) > 1:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.LeakyReLU(config.slope))
                before = width
                if at == count - 1:
                    layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(before * 16, config.hidden),
            nn.LeakyReLU(config.slope),
            nn.Linear(config.hidden, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, planes, H, W) in [0, 1] -> logits (N, 1)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class UnetDiscriminator(nn.Module):
    """A U-Net with spectral norm (as Real-ESRGAN, Wang et al. 2021): three halvings and back, with skips."""

    def __init__(self, config: DiscriminatorConfig, planes: int) -> None:
        super().__init__()
        c = config.channels
        widths = (c, 2 * c, 4 * c, 8 * c)
        self.act = nn.LeakyReLU(config.slope)
        self.head = nn.Conv2d(planes, c, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False)) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 3, padding=1, bias=False)) for b, a in reversed(list(pairwise(widths)))
        )
        self.tail = nn.Sequential(
            spectral_norm(nn.Conv2d(c, c, 3, padding=1, bias=False)),
            nn.LeakyReLU(config.slope),
            nn.Conv2d(c, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, planes, H, W) in [0, 1], sides of at least 8 -> logits (N, 1, H, W)."""
        x = self.act(self.head(x))
        skips: list[Tensor] = []
        for down in self.down:
            skips.append(x)
            x = self.act(down(x))
        for up in self.up:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = self.act(up(x)) + skip
        logits: Tensor = self.tail(x)
        return logits


def build_discriminator(config: DiscriminatorConfig, planes: int) -> nn.Module:
    """The discriminator of a configuration for pictures of `planes` channels (1 luma, 3 RGB).

    Call it with (N, planes, H, W) in [0, 1]; it returns logits, (N, 1) or (N, 1, H, W).
    """
    return VggDiscriminator(config, planes) if config.kind == "vgg19" else UnetDiscriminator(config, planes)
