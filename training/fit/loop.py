"""The training loop: stages, schedule, averaged weights, validation against bicubic, checkpoints.

On the CPU a run by steps is a function of its preset and data: one that is stopped and resumed ends in the very bits
that an unbroken one ends in. A run by minutes follows the clock, and resumes with the minutes that are left.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from training.fit.adversary import Adversary
from training.fit.checkpoint import (
    copy_network,
    keep_validated,
    load_checkpoint,
    restore_validated,
    save_checkpoint,
    save_network,
    uninterrupted,
)
from training.fit.grow import read_network, starting_generator
from training.fit.losses import WeightedLoss, build_loss, two_view_consistency
from training.fit.presets import Preset, Stage, to_json
from training.fit.schedule import rate_factor, stage_at
from training.fit.source import Source
from training.fit.updater import Updater, autocast_type
from training.fit.validate import gain_over_bicubic, side_by_side
from training.fit.workers import Group
from vidsr.errors import DeviceError, DiskTooSmall, RunError
from vidsr.model.backends import Compiled, forbid_tf32
from vidsr.model.generator import Generator

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
REPORT_STEPS = 10
DIVERGED_DB = 3.0  # a validation this far below the best one ends the run
VIEW_NOISE = 2 / 255  # between the two views of two-view consistency


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        step: updates so far.
        share: done, 0 to 1.
        stage: its kind.
        loss: mean since the last report.
        gain: dB over bicubic at the last validation, or None.
    """

    step: int
    share: float
    stage: str
    loss: float
    gain: float | None


class Trainer:
    """Fits one preset.

    Args:
        preset: what to do.
        source: where crops come from.
        folder: where checkpoints, weights and TensorBoard events go.
        device: where it computes.
        group: the workers.
        backbones: `lpips_backbone` and `vgg_backbone` of `build_loss`.
    """

    def __init__(
        self,
        preset: Preset,
        source: Source,
        folder: Path,
        device: torch.device,
        group: Group | None = None,
        backbones: dict[str, Path | None] | None = None,
    ) -> None:
        forbid_tf32()
        self.preset, self.source, self.folder, self.device = preset, source, folder, device
        self.group, self.backbones = group or Group(), backbones or {}
        self.dtype = autocast_type(device, preset.generator)
        self.generator = self._placed(starting_generator(preset))
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.teacher = (
            self._placed(read_network(preset.teacher, preset.generator.scale)) if preset.distillation else None
        )
        self.forward: Callable[[Tensor], Tensor] = self.generator
        if device.type == "cuda":
            self.forward = Compiled(self.generator)
        self.random = torch.Generator().manual_seed(preset.seed)
        self.step = self.stage_step = 0
        self.seconds = 0.0
        self.best, self.gain = -math.inf, None  # type: float, float | None
        self._enter(0)

    def _placed(self, network: Generator) -> Generator:
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _enter(self, number: int) -> None:
        """Start a stage from the averaged weights of the one before."""
        stage = self.preset.stages[number]
        self.generator.load_state_dict(self.average.state_dict())
        self.stage_number, self.stage_step, self.best = number, 0, -math.inf
        self.loss: WeightedLoss = build_loss(stage.losses, **self.backbones).to(self.device)
        self.updater = Updater(self.generator, self.device, self.dtype, self.preset.clip)
        self.adversary: Adversary | None = None
        if stage.adversarial:
            torch.manual_seed(self.preset.seed + 1 + number)
            planes = self.preset.generator.planes
            self.adversary = Adversary(stage, self.preset.labels, planes, self.device, self.dtype)

    @property
    def stage(self) -> Stage:
        """The stage in progress."""
        return self.preset.stages[self.stage_number]

    def share(self) -> float:
        """How much of the run is done, 0 to 1, the same in every worker."""
        if not self.preset.minutes:
            return min(self.step / self.preset.steps, 1.0)
        return self.group.from_first(min(self.seconds / (60 * self.preset.minutes), 1.0), self.device)

    def run(self, report: Callable[[Progress], None]) -> Path:
        """Train to the end and return the weights file.

        Args:
            report: told of the progress every few steps.

        Raises:
            RunError: a loss is not finite, or the run diverged; the last good checkpoint is kept.
            DeviceError: the GPU's memory does not hold the batch.
            DiskTooSmall: the last checkpoint could not be written.
        """
        writer = SummaryWriter(str(self.folder / "tensorboard")) if self.group.first else None
        try:
            self._steps(writer, report)
        except torch.cuda.OutOfMemoryError as error:
            half = max(self.preset.batch // 2, 1)
            raise DeviceError(
                f"{self.device} has too little memory for batch {self.preset.batch}; "
                f"start a new --run with --set batch={half}"
            ) from error
        except KeyboardInterrupt:
            if self.group.first:
                self.save()
            raise
        finally:
            if writer is not None:
                writer.close()
        if self.group.first:
            self.save()
        return self._export_result()

    def _steps(self, writer: SummaryWriter | None, report: Callable[[Progress], None]) -> None:
        last = saved = time.monotonic()
        losses: list[Tensor] = []  # since the last report, or the resume
        while (share := self.share()) < 1.0:
            number, part = stage_at(self.preset.stages, share)
            last += self.source.prepare(self.step)  # coding a bank is no training, and may be interrupted
            with uninterrupted():
                if number != self.stage_number:
                    self._if_room(lambda: self._export(self.stage.kind))
                    self._enter(number)
                losses.append(self.update(part))
            now = time.monotonic()
            self.seconds += now - last
            last = now
            if self.step % REPORT_STEPS == 0:
                mean = float(torch.stack(losses).mean())
                self._check(mean)
                losses.clear()
                if writer is not None:
                    writer.add_scalar("loss", mean, self.step)
                    report(Progress(self.step, share, self.stage.kind, mean, self.gain))
            if writer is not None and self.step % self.preset.validate_every == 0:
                self._validate(writer)
            if writer is not None and now - saved > CHECKPOINT_SECONDS:
                self._if_room(self.save)
                saved = now
        self._if_room(lambda: self._export(self.stage.kind))

    def update(self, part: float) -> Tensor:
        """One step, a part `part` into the stage; returns the loss."""
        stage, preset = self.stage, self.preset
        self.generator.train()
        low, high = self._batch()
        weight = low.shape[0] * self.group.size / preset.batch
        factor = rate_factor(self.stage_step, part, preset.warmup)
        with self._autocast():
            output = self.forward(low)
        loss: Tensor = self.loss(output, high)
        if self.teacher is not None:
            with torch.no_grad(), self._autocast():
                wanted = self.teacher(low)
            loss = loss + preset.distillation * F.l1_loss(output.float(), wanted.float())
        if stage.two_view:
            noise = torch.randn(preset.batch, *low.shape[1:], generator=self.random)
            noise = noise[self.group.rank :: self.group.size].to(self.device) * VIEW_NOISE
            with self._autocast():
                other = self.forward((low + noise).clamp(0, 1))
            loss = loss + stage.two_view * two_view_consistency(output, other)
        if self.adversary is not None:
            with self._autocast():
                adversarial = self.adversary.generator_loss(output, high)
            loss = loss + stage.adversarial * adversarial
        self.updater.step(loss, stage.rate * factor, self.group, weight)
        if self.adversary is not None:
            with self._autocast():
                judged = self.adversary.loss(output, high)
            self.adversary.updater.step(judged, stage.discriminator_rate * factor, self.group, weight)
        self.step += 1
        self.stage_step += 1
        self._average()
        return loss.detach()

    def _batch(self) -> tuple[Tensor, Tensor]:
        part = (self.group.rank, self.group.size)
        low, high = self.source.sample(self.step, self.preset.batch, self.preset.patch, self.random, part)
        return low.contiguous(memory_format=torch.channels_last), high.contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()

    @torch.no_grad()
    def _average(self) -> None:
        # The decay grows from 0, or the first weights would be remembered for a thousand steps.
        decay = min(self.preset.ema, (1 + self.step) / (10 + self.step))
        for mean, new in zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - decay)
            else:
                mean.copy_(new)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise RunError(
                f"the loss is {loss} near step {self.step}; {self.folder} keeps the last good checkpoint: "
                f"start anew with a smaller stages.{self.stage_number}.rate"
            )

    def _validate(self, writer: SummaryWriter) -> None:
        self.gain = gain_over_bicubic(self.average, self.source.held)
        writer.add_scalar("gain over bicubic, dB", self.gain, self.step)
        writer.add_image("bicubic, output, truth", side_by_side(self.average, self.source.held), self.step)
        if self.gain < self.best - DIVERGED_DB:
            restore_validated(self.folder)
            raise RunError(
                f"the run diverged: {self.gain:+.2f} dB over bicubic at step {self.step} after {self.best:+.2f}; "
                f"{self.folder} keeps the checkpoint of the validation before: "
                f"start anew with a smaller stages.{self.stage_number}.rate"
            )
        self.best = max(self.best, self.gain)
        self._if_room(self._save_validated)

    def save(self) -> None:
        """Write a checkpoint and the weights; weights that are not finite are refused.

        Raises:
            RunError: a weight is not finite.
            DiskTooSmall: there is no room.
        """
        if not all(bool(torch.isfinite(p).all()) for p in self.generator.parameters()):
            self._check(math.nan)
        save_checkpoint(self.folder, self.state())
        self._export(self.stage.kind)

    def _save_validated(self) -> None:
        self.save()
        keep_validated(self.folder)

    def _if_room(self, write: Callable[[], object]) -> None:
        """Write, or warn that the disk is full: there may be room again before the run ends."""
        try:
            write()
        except DiskTooSmall as error:
            log.warning("%s", error.message)

    def _export(self, name: str) -> Path:
        """The averaged weights, folded, as a file that vidsr runs."""
        path = self.folder / f"{name}.safetensors"
        if self.group.first:
            done = {
                "preset": to_json(self.preset),
                "stage": self.stage.kind,
                "steps": self.step,
                "minutes": round(self.seconds / 60, 1),
                "device": self.device.type,
                "workers": self.group.size,
            }
            save_network(path, self.average, done)
        return path

    def _export_result(self) -> Path:
        """The run's weights; where the adversarial ones can be interpolated with those before, both, as a pair."""
        path = self.folder / f"{self.preset.name}.safetensors"
        stages = [s for s in self.preset.stages if s.share and not s.adversarial]
        # A short stage has no file if no step fell into it.
        before = [file for s in stages if (file := self.folder / f"{s.kind}.safetensors").is_file()]
        if not (self.stage.adversarial and before and self.preset.generator.norm == "none"):
            return self._export(self.preset.name)
        self._export(f"{self.preset.name}-sharp")
        if self.group.first:
            copy_network(before[-1], path)
        return path

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {
            "preset": to_json(self.preset),
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "updater": self.updater.state(),
            "adversary": self.adversary.state() if self.adversary else None,
            "random": self.random.get_state(),
            "counts": [self.step, self.stage_step, self.stage_number],
            "seconds": self.seconds,
            "best": self.best,
        }

    def resume(self) -> None:
        """Go on from the folder's checkpoint.

        Raises:
            InputMissing, InputUnreadable: there is none, or it is damaged.
        """
        state = load_checkpoint(self.folder)
        self._enter(state["counts"][2])
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.updater.restore(state["updater"])
        if self.adversary is not None:
            self.adversary.restore(state["adversary"])
        self.random.set_state(state["random"])
        self.step, self.stage_step, self.stage_number = state["counts"]
        self.seconds, self.best = state["seconds"], state["best"]
