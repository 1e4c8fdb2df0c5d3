"""Weights files: what is written comes back, and what is no weights file is refused with the reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vidsr.errors import BadWeights, UnknownModel, WrongScale
from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.registry import ModelFile, bundled_models, choose_model, describe, find_model
from vidsr.model.upscaler import Upscaler
from vidsr.model.weights import load_interpolated, load_weights, save_weights
from vidsr.settings import UpscaleSettings

CONFIG = GeneratorConfig(2, 1, 4, "luma", kernel=3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    save_weights(path, Generator(CONFIG), {"steps": 7})
    return path


def rounded() -> Generator:
    """A generator whose weights float16 holds exactly, and all of which count: a new one's last layer is 0."""
    generator = Generator(CONFIG)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.2)
    return generator.half().float().eval()


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    generator = rounded()
    path = tmp_path / "exact.safetensors"
    save_weights(path, generator, {"steps": 7})
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(load_weights(path)(x), generator(x), rtol=0, atol=0)
    assert describe(path).config == CONFIG
    assert describe(path).training == {"steps": 7}
    assert not list(tmp_path.glob("*.part"))


def test_weights_are_stored_in_half_precision(tmp_path: Path) -> None:
    generator, path = Generator(CONFIG), tmp_path / "mine.safetensors"
    save_weights(path, generator, {})
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    for stored, exact in zip(load_weights(path).parameters(), generator.parameters(), strict=True):
        torch.testing.assert_close(stored, exact, rtol=2**-11, atol=2**-25)


def test_a_truncated_file_is_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadWeights, match="truncated"):
        load_weights(weights)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="cannot be read"):
        load_weights(tmp_path)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(BadWeights, match="pickle"):
        load_weights(path)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(BadWeights, match="no vidsr generator"):
        load_weights(path)


def test_tensors_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    import safetensors

    with safetensors.safe_open(weights, "pt") as file:
        metadata = file.metadata()
    path = tmp_path / "misfit.safetensors"
    save_file({"head.0.weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(BadWeights, match="do not fit"):
        load_weights(path)


def test_names_and_scales(weights: Path) -> None:
    assert find_model(str(weights), 2).config == CONFIG
    with pytest.raises(WrongScale):
        find_model(str(weights), 4)
    for unknown in ("nonsense", "n" * 300, str(weights.with_name("missing.safetensors"))):
        with pytest.raises(UnknownModel):
            find_model(unknown, 2)


def test_a_folder_of_that_name_is_not_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fast").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("fast", 2).name == "fast-2x"


def test_auto_takes_the_best_tier_that_is_quick_enough() -> None:
    auto = UpscaleSettings()
    small, large = (choose_model(auto, 2, False, pixels, lambda: False) for pixels in (64 * 64, 7680 * 4320))
    assert (small.name, large.name) == ("balanced-2x", "fast-2x")
    clean = choose_model(auto, 2, False, 64 * 64, lambda: True)
    assert clean.name == f"{small.name}-clean"
    fast = choose_model(UpscaleSettings(model="fast"), 2, False, 64 * 64, lambda: True)
    assert fast.name == "fast-2x"  # a name is taken at its word


@pytest.mark.parametrize(
    ("amx", "int8", "lines", "tier"),
    [
        (True, True, 1080, "balanced"), (False, True, 1080, "fast"),
        (False, True, 720, "balanced"), (False, False, 720, "fast"),
        (False, False, 540, "balanced"),
    ],
)  # fmt: skip
def test_auto_goes_by_what_two_cores_can_do(
    amx: bool, int8: bool, lines: int, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"has_amx": amx, "has_native_int8": int8, "usable_cores": 2}.items():
        monkeypatch.setattr(f"vidsr.model.registry.{name}", lambda value=value: value)
    assert choose_model(UpscaleSettings(), 2, False, lines * lines * 16 // 9, lambda: False).name == f"{tier}-2x"


def test_auto_takes_a_tier_that_has_the_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    balanced = find_model("balanced", 2)
    have = [replace(balanced, name=name) for name in ("quality-2x", "balanced-2x", "balanced-2x-clean")]
    monkeypatch.setattr("vidsr.model.registry.bundled_models", lambda: tuple(have))
    chosen = [choose_model(UpscaleSettings(), 2, gpu, 64 * 64, lambda clean=clean: clean).name for gpu, clean in
              ((True, False), (False, False), (True, True))]  # fmt: skip
    assert chosen == ["quality-2x", "balanced-2x", "balanced-2x-clean"]
    with pytest.raises(UnknownModel, match="no model"):
        choose_model(UpscaleSettings(fidelity=0.5), 2, True, 64 * 64, lambda: True)


def test_fidelity_interpolates_with_the_adversarial_partner(tmp_path: Path) -> None:
    content, sharp = rounded(), rounded()
    path = tmp_path / "mine.safetensors"
    save_weights(path, content, {})
    with pytest.raises(UnknownModel, match="fidelity"):
        load_interpolated(path, 0.5)
    save_weights(tmp_path / "mine-sharp.safetensors", sharp, {})
    for fidelity in (0.0, 0.25, 1.0):
        mixed = load_interpolated(path, fidelity)
        for mine, a, b in zip(mixed.parameters(), content.parameters(), sharp.parameters(), strict=True):
            torch.testing.assert_close(mine, fidelity * a + (1 - fidelity) * b)
        picture = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
        ours, theirs = (
            Upscaler(model, "cpu", backend="torch", fidelity=fidelity).upscale(picture) for model in (path, mixed)
        )
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("model", bundled_models(), ids=lambda model: model.name)
def test_cards_tell_the_truth_about_their_files(model: ModelFile) -> None:
    card = model.path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{model.path.stat().st_size // 1024} KiB, sha256 `{model.sha256[:16]}`" in card
    assert model.ranges is None or f"loses {model.ranges.loss_db:.3f} dB against float32" in card
