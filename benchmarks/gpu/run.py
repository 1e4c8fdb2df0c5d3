"""What share of the GPU's own matrix multiplication the generator reaches: `python -m benchmarks.gpu.run`.

Measures the peak (a large half-precision matmul), one of the generator's convolutions by itself, which tells what the
library's kernels could reach at best, and the generator at one frame size: eager and compiled as vidsr does it, with
the kernels that take most of the time; the upscaler with its transfers and colour, two batches at a time as the
pipeline gives them; and the generator as a CUDA graph and, as that takes longest, compiled with torch's search for the
fastest kernels. Prints each as a line of JSON as soon as it is known; what cannot be measured says why, and the others
go on.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from vidsr.errors import first_line
from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.backends import COMPILE_AFTER, TorchBackend
from vidsr.model.generator import Generator, GeneratorConfig, fold
from vidsr.model.upscaler import Upscaler
from vidsr.settings import BATCHES_ON_A_GPU

REPEATS = 20
MOST_KERNELS = 8
# That of the preset quality-2x, which training.fit.presets would need more packages to tell.
QUALITY = GeneratorConfig(scale=2, blocks=20, channels=64, colour="luma", kernel=5)
AS_VIDSR = ("eager", "compiled")

Run = Callable[[], Any]
Figures = dict[str, Any]


class Report:
    """Figures by name, printed, and written to a file where one is given, as they come."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.figures: dict[str, Any] = {}

    def add(self, name: str, figures: Figures | str) -> None:
        """Take what is known."""
        self.figures[name] = figures
        click.echo(json.dumps({name: figures}))
        if self.path is not None:
            self.path.write_text(json.dumps(self.figures, indent=1))

    def measure(self, name: str, work: Callable[[], Figures]) -> None:
        """Take what `work` finds, or why it found nothing."""
        try:
            figures = work()
        except Exception as error:  # no compiler, no room, a kernel that this card lacks: the others are still wanted
            figures = {"failed": f"{type(error).__name__}: {first_line(error)}"}
        self.add(name, figures)

    def fps(self, *names: str) -> float:
        """Frames a second of the first of these that was measured; 0 where none was."""
        return next((self.figures[n]["fps"] for n in names if "fps" in self.figures.get(n, {})), 0.0)


def measured_peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """TFLOP/s of a side x side matmul."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: a @ b, device) / 1e12


def convolution_rate(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> float:
    """TFLOP/s of a 3x3 convolution that keeps the channels, in channels_last; `shape` is (N, C, H, W)."""
    n, c, h, w = shape
    conv = torch.nn.Conv2d(c, c, 3, padding=1, bias=False, device=device, dtype=dtype)
    conv = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(shape, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    return 2e-12 * 9 * c * c * n * h * w / median_seconds(lambda: conv(x), device)


def median_seconds(work: Run, device: torch.device) -> float:
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


def kernel_shares(work: Run, device: torch.device) -> Figures:
    """The kernels (on a CPU operators) that take most of some runs' time, with their share of it."""
    on_gpu = device.type == "cuda"
    work()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as recorded:
        for _ in range(3):
            work()
        _wait(device)
    took = {e.key: e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in recorded.key_averages()}
    whole = sum(took.values())
    return {name: took[name] / whole for name in sorted(took, key=took.__getitem__, reverse=True)[:MOST_KERNELS]}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def variants(generator: Generator, x: torch.Tensor, device: torch.device) -> dict[str, Callable[[], Run]]:
    """The ways to run the network on one batch, each prepared when it is called."""
    backend = TorchBackend(generator, device)

    def compiled(mode: str) -> Run:
        fresh = TorchBackend(generator, device)
        return functools.partial(torch.compile(fresh.residual, mode=mode, dynamic=False), x)

    ways: dict[str, Callable[[], Run]] = {"eager": lambda: functools.partial(backend.residual, x)}
    if device.type == "cuda":
        ways["compiled"] = lambda: compiled("default")
        ways["CUDA graph"] = lambda: _graph(backend, x)
        ways["compiled, max-autotune"] = lambda: compiled("max-autotune-no-cudagraphs")
    return ways


def _graph(backend: TorchBackend, x: torch.Tensor) -> Run:
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
@click.option("--blocks", default=QUALITY.blocks, show_default=True)
@click.option("--channels", default=QUALITY.channels, show_default=True)
@click.option("--side", default=8192, show_default=True, help="Of the matrices that tell the peak.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also keep all figures here, as they come.")
def main(
    device: str, width: int, height: int, frames: int, blocks: int, channels: int, side: int, json_file: Path | None
) -> None:
    """Measure the generator, by default the quality tier at 1080p to 4K; exit with 1 if something failed."""
    place = torch.device(device)
    # The upscaler would ask platformdirs, which a bare machine lacks.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/vidsr-benchmarks-gpu")
    generator = fold(Generator(replace(QUALITY, blocks=blocks, channels=channels))).requires_grad_(False)
    work = 2e-12 * generator.config.macs_per_pixel * width * height * frames  # TFLOP of a batch
    report = Report(json_file)
    report.add("device", torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu")
    report.add("torch", torch.__version__)
    report.add("generator", f"{blocks}x{channels}, {work / frames:.2f} TFLOP a frame of {width}x{height}")
    precision = TorchBackend(generator, place).name
    dtype = getattr(torch, precision.split()[1])
    peak = measured_peak(place, dtype, side)
    report.add("matmul", {"dtype": precision, "TFLOP/s": peak})

    @torch.inference_mode()
    def convolution() -> Figures:
        rate = convolution_rate(place, dtype, (frames, channels, height, width))
        return {"TFLOP/s": rate, "share of matmul": rate / peak}

    @torch.inference_mode()
    def alone(prepare: Callable[[], Run]) -> Figures:
        seconds = median_seconds(prepare(), place)
        return {"fps": frames / seconds, "TFLOP/s": work / seconds, "share of matmul": work / seconds / peak}

    @torch.inference_mode()
    def kernels() -> Figures:
        return kernel_shares(ways[next(name for name in reversed(AS_VIDSR) if name in ways)](), place)

    def whole() -> Figures:
        fps, model = _upscaler_fps(generator, device, width, height, frames), report.fps(*reversed(AS_VIDSR))
        return {"fps": fps, "of the model alone": fps / model if model else None}

    report.measure("one convolution", convolution)
    ways = variants(generator, torch.rand(frames, 1, height, width, device=place), place)
    works: dict[str, Callable[[], Figures]]
    works = {name: functools.partial(alone, prepare) for name, prepare in ways.items()}
    others = {name: works.pop(name) for name in ways if name not in AS_VIDSR}
    for name, measure in {**works, "upscaler with transfers": whole, "share of time": kernels, **others}.items():
        report.measure(name, measure)
    if any("failed" in figures for figures in report.figures.values()):
        sys.exit(1)


def _upscaler_fps(generator: Generator, device: str, width: int, height: int, frames: int) -> float:
    """Planes in, planes out, every frame another one, so that nothing is reused."""
    upscaler = Upscaler(copy.deepcopy(generator).float(), device)
    layout, rng = PixelLayout(), np.random.default_rng(1)
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
