"""What runs the network: torch on a CPU or GPU, or OpenVINO on a CPU, there in int8 where it pays.

A backend computes the generator's residual only. The skip is added in float32 by the caller, so half precision
never touches the picture itself.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from vidsr.errors import DeviceError, SettingsError, first_line
from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.ranges import Ranges
from vidsr.paths import user_cache
from vidsr.settings import BACKENDS, BATCHES_ON_A_GPU

# torch's bfloat16 convolutions pay from here on (docs/performance.md); with fewer channels float32 is faster.
_BF16_CHANNELS = 32
# Calls with windows of one size before torch.compile, which takes half a minute, is worth it: not for a picture, nor
# for a clip of some seconds.
COMPILE_AFTER = 50
MOST_SHAPES = 1000
MOST_COMPILED = 64


class Backend(Protocol):
    """Computes residuals of windows.

    Attributes:
        name: for reports, with the precision.
        tile_pixels: window size, in input pixels, at which it runs best.
        batch_pixels: input pixels to give it in one call.
        streams: windows that it computes side by side; fewer in one call leave cores idle.
    """

    name: str
    tile_pixels: int
    batch_pixels: int
    streams: int

    def residual(self, x: Tensor) -> Tensor:
        """(N, planes, h, w) float32 -> (N, planes, h * scale, w * scale) float32, on the same device."""
        ...


def make_backend(generator: Generator, device: torch.device, backend: str, ranges: Ranges | None = None) -> Backend:
    """Choose and prepare a backend; `auto` is torch on a GPU, on a CPU OpenVINO where it is installed.

    Args:
        generator: folded.
        device: where it computes.
        backend: auto, torch or openvino.
        ranges: of `choose_ranges`: run OpenVINO in int8.

    Raises:
        SettingsError: no such backend, or OpenVINO asked for a GPU.
        DeviceError: OpenVINO is not installed.
    """
    if backend not in BACKENDS:
        raise SettingsError(f"no backend {backend!r}; use one of {', '.join(BACKENDS)}")
    installed = importlib.util.find_spec("openvino") is not None
    if backend == "openvino" and not installed:
        raise DeviceError("OpenVINO is not installed; run `pip install openvino` or use --backend torch")
    if backend == "openvino" and device.type != "cpu":
        raise SettingsError("the openvino backend runs on the CPU; use --device cpu or --backend torch")
    if device.type == "cpu" and installed and backend != "torch":
        from vidsr.model.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(generator, best_precision(generator.config), ranges.inputs if ranges else None)
    return TorchBackend(generator, device, COMPILE_AFTER if device.type == "cuda" else None)


def forbid_tf32() -> None:
    """Keep float32 whole on GPUs, for the whole process: by default convolutions round it to 11 bits there."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


class Compiled:
    """A function of a tensor that torch compiles at its first call; as it is from then on where that fails."""

    def __init__(self, function: Callable[[Tensor], Tensor], dynamic: bool | None = None) -> None:
        """Nothing is compiled yet.

        Args:
            function: what to compile.
            dynamic: of `torch.compile`: whether sizes may change without compiling anew; None finds out.
        """
        self._function = function
        self._compiled: Callable[[Tensor], Tensor] | None = torch.compile(function, dynamic=dynamic)

    def __call__(self, x: Tensor) -> Tensor:
        """What the function gives."""
        compiled = self._compiled  # another thread may find in the meantime that it fails
        if compiled is not None:
            try:
                _allow_many_shapes()
                return compiled(x)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # no compiler, no Triton, a GPU it does not know: many classes, one remedy
                logging.getLogger(__name__).warning("torch.compile failed (%s); going on without", first_line(error))
                self._compiled = None
        return self._function(x)


def _allow_many_shapes() -> None:
    """Without this torch would go on without compiling, after eight shapes. Newer ones keep it for each thread."""
    if torch._dynamo.config.cache_size_limit != MOST_COMPILED:  # torch 2.6 has no name but this
        torch._dynamo.config.cache_size_limit = MOST_COMPILED


class TorchBackend:
    """torch in channels_last, in half precision where the device computes in it, compiled on GPUs.

    On a GPU, one turns TF32 off for the whole process: networks in float32 and the colour conversion need all its bits.
    """

    streams = 1

    def __init__(self, generator: Generator, device: torch.device, compile_after: int | None = None) -> None:
        """Prepare.

        Args:
            generator: folded.
            device: where it computes.
            compile_after: compile for windows of a size that came so often; None never compiles.
        """
        if device.type == "cuda":
            forbid_tf32()
        self._dtype = _precision(device, generator.config)
        self._generator = generator.to(device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            # Four feature maps of the network live at once, for each batch; half of what is free is left to others.
            values = generator.config.channels * generator.config.scale**2
            room = free // 2 // BATCHES_ON_A_GPU // (4 * values * self._dtype.itemsize)
            # Kernels that count in 32 bits are the fast ones.
            self.tile_pixels = self.batch_pixels = min(max(room, 1 << 14), (1 << 31) // values)
        else:
            # Windows whose feature maps stay in the cache: measured 1.1x to 1.3x faster than whole 540p frames.
            self.tile_pixels = self.batch_pixels = 150_000
        self.name = f"torch {str(self._dtype).removeprefix('torch.')}"
        self._compile_after = compile_after
        self._seen: Counter[torch.Size] = Counter()
        self._compiled: Callable[[Tensor], Tensor] = self._eager
        if compile_after is not None:
            if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(user_cache() / "torch")
            self._compiled = Compiled(self._eager, dynamic=False)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the weights are there before any thread's stream reads them

    def residual(self, x: Tensor) -> Tensor:
        """See Backend."""
        if self._compile_after is None or not self._comes_often(x.shape):
            return self._eager(x)
        return self._compiled(x)

    def _comes_often(self, shape: torch.Size) -> bool:
        """Whether compiling for windows of this shape pays; those of what changed in a frame have any shape."""
        if len(self._seen) >= MOST_SHAPES:
            self._seen.clear()
        self._seen[shape] += 1
        return self._seen[shape] > (self._compile_after or 0)

    def _eager(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype).contiguous(memory_format=torch.channels_last)
        y: Tensor = self._generator.residual(x)
        return y.float()


def best_precision(config: GeneratorConfig) -> str:
    """OpenVINO's fastest floating-point precision on this CPU that a network may run in."""
    return "bf16" if has_native_bf16() and _may_round(config) else "f32"


def _may_round(config: GeneratorConfig) -> bool:
    """Whether a network computes only what is added to a picture, not the picture itself."""
    return config.skip != "none"


def has_native_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere it is 10x slower."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _precision(device: torch.device, config: GeneratorConfig) -> torch.dtype:
    if not _may_round(config):
        return torch.float32
    if device.type != "cuda":
        return torch.bfloat16 if has_native_bf16() and config.channels >= _BF16_CHANNELS else torch.float32
    major, _ = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if major >= 8 else torch.float16 if major == 7 else torch.float32
