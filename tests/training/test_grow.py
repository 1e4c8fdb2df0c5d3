"""A network that starts from a smaller one computes the same at first, and all of it can learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.grow import grown
from vidsr.model.config import GeneratorConfig
from vidsr.model.generator import Generator

SMALL = GeneratorConfig(blocks=2, channels=4, colour="luma", kernel=5)
PLAIN = replace(SMALL, body="plain")


def trained(config: GeneratorConfig) -> Generator:
    """A generator none of whose tensors is 0."""
    generator = Generator(config)
    for parameter in generator.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return generator


def started(config: GeneratorConfig, small: Generator) -> Generator:
    generator = Generator(config)
    generator.load_state_dict(grown(generator.state_dict(), small.state_dict()))
    return generator


@pytest.mark.parametrize(
    ("small", "large"),
    [(SMALL, replace(SMALL, blocks=5, channels=9)), (SMALL, SMALL), (PLAIN, replace(PLAIN, channels=7))],
)
def test_the_larger_network_computes_the_same(small: GeneratorConfig, large: GeneratorConfig) -> None:
    torch.manual_seed(0)
    given = trained(small)
    x = torch.rand(1, 1, 20, 30)
    torch.testing.assert_close(started(large, given)(x), given(x))


def test_every_channel_and_block_learns_within_two_steps() -> None:
    torch.manual_seed(0)
    generator = started(replace(SMALL, blocks=3, channels=8), trained(SMALL))
    optimiser = torch.optim.SGD(generator.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in generator.named_parameters()}
    for _ in range(2):
        optimiser.zero_grad()
        (generator(torch.rand(2, 1, 12, 12)) - 1).square().mean().backward()
        optimiser.step()
    for name, parameter in generator.named_parameters():
        rows = (parameter != before[name]).flatten(1).any(1) if parameter.dim() > 1 else parameter != before[name]
        assert rows.all(), name


def test_at_another_scale_the_tail_starts_anew() -> None:
    torch.manual_seed(0)
    given = trained(SMALL)
    generator = started(replace(SMALL, scale=4), given)
    x = torch.rand(1, 1, 10, 10)
    torch.testing.assert_close(generator(x), generator.skip(x))
    torch.testing.assert_close(generator.body(generator.head(x)), given.body(given.head(x)))
