"""ONNX files compute what torch computes, at any size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from vidsr.cli import main
from vidsr.errors import DeviceError, OutputExists, OutputUnwritable, WrongScale
from vidsr.model import export
from vidsr.model.export import export_onnx
from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.registry import describe
from vidsr.model.upscaler import Upscaler
from vidsr.model.weights import load_weights, save_weights

CONFIGS = {
    "luma": GeneratorConfig(2, 2, 8, "luma", body="plain", branches=True, kernel=3),
    "rgb": GeneratorConfig(4, 1, 8, "rgb", tail="srgan", norm="batch"),
}


def model(folder: Path, config: GeneratorConfig) -> Path:
    torch.manual_seed(4)
    generator = Generator(config)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.1)
    save_weights(folder / "model.safetensors", generator, {})
    return folder / "model.safetensors"


@pytest.mark.parametrize("name", CONFIGS)
def test_onnx_computes_the_same(name: str, tmp_path: Path) -> None:
    weights = model(tmp_path, CONFIGS[name])
    export_onnx(describe(weights), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    generator = load_weights(weights)
    for n, h, w in ((1, 20, 31), (3, 33, 16)):
        x = torch.rand(n, generator.config.planes, h, w)
        with torch.inference_mode():
            expected = generator(x).numpy()
        (result,) = session.run(["enlarged"], {"picture": x.numpy()})
        np.testing.assert_allclose(result, expected, atol=1e-4, rtol=1e-4)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_the_file_says_what_is_black_and_white(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fed so, it enlarges a frame as Upscaler does; read as full range, luma would be another picture."""
    monkeypatch.setattr("vidsr.model.upscaler.keep_brightness", lambda *_: None)  # the file is the network alone
    weights = model(tmp_path, CONFIGS[name])
    export_onnx(describe(weights), tmp_path / "model.onnx")
    said = json.loads({e.key: e.value for e in onnx.load(tmp_path / "model.onnx").metadata_props}["range"])
    assert "clamp" in said["note"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    share = np.random.default_rng(3).integers(0, 256, (1, 20, 31, 1), np.uint8).repeat(3, axis=3)  # 0 black, 255 white
    span = said["white"] - said["black"]
    planes = load_weights(weights).config.planes
    picture = (share[..., :planes] / 255 * span + said["black"]).transpose(0, 3, 1, 2).astype(np.float32)
    (result,) = session.run(["enlarged"], {"picture": picture})
    codes = ((result - said["black"]) / span * 255).round().clip(0, 255).transpose(0, 2, 3, 1)
    expected = Upscaler(weights, "cpu", CONFIGS[name].scale, "torch").upscale(share)
    assert np.abs(codes - expected).max() <= 1


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = model(tmp_path, CONFIGS["luma"])
    monkeypatch.setattr(export, "_NEEDED", ("onnx", "a_package_that_is_not_there"))
    with pytest.raises(DeviceError, match="a_package_that_is_not_there"):
        export_onnx(describe(weights), tmp_path / "model.onnx")


def test_the_command(tmp_path: Path) -> None:
    weights = model(tmp_path, CONFIGS["luma"])
    command = ["export", str(weights), "-o", str(tmp_path / "out" / "model.onnx")]
    assert CliRunner().invoke(main, command).exit_code == 0
    loaded = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(loaded)
    said = {entry.key: entry.value for entry in loaded.metadata_props}
    assert (said["model"], said["sha256"]) == ("model", describe(weights).sha256)
    assert '"scale": 2' in said["config"]
    assert CliRunner().invoke(main, command).exit_code == OutputExists.exit_code
    assert CliRunner().invoke(main, [*command, "--scale", "4"]).exit_code == WrongScale.exit_code


def test_the_command_says_nothing_of_its_libraries(tmp_path: Path) -> None:
    """torch warns of what it does itself."""
    weights = model(tmp_path, CONFIGS["luma"])
    command = [sys.executable, "-m", "vidsr", "export", str(weights), "-o", str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A full disk gave a traceback, and half of the file stayed."""
    weights = model(tmp_path, CONFIGS["luma"])
    (tmp_path / "model.onnx.part").mkdir()
    done = CliRunner().invoke(main, ["export", str(weights), "-o", str(tmp_path / "model.onnx")])
    assert done.exit_code == OutputUnwritable.exit_code, done.exception
    assert "model.onnx cannot be written" in done.output
