"""Training on several GPUs, or processes on CPUs, of one or more machines, through Ray Train's TorchTrainer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.fit.workers import Group
from vidsr.errors import ClusterError


def run_on_workers(count: int, folder: Path, work: Callable[[Group, torch.device], None], gpus: bool) -> None:
    """Call `work` in `count` processes that form one torch process group.

    Args:
        count: processes.
        folder: Ray's records of the run go to `ray` in it; on several machines it must be on a shared disk.
        work: told which worker it is in, and its device.
        gpus: give each worker a GPU; else they compute on CPUs.

    The processes run on the cluster at RAY_ADDRESS, or on this machine where that is not set.

    Raises:
        ClusterError: Ray cannot start them, or one failed.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig, get_context
    from ray.train.torch import TorchTrainer, get_device

    def loop(_: dict[str, Any]) -> None:
        if not gpus:
            torch.set_num_threads(1)
        context = get_context()
        work(Group(context.get_world_rank(), context.get_world_size()), get_device())

    started = not ray.is_initialized()
    try:
        if started:
            ray.init(os.environ.get("RAY_ADDRESS", "local"), log_to_driver=False)
        trainer = TorchTrainer(
            loop,
            train_loop_config={},
            scaling_config=ScalingConfig(num_workers=count, use_gpu=gpus),
            run_config=RunConfig(name="ray", storage_path=str(folder.resolve())),
        )
        trainer.fit()
    except Exception as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ClusterError(f"training on {count} workers failed: {reason[0]}") from error
    finally:
        if started:
            ray.shutdown()
