"""The GPU script runs on a CPU too, with what a CPU has."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.gpu import run
from tests.training.bare import run_with_only

SMALL = "--device cpu --width 48 --height 32 --frames 1 --blocks 1 --channels 8 --side 64".split()


def test_the_script_runs_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REPEATS", 2)
    result = CliRunner().invoke(run.main, SMALL, catch_exceptions=False)
    said = json.loads(result.stdout)
    assert said["eager"]["TFLOP/s"] > 0
    assert said["eager"]["share of matmul"] == pytest.approx(said["eager"]["TFLOP/s"] / said["matmul"]["TFLOP/s"])
    whole = said["upscaler with transfers"]
    assert whole["of the model alone"] == pytest.approx(whole["fps"] / said["eager"]["fps"])


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
    assert json.loads(done.stdout)["eager"]["fps"] > 0
