"""Runs of the trainer: stages, exact resume, workers, and everything that may go wrong."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from tests.training.runs import CPU, assert_equal, small
from training import train
from training.fit import loop
from training.fit.checkpoint import copy_network, keep_validated, load_checkpoint, restore_validated, save_checkpoint
from training.fit.distributed import run_on_workers
from training.fit.grow import starting_generator
from training.fit.loop import Progress, Trainer
from training.fit.losses import ssim_loss
from training.fit.presets import Preset, Stage, override, preset
from training.fit.run import fit
from training.fit.source import open_source
from training.fit.updater import Updater
from training.fit.workers import Group
from training.pairs.data import Pairs
from training.pairs.degrade import Degradation
from vidsr.errors import (
    DeviceError,
    DiskTooSmall,
    InputMissing,
    InputUnreadable,
    Interrupted,
    OutputExists,
    OutputUnwritable,
    RunError,
    SettingsError,
    VidsrError,
)
from vidsr.model.backends import Compiled, forbid_tf32
from vidsr.model.generator import Generator
from vidsr.model.registry import describe, find_sharp
from vidsr.model.weights import load_weights, save_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_short_run_beats_bicubic_and_writes_everything(photos: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    wanted = override(preset("smoke"), ["steps=240", "validate_every=60", "batch=4", "held_out=1"])
    path = fit(wanted, photos, tmp_path / "run", report=seen.append)
    assert path.name == "smoke.safetensors"
    assert seen[0].stage == "content" and seen[-1].stage == "adversarial"
    assert max(at.gain for at in seen if at.gain is not None) > 0.3
    for stage in ("content", "ssim", "adversarial"):
        assert (tmp_path / "run" / f"{stage}.safetensors").is_file()
    about = describe(path)
    assert about.config == wanted.generator
    assert about.training["stage"] == "ssim" and find_sharp(about).training["stage"] == "adversarial"
    assert_equal(tmp_path / "run/ssim.safetensors", path)
    assert_equal(tmp_path / "run/adversarial.safetensors", find_sharp(about).path)
    assert find_sharp(about).training["steps"] == 240
    assert about.training["preset"] == json.loads((tmp_path / "run/config.json").read_text())
    assert describe(tmp_path / "run/content.safetensors").training["stage"] == "content"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert {"loss", "gain over bicubic, dB"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["bicubic, output, truth"]
    assert not list((tmp_path / "run").glob("*.part"))


@pytest.mark.parametrize("stop", [10, 30])
def test_a_resumed_run_ends_in_the_same_bits(photos: Path, tmp_path: Path, stop: int) -> None:
    """Stopped in the content stage and in the adversarial one; with coded pairs, a renewed bank and two views."""
    wanted = small(40, clean_share=0.5, clips=2, renew_every=15, degradation=Degradation(frames=3, keep=2, h265=0))
    stages = (wanted.stages[0], replace(wanted.stages[2], share=0.5, two_view=0.1))
    wanted = replace(wanted, stages=stages)

    def interrupt(at: Progress) -> None:
        if at.step == stop:
            raise KeyboardInterrupt

    whole = find_sharp(describe(fit(wanted, photos, tmp_path / "whole"))).path
    with pytest.raises(KeyboardInterrupt):
        fit(wanted, photos, tmp_path / "broken", report=interrupt)
    assert load_checkpoint(tmp_path / "broken")["counts"][0] == stop
    broken = find_sharp(describe(fit(wanted, photos, tmp_path / "broken", resume=True))).path
    assert_equal(whole, broken)
    for part in ("generator", "average"):
        one, other = (load_checkpoint(tmp_path / run)[part] for run in ("whole", "broken"))
        assert all(torch.equal(one[k], other[k]) for k in one)


def test_a_stage_that_no_step_falls_into_is_not_the_result(photos: Path, tmp_path: Path) -> None:
    content, ssim, adversarial = small().stages
    stages = (content, replace(ssim, share=0.01), replace(adversarial, share=0.29))
    path = fit(small(9, stages=stages), photos, tmp_path)
    assert load_checkpoint(tmp_path)["counts"][0] == 9
    assert not (tmp_path / "ssim.safetensors").exists()
    assert_equal(tmp_path / "content.safetensors", path)
    assert find_sharp(describe(path)).training["stage"] == "adversarial"


@pytest.fixture
def pythons_interrupts() -> Iterator[None]:
    """Python's own handler of Ctrl-C; Ray, which other tests start in this process, may have put another."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is not None:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_interrupts")
@pytest.mark.parametrize(
    ("owner", "name", "call", "stop"),
    [
        pytest.param(Pairs, "_gather", 9, 5, id="a batch is drawn, of which the generator knows nothing"),
        pytest.param(Updater, "step", 6, 6, id="weights are updated, and the step is not counted"),
        pytest.param(loop, "build_loss", 2, 11, id="a stage is entered, with the optimiser of the one before"),
    ],
)
def test_ctrl_c_waits_for_the_end_of_a_step(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, stop: int
) -> None:
    wanted = replace(small(20), stages=(replace(small().stages[0], share=0.5), replace(small().stages[1], share=0.5)))
    whole = fit(wanted, photos, tmp_path / "whole")
    real, calls = getattr(owner, name), itertools.count(1)

    def pressed(*arguments: object, **more: object) -> object:
        result = real(*arguments, **more)
        if next(calls) == call:
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, None)
        return result

    monkeypatch.setattr(owner, name, pressed)
    with pytest.raises(KeyboardInterrupt):
        fit(wanted, photos, tmp_path / "broken")
    assert load_checkpoint(tmp_path / "broken")["counts"][0] == stop
    assert_equal(whole, fit(wanted, photos, tmp_path / "broken", resume=True))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_several_workers_the_first_alone_saves_what_was_interrupted(photos: Path, tmp_path: Path) -> None:
    def interrupt(_: float) -> Tensor:
        raise KeyboardInterrupt

    source = open_source(small(), photos, None, tmp_path, CPU)
    for rank, saved in ((1, False), (0, True)):
        trainer = Trainer(small(), source, tmp_path, CPU, Group(rank, 2))
        trainer.update = interrupt  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            trainer.run(lambda _: None)
        assert (tmp_path / "checkpoint.pt").is_file() is saved


def test_a_run_by_minutes_ends_and_resumes_with_what_is_left(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(step=0.1)  # a step takes so long, however busy the machine is
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    wanted = small(minutes=0.04, stages=small().stages[:1])
    path = fit(wanted, photos, tmp_path)
    steps = describe(path).training["steps"]
    assert steps > 0 and describe(path).training["minutes"] == pytest.approx(0.04, abs=0.06)
    fit(wanted, photos, tmp_path, resume=True)
    assert describe(path).training["steps"] == steps  # nothing was left


def test_resume_with_other_values_names_them(photos: Path, tmp_path: Path) -> None:
    fit(small(10), photos, tmp_path)
    with pytest.raises(SettingsError, match=r"stages\.0\.rate"):
        fit(override(small(10), ["stages.0.rate=0.5"]), photos, tmp_path, resume=True)
    with pytest.raises(OutputExists, match="--resume"):
        fit(small(10), photos, tmp_path)
    with pytest.raises(InputMissing):
        fit(small(10), photos, tmp_path / "other", resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(InputUnreadable, match="damaged"):
        fit(small(10), photos, tmp_path, resume=True)
    torch.save({"step": Evil(tmp_path / "done")}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputUnreadable, match="damaged"):
        fit(small(10), photos, tmp_path, resume=True)
    assert not (tmp_path / "done").exists()
    (tmp_path / "validated.pt").write_bytes(b"whole")
    torch.save({"step": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputUnreadable, match=r"rename validated\.pt"):
        fit(small(10), photos, tmp_path, resume=True)
    for name in ("data.json", "config.json"):
        (tmp_path / name).write_text("{")
        with pytest.raises(InputUnreadable, match=name):
            fit(small(10), photos, tmp_path, resume=True)


@dataclass
class Evil:
    """What does something as soon as it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_two_runs_do_not_share_a_folder(photos: Path, tmp_path: Path) -> None:
    """Two that were resumed wrote their checkpoints over each other's."""
    refused: list[VidsrError] = []

    def resume_too(_: Progress) -> None:
        with pytest.raises(OutputUnwritable, match="is being trained by another run; wait until it ends") as error:
            fit(small(10), photos, tmp_path, resume=True)
        refused.append(error.value)

    fit(small(10), photos, tmp_path, report=resume_too)
    assert refused
    fit(small(10), photos, tmp_path, resume=True)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    real = Trainer.update

    def poison(self: Trainer, part: float) -> Tensor:
        loss = real(self, part)
        if self.step == 16:
            with torch.no_grad():
                next(self.generator.parameters()).fill_(math.nan)
        return loss

    monkeypatch.setattr(Trainer, "update", poison)
    with pytest.raises(RunError, match="last good checkpoint"):
        fit(small(), photos, tmp_path)
    kept = load_checkpoint(tmp_path)
    assert kept["counts"][0] == 15
    assert all(bool(torch.isfinite(v).all()) for v in kept["generator"].values())
    assert all(bool(torch.isfinite(v).all()) for v in load_file(tmp_path / "content.safetensors").values())


def test_a_diverging_run_stops(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer.update

    def drift(self: Trainer, part: float) -> Tensor:
        loss = real(self, part)
        if self.step == 20:  # the average would forget it soon
            with torch.no_grad():
                self.average.tail[0].bias.fill_(0.2)
        return loss

    monkeypatch.setattr(Trainer, "update", drift)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)  # those after it are written over the good one
    with pytest.raises(RunError, match="keeps the checkpoint of the validation before"):
        fit(small(30, stages=small().stages[:1]), photos, tmp_path)
    assert load_checkpoint(tmp_path)["counts"][0] == 10


def test_only_far_below_its_best_gain_a_run_has_diverged(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = iter((5.0, 3.0, 1.5))  # of which none is far below the one before
    monkeypatch.setattr(loop, "gain_over_bicubic", lambda *_: next(gains))
    trainer = Trainer(small(), open_source(small(), photos, None, tmp_path, CPU), tmp_path, CPU)
    for _ in range(2):
        trainer._validate(Mock())
    with pytest.raises(RunError, match=r"\+1\.50 dB over bicubic at step 0 after \+5\.00"):
        trainer._validate(Mock())


def test_a_resumed_trainer_is_where_the_saved_one_was(photos: Path, tmp_path: Path) -> None:
    """Also in its warm-up and in what it is held against: only the count of the stage's steps and the best tell."""
    source = open_source(small(), photos, None, tmp_path, CPU)
    saved, resumed = (Trainer(small(), source, tmp_path, CPU) for _ in range(2))
    saved._enter(1)
    saved.step, saved.stage_step, saved.seconds, saved.best = 12, 2, 34.5, 1.25
    saved.save()
    resumed.resume()
    one, other = saved.state(), resumed.state()
    assert [one[name] for name in ("counts", "seconds", "best")] == [[12, 2, 1], 34.5, 1.25]
    assert [other[name] for name in ("counts", "seconds", "best")] == [[12, 2, 1], 34.5, 1.25]


def test_a_validated_checkpoint_is_kept_beside_those_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are no hard links, as on exFAT."""
    for refused in (False, True):
        if refused:
            monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError(errno.EPERM, "Operation not permitted")))
        for step in (1, 2):  # the second takes the place of the first
            save_checkpoint(tmp_path, {"counts": step})
            (tmp_path / "validated.pt.part").write_bytes(b"of a run that was killed")
            keep_validated(tmp_path)
            assert load_checkpoint(tmp_path) == {"counts": step}
        save_checkpoint(tmp_path, {"counts": 3})
        restore_validated(tmp_path)
        assert load_checkpoint(tmp_path) == {"counts": 2}
        restore_validated(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    with full_disk(100), pytest.raises(DiskTooSmall, match=r"validated\.pt could not be written"):
        keep_validated(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_losses_of_a_step_have_their_weights_and_rates(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    monkeypatch.setattr(Updater, "step", lambda _, loss, rate, *__: seen.append((loss.item(), rate)))
    base, path = small(), tmp_path / "teacher.safetensors"
    source = open_source(base, photos, None, tmp_path, CPU)
    teacher = Generator(base.generator)
    torch.nn.init.constant_(teacher.tail[0].bias, 0.3)
    save_weights(path, teacher, {})

    def losses(distillation: float = 0.0, **changes: float) -> list[float]:
        stage = replace(base.stages[2], share=1.0, rate=1e-3, discriminator_rate=4e-3, **changes)  # type: ignore[arg-type]
        wanted = replace(base, stages=(stage,), distillation=distillation, teacher=str(path))
        trainer = Trainer(wanted, source, tmp_path, CPU)
        seen.clear()
        trainer.update(0.5)
        assert [rate / seen[0][1] for _, rate in seen] == pytest.approx([1, 4][: len(seen)])
        return [loss for loss, _ in seen]

    (plain,) = losses(adversarial=0.0, two_view=0.0)
    for name in ("adversarial", "two_view", "distillation"):
        one, two = (losses(**{"adversarial": 0.0, "two_view": 0.0, name: weight})[0] for weight in (0.1, 0.2))
        assert one > plain and two - plain == pytest.approx(2 * (one - plain), rel=1e-3), name


def test_a_stage_begins_from_the_average_with_a_warm_up_and_a_best_gain_of_its_own(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    monkeypatch.setattr(Updater, "step", lambda _, loss, rate, *__: rates.append(rate))
    wanted = small(warmup=10)
    trainer = Trainer(wanted, open_source(wanted, photos, None, tmp_path, CPU), tmp_path, CPU)
    for number in (0, 1):
        trainer._enter(number)
        assert trainer.best == -math.inf  # an adversarial stage falls below the best of the one before
        assert torch.equal(trainer.generator.tail[0].bias, trainer.average.tail[0].bias)
        for step in range(2):
            trainer.update(0.0)
            assert rates.pop() == pytest.approx(wanted.stages[number].rate * (step + 1) / 10)
        trainer.best = 9.0
        trainer.average.tail[0].bias.fill_(0.2)


def test_the_loss_that_is_told_is_the_mean_of_the_steps_since_a_resume(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(self: Trainer, part: float) -> Tensor:
        self.step += 1
        return torch.tensor(float(self.step) if self.step != 25 else math.nan)

    monkeypatch.setattr(Trainer, "update", update)
    wanted = small(40, validate_every=100)
    trainer = Trainer(wanted, open_source(wanted, photos, None, tmp_path, CPU), tmp_path, CPU)
    trainer.step = 7
    seen: list[Progress] = []
    with pytest.raises(RunError, match="the loss is nan near step 30"):
        trainer.run(seen.append)
    assert [(at.step, at.loss) for at in seen] == [(10, 9.0), (20, 15.5)]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_previous_checkpoint(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = small(10)
    trainer = Trainer(wanted, open_source(wanted, photos, None, tmp_path, CPU), tmp_path, CPU)
    trainer.save()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    trainer.update(0.0)
    with full_disk(len(before) // 2), pytest.raises(DiskTooSmall, match=r"checkpoint\.pt could not be written"):
        trainer.save()
    with full_disk(len(before) // 2):
        trainer._if_room(trainer.save)  # as in the middle of a run, after which there may be room again
    assert "checkpoint.pt could not be written" in caplog.text
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    weights = (tmp_path / "content.safetensors").read_bytes()
    with full_disk(len(weights) // 2), pytest.raises(DiskTooSmall, match=r"late\.safetensors could not be written"):
        trainer._export("late")
    (tmp_path / "small.safetensors").write_bytes(b"of an earlier run")
    with full_disk(len(weights) // 2), pytest.raises(DiskTooSmall, match=r"small\.safetensors could not be written"):
        copy_network(tmp_path / "content.safetensors", tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").read_bytes() == b"of an earlier run"
    assert not list(tmp_path.glob("late*"))
    assert not list(tmp_path.glob("*.part"))
    trainer.save()
    assert load_checkpoint(tmp_path)["counts"][0] == 1


def test_a_gpu_without_room_names_the_batch_to_try(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Trainer, part: float) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "update", full)
    with pytest.raises(DeviceError, match="--set batch=2"):
        fit(small(), photos, tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="--device cpu"):
            fit(small(), photos, tmp_path, device="cuda")


def _gradient(folder: Path, photos: Path, wanted: Preset, group: Group, device: torch.device) -> None:
    """Save the gradient of one step."""
    trainer = Trainer(wanted, open_source(wanted, photos, None, folder, device), folder, device, group)
    trainer.update(0.0)
    if group.first:
        torch.save([p.grad for p in trainer.generator.parameters()], folder / f"gradient-{group.size}.pt")


SHARED = replace(small(2), batch=6, clip=0.0, stages=(Stage("content", 1.0, 1e-3, {"l1": 1.0, "ssim": 0.5}),))


@pytest.mark.slow
def test_two_workers_give_the_gradient_of_one_with_twice_the_batch(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _gradient(tmp_path, photos, SHARED, Group(), CPU)
    run_on_workers(2, tmp_path, lambda group, device: _gradient(tmp_path, photos, SHARED, group, device), gpus=False)
    one, two = (torch.load(tmp_path / f"gradient-{n}.pt") for n in (1, 2))
    assert max(float(g.abs().max()) for g in one) > 1e-4
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_two_workers_train_as_one_with_twice_the_batch(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = fit(SHARED, photos, tmp_path / "run", workers=2)
    assert describe(path).training["workers"] == 2
    fit(SHARED, photos, tmp_path / "alone")
    begun = starting_generator(SHARED).state_dict()
    alone, shared = (load_checkpoint(tmp_path / run)["generator"] for run in ("alone", "run"))
    moved = torch.cat([(alone[name] - begun[name]).flatten() for name in begun])
    apart = torch.cat([(alone[name] - shared[name]).flatten() for name in begun])
    assert moved.abs().mean() > 1e-4
    assert apart.abs().mean() < 0.01 * moved.abs().mean()  # Adam makes whole steps of gradients that are nearly 0


def test_a_batch_that_workers_cannot_share_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="5 workers cannot share a batch of 4"):
        fit(small(), photos, tmp_path, workers=5)


def test_averaged_weights_are_the_exported_ones(photos: Path, tmp_path: Path) -> None:
    wanted = replace(small(8), stages=small().stages[:1])
    trainer = Trainer(wanted, open_source(wanted, photos, None, tmp_path, CPU), tmp_path, CPU)
    kept: list[Tensor] = [trainer.generator.head[0].weight.detach().clone()]
    mean = kept[0].clone()
    for step in range(1, 9):
        trainer.update(0.0)
        mean.lerp_(trainer.generator.head[0].weight.detach(), 1 - min(wanted.ema, (1 + step) / (10 + step)))
    assert torch.allclose(trainer.average.head[0].weight, mean)
    trainer.save()
    assert torch.equal(load_file(tmp_path / "content.safetensors")["head.0.weight"], mean.half())


@pytest.mark.parametrize("name", ["paper-original-4x", "paper-modified-2x", "fast-2x", "quality-4x"])
def test_every_kind_of_preset_takes_a_step(photos: Path, tmp_path: Path, name: str) -> None:
    """Full of their own parts (batch norm, the VGG discriminator, branches, U-Net), only narrower."""
    changes = ["generator.channels=4", "generator.blocks=1", "batch=2", "steps=4", "clean_share=1", "held_out=1"]
    wanted = override(preset(name), [*changes, "teacher=", "distillation=0"])
    stages = tuple(
        replace(s, share=1.0, discriminator=replace(s.discriminator, channels=4, hidden=8)) for s in wanted.stages
    )
    path = fit(replace(wanted, stages=stages, patch=min(wanted.patch, 64)), photos, tmp_path)
    config = describe(path).config
    assert (config.norm, config.branches) == ("none", False)
    assert load_weights(path)(torch.rand(1, config.planes, 16, 16)).shape[-1] == 16 * config.scale


def test_the_command(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ["--data", str(photos), "--run", str(tmp_path / "run")]
    sets = [p for c in ("generator.blocks=1", "batch=2", "held_out=1", "minutes=0.5") for p in ("--set", c)]
    done = CliRunner().invoke(train.main, ["smoke", *run, "--steps", "10", *sets])
    assert done.exit_code == 0, done.output
    assert describe(tmp_path / "run/smoke.safetensors").config.blocks == 1
    assert load_checkpoint(tmp_path / "run")["counts"][0] == 10
    words = ["smoke", *run, *sets, "--set", "minutes=0", "--set", "steps=10", "--minutes", "5", "--resume"]
    other = CliRunner().invoke(train.main, words)
    assert isinstance(other.exception, SettingsError) and "other values of minutes;" in other.exception.message
    unknown = CliRunner().invoke(train.main, ["smoek", *run])
    assert isinstance(unknown.exception, SettingsError) and "smoke" in unknown.exception.message
    again = CliRunner().invoke(train.main, ["smoke", *run])
    assert isinstance(again.exception, OutputExists) and "--resume" in again.exception.message
    monkeypatch.setattr(Trainer, "update", Mock(side_effect=KeyboardInterrupt))
    run[-1] = str(tmp_path / "stopped")
    stopped = CliRunner().invoke(train.main, ["smoke", *run, *sets])
    assert stopped.exit_code == Interrupted.exit_code and "go on with --resume --run" in stopped.output
    assert load_checkpoint(tmp_path / "stopped")["counts"][0] == 0


@pytest.mark.usefixtures("tf32")
def test_a_trainer_keeps_float32_whole_on_gpus(photos: Path, tmp_path: Path) -> None:
    Trainer(small(), open_source(small(), photos, None, tmp_path, CPU), tmp_path, CPU)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.usefixtures("tf32")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_ssim_on_a_gpu_has_the_value_and_gradient_of_float64() -> None:
    forbid_tf32()
    target = torch.rand(4, 1, 96, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = torch.nn.functional.avg_pool2d(target, 5, 1, 2)
    noise = 0.01 * torch.randn(target.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for kind, device in ((torch.float64, "cpu"), (torch.float32, "cuda")):
        output = (target + noise).to(device, kind).requires_grad_()
        loss = ssim_loss(output, target.to(device, kind))
        loss.backward()
        assert output.grad is not None
        found.append((float(loss.detach()), output.grad.double().cpu()))
    (value, gradient), (single, others) = found
    assert single == pytest.approx(value, rel=1e-3)
    assert float((others - gradient).norm() / gradient.norm()) < 1e-2


def test_training_goes_on_where_nothing_can_be_compiled(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(network: Generator, **_: object) -> Callable[[Tensor], Tensor]:
        def fail(_: Tensor) -> Tensor:
            raise RuntimeError("no C compiler\nfound in a long list")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    source = open_source(small(), photos, None, tmp_path, CPU)
    eager, compiled = (Trainer(small(), source, tmp_path, CPU) for _ in range(2))
    compiled.forward = Compiled(compiled.generator)
    for _ in range(2):
        eager.update(0.0)
        compiled.update(0.0)
    one, other = eager.generator.state_dict(), compiled.generator.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [record.message for record in caplog.records] == ["torch.compile failed (no C compiler); going on without"]


def test_a_full_gpu_is_no_reason_to_stop_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: full)
    network = Compiled(starting_generator(small()))
    for _ in range(2):
        with pytest.raises(torch.cuda.OutOfMemoryError):
            network(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(("skip", "dtype"), [("bicubic", torch.bfloat16), ("none", torch.float32)])
def test_a_network_without_a_skip_trains_in_float32(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: str, dtype: torch.dtype
) -> None:
    """Where the CPU has AMX wide networks train in bfloat16."""
    monkeypatch.setattr("training.fit.updater.has_amx", lambda: True)
    wanted = override(small(), [f"generator.skip={skip}", "generator.channels=32", "batch=1"])
    wanted = replace(wanted, stages=wanted.stages[2:])
    trainer = Trainer(wanted, open_source(wanted, photos, None, tmp_path, CPU), tmp_path, CPU)
    assert trainer.adversary is not None
    seen: set[torch.dtype] = set()

    def note(module: torch.nn.Module, given: object, made: Tensor) -> None:
        seen.add(made.dtype)

    for network in (trainer.generator.head, trainer.adversary.network):
        network.register_forward_hook(note)
    trainer.update(0.0)
    assert seen == {dtype}
