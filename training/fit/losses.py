"""Losses by name, weighted in a preset; and the adversarial and two-view losses, which take other arguments.

Every loss computes in float32 outside autocast: the variances of SSIM are differences of nearly equal numbers, and
in bfloat16 its gradient has little to do with the true one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_msssim import ms_ssim, ssim
from torch import Tensor, nn

from training.backbones import ALEXNET, VGG19, locate, lpips_network, vgg_features
from vidsr.errors import SettingsError

Loss = Callable[[Tensor, Tensor], Tensor]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + 0.001^2), a smooth L1 (Charbonnier et al. 1994)."""
    return torch.sqrt((output - target) ** 2 + 1e-6).mean()


def ssim_loss(output: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM with the 11x11 Gaussian window of Wang et al. 2004; the paper's content loss."""
    value: Tensor = ssim(output, target, data_range=1.0)
    return 1 - value


def ms_ssim_loss(output: Tensor, target: Tensor) -> Tensor:
    """1 - multi-scale SSIM (Wang et al. 2003) on five scales.

    Crops under 161 pixels get a smaller window than 11, so that one still fits into the smallest scale.

    Raises:
        SettingsError: a side is under 33 pixels, where not even a window of 3 fits.
    """
    side = min(output.shape[-2:])
    window = min(11, (side - 1) // 32 * 2 + 1)  # the largest odd one with (window - 1) * 16 < side
    if window < 3:
        raise SettingsError(f"ms_ssim needs crops of at least 33 pixels, not {side}; use larger ones, or ssim")
    value: Tensor = ms_ssim(output, target, data_range=1.0, win_size=window)
    return 1 - value


def colour_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 between 8x8 means: the low frequencies, where SSIM is nearly blind to drift of brightness and colour."""
    return F.l1_loss(F.avg_pool2d(output, 8), F.avg_pool2d(target, 8))


def frequency_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 between orthonormal 2-D Fourier coefficients, real and imaginary parts."""
    difference = torch.fft.rfft2(output - target, norm="ortho")
    return torch.view_as_real(difference).abs().mean()


class LpipsLoss(nn.Module):
    """LPIPS 0.1 on AlexNet; see `training.backbones` for where its weights come from."""

    def __init__(self, backbone: Path | None = None) -> None:
        super().__init__()
        self.network = lpips_network(locate(ALEXNET, backbone))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Two (N, 1 or 3, H, W) in [0, 1] -> scalar."""
        value: Tensor = self.network(_three(output) * 2 - 1, _three(target) * 2 - 1)
        return value.mean()


class VggLoss(nn.Module):
    """L1 between VGG19's conv5_4 features before activation, divided by their mean magnitude in the target."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Path | None = None) -> None:
        super().__init__()
        self.network = vgg_features(locate(VGG19, backbone))
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_IMAGENET_DEVIATION).reshape(1, 3, 1, 1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Two (N, 1 or 3, H, W) in [0, 1], sides of at least 16 -> scalar."""
        with torch.no_grad():
            wanted = self._features(target)
        return F.l1_loss(self._features(output), wanted) / wanted.abs().mean().clamp_min(1e-6)

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = self.network((_three(x) - self.mean) / self.deviation)
        return features


def _three(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


_PLAIN: dict[str, Loss] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "ssim": ssim_loss,
    "ms_ssim": ms_ssim_loss,
    "colour": colour_loss,
    "frequency": frequency_loss,
}
LOSS_NAMES = (*_PLAIN, "lpips", "vgg")


class WeightedLoss(nn.Module):
    """The weighted sum of named losses; `build_loss` makes one."""

    def __init__(self, weights: Mapping[str, float], terms: Mapping[str, Loss]) -> None:
        super().__init__()
        self.weights = dict(weights)
        self._terms = dict(terms)
        # Registered too where a term is a network, so that it moves with this module to a device.
        self.networks = nn.ModuleDict({n: t for n, t in terms.items() if isinstance(t, nn.Module)})

    def terms(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Each loss by name, unweighted, for two (N, 1 or 3, H, W) in [0, 1]."""
        with torch.autocast(output.device.type, enabled=False):
            output, target = output.float(), target.float()
            return {name: term(output, target) for name, term in self._terms.items()}

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Two (N, 1 or 3, H, W) in [0, 1] -> scalar, float32."""
        total = torch.zeros((), device=output.device)
        for name, value in self.terms(output, target).items():
            total = total + self.weights[name] * value
        return total


def build_loss(
    weights: Mapping[str, float], *, lpips_backbone: Path | None = None, vgg_backbone: Path | None = None
) -> WeightedLoss:
    """The weighted sum of losses.

    Args:
        weights: weight by name, one of `LOSS_NAMES`; a weight of 0 leaves the loss out.
        lpips_backbone: AlexNet's weights for "lpips"; else the hub cache or the internet.
        vgg_backbone: VGG19's weights for "vgg"; else the hub cache or the internet.

    Raises:
        SettingsError: an unknown name, a negative weight, or no loss left.
        BackboneMissing: weights that a loss needs cannot be had.
        BadWeights: a weights file is something else.
    """
    for name, weight in weights.items():
        if name not in LOSS_NAMES:
            raise SettingsError(f"no loss is called {name!r}; the losses are {', '.join(LOSS_NAMES)}")
        if not weight >= 0:
            raise SettingsError(f"the weight of loss {name!r} is {weight}; use 0 or more")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used:
        raise SettingsError(f"no loss has a weight above 0; the losses are {', '.join(LOSS_NAMES)}")
    networks: dict[str, Callable[[], Loss]] = {
        "lpips": partial(LpipsLoss, lpips_backbone),
        "vgg": partial(VggLoss, vgg_backbone),
    }
    return WeightedLoss(used, {name: networks[name]() if name in networks else _PLAIN[name] for name in used})


@dataclass(frozen=True)
class Labels:
    """What a discriminator is to answer; the paper's are real 0 and fake 1, most others' the reverse."""

    real: float = 0.0
    fake: float = 1.0


def _bce(logits: Tensor, label: float) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def discriminator_bce(real: Tensor, fake: Tensor, labels: Labels) -> Tensor:
    """Binary cross-entropy of a discriminator's logits (any shape) for real and for generated pictures."""
    return (_bce(real, labels.real) + _bce(fake, labels.fake)) / 2


def generator_bce(fake: Tensor, labels: Labels) -> Tensor:
    """The generator's part: its pictures are to be taken for real ones (the non-saturating form)."""
    return _bce(fake, labels.real)


def discriminator_relativistic(real: Tensor, fake: Tensor, labels: Labels) -> Tensor:
    """Relativistic average loss (Jolicoeur-Martineau 2018): each logit is judged against the others' mean."""
    return discriminator_bce(real - fake.mean(), fake - real.mean(), labels)


def generator_relativistic(real: Tensor, fake: Tensor, labels: Labels) -> Tensor:
    """The generator's part of the relativistic average loss; `real` carries no gradient to it."""
    return discriminator_bce(real - fake.mean(), fake - real.mean(), Labels(labels.fake, labels.real))


def two_view_consistency(first: Tensor, second: Tensor) -> Tensor:
    """L1 between the enlargements (N, C, H, W) of two degradations of the same picture; it damps flicker."""
    with torch.autocast(first.device.type, enabled=False):
        return F.l1_loss(first.float(), second.float())
