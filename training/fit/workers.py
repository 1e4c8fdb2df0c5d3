"""One worker among several: gradients in the mean, and one clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Group:
    """This worker's number and how many there are; a single one needs no process group."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this worker writes files and reports."""
        return self.rank == 0

    def mean_gradients(self, parameters: Iterable[nn.Parameter], weight: float = 1.0) -> None:
        """Replace each gradient by its mean over the workers, each counted with its `weight`."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients]) * (weight / self.size)
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.reshape(gradient.shape))

    def from_first(self, value: float, device: torch.device) -> float:
        """The first worker's value, in every worker."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return float(shared)
