"""The GPU script runs on a CPU too, with what a CPU has."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.gpu import run


def test_the_script_runs_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REPEATS", 2)
    arguments = "--device cpu --width 48 --height 32 --frames 1 --blocks 1 --channels 8 --side 64".split()
    result = CliRunner().invoke(run.main, arguments, catch_exceptions=False)
    said = json.loads(result.stdout)
    assert said["eager"]["TFLOP/s"] > 0
    assert said["eager"]["share of matmul"] == pytest.approx(said["eager"]["TFLOP/s"] / said["matmul"]["TFLOP/s"])
    whole = said["upscaler with transfers"]
    assert whole["of the model alone"] == pytest.approx(whole["fps"] / said["eager"]["fps"])
