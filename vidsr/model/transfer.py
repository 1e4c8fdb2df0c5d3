"""Samples to a device and back. To and from a GPU they go through page-locked memory, beside what it computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidsr.frames import Plane


def upload(samples: Plane, device: torch.device) -> Tensor:
    """uint8 or uint16 samples on the device; 16 bits as int16, which torch computes with, in the same bits."""
    if samples.dtype == np.uint16:
        samples = samples.view(np.int16)  # type: ignore[assignment]
    if device.type != "cuda":
        # Frames from Ray's object store are read-only, which torch warns of.
        return torch.from_numpy(np.require(samples, requirements=["C", "W"])).to(device)
    staged = _page_locked(samples.shape, torch.uint8 if samples.dtype == np.uint8 else torch.int16)
    np.copyto(staged.numpy(), samples)
    return staged.to(device, non_blocking=True)


def download(samples: Tensor) -> NDArray[Any]:
    """uint8 or int16 samples from the device; from a GPU they have arrived when the turn ends (`Lanes`)."""
    samples = samples.contiguous()
    if samples.device.type == "cuda":
        samples = _page_locked(samples.shape, samples.dtype).copy_(samples, non_blocking=True)
    arrived: NDArray[Any] = samples.numpy()
    return arrived


def _page_locked(shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory that a GPU reads and writes by itself; torch keeps what is freed for the next batch."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


class Lanes:
    """Order among the threads that use one device.

    On a GPU each thread has a stream of its own. `turn` lets one thread at a time put work there; it leaves before
    its results have arrived, so that the next batch is computed while they are copied.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._own = threading.local()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Put work on the device within it; afterwards everything that was downloaded has arrived."""
        if self._device.type != "cuda":
            with self._lock:
                yield
            return
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call, unused-ignore]
        with torch.cuda.stream(self._own.stream):
            with self._lock:
                yield
            self._own.stream.synchronize()


class Kept:
    """A tensor that one turn leaves for another, maybe of another thread."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._written = torch.cuda.Event() if tensor.is_cuda else None  # type: ignore[no-untyped-call, unused-ignore]
        if self._written is not None:
            self._written.record()

    def take(self) -> Tensor:
        """The tensor, for use in this turn; what was put on the device after it was left is not waited for."""
        if self._written is not None:
            stream = torch.cuda.current_stream(self._tensor.device)
            stream.wait_event(self._written)
            self._tensor.record_stream(stream)
        return self._tensor
