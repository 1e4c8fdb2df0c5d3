"""`python -m training.train PRESET --data FOLDER --run FOLDER`: fit the generator that vidsr runs."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from training.console import run as run_command
from training.fit.loop import Progress as RunProgress
from training.fit.presets import override, preset
from training.fit.run import fit
from vidsr.errors import Interrupted


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
    """Train PRESET (training/fit/presets.py lists them)."""
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
