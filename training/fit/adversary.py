"""The discriminator and its optimiser, as the adversarial stage of the loop uses them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.fit.discriminator import build_discriminator
from training.fit.losses import (
    Labels,
    discriminator_bce,
    discriminator_relativistic,
    generator_bce,
    generator_relativistic,
)
from training.fit.presets import Stage
from training.fit.updater import Updater


class Adversary:
    """A discriminator that is trained beside the generator.

    Args:
        stage: its shape and kind of loss.
        labels: its answers.
        planes: colour channels of the pictures.
        device: where it computes.
        dtype: of autocast; None is float32.
    """

    def __init__(
        self, stage: Stage, labels: Labels, planes: int, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self.relativistic, self.labels = stage.relativistic, labels
        network = build_discriminator(stage.discriminator, planes).to(device)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.updater = Updater(self.network, device, dtype)

    def generator_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """What the generator is to minimise; leaves no gradient in the discriminator."""
        self.network.requires_grad_(False)
        fake = self.network(output)
        if self.relativistic:
            with torch.no_grad():
                real = self.network(target)
            loss = generator_relativistic(real, fake, self.labels)
        else:
            loss = generator_bce(fake, self.labels)
        self.network.requires_grad_(True)
        return loss

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """What the discriminator is to minimise; leaves no gradient in the generator."""
        real, fake = self.network(target), self.network(output.detach())
        loss = discriminator_relativistic if self.relativistic else discriminator_bce
        return loss(real, fake, self.labels)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "updater": self.updater.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """What `state` returned."""
        self.network.load_state_dict(state["network"])
        self.updater.restore(state["updater"])
