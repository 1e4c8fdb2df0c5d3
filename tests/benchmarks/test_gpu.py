"""The GPU script runs on a CPU too, with what a CPU has."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks.gpu import run
from tests.training.bare import run_with_only
from training.fit.presets import preset

SMALL = "--device cpu --width 48 --height 32 --frames 1 --blocks 1 --channels 8 --side 64".split()


def figures(printed: str) -> dict[str, Any]:
    return {name: value for line in printed.splitlines() for name, value in json.loads(line).items()}


@pytest.fixture
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REPEATS", 2)


@pytest.mark.usefixtures("few_repeats")
def test_the_script_runs_without_a_gpu(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    result = CliRunner().invoke(run.main, [*SMALL, "--json", str(file)], catch_exceptions=False)
    assert result.exit_code == 0
    said = figures(result.stdout)
    assert said == json.loads(file.read_text())
    assert said["eager"]["TFLOP/s"] > 0
    assert said["eager"]["share of matmul"] == pytest.approx(said["eager"]["TFLOP/s"] / said["matmul"]["TFLOP/s"])
    assert 0.5 < sum(said["share of time"].values()) <= 1
    assert any("conv" in operator for operator in said["share of time"])
    whole = said["upscaler with transfers"]
    assert whole["of the model alone"] == pytest.approx(whole["fps"] / said["eager"]["fps"])


@pytest.mark.usefixtures("few_repeats")
def test_what_fails_loses_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, real = tmp_path / "gpu.json", run.variants
    written: list[set[str]] = []

    def no_graph() -> run.Run:
        written.append(set(json.loads(file.read_text())))
        raise RuntimeError("no graphs here\nand a long trace")

    def no_kernels() -> None:
        raise torch.OutOfMemoryError("no room")

    def ways(*arguments: Any) -> dict[str, Callable[[], run.Run]]:
        return {
            **real(*arguments),
            "CUDA graph": no_graph,
            "compiled": lambda: no_kernels,
            "last": lambda: lambda: None,
        }

    monkeypatch.setattr(run, "variants", ways)
    result = CliRunner().invoke(run.main, [*SMALL, "--json", str(file)])
    assert result.exit_code == 1
    said = figures(result.stdout)
    assert list(said)[-6:] == ["eager", "compiled", "upscaler with transfers", "share of time", "CUDA graph", "last"]
    assert said["CUDA graph"] == {"failed": "RuntimeError: no graphs here"}
    assert said["compiled"] == {"failed": "OutOfMemoryError: no room"}
    assert said["last"]["fps"] > 0
    assert said["upscaler with transfers"]["of the model alone"] > 0  # eager then
    assert written == [set(said) - {"CUDA graph", "last"}]


def test_it_measures_the_network_of_the_preset() -> None:
    assert preset("quality-2x").generator == run.QUALITY
    defaults = {option.name: option.default for option in run.main.params}
    assert (defaults["blocks"], defaults["channels"]) == (run.QUALITY.blocks, run.QUALITY.channels)


BARE = """
import torch
from benchmarks.gpu import run
from vidsr.model.backends import TorchBackend
run.REPEATS = 2
run.main(standalone_mode=False)
TorchBackend(run.Generator(run.GeneratorConfig(2, 1, 8)), torch.device("cpu"), 50)  # as on a GPU
"""


def test_the_script_needs_no_more_than_it_says() -> None:
    done = run_with_only(["torch", "numpy", "click", "pillow", "safetensors"], BARE, *SMALL)
    assert done.returncode == 0, done.stderr
    assert figures(done.stdout)["eager"]["fps"] > 0
