"""A network that starts from a smaller one computes the same at first, and all of it can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.runs import small as small_run
from training.fit.grow import grown, starting_generator
from training.fit.presets import Stage, override, preset
from training.fit.run import fit
from vidsr.errors import RunError
from vidsr.model.config import GeneratorConfig
from vidsr.model.generator import Generator
from vidsr.model.registry import find_model
from vidsr.model.weights import load_weights, save_weights

pytestmark = pytest.mark.usefixtures("one_thread")

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


def test_start_gives_the_body_and_a_teacher_pulls(photos: Path, tmp_path: Path) -> None:
    content = (Stage("content", 1.0, 1e-3, {"l1": 1.0}),)
    first = fit(replace(small_run(20), stages=content), photos, tmp_path / "a")
    larger = replace(small_run(1), start=str(first), stages=content)
    larger = replace(larger, generator=replace(larger.generator, scale=4))
    generator = starting_generator(larger)
    given = load_weights(first).state_dict()
    assert torch.equal(generator.state_dict()["body.0.conv1.weight"], given["body.0.conv1.weight"])
    branched = replace(larger.generator, body="plain", branches=True)
    with pytest.raises(RunError, match="has no body that fits"):
        starting_generator(replace(larger, generator=branched))
    torch.manual_seed(0)
    teacher = Generator(small_run().generator)
    torch.nn.init.normal_(teacher.tail[0].bias, std=0.3)
    save_weights(tmp_path / "teacher.safetensors", teacher, {})
    taught = replace(small_run(20), stages=content, teacher=str(tmp_path / "teacher.safetensors"), distillation=100.0)
    pulled = load_weights(fit(taught, photos, tmp_path / "b"))
    alone = load_weights(first)
    x = torch.rand(1, 1, 24, 24)
    with torch.no_grad():
        assert (pulled(x) - teacher(x)).abs().mean() < (alone(x) - teacher(x)).abs().mean()


def test_bundled_weights_are_a_start_by_name() -> None:
    generator = starting_generator(override(preset("balanced-4x"), ["start=balanced-2x"]))
    given = load_weights(find_model("balanced", 2).path).state_dict()
    assert torch.equal(generator.state_dict()["body.7.conv2.weight"], given["body.7.conv2.weight"])
    fast = override(preset("fast-2x"), ["start=fast-2x"])
    with pytest.raises(RunError, match=r"--set generator\.branches=false"):
        starting_generator(fast)
    folded = starting_generator(override(fast, ["generator.branches=false"])).state_dict()
    given = load_weights(find_model("fast", 2).path).state_dict()
    assert all(torch.equal(folded[name], given[name]) for name in given)
