"""A model as ONNX, for other programs: players, TensorRT, browsers, phones."""

from __future__ import annotations

import importlib.util
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidsr.errors import DeviceError
from vidsr.model.colour import SEEN_BLACK, SEEN_WHITE
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.registry import ModelFile
from vidsr.model.weights import load_weights
from vidsr.paths import write_output

OPSET = 18
_NEEDED = ("onnx", "onnxscript")


def export_onnx(model: ModelFile, path: Path) -> None:
    """Write a model as one ONNX file, by rename.

    The network has one input, `picture` (N, planes, H, W), and one output, `enlarged`
    (N, planes, H * scale, W * scale), both float32 in [0, 1]; the output is not clamped, so it may leave that by a
    little. N, H and W are free. One plane is luma, its code 0 at 16/255 and its code 255 at 235/255 whatever range it
    is tagged with (`vidsr.model.colour.seen_luma`); three are RGB. The metadata holds this range, the configuration
    and what the weights were.

    Raises:
        DeviceError: the packages for ONNX are not installed.
        OutputUnwritable, DiskTooSmall: the file cannot be written.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise DeviceError(f"{' and '.join(missing)} are needed to export; run `pip install {' '.join(missing)}`")
    generator = fold(load_weights(model.path)).requires_grad_(False)
    with warnings.catch_warnings():  # torch warns of what it does itself
        warnings.simplefilter("ignore", FutureWarning)
        network = _convert(generator)
    network.metadata_props.update(
        {
            "model": model.name,
            "sha256": model.sha256,
            "config": json.dumps(asdict(model.config)),
            "range": _range(model.config),
        }
    )
    write_output(path, _as_bytes(network))


def _range(config: GeneratorConfig) -> str:
    """What the values of both pictures mean, as JSON, for the programs that feed the network."""
    black, white = (SEEN_BLACK, SEEN_WHITE) if config.colour == "luma" else (0.0, 1.0)
    said = "those of the codes 0 and 255, of video of limited range too; clamp the output, which may leave 0 to 1"
    return json.dumps({"black": black, "white": white, "note": said})


def _convert(generator: Generator) -> Any:
    sizes = {0: torch.export.Dim("n", min=1), 2: torch.export.Dim("height", min=8), 3: torch.export.Dim("width", min=8)}
    program = torch.onnx.export(
        generator,
        (torch.zeros(2, generator.config.planes, 24, 32),),
        input_names=["picture"],
        output_names=["enlarged"],
        dynamic_shapes={"x": sizes},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model


def _as_bytes(network: Any) -> bytes:
    import onnx_ir

    return bytes(onnx_ir.to_proto(network).SerializeToString())
