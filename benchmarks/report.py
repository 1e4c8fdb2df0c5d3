"""The table, the goals, the JSON that is kept, and what became slower since."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.machine import slug
from benchmarks.measure import Row
from vidsr.paths import write_whole

RESULTS = Path(__file__).parent / "results"
REGRESSION = 0.10
COLUMNS = ("fps", "CPU s/frame", "busy", "MiB", "first s", "fps after", "dB", "spread")


def as_table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    table = Table("", *COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            row.key, f"{row.fps:.2f}", f"{row.cpu:.3f}", f"{row.busy:.0%}", str(row.peak_mb), _number(row.first, ".1f"),
            _number(row.after, ".2f"), _number(row.gain, "+.2f"), f"{row.spread:.2f}",
        )  # fmt: skip
    return table


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def goals(rows: Sequence[Row], start: dict[str, float]) -> list[tuple[str, float, str]]:
    """(figure, value, goal) of all that these rows tell."""
    by_key = {row.key: row for row in rows}
    found: list[tuple[str, float, str]] = []
    for tier, least in (("fast", 8.0), ("balanced", 1.5)):
        whole, plain = by_key.get(f"vidsr {tier} 540p 2x"), by_key.get(f"plain loop {tier} 540p 2x")
        parts = _stages(by_key, 540, "decode", f"model {tier}", "steady", "encode")
        if whole and whole.after:
            found.append((f"{tier}, 540p 2x, frames/s", whole.after, f">= {least}"))
            if parts:
                ideal = sum(part.cpu for part in parts) / (os.cpu_count() or 1)
                found.append((f"{tier}, 540p 2x, wall over the stages' CPU time", 1 / whole.after / ideal, "<= 1.10"))
                if prove := by_key.get("prove 540p 2x"):
                    ideal += prove.cpu / (os.cpu_count() or 1)
                    found.append((f"{tier}, 540p 2x, the same with the proof", 1 / whole.after / ideal, "<= 1.10"))
            if plain:
                found.append((f"{tier}, 540p 2x, against the plain loop", whole.after / plain.fps, ">= 2.5"))
    found += _on_a_gpu(by_key)
    names = {row.name: row for row in rows}
    parked, driving = names.get("parked"), names.get("driving")
    if parked and driving and parked.after and driving.after:
        found.append(("parked against driving", parked.after / driving.after, ">= 5"))
    memory = [row for row in rows if row.name.startswith("memory")]
    if len(memory) == 2:
        found.append(("memory, long against short", memory[1].peak_mb / memory[0].peak_mb, "<= 1.05"))
    if "help" in start:
        found.append(("vidsr --help, s", start["help"], "< 0.3"))
    firsts = [row.first for row in rows if row.name == "vidsr fast" and row.first]
    if "bare" in start and firsts:
        found.append(("first frame over a bare start", min(firsts) / start["bare"], "< 1.5"))
    return found


def _stages(by_key: dict[str, Row], lines: int, *names: str) -> list[Row]:
    """The rows of stages at 2x; none where one is missing."""
    rows = [by_key.get(f"{name} {lines}p {1 if name == 'decode' else 2}x") for name in names]
    return [row for row in rows if row] if all(rows) else []


def _on_a_gpu(by_key: dict[str, Row]) -> list[tuple[str, float, str]]:
    """Goals of `quality` at 1080p to 2160p, which only a GPU runs at a useful speed."""
    whole, model = by_key.get("vidsr quality 1080p 2x"), by_key.get("model quality 1080p 2x")
    if not (torch.cuda.is_available() and whole and whole.after):
        return []
    found = []
    stages = _stages(by_key, 1080, "decode", "steady", "encode")
    if model and stages:
        # These run on all cores at once, each on its own segments.
        rates = [(os.cpu_count() or 1) / stage.cpu for stage in stages]
        found.append(
            ("quality, 1080p 2x, whole over the slowest stage", whole.after / min(model.fps, *rates), ">= 0.95")
        )
    if plain := by_key.get("plain loop quality 1080p 2x"):
        found.append(("quality, 1080p 2x, against the plain loop", whole.after / plain.fps, ">= 5"))
    return found


def goals_table(found: Sequence[tuple[str, float, str]]) -> Table:
    """The goals for people."""
    table = Table("figure", "here", "goal", "", box=None, pad_edge=False)
    for name, value, goal in found:
        table.add_row(name, f"{value:.2f}", goal, "reached" if reached(value, goal) else "not reached")
    return table


def reached(value: float, goal: str) -> bool:
    """Whether a value is what a goal such as ">= 8.0" asks for."""
    relation, limit = goal.split()
    return value >= float(limit) if relation.startswith(">") else value <= float(limit)


def keep(rows: Sequence[Row], start: dict[str, float], machine: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write the result under the machine's and the commit's name; rows stay that only an earlier run of it has."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(machine['machine'])}-{machine['commit']}.json"
    before = json.loads(path.read_text()) if path.exists() else {"rows": {}, "start": {}}
    found = {row.key: asdict(row) for row in rows}
    value = {**machine, "rows": before["rows"] | found, "start": before["start"] | start}
    return write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def slower(rows: Sequence[Row], machine: dict[str, Any], folder: Path = RESULTS) -> list[str]:
    """What became slower by more than a tenth since the newest kept result of this machine that has it."""
    kept = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    kept = [old for old in kept if old.get("machine") == machine["machine"]]
    kept.sort(key=lambda old: str(old.get("date", "")))  # the first ones had no date
    newest = {key: old for old in kept for key in old["rows"]}
    return [
        f"{row.key}: {row.fps:.2f} fps, {row.fps / before - 1:.0%} since {old['commit']} "
        f"(load then {old['load'][0]}, now {machine['load'][0]})"
        for row in rows
        if (old := newest.get(row.key)) and row.fps < (before := old["rows"][row.key]["fps"]) * (1 - REGRESSION)
    ]
