"""`python -m training.train PRESET --data FOLDER --run FOLDER`: fit the generator that vidsr runs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from training.checkpoint import NAME as CHECKPOINT
from training.console import run as run_command
from training.console import write_json
from training.distributed import run_on_workers
from training.loop import Progress as RunProgress
from training.loop import Trainer
from training.presets import Preset, differences, override, preset, to_json
from training.source import forget_banks, identity, open_source
from training.workers import Group
from vidsr.errors import InputMissing, Interrupted, OutputExists, SettingsError
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
    report: Callable[[RunProgress], None] = lambda _: None,
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
        DeviceError: the device is not there.
        VidsrError: what reading the data and training raise.
    """
    if not 1 <= workers <= wanted.batch:
        raise SettingsError(f"{workers} workers cannot share a batch of {wanted.batch}; use 1 to {wanted.batch}")
    folder.mkdir(parents=True, exist_ok=True)
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


def _work(
    wanted: Preset,
    data: Path | None,
    bank: Path | None,
    folder: Path,
    resume: bool,
    backbones: dict[str, Path | None],
    report: Callable[[RunProgress], None] | None,
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
        before = json.loads(path.read_text())
        changed = differences(before, to_json(wanted))
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
        changed = differences(json.loads(path.read_text()), found)
        if changed:
            raise SettingsError(
                f"{folder} was started on other data ({', '.join(changed)}); resume with the same --data and --bank, "
                "or start a new --run"
            )
    write_json(path, found)


@click.command()
@click.argument("name", metavar="PRESET")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of photographs, or an ADE20K tree.")
@click.option("--run", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--bank", type=click.Path(path_type=Path), help="Coded pairs that training.bank --bank wrote.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Replace any field of the preset.")
@click.option("--minutes", type=click.FloatRange(min=0.01), help="Train so long, in place of the preset's steps.")
@click.option("--steps", type=click.IntRange(min=1), help="Train so many steps.")
@click.option("--resume", is_flag=True, help="Go on from the run's checkpoint.")
@click.option("--workers", type=click.IntRange(min=1), default=1, help="GPUs, or processes on CPUs, through Ray.")
@click.option("--device", default="auto", help="auto, cpu or cuda.")
@click.option("--lpips-backbone", type=click.Path(path_type=Path), help="AlexNet's weights, for the loss lpips.")
@click.option("--vgg-backbone", type=click.Path(path_type=Path), help="VGG19's weights, for the loss vgg.")
def main(
    name: str,
    data: Path | None,
    folder: Path,
    bank: Path | None,
    assignments: tuple[str, ...],
    minutes: float | None,
    steps: int | None,
    resume: bool,
    workers: int,
    device: str,
    lpips_backbone: Path | None,
    vgg_backbone: Path | None,
) -> None:
    """Train PRESET (training/presets.py lists them)."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING, handlers=[RichHandler(console=console, show_path=False)])
    try:
        wanted = override(preset(name), assignments)
        if minutes:
            wanted = replace(wanted, minutes=minutes)
        if steps:
            wanted = replace(wanted, steps=steps, minutes=0.0)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            doing = (
                "reading pictures" if workers == 1 else f"{workers} workers; `tensorboard --logdir {folder}` shows more"
            )
            task = bar.add_task(f"{wanted.name}: {doing}", total=1.0 if workers == 1 else None)
            path = fit(
                wanted,
                data,
                folder,
                bank=bank,
                device=device,
                resume=resume,
                workers=workers,
                lpips_backbone=lpips_backbone,
                vgg_backbone=vgg_backbone,
                report=lambda at: bar.update(task, completed=at.share, description=f"{wanted.name} {_line(at)}"),
            )
            bar.update(task, completed=1.0)
    except KeyboardInterrupt:
        console.print(f"stopped; go on with --resume --run {folder}", markup=False)
        sys.exit(Interrupted.exit_code)
    console.print(f"{path}", markup=False)


def _line(at: RunProgress) -> str:
    gain = "" if at.gain is None else f", {at.gain:+.2f} dB over bicubic"
    return f"{at.stage} step {at.step}, loss {at.loss:.4f}{gain}"


if __name__ == "__main__":
    run_command(main)
