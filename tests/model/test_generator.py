"""The generator: shapes, the start at bicubic, folding, and the halo that tiles rely on."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from vidsr.errors import SettingsError
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.resample import bicubic_upscale

SHAPES = [
    GeneratorConfig(2, 2, 8, "rgb", "batch", tail="srgan", skip="none"),
    GeneratorConfig(4, 2, 8, "rgb", "batch", tail="srgan", skip="none"),
    GeneratorConfig(4, 2, 8, "rgb"),
    GeneratorConfig(2, 3, 8, "luma", kernel=5),
    GeneratorConfig(4, 3, 8, "luma", body="plain", branches=True, kernel=5),
    GeneratorConfig(2, 2, 8, "rgb", "batch", body="plain", branches=True),
    GeneratorConfig(2, 0, 1, "luma", skip="nearest", kernel=3),
]


def scrambled(config: GeneratorConfig) -> Generator:
    """A generator whose every weight, and running statistic, is far from its start."""
    torch.manual_seed(0)
    generator = Generator(config)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.2)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return generator.eval()


@pytest.mark.parametrize("config", SHAPES)
def test_output_is_scale_times_input(config: GeneratorConfig) -> None:
    x = torch.rand(2, config.planes, 13, 17)
    assert Generator(config)(x).shape == (2, config.planes, 13 * config.scale, 17 * config.scale)


@pytest.mark.parametrize("scale", [2, 4])
def test_starts_at_bicubic(scale: int) -> None:
    x = torch.rand(1, 3, 12, 12)
    torch.testing.assert_close(Generator(GeneratorConfig(scale, 2, 8))(x), bicubic_upscale(x, scale))


@pytest.mark.parametrize("config", [GeneratorConfig(4, 2, 16, tail="srgan"), GeneratorConfig(4, 2, 16, skip="none")])
def test_what_pixel_shuffle_enlarges_starts_as_repeated_pixels(config: GeneratorConfig) -> None:
    """With weights drawn for each place alone it would start as a grid of dots."""
    features = torch.rand(1, 16, 6, 7)
    convolution, shuffle = list(Generator(config).tail)[:2]
    enlarged = shuffle(convolution(features))
    factor = shuffle.upscale_factor
    torch.testing.assert_close(
        enlarged, nn.functional.interpolate(enlarged[..., ::factor, ::factor], scale_factor=factor)
    )
    assert enlarged.std() > 0.1


def test_residual_blocks_start_with_little() -> None:
    torch.manual_seed(0)
    (block,) = Generator(GeneratorConfig(2, 1, 32)).body
    x = torch.rand(1, 32, 16, 16)
    assert 0.05 < float(((block(x) - x).std() / x.std()).detach()) < 0.5


@pytest.mark.parametrize("config", SHAPES)
def test_folding_changes_nothing(config: GeneratorConfig) -> None:
    generator = scrambled(config)
    x = torch.rand(1, config.planes, 16, 16)
    with torch.no_grad():
        expected = generator(x)
        folded = fold(generator)
        actual = folded(x)
    assert folded.config == replace(config, norm="none", branches=False)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("config", SHAPES)
def test_folding_stays_on_the_device_and_in_the_precision_of_the_weights(config: GeneratorConfig) -> None:
    folded = fold(scrambled(config).to("meta"))  # as with a GPU, nothing on the CPU mixes with it
    assert {parameter.device.type for parameter in folded.parameters()} == {"meta"}
    exact = scrambled(config).double()
    x = torch.rand(1, config.planes, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = exact(x)
        torch.testing.assert_close(fold(exact)(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", SHAPES)
def test_no_pixel_looks_further_than_the_halo(config: GeneratorConfig) -> None:
    generator, halo, size = scrambled(config), config.halo, 2 * config.halo + 9
    x = torch.rand(1, config.planes, size, size, requires_grad=True)
    middle = size // 2 * config.scale
    generator(x)[..., middle : middle + config.scale, middle : middle + config.scale].sum().backward()
    seen = x.grad.abs().sum(dim=(0, 1)).nonzero()
    assert (seen - size // 2).abs().max() <= halo


def test_impossible_shapes_are_refused() -> None:
    for wrong in ({"scale": 3}, {"kernel": 4}, {"norm": "layer"}, {"branches": True}):
        with pytest.raises(SettingsError):
            GeneratorConfig(**wrong)


def test_counts_multiply_accumulates() -> None:
    """TRAINING figures: 8x32 with 3x3 and 9x9 heads is about 152 k per pixel at 2x for RGB."""
    config = GeneratorConfig(2, 8, 32, "rgb", kernel=3)
    counted = []
    generator = Generator(replace(config, skip="none"))
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, _, out: counted.append(m.weight.numel() * out.shape[-1] * out.shape[-2])
            )
    generator(torch.rand(1, 3, 10, 10))
    assert sum(counted) / 100 == config.macs_per_pixel
