"""Backends: the same residual within what their precision gives, and a cache that changes nothing."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vidsr.errors import SettingsError
from vidsr.model import openvino_backend
from vidsr.model.backends import Compiled, TorchBackend, has_native_bf16, make_backend
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.openvino_backend import OpenVinoBackend
from vidsr.model.registry import bundled_models
from vidsr.model.resample import bicubic_downscale
from vidsr.model.weights import load_weights

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CONFIGS = [GeneratorConfig(2, 2, 8, "luma", kernel=5), GeneratorConfig(4, 1, 8, "rgb", tail="srgan", norm="batch")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def busy(config: GeneratorConfig) -> Generator:
    torch.manual_seed(3)
    generator = Generator(config)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.1)
    return fold(generator).requires_grad_(False)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_computes_the_residual(config: GeneratorConfig, precision: str) -> None:
    if precision == "bf16" and not has_native_bf16():
        pytest.skip("this CPU has no native bfloat16")
    generator = busy(config)
    x = torch.rand(3, config.planes, 41, 50)
    expected = generator.residual(x)
    error = (OpenVinoBackend(generator, precision).residual(x) - expected).abs().max()
    assert error / expected.abs().max() < (1e-5 if precision == "f32" else 0.03)


def test_a_window_has_the_same_bits_alone_and_in_a_batch() -> None:
    generator = busy(CONFIGS[0])
    backend = OpenVinoBackend(generator, "f32")
    x = torch.rand(5, 1, 40, 60)
    together = backend.residual(x)
    for k in range(5):
        torch.testing.assert_close(backend.residual(x[k : k + 1])[0], together[k], rtol=0, atol=0)


@pytest.mark.parametrize(("amx", "threads", "streams"), [(False, 2, 2), (True, 2, 1), (True, 1, 1), (True, 8, 4)])
def test_with_amx_each_stream_has_two_threads(
    amx: bool, threads: int, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_backend, "has_amx", lambda: amx)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = fold(Generator(GeneratorConfig(2, 1, 4, "luma", kernel=3)))
    assert OpenVinoBackend(generator, "f32").streams == streams


def test_the_second_start_takes_the_converted_network(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, x = busy(CONFIGS[0]), torch.rand(1, 1, 30, 30)
    first = OpenVinoBackend(generator, "f32").residual(x)
    assert {path.suffix for path in openvino_backend.cache_folder().iterdir()} == {".xml", ".bin"}
    monkeypatch.delattr(openvino_backend.openvino, "convert_model")
    np.testing.assert_array_equal(OpenVinoBackend(generator, "f32").residual(x), first)


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_torn_cache_is_made_again(suffix: str) -> None:
    generator, x = busy(CONFIGS[0]), torch.rand(1, 1, 30, 30)
    first = OpenVinoBackend(generator, "f32").residual(x)
    (torn,) = openvino_backend.cache_folder().glob(f"*{suffix}")
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    np.testing.assert_array_equal(OpenVinoBackend(generator, "f32").residual(x), first)
    assert torn.stat().st_size > len(whole) // 2


def test_other_weights_are_another_network() -> None:
    x, first = torch.rand(1, 1, 30, 30), busy(CONFIGS[0])
    before = OpenVinoBackend(first, "f32").residual(x)
    next(first.tail.parameters()).data.mul_(2)
    assert (OpenVinoBackend(first, "f32").residual(x) - before).abs().max() > 0.1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    OpenVinoBackend(busy(CONFIGS[0]), "f32").residual(torch.rand(1, 1, 8, 8))


def test_a_cache_that_may_not_be_looked_at_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the home folder of somebody else; what asks for the file gets an error there too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / (300 * "x")))
    OpenVinoBackend(busy(CONFIGS[0]), "f32").residual(torch.rand(1, 1, 8, 8))


def test_without_a_home_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a container's user whom its system does not know."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    OpenVinoBackend(busy(CONFIGS[0]), "f32").residual(torch.rand(1, 1, 8, 8))
    assert not openvino_backend.cache_folder().exists()


WHO_IS_TOLD = """
import torch
from vidsr.model.backends import make_backend
from vidsr.model.generator import Generator, GeneratorConfig, fold

generator = fold(Generator(GeneratorConfig(2, 2, 8, "luma"))).requires_grad_(False)
print(make_backend(generator, torch.device("cpu"), "openvino").name)
"""


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """Its telemetry goes without asking, and leaves a number of the user's in the home folder."""
    ours = ("PATH", "PYTHONPATH")  # of CI it sends nothing
    env = {name: os.environ[name] for name in ours if name in os.environ}
    env |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    (tmp_path / "home").mkdir()
    done = subprocess.run([sys.executable, "-c", WHO_IS_TOLD], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("openvino")
    assert not list((tmp_path / "home").iterdir())


def test_the_choice() -> None:
    generator = busy(CONFIGS[0])
    assert make_backend(generator, CPU, "auto").name.startswith("openvino")
    assert make_backend(generator, CPU, "torch").name == "torch float32"
    with pytest.raises(SettingsError, match="tensorrt"):
        make_backend(generator, CPU, "tensorrt")
    with pytest.raises(SettingsError, match="--device cpu"):
        make_backend(generator, GPU, "openvino")


@pytest.mark.usefixtures("tf32")
def test_float32_on_a_gpu_is_not_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generator, "to", lambda generator, *_, **__: generator)
    monkeypatch.setattr("vidsr.model.backends._precision", lambda *_: torch.float32)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 34, 1 << 35))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    make_backend(busy(CONFIGS[0]), CPU, "torch")
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32  # a CPU has no say in it
    make_backend(busy(CONFIGS[0]), GPU, "torch")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.usefixtures("tf32")
def test_a_gpu_computes_float32_as_a_cpu_does() -> None:
    paper = GeneratorConfig(2, 2, 32, "rgb", kernel=3, skip="none")
    x = torch.rand(1, 3, 40, 50)
    expected = busy(paper).residual(x)
    backend = make_backend(busy(paper), GPU, "torch")
    assert backend.name == "torch float32"
    error = (backend.residual(x.to(GPU)).cpu() - expected).abs().max()
    assert error / expected.abs().max() < 1e-4  # in TF32 it is 1e-3


def test_half_precision_on_a_cpu_only_where_it_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = busy(GeneratorConfig(2, 1, 32, "luma", kernel=3))
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("vidsr.model.backends.has_native_bf16", lambda native=native: native)
        assert TorchBackend(wide, CPU).name == f"torch {expected}"


def test_a_network_that_computes_the_picture_itself_does_so_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidsr.model.backends.has_native_bf16", lambda: True)
    paper = busy(GeneratorConfig(2, 1, 32, "rgb", kernel=3, skip="none"))
    assert make_backend(paper, CPU, "torch").name == "torch float32"
    assert make_backend(paper, CPU, "auto").name == "openvino f32"


@pytest.mark.parametrize("name", ["fast-2x", "balanced-2x"])
def test_half_precision_costs_less_than_a_tenth_of_a_decibel(name: str, shared_data: Path) -> None:
    """On a real frame, with the bundled weights."""
    if not has_native_bf16():
        pytest.skip("this CPU has no native bfloat16")
    found = [model for model in bundled_models() if model.name == name]
    if not found:
        pytest.skip(f"{name} is not bundled")
    from vidsr.media.decode import decode_range
    from vidsr.media.probe import probe

    (frames,) = decode_range(probe(shared_data / "video" / "drive-960x540.mp4"), 100, 101, 1)
    large = torch.from_numpy(frames.planes[0][:1, None]).float() / 255
    small = (bicubic_downscale(large, 2) * 255).round() / 255
    generator = fold(load_weights(found[0].path)).requires_grad_(False)
    skip = generator.skip(small)
    assert skip is not None
    psnr = {}
    for precision in ("f32", "bf16"):
        result = (skip + OpenVinoBackend(generator, precision).residual(small)).clamp(0, 1)
        psnr[precision] = -10 * float((result - large).square().mean().log10())
    assert psnr["bf16"] > psnr["f32"] - 0.1


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on CPUs")
def test_compiled_is_eager_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, x = busy(CONFIGS[0]), torch.rand(2, 1, 24, 32)
    eager = TorchBackend(generator, CPU).residual(x)
    compiled: list[torch.Size] = []
    backend = TorchBackend(generator, CPU, compile_after=2)
    run = backend._compiled
    monkeypatch.setattr(backend, "_compiled", lambda y: (compiled.append(y.shape), run(y))[1])
    for _ in range(4):
        torch.testing.assert_close(backend.residual(x), eager, rtol=1e-4, atol=1e-5)
    backend.residual(torch.rand(1, 1, 9, 8))  # what comes once is not compiled
    assert compiled == [x.shape] * 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on CPUs")
def test_many_shapes_are_compiled(caplog: pytest.LogCaptureFixture) -> None:
    """torch gives up after eight by default, with no more than a line in its log.

    An actor that takes two batches at a time computes in other threads than the one that made it.
    """
    compiled = Compiled(lambda x: x.sin().cos(), dynamic=False)
    with ThreadPoolExecutor(1) as other:
        list(other.map(compiled, map(torch.rand, range(2, 14))))
    assert "recompile_limit" not in caplog.text
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(torch.rand(13))


def test_where_compiling_fails_the_eager_network_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generator, x = busy(CONFIGS[0]), torch.rand(1, 1, 24, 32)
    tries = []

    def fail(_: torch.Tensor) -> torch.Tensor:
        tries.append(1)
        raise RuntimeError("no Triton here\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    backend = TorchBackend(generator, CPU, compile_after=0)
    for _ in range(2):
        torch.testing.assert_close(backend.residual(x), TorchBackend(generator, CPU).residual(x), rtol=0, atol=0)
    assert tries == [1] and "no Triton here);" in caplog.text


def test_running_out_of_memory_is_left_to_the_upscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(_: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: scarce)
    backend = TorchBackend(busy(CONFIGS[0]), CPU, compile_after=0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        backend.residual(torch.rand(1, 1, 24, 32))
