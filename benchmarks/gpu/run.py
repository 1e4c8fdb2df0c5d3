"""What share of the GPU's own matrix multiplication the generator reaches: `python -m benchmarks.gpu.run`.

Measures the peak (a large half-precision matmul), then the generator at one frame size: eager, compiled as vidsr does
it, compiled with torch's search for the fastest kernels, and as a CUDA graph; and the upscaler with its transfers and
colour, two batches at a time as the pipeline gives them. Prints JSON.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
import numpy as np
import torch

from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.backends import COMPILE_AFTER, TorchBackend
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.upscaler import Upscaler
from vidsr.settings import BATCHES_ON_A_GPU

REPEATS = 20


def measured_peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """TFLOP/s of a side x side matmul."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: a @ b, device) / 1e12


def median_seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The median time of some runs, after three to warm up."""
    times = []
    for number in range(REPEATS + 3):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        if number >= 3:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def variants(generator: Generator, x: torch.Tensor, device: torch.device) -> dict[str, Callable[[], Any]]:
    """The ways to run the network on one batch."""
    backend = TorchBackend(generator, device)
    ways: dict[str, Callable[[], Any]] = {"eager": lambda: backend.residual(x)}
    if device.type == "cuda":
        for name, mode in (("compiled", "default"), ("compiled, max-autotune", "max-autotune-no-cudagraphs")):
            compiled = torch.compile(TorchBackend(generator, device).residual, mode=mode, dynamic=False)
            ways[name] = functools.partial(compiled, x)
        ways["CUDA graph"] = _graph(backend, x)
    return ways


def _graph(backend: TorchBackend, x: torch.Tensor) -> Callable[[], Any]:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            backend.residual(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        backend.residual(x)
    return graph.replay


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--width", default=1920, show_default=True)
@click.option("--height", default=1080, show_default=True)
@click.option("--frames", default=2, show_default=True, help="In a batch.")
@click.option("--blocks", default=20, show_default=True)
@click.option("--channels", default=64, show_default=True)
@click.option("--side", default=8192, show_default=True, help="Of the matrices that tell the peak.")
def main(device: str, width: int, height: int, frames: int, blocks: int, channels: int, side: int) -> None:
    """Measure the generator, by default the quality tier at 1080p to 4K."""
    place = torch.device(device)
    # The upscaler would ask platformdirs, which a bare machine lacks.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/vidsr-benchmarks-gpu")
    generator = fold(Generator(GeneratorConfig(2, blocks, channels, "luma"))).requires_grad_(False)
    work = 2e-12 * generator.config.macs_per_pixel * width * height * frames  # TFLOP of a batch
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "generator": f"{blocks}x{channels}, {work / frames:.2f} TFLOP a frame of {width}x{height}",
    }
    with torch.inference_mode():
        backend = TorchBackend(generator, place)
        dtype = getattr(torch, backend.name.split()[1])
        result["matmul"] = {"dtype": backend.name, "TFLOP/s": measured_peak(place, dtype, side)}
        x = torch.rand(frames, 1, height, width, device=place)
        for name, run in variants(generator, x, place).items():
            seconds = median_seconds(run, place)
            rate = work / seconds
            share = rate / result["matmul"]["TFLOP/s"]
            result[name] = {"fps": frames / seconds, "TFLOP/s": rate, "share of matmul": share}
    fps = _upscaler_fps(generator, device, width, height, frames)
    alone = result["compiled" if place.type == "cuda" else "eager"]["fps"]
    result["upscaler with transfers"] = {"fps": fps, "of the model alone": fps / alone}
    click.echo(json.dumps(result, indent=1))


def _upscaler_fps(generator: Generator, device: str, width: int, height: int, frames: int) -> float:
    """Planes in, planes out, every frame another one, so that nothing is reused."""
    upscaler, layout, rng = Upscaler(generator.float(), device), PixelLayout(), np.random.default_rng(1)
    shapes = layout.plane_shapes(width, height)
    planes = [tuple(rng.integers(16, 235, (frames, *s), np.uint8) for s in shapes) for _ in range(2)]
    batches = [FrameBatch(p, layout, Colour(1), tuple(range(frames))) for p in planes]
    with ThreadPoolExecutor(BATCHES_ON_A_GPU) as pool:
        for _ in pool.map(upscaler.upscale, batches * (COMPILE_AFTER if upscaler.device.type == "cuda" else 1)):
            pass  # until it is compiled
        started = time.perf_counter()
        for _ in pool.map(upscaler.upscale, batches * REPEATS):
            pass
    return 2 * REPEATS * frames / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
