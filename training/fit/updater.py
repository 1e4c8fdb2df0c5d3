"""An optimiser step: scaled where half precision needs it, in the mean of the workers, clipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.fit.workers import Group
from vidsr.machine import has_amx
from vidsr.model.generator import GeneratorConfig

AMX_CHANNELS = 32  # from which on torch trains faster in bfloat16 on CPUs with AMX


def autocast_type(device: torch.device, config: GeneratorConfig) -> torch.dtype | None:
    """bfloat16 or float16 where the device computes such a generator fast in it; None, float32, elsewhere.

    A network without a skip computes the picture itself, whose samples half precision would round, so it trains in
    float32, as it runs. On CPUs with AMX wide networks train faster in bfloat16; on those without many times slower.
    """
    if config.skip == "none":
        return None
    if device.type != "cuda":
        return torch.bfloat16 if config.channels >= AMX_CHANNELS and has_amx() else None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


class Updater:
    """Adam over a network's parameters.

    Args:
        network: what is fitted.
        device: where it computes.
        dtype: of autocast; None is float32.
        clip: largest norm of the gradient; 0 does not clip.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, dtype: torch.dtype | None = None, clip: float = 0.0
    ) -> None:
        self.parameters, self.clip = list(network.parameters()), clip
        self.optimiser = torch.optim.Adam(self.parameters, betas=(0.9, 0.99))  # each step brings its rate
        # float16 overflows and underflows; bfloat16 and float32 need no scaling.
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def step(self, loss: Tensor, rate: float, group: Group, weight: float) -> None:
        """Fit the network to a loss.

        Args:
            loss: a scalar, the mean over this worker's crops.
            rate: learning rate.
            group: whose gradients are averaged.
            weight: this worker's crops over the mean of the workers' crops.
        """
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        group.mean_gradients(self.parameters, weight)
        self.scaler.unscale_(self.optimiser)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """What `state` returned."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
