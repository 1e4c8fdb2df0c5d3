"""`python -m benchmarks`: one table of this machine's speeds, beside quality and beside peers."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.measure import Plan, Row, measured, special_tasks, start_seconds, table_tasks
from benchmarks.report import as_table, goals, goals_table, keep, slower
from training.console import run


@click.command()
@click.option("--quick", is_flag=True, help="Once, tiny and few frames: whether it works, not how fast it is.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--lines", type=int, multiple=True, default=(540, 1080), show_default=True, help="Height of the input.")
@click.option("--scale", type=int, multiple=True, default=(2, 4), show_default=True)
@click.option(
    "--seconds",
    type=float,
    default=20.0,
    show_default=True,
    help="CPU seconds for a run of a stage, about; a command gets four times that.",
)
@click.option("--frames", type=int, default=100, show_default=True, help="Most frames of a clip.")
@click.option("--only", multiple=True, help="Rows whose names contain this, such as 'vidsr fast', parked or memory.")
@click.option("--results", type=click.Path(path_type=Path), help="Folder to keep the JSON in instead of the usual.")
def main(
    quick: bool, repeats: int, lines: tuple[int, ...], scale: tuple[int, ...], seconds: float, frames: int,
    only: tuple[str, ...], results: Path | None,
) -> None:  # fmt: skip
    """Measure decoding, models, encoding, the whole command and peers on this machine.

    Medians of repeated runs, each in a process of its own; rows take turns. The result is kept as JSON under
    benchmarks/results, and what became slower by a tenth since the last one on this machine is said. Exits with 1 if
    anything did.
    """
    console, stderr = Console(highlight=False), Console(stderr=True, highlight=False)
    if quick:
        repeats, lines, scale, seconds, frames = 1, (96,), (2,), 0.1, 8
    machine = describe_machine()
    console.print(f"{machine['machine']}; {machine['system']}; {machine['commit']}; load {machine['load']}")
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            Path(folder), repeats, lines, scale, seconds, frames, only, lambda line: stderr.print(line, markup=False)
        )
        rows: list[Row] = []
        tasks = [*table_tasks(plan), *special_tasks(plan, *((4, 2) if quick else (600, 30)))]
        for row in measured(plan, tasks):
            stderr.print(f"{row.key}: {row.fps:.2f} fps, {row.cpu:.3f} CPU s/frame")
            rows.append(row)
        start = start_seconds(plan)
    console.print(as_table(rows))
    console.print(goals_table(goals(rows, start)))
    folders = [] if results is None else [results]
    worse = [] if quick else slower(rows, machine, *folders)
    if not quick or results:
        console.print(f"kept in {keep(rows, start, machine, *folders)}")
    for line in worse:
        stderr.print(f"slower: {line}")
    sys.exit(bool(worse))


if __name__ == "__main__":
    run(main)
