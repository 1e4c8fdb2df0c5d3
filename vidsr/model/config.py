"""GeneratorConfig: the shape of a generator, as stored in its weights file. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidsr.errors import SettingsError


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a generator; stored in every weights file.

    Attributes:
        scale: 2 or 4.
        blocks: residual blocks, or convolutions of a plain body. 0 is allowed.
        channels: feature channels.
        colour: "rgb" computes on three channels; "luma" on Y alone, chroma is then resampled (no colour shift
            by construction, and 4:2:0 chroma has no detail to learn).
        norm: "batch" as in the paper, or "none".
        body: "residual" blocks as in the paper, or a "plain" stack of convolutions.
        branches: plain body only: each 3x3 convolution is trained with parallel 1x1 and identity branches,
            which `fold` merges (RepVGG, Ding et al. 2021).
        tail: "srgan" (pixel shuffle by 2, PReLU, repeated, then a convolution at full size) or "lr" (one
            convolution and one pixel shuffle, all work at the small size).
        skip: what is added to the output: "bicubic" or "nearest" enlargement of the input, or "none".
        kernel: width of the first convolution, and of the last with the srgan tail.
    """

    scale: int = 2
    blocks: int = 20
    channels: int = 64
    colour: Literal["rgb", "luma"] = "rgb"
    norm: Literal["none", "batch"] = "none"
    body: Literal["residual", "plain"] = "residual"
    branches: bool = False
    tail: Literal["srgan", "lr"] = "lr"
    skip: Literal["bicubic", "nearest", "none"] = "bicubic"
    kernel: int = 9

    def __post_init__(self) -> None:
        allowed = {
            "scale": (2, 4),
            "colour": ("rgb", "luma"),
            "norm": ("none", "batch"),
            "body": ("residual", "plain"),
            "tail": ("srgan", "lr"),
            "skip": ("bicubic", "nearest", "none"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise SettingsError(f"generator {name} is {getattr(self, name)!r}; use one of {values}")
        if self.blocks < 0 or self.channels < 1 or self.kernel % 2 == 0:
            raise SettingsError("a generator needs blocks >= 0, channels >= 1 and an odd kernel")
        if self.branches and self.body != "plain":
            raise SettingsError("branches are for the plain body")

    @property
    def planes(self) -> int:
        """Colour channels in and out."""
        return 1 if self.colour == "luma" else 3

    @property
    def halo(self) -> int:
        """How far, in input pixels, an output pixel looks: tiles that overlap this much are exact."""
        body = self.blocks * (2 if self.body == "residual" else 1) + (1 if self.body == "residual" else 0)
        # With the srgan tail each 3x3 at 1x, 2x reaches at most 1 input pixel, the last kernel at full size less.
        tail = 1 if self.tail == "lr" else 2 + -(-(self.kernel // 2) // self.scale)
        return max(self.kernel // 2 + body + tail, 3)

    @property
    def inner_convolutions(self) -> int:
        """Convolutions of the folded network but the first and the last."""
        body = self.blocks * 2 + 1 if self.body == "residual" else self.blocks
        return body + (0 if self.tail == "lr" else self.scale // 2)

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates per input pixel, convolutions only."""
        c, s = self.channels, self.scale
        body = self.blocks * 9 * c * c * (2 if self.body == "residual" else 1)
        join = 9 * c * c if self.body == "residual" else 0
        if self.tail == "lr":
            tail = 9 * c * self.planes * s * s
        else:
            stages = {2: (1,), 4: (1, 4)}[s]
            tail = sum(36 * c * c * area for area in stages) + self.kernel**2 * c * self.planes * s * s
        return self.kernel**2 * self.planes * c + body + join + tail
