"""Int8: what it loses is held, windows do not matter, ranges that do not fit are refused, and who takes it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

from tests.model.computed import pixels_computed
from training.quantise import input_ranges
from vidsr.errors import BadWeights
from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.machine import has_native_int8
from vidsr.model import ranges as ranges_module
from vidsr.model.backends import best_precision
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.openvino_backend import OpenVinoBackend
from vidsr.model.ranges import Ranges, choose_ranges
from vidsr.model.registry import bundled_models, describe
from vidsr.model.resample import bicubic_downscale
from vidsr.model.upscaler import Upscaler
from vidsr.model.weights import add_ranges, load_weights, save_weights

CONFIG = GeneratorConfig(2, 2, 16, "luma", kernel=5)
MEASURED = Ranges(((-4.0, 12.0),) * 5, 0.02, 1.5)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    generator = Generator(CONFIG)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "mine.safetensors"
    save_weights(path, generator, {"steps": 7})
    return path


needs_int8 = pytest.mark.skipif(not has_native_int8(), reason="this CPU has no AVX512-VNNI")


@needs_int8
def test_only_auto_at_full_fidelity_takes_int8(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "has_amx", lambda: False)

    def backend(asked: str = "auto") -> str:
        return Upscaler(weights, "cpu", backend=asked).backend

    plain = f"openvino {best_precision(CONFIG)}"
    assert backend() == plain
    add_ranges(weights, MEASURED)
    assert backend() == f"openvino int8 with {best_precision(CONFIG)}"
    assert (backend("openvino"), backend("torch")) == (plain, "torch float32")
    sharp = weights.with_name("mine-sharp.safetensors")
    sharp.write_bytes(weights.read_bytes())
    assert Upscaler(weights, "cpu", fidelity=0.5).backend == plain
    for poor in (replace(MEASURED, loss_db=0.1), replace(MEASURED, speedup=1.0)):
        add_ranges(weights, poor)
        assert backend() == plain
    add_ranges(weights, MEASURED)
    monkeypatch.setattr(ranges_module, "has_native_int8", lambda: False)
    assert backend() == plain


def test_int8_is_left_where_tiles_of_bfloat16_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "has_native_int8", lambda: True)
    monkeypatch.setattr(ranges_module, "has_amx", lambda: False)
    assert choose_ranges(MEASURED, "auto", 1) == MEASURED
    monkeypatch.setattr(ranges_module, "has_amx", lambda: True)
    assert choose_ranges(MEASURED, "auto", 1) is None


def test_storing_ranges_leaves_the_weights_as_they_are(weights: Path) -> None:
    before, said = safetensors.torch.load_file(weights), describe(weights)
    add_ranges(weights, replace(MEASURED, loss_db=0.05))
    add_ranges(weights, MEASURED)
    after = safetensors.torch.load_file(weights)
    assert all(torch.equal(before.pop(name), tensor) for name, tensor in after.items()) and not before
    found = describe(weights)
    assert (said.ranges, found.ranges) == (None, MEASURED)
    assert (found.config, found.training) == (said.config, said.training)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (((-1.0, 1.0),) * 4, "4 ranges for 5"),
        (((1.0, 2.0),) * 5, "leaves out 0"),
        (((0.0, 0.0),) * 5, "empty"),
        (((0.0, float("nan")),) * 5, "empty"),
        ((None, (-1.0, 1.0), (-1.0, 1.0), (1.0, 2.0), None), "leaves out 0"),
        (((-1.0,),) * 5, "TypeError"),
        ((1.0,) * 5, "TypeError"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(weights: Path, inputs: tuple[tuple[float, float], ...], why: str) -> None:
    add_ranges(weights, replace(MEASURED, inputs=inputs))
    with pytest.raises(BadWeights, match=rf"mine.safetensors .*{why}.*training.quantise"):
        describe(weights)


@needs_int8
def test_convolutions_without_a_range_stay_in_floating_point(weights: Path) -> None:
    partly = replace(MEASURED, inputs=(None, *MEASURED.inputs[1:3], None, MEASURED.inputs[4]))
    add_ranges(weights, partly)
    assert describe(weights).ranges == partly
    generator, x = fold(load_weights(weights)).requires_grad_(False), torch.rand(1, 1, 40, 50)
    exact, none, some, every = (
        OpenVinoBackend(generator, "f32", inputs).residual(x)
        for inputs in (None, (None,) * 5, partly.inputs, MEASURED.inputs)
    )
    np.testing.assert_array_equal(exact, none)
    errors = [float((result - exact).square().mean()) for result in (some, every)]
    assert 0 < errors[0] < errors[1]


@needs_int8
def test_a_pixel_has_the_same_bits_in_every_window(weights: Path) -> None:
    generator = fold(load_weights(weights)).requires_grad_(False)
    backend = OpenVinoBackend(generator, best_precision(generator.config), MEASURED.inputs)
    x, halo = torch.rand(1, 1, 90, 120), CONFIG.halo
    whole = backend.residual(x)
    for top, left, height, width in ((0, 0, 40, 50), (31, 17, 59, 44), (13, 70, 37, 50)):
        part = backend.residual(x[..., top : top + height, left : left + width].contiguous())
        keep = [  # up to the frame's edge, or without the halo
            slice(2 * (start and start + halo), 2 * (stop if stop == length else stop - halo))
            for start, stop, length in ((top, top + height, 90), (left, left + width, 120))
        ]
        mine = part[
            ..., keep[0].start - 2 * top : keep[0].stop - 2 * top, keep[1].start - 2 * left : keep[1].stop - 2 * left
        ]
        np.testing.assert_array_equal(whole[..., keep[0], keep[1]], mine)


@needs_int8
def test_what_did_not_change_is_not_computed_again(weights: Path) -> None:
    add_ranges(weights, MEASURED)
    luma = np.random.default_rng(5).integers(16, 236, (1, 90, 120), np.uint8).repeat(2, axis=0)
    luma[1, 5:9, 5:9] += 1
    frames = FrameBatch((luma, *(np.full((2, 45, 60), 128, np.uint8),) * 2), PixelLayout(), Colour(), (0, 1))
    reusing = Upscaler(weights, "cpu")
    pixels = pixels_computed(reusing)
    large = reusing.upscale(frames).planes[0][1]
    alone = Upscaler(weights, "cpu").upscale(frames.with_planes(tuple(plane[1:] for plane in frames.planes)))
    np.testing.assert_array_equal(large, alone.planes[0][0])
    assert pixels[1:] == [(9 + 2 * CONFIG.halo) ** 2]


@needs_int8
def test_int8_is_close_at_the_edges_too(weights: Path) -> None:
    """Padding is 0, which the zero point must meet."""
    generator = fold(load_weights(weights)).requires_grad_(False)
    x = torch.rand(1, 1, 40, 50)
    expected = generator.residual(x)
    error = (OpenVinoBackend(generator, "f32", input_ranges(generator, [x])).residual(x) - expected).abs()
    inside = error[..., 8:-8, 8:-8].mean()
    assert 0 < inside < 0.05 * expected.abs().mean()
    assert error.mean() < 1.5 * inside


@needs_int8
@pytest.mark.parametrize("name", [model.name for model in bundled_models() if model.ranges])
def test_bundled_weights_lose_less_than_a_tenth_of_a_decibel(name: str, shared_data: Path) -> None:
    """On a road frame, against float32."""
    from vidsr.media.decode import decode_range
    from vidsr.media.probe import probe

    (frames,) = decode_range(probe(shared_data / "video" / "drive-960x540.mp4"), 100, 101, 1)
    large = torch.from_numpy(frames.planes[0][:1, None]).float() / 255
    model = next(model for model in bundled_models() if model.name == name)
    small = (bicubic_downscale(large, model.config.scale) * 255).round() / 255
    assert model.ranges is not None and model.ranges.pay
    generator = fold(load_weights(model.path)).requires_grad_(False)
    skip = generator.skip(small)
    assert skip is not None
    psnr = []
    for backend in (
        OpenVinoBackend(generator, "f32"),
        OpenVinoBackend(generator, best_precision(generator.config), model.ranges.inputs),
    ):
        result = (skip + backend.residual(small)).clamp(0, 1)
        psnr.append(-10 * float((result - large).square().mean().log10()))
    assert psnr[1] > psnr[0] - 0.1
