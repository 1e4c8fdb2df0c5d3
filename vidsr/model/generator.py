"""The SRGAN generator (Ledig et al. 2017, figure 4), configurable for every tier.

    head conv -> PReLU -> blocks x (conv, norm, PReLU, conv, norm, + input) -> conv, norm, + head -> tail -> + skip

`fold` turns a trained generator into its fastest equal: batch norm and re-parameterised branches become one
convolution each.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidsr.model.config import GeneratorConfig as GeneratorConfig
from vidsr.model.resample import bicubic_upscale


class BranchedConv(nn.Module):
    """A 3x3 convolution trained as the sum of 3x3, 1x1 and identity; equal channels in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        y: Tensor = self.conv3(x) + self.conv1(x) + x
        return y

    def merged(self) -> nn.Conv2d:
        """One 3x3 convolution that computes the same, where the weights are and in their precision."""
        like, channels = self.conv3.weight, self.conv3.in_channels
        conv = nn.Conv2d(channels, channels, 3, padding=1, device=like.device, dtype=like.dtype)
        identity = torch.eye(channels, device=like.device, dtype=like.dtype)[:, :, None, None]
        with torch.no_grad():
            conv.weight.copy_(self.conv3.weight + F.pad(self.conv1.weight + identity, (1, 1, 1, 1)))
            conv.bias.copy_(self.conv3.bias + self.conv1.bias)  # type: ignore[union-attr, operator]
        return conv.eval()


def _norm(config: GeneratorConfig) -> nn.Module:
    return nn.BatchNorm2d(config.channels) if config.norm == "batch" else nn.Identity()


class ResidualBlock(nn.Module):
    """conv, norm, PReLU, conv, norm, plus the input."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.channels
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.norm1 = _norm(config)
        self.act: nn.Module = nn.PReLU(c)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)
        self.norm2 = _norm(config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        y: Tensor = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return x + y


class Generator(nn.Module):
    """The generator. Input and output are in [0, 1], (N, planes, H, W) -> (N, planes, H * scale, W * scale)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        c, s = config.channels, config.scale
        self.head = nn.Sequential(nn.Conv2d(config.planes, c, config.kernel, padding=config.kernel // 2), nn.PReLU(c))
        if config.body == "residual":
            self.body = nn.Sequential(*(ResidualBlock(config) for _ in range(config.blocks)))
            self.join = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), _norm(config))
        else:
            layers: list[nn.Module] = []
            for _ in range(config.blocks):
                conv = BranchedConv(c) if config.branches else nn.Conv2d(c, c, 3, padding=1)
                layers += [conv, _norm(config), nn.PReLU(c)]
            self.body = nn.Sequential(*layers)
        if config.tail == "lr":
            self.tail = nn.Sequential(nn.Conv2d(c, config.planes * s * s, 3, padding=1), nn.PixelShuffle(s))
        else:
            stages: list[nn.Module] = []
            for _ in range({2: 1, 4: 2}[s]):
                stages += [nn.Conv2d(c, c * 4, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(c)]
            stages.append(nn.Conv2d(c, config.planes, config.kernel, padding=config.kernel // 2))
            self.tail = nn.Sequential(*stages)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation, x0.1 inside residual blocks; pixel-shuffle convolutions start alike in each phase
        (ICNR, Aitken et al. 2017); with a global skip the last one starts at 0, so that step 0 is the skip."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.25)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.data.mul_(0.1)
            if isinstance(module, BranchedConv):
                module.conv1.weight.data.mul_(0.1)
        for before, after in zip(self.tail, list(self.tail)[1:], strict=False):
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.PixelShuffle):
                phases = after.upscale_factor**2
                before.weight.data = before.weight.data[::phases].repeat_interleave(phases, dim=0).clone()
        if self.config.skip != "none":
            last = [m for m in self.tail if isinstance(m, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)

    def residual(self, x: Tensor) -> Tensor:
        """What the network adds to the skip. (N, planes, H, W) in [0, 1] -> (N, planes, H * scale, W * scale).

        It is small where there is a skip, so it survives half precision; the skip would not.
        """
        features = self.head(x)
        y: Tensor = self.body(features)
        if self.config.body == "residual":
            y = self.join(y) + features
        y = self.tail(y)
        return y

    def skip(self, x: Tensor, onto: Tensor | None = None) -> Tensor | None:
        """The plain enlargement that the residual is added to, if there is one; shapes as `residual`.

        Args:
            x: as of `residual`.
            onto: what the enlargement is added to, in place, and what is returned then.
        """
        if self.config.skip == "bicubic":
            return bicubic_upscale(x, self.config.scale, onto=onto)
        if self.config.skip == "nearest":
            large = F.interpolate(x, scale_factor=self.config.scale, mode="nearest")
            return large if onto is None else onto.add_(large)
        return onto

    def forward(self, x: Tensor) -> Tensor:
        """(N, planes, H, W) in [0, 1] -> (N, planes, H * scale, W * scale), not clamped."""
        skip = self.skip(x)
        return self.residual(x) if skip is None else self.residual(x) + skip


def _fold_norm(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    return torch.nn.utils.fuse_conv_bn_eval(conv, norm) if isinstance(norm, nn.BatchNorm2d) else conv


def fold(generator: Generator) -> Generator:
    """An equal generator in evaluation mode without batch norm and without branches."""
    generator = generator.eval()
    config = replace(generator.config, norm="none", branches=False)
    folded = Generator(config).eval()
    folded.head, folded.tail = generator.head, generator.tail
    if config.body == "residual":
        for new, old in zip(folded.body, generator.body, strict=True):
            assert isinstance(new, ResidualBlock) and isinstance(old, ResidualBlock)
            new.conv1, new.conv2 = _fold_norm(old.conv1, old.norm1), _fold_norm(old.conv2, old.norm2)
            new.act = old.act
        conv, norm = generator.join
        assert isinstance(conv, nn.Conv2d)
        folded.join[0] = _fold_norm(conv, norm)
    else:
        layers = list(generator.body)
        for at in range(0, len(layers), 3):
            conv, norm, act = layers[at : at + 3]
            plain = conv.merged() if isinstance(conv, BranchedConv) else conv
            assert isinstance(plain, nn.Conv2d)
            folded.body[at], folded.body[at + 2] = _fold_norm(plain, norm), act
    return folded.to(next(generator.parameters()).device)
