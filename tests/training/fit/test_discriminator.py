from __future__ import annotations

import pytest
import torch
from torch import nn

from training.fit.discriminator import DiscriminatorConfig, build_discriminator
from training.fit.losses import Labels, discriminator_bce
from vidsr.errors import SettingsError

KINDS = ("vgg19", "unet")


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (70, 51)])
def test_logits_have_the_documented_shapes(planes: int, size: tuple[int, int]) -> None:
    x = torch.rand(2, planes, *size)
    classifier = build_discriminator(DiscriminatorConfig("vgg19", channels=8, hidden=16), planes)
    assert classifier(x).shape == (2, 1)
    unet = build_discriminator(DiscriminatorConfig("unet", channels=8), planes)
    assert unet(x).shape == (2, 1, *size)


def test_the_papers_classifier_has_the_layers_of_vgg19() -> None:
    network = build_discriminator(DiscriminatorConfig(channels=64), 3)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    widths = [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    assert [c.out_channels for c in convolutions] == widths
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == 5
    slopes = {m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_the_unet_is_bounded_by_spectral_norm() -> None:
    network = build_discriminator(DiscriminatorConfig("unet", channels=8), 3)
    for _ in range(30):  # each training step refines the estimate of the largest singular value
        network(torch.rand(1, 3, 16, 16))
    network.eval()
    normed = [m for m in network.modules() if isinstance(m, nn.Conv2d) and hasattr(m, "parametrizations")]
    assert len(normed) == 7
    for layer in normed:
        largest = torch.linalg.svdvals(layer.weight.flatten(1)).max().item()
        assert largest == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_tell_noise_from_blur(kind: str) -> None:
    torch.manual_seed(3)
    config = DiscriminatorConfig("vgg19" if kind == "vgg19" else "unet", channels=8, hidden=16)
    network = build_discriminator(config, 1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    first = last = 0.0
    for step in range(40):
        real = torch.rand(4, 1, 32, 32)
        fake = nn.functional.avg_pool2d(real, 3, 1, 1)
        value = discriminator_bce(network(real), network(fake), Labels())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        first, last = (value.item() if step == 0 else first), value.item()
    assert last < 0.8 * first


def test_bad_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="kind is 'resnet'"):
        DiscriminatorConfig("resnet")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="slope"):
        DiscriminatorConfig(slope=8)
