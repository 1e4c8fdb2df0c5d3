"""Ranges for int8: what is measured, and that the command stores it."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from tests.training.pictures import folder_of
from training import quantise
from vidsr.errors import DeviceError, NoPicture
from vidsr.machine import has_native_int8
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.registry import describe
from vidsr.model.weights import load_weights, save_weights

needs_int8 = pytest.mark.skipif(not has_native_int8(), reason="this CPU has no AVX512-VNNI")


def test_ranges_are_those_of_the_inner_convolutions_over_all_pictures() -> None:
    generator = Generator(GeneratorConfig(2, 1, 1, "luma", body="plain", kernel=1)).eval()
    head, act = generator.head
    assert isinstance(head, nn.Conv2d) and isinstance(act, nn.PReLU)
    nn.init.constant_(head.weight, 2.0)
    nn.init.constant_(head.bias, -1.0)
    nn.init.constant_(act.weight, 0.5)
    dark, bright = torch.tensor([0.1, 0.2]).reshape(1, 1, 1, 2), torch.tensor([0.6, 0.8]).reshape(1, 1, 1, 2)
    assert quantise.input_ranges(generator, [dark, bright]) == ((-0.4, 0.6),)
    assert quantise.input_ranges(generator, [bright]) == ((0.0, 0.6),)


@needs_int8
def test_the_command_stores_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(quantise, "_FRAME", (64, 96))
    monkeypatch.setattr(quantise, "has_amx", lambda: False)
    monkeypatch.setattr(quantise, "_OWN_LOSS_DB", 100)  # all are rounded
    path, photos = tmp_path / "mine.safetensors", folder_of(tmp_path / "photos", 2)
    generator = Generator(GeneratorConfig(2, 1, 16, "luma", kernel=3))
    nn.init.normal_(generator.tail[0].weight, std=0.01)
    save_weights(path, generator, {"steps": 5})
    done = CliRunner().invoke(quantise.main, [str(path), "--data", str(photos)], catch_exceptions=False)
    assert done.exit_code == 0
    assert describe(path).training == {"steps": 5}
    ranges = describe(path).ranges
    assert ranges is not None and len(ranges.inputs) == 3
    assert abs(ranges.loss_db) < 0.1 and ranges.speedup > 0
    stored = fold(load_weights(path)).requires_grad_(False)
    found = quantise.input_ranges(stored, [low for low, _ in quantise._pictures(stored, [photos / "0.png"])])
    assert ranges.inputs == tuple((2 * low, 2 * high) for low, high in found), "other pictures reach further"
    (photos / "1.png").unlink()
    with pytest.raises(NoPicture, match="--data"):
        quantise.quantise(path, [photos / "0.png"])


@needs_int8
def test_what_loses_most_stays_in_floating_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generator = Generator(GeneratorConfig(2, 3, 16, "luma", body="plain", kernel=3)).eval().requires_grad_(False)
    nn.init.normal_(generator.tail[0].weight, std=0.01)
    low = torch.rand(1, 1, 32, 32)
    pairs = [(low, generator(low).clamp(0, 1))]
    first, second, third = quantise.input_ranges(generator, [low])
    coarse = (second[0] * 100, second[1] * 100)
    monkeypatch.setattr(quantise, "_OWN_LOSS_DB", 20)
    assert quantise.keep_floating(generator, [first, coarse, third], pairs) == (first, None, third)


@needs_int8
def test_the_speed_of_a_cpu_that_would_not_take_int8_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "has_amx", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    path = tmp_path / "wide.safetensors"
    save_weights(path, Generator(GeneratorConfig(2, 1, 32, "luma", kernel=3)), {})
    with pytest.raises(DeviceError, match=r"wide\.safetensors faster without int8.*ONEDNN_MAX_CPU_ISA"):
        quantise.quantise(path, [path, path])


@pytest.mark.parametrize("body", ["plain", "residual"])
def test_rescaled_channels_compute_the_same_and_share_the_steps(body: Literal["plain", "residual"]) -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(2, 2, 4, "luma", body=body, kernel=3)).eval().requires_grad_(False)
    nn.init.normal_(generator.tail[0].weight)
    first = generator.body[0].conv1 if body == "residual" else generator.head[0]
    first.weight.data[0] *= 100
    picture = torch.rand(1, 1, 24, 24)
    scales = quantise.even_scales(generator, [picture])
    scaled = quantise.rescale(generator, scales)
    assert len(scales) == 2 and all(0 < float(scale.min()) <= float(scale.max()) == 1 for scale in scales)
    assert torch.allclose(scaled.residual(picture), generator.residual(picture), rtol=1e-4, atol=1e-4)

    def unevenness(network: Generator) -> float:
        largest: list[torch.Tensor] = []
        second = network.body[0].conv2 if body == "residual" else network.body[0]
        second.register_forward_pre_hook(lambda _, given: largest.append(given[0].abs().amax((0, 2, 3))))
        network.residual(picture)
        return float(largest[0].max() / largest[0].min())

    assert unevenness(scaled) < 0.5 * unevenness(generator)


@needs_int8
def test_the_adversarial_partner_gets_the_same_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(quantise, "_FRAME", (64, 96))
    monkeypatch.setattr(quantise, "has_amx", lambda: False)
    generator = Generator(GeneratorConfig(2, 1, 16, "luma", body="plain", kernel=3))
    nn.init.normal_(generator.tail[0].weight, std=0.01)
    paths = [tmp_path / "mine.safetensors", tmp_path / "mine-sharp.safetensors"]
    for path in paths:
        save_weights(path, generator, {})
    arguments = [str(paths[0]), "--data", str(folder_of(tmp_path / "photos", 2))]
    assert CliRunner().invoke(quantise.main, arguments, catch_exceptions=False).exit_code == 0
    content, partner = (load_weights(path).state_dict() for path in paths)
    assert all(torch.equal(content[name], partner[name]) for name in content)
    assert not torch.equal(content["head.0.weight"], generator.state_dict()["head.0.weight"].half().float())


def test_one_value_in_three_thousand_does_not_widen_a_range() -> None:
    generator = Generator(GeneratorConfig(2, 1, 1, "luma", body="plain", kernel=1)).eval()
    nn.init.constant_(generator.head[0].weight, 1.0)
    picture = torch.full((1, 1, 60, 100), 0.5)
    picture[..., 0, :2] = 0.9
    assert quantise.input_ranges(generator, [picture]) == ((0.0, 0.5),)
    picture[..., 0, 2] = 0.7
    assert quantise.input_ranges(generator, [picture]) == ((0.0, 0.7),)
