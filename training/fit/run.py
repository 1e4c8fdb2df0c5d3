"""A whole run: its folder, its data, one worker or many."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from training.console import write_json
from training.fit.checkpoint import NAME as CHECKPOINT
from training.fit.distributed import run_on_workers
from training.fit.loop import Progress, Trainer
from training.fit.presets import Preset, differences, to_json
from training.fit.source import forget_banks, identity, open_source
from training.fit.workers import Group
from vidsr.errors import InputMissing, InputUnreadable, OutputExists, OutputUnwritable, SettingsError
from vidsr.model.upscaler import find_device

CONFIG = "config.json"
DATA = "data.json"


def fit(
    wanted: Preset,
    data: Path | None,
    folder: Path,
    *,
    bank: Path | None = None,
    device: str = "auto",
    resume: bool = False,
    workers: int = 1,
    lpips_backbone: Path | None = None,
    vgg_backbone: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train, and return the weights file, `folder/NAME.safetensors`.

    Beside it lie `config.json`, `data.json`, the last weights of each stage (`content.safetensors`, ...), checkpoints
    and TensorBoard's events. Where the last stage is adversarial and its weights can be interpolated with those of the
    stage before, these are NAME and the adversarial ones are its partner `NAME-sharp`.

    Args:
        wanted: the run.
        data: a folder of photographs; None trains from `bank` alone.
        folder: of the run.
        bank: coded pairs; None codes them where the preset wants any.
        device: "auto", "cpu" or "cuda".
        resume: go on from the folder's checkpoint.
        workers: processes, each with its share of the batch.
        lpips_backbone, vgg_backbone: weights for those losses.
        report: told of the progress; by one worker alone, and not where there are several.

    Raises:
        SettingsError: another preset or other data than the run that is resumed, or workers that do not fit the batch.
        OutputExists: the folder holds a run and `resume` is not set.
        OutputUnwritable: another process of this machine trains there.
        DeviceError: the device is not there.
        VidsrError: what reading the data and training raise.
    """
    if not 1 <= workers <= wanted.batch:
        raise SettingsError(f"{workers} workers cannot share a batch of {wanted.batch}; use 1 to {wanted.batch}")
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        _settle_config(wanted, folder, resume)
        _settle_data(identity(data, bank), folder, resume)
        if not resume and bank is None:
            forget_banks(folder)
        backbones = {"lpips_backbone": lpips_backbone, "vgg_backbone": vgg_backbone}
        work = partial(_work, wanted, data, bank, folder.resolve(), resume, backbones)
        chosen = find_device(device)
        if workers == 1:
            work(report, Group(), chosen)
        else:
            run_on_workers(workers, folder, partial(work, None), gpus=chosen.type == "cuda")
    return folder / f"{wanted.name}.safetensors"


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other runs of this machine out of the folder; the end of the process, however it comes, lets go.

    Raises:
        OutputUnwritable: another run trains there.
    """
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputUnwritable(
                f"{folder} is being trained by another run; wait until it ends, or give another --run"
            ) from None
        except OSError:
            pass  # some network drives have no locks
        yield
    finally:
        os.close(lock)


def _work(
    wanted: Preset,
    data: Path | None,
    bank: Path | None,
    folder: Path,
    resume: bool,
    backbones: dict[str, Path | None],
    report: Callable[[Progress], None] | None,
    group: Group,
    device: torch.device,
) -> None:
    source = open_source(wanted, data, bank, folder, device, maker=group.first)
    try:
        trainer = Trainer(wanted, source, folder, device, group, backbones)
        if resume:
            trainer.resume()
        trainer.run(report or (lambda _: None))
    finally:
        source.close()


def _settle_config(wanted: Preset, folder: Path, resume: bool) -> None:
    """Write the run's resolved preset, or hold it against the one that is resumed."""
    path = folder / CONFIG
    if resume:
        if not path.is_file():
            raise InputMissing(f"{folder} holds no {CONFIG} to resume; start without --resume")
        changed = differences(_read(path), to_json(wanted))
        if changed:
            raise SettingsError(
                f"{folder} was started with other values of {', '.join(changed)}; "
                "resume with the same ones, or start a new --run"
            )
    elif (folder / CHECKPOINT).exists():
        raise OutputExists(f"{folder} holds a run already; go on with --resume, or give another --run")
    write_json(path, to_json(wanted))


def _settle_data(found: dict[str, object], folder: Path, resume: bool) -> None:
    """Write down what the run trains on, or hold it against what the run that is resumed began with."""
    path = folder / DATA
    if resume and path.is_file():
        changed = differences(_read(path), found)
        if changed:
            raise SettingsError(
                f"{folder} was started on other data ({', '.join(changed)}); resume with the same --data and --bank, "
                "or start a new --run"
            )
    write_json(path, found)


def _read(path: Path) -> dict[str, object]:
    """What an earlier run wrote down."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputUnreadable(f"{path} is damaged; get it back, or start a new --run")
    return value
