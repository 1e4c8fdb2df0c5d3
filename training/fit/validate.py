"""Validation during training: PSNR over bicubic on the held-out pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.pairs.data import Pairs
from vidsr.model.generator import Generator
from vidsr.model.resample import bicubic_upscale

_SIDE = 256  # of the small picture at most, so that a validation takes seconds


def _pairs(held: Pairs, index: int) -> tuple[Tensor, Tensor]:
    low, high = held.picture(index)
    s = held.scale
    return low[..., :_SIDE, :_SIDE], high[..., : _SIDE * s, : _SIDE * s]


def _psnr(output: Tensor, target: Tensor, border: int) -> float:
    difference = (output.clamp(0, 1) - target)[..., border:-border, border:-border]
    return -10 * math.log10(max(float(difference.square().mean()), 1e-10))


@torch.no_grad()
def gain_over_bicubic(generator: Generator, held: Pairs) -> float:
    """Mean PSNR over the generator's planes less that of bicubic, in dB, without a border of `scale` pixels."""
    generator.eval()
    gains = []
    for index in range(len(held)):
        low, high = _pairs(held, index)
        plain = bicubic_upscale(low, held.scale)
        gains.append(_psnr(generator(low), high, held.scale) - _psnr(plain, high, held.scale))
    return sum(gains) / len(gains)


@torch.no_grad()
def side_by_side(generator: Generator, held: Pairs) -> Tensor:
    """Bicubic, the generator and the truth of the first held-out picture: (1 or 3, H, 3 * W) in [0, 1]."""
    low, high = _pairs(held, 0)
    outputs = (bicubic_upscale(low, held.scale), generator.eval()(low), high)
    return torch.cat([picture[0].clamp(0, 1) for picture in outputs], dim=2)
