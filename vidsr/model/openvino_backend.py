"""The generator through OpenVINO on a CPU.

One compiled network takes windows of any size (a new size costs 2 ms) and gives the same bits for a pixel in
whichever window it lies. Windows are computed side by side, each on few threads: that keeps all cores busy beside an
encoder, where one window on all threads waits at every layer for the slowest of them.

In int8 the first and the last convolution stay in floating point: they read and write the picture itself; so do those
that lose most by it. Sums of products of bytes are exact, so windows matter no more than without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from os.path import isfile  # unlike Path's, it takes what may not be looked at for not there
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidsr.machine import has_amx
from vidsr.model.generator import Generator
from vidsr.model.ranges import INT8
from vidsr.paths import user_cache

# OpenVINO tells Google Analytics of each import and conversion, by a package that also writes into the home folder and
# fails where there is none. Where that cannot be imported, OpenVINO does without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino import opset13  # noqa: E402

MOST_STREAMS = 4
# With AMX and one thread for each stream, convolutions with a PReLU take twice as long in bfloat16 (OpenVINO 2026.4).
AMX_STREAM_THREADS = 2


class OpenVinoBackend:
    """Residuals through OpenVINO; see `vidsr.model.backends.Backend`."""

    # Measured: a whole 540p frame in one window is the fastest; larger frames are cut so that memory stays small.
    tile_pixels = 700_000
    batch_pixels = 8 * tile_pixels

    def __init__(
        self, generator: Generator, precision: str, inputs: Sequence[tuple[float, float] | None] | None = None
    ) -> None:
        """Convert and compile.

        Args:
            generator: folded.
            precision: "bf16" only where the CPU computes in it natively, else "f32".
            inputs: `vidsr.model.ranges.Ranges.inputs`: compute in int8, and in `precision` what is left.
        """
        self._config = generator.config
        each = AMX_STREAM_THREADS if has_amx() else 1
        threads = max(torch.get_num_threads(), each)
        self.streams = min(threads // each, MOST_STREAMS)
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": self.streams,
            "ENABLE_CPU_PINNING": False,  # decoders and encoders run on the same cores
        }
        network = _network(core, generator)
        if inputs is not None:
            _quantise(network, inputs)
        self._queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", options))
        self.name = f"openvino {precision}" if inputs is None else f"{INT8} with {precision}"

    def residual(self, x: Tensor) -> Tensor:
        """See Backend."""
        n, planes, height, width = x.shape
        scale = self._config.scale
        result = np.empty((n, planes, height * scale, width * scale), np.float32)

        def store(request: Any, at: int) -> None:
            result[at] = request.get_output_tensor(0).data[0]

        windows = x.contiguous().numpy()
        self._queue.set_callback(store)
        for at in range(n):
            self._queue.start_async({0: windows[at : at + 1]}, at)
        self._queue.wait_all()
        return torch.from_numpy(result)


def _quantise(network: Any, inputs: Sequence[tuple[float, float] | None]) -> None:
    """Round the inputs and weights of a network's inner convolutions to 8 bits, which OpenVINO then computes in.
    Those without a range stay as they are.

    Inputs become unsigned with a zero point, as PReLU leaves few negative values; weights are symmetric per output
    channel (Jacob et al. 2018, section 2.1).
    """
    inner = [node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"][1:-1]
    for convolution, pair in zip(inner, inputs, strict=True):
        if pair is None:
            continue
        low, high = pair
        step = (high - low) / 255
        zero = round(-low / step)  # 0 is a code of its own: padding is exact
        _replace(convolution.input(0), np.float32(-zero * step), np.float32((255 - zero) * step), 256)
        weight = convolution.input_value(1).get_node().data
        largest = np.maximum(np.abs(weight).max(axis=(1, 2, 3), keepdims=True), np.float32(1e-12))
        _replace(convolution.input(1), -largest, largest, 255)
    network.validate_nodes_and_infer_types()


def _replace(port: Any, low: Any, high: Any, levels: int) -> None:
    """Put a rounding to `levels` equal steps between a port and what feeds it."""
    rounded = opset13.fake_quantize(port.get_source_output(), low, high, low, high, levels)
    port.replace_source_output(rounded.output(0))


class _Residual(torch.nn.Module):
    """The residual as `forward`, which is what converters trace."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return self.generator.residual(x)


def _network(core: Any, generator: Generator) -> Any:
    """The generator as OpenVINO has it, from the user's cache where it was converted before (1 s)."""
    path = cache_folder() / f"{_key(generator)}.xml"
    if isfile(path) and isfile(path.with_suffix(".bin")):
        try:
            return core.read_model(path)
        except RuntimeError:
            pass  # a power loss left half of it: it is made and kept again
    wrapped = _Residual(generator.cpu().float())
    shape = [1, generator.config.planes, -1, -1]
    with torch.inference_mode(False), torch.no_grad():
        network = openvino.convert_model(wrapped, example_input=torch.zeros(1, shape[1], 64, 64), input=[shape])
    _keep(network, path)
    return network


def cache_folder() -> Path:
    """Where converted networks are kept between runs."""
    return user_cache() / "openvino"


def _key(generator: Generator) -> str:
    digest = hashlib.sha256(json.dumps([openvino.__version__, asdict(generator.config)]).encode())
    for name, value in sorted(generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _keep(network: Any, path: Path) -> None:
    """Save a network by rename, its weights first; a folder that cannot be written only costs the next start."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.stem}.{os.getpid()}.xml")
        openvino.save_model(network, part, compress_to_fp16=False)
        part.with_suffix(".bin").replace(path.with_suffix(".bin"))
        part.replace(path)
    except (OSError, RuntimeError):
        return
