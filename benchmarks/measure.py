"""What is measured: rows of the table, each the median of repeated runs in processes of their own.

Rows take turns: the first run of each, then the second of each. So what slows a machine down for some minutes slows
all rows, and the ratios of rows that are goals stay true.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks import clips
from benchmarks.peers import PeerMissing, make_peer
from benchmarks.process import MEMORY_EVERY, NO_MARK, Usage, watch
from benchmarks.quality import gain
from vidsr.model.registry import TIERS, bundled_models

REPOSITORY = Path(__file__).resolve().parents[1]
FIRST_FRAME = ": upscaling"  # what `vidsr upscale` says when its first frames are written
BATCH = 4
# A command's run takes so many times as long as a stage's, whose start and end are not counted.
COMMAND_LENGTH = 4
# Multiply-accumulates a second of the upscaler and of a plain loop, about: how long runs will take.
MODEL_MACS, PLAIN_MACS = (5e13, 5e12) if torch.cuda.is_available() else (6e10, 1.5e10)
# Frames from which on a rate after the first ones says something: some batches are nearly done when those are written.
LEAST_FRAMES = 12 * BATCH


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was measured.
        lines: height of the input.
        scale: 2 or 4; 1 where nothing is enlarged.
        frames: of the clip.
        fps: frames a second of the stage itself, or of the whole command with its start.
        cpu: CPU seconds a frame, of the stage itself or of all processes of the command.
        busy: share of all cores that was used.
        peak_mb: most memory of all processes at one time, MiB.
        first: seconds until the first frame was written, or None.
        after: frames a second after the first ones were written; None for clips shorter than LEAST_FRAMES.
        gain: PSNR of luma over the bicubic, dB, of roads coded at CRF 23, or None.
        spread: fastest run over slowest run.
        processes: CPU seconds of the command by the name of the process, of its first run.
    """

    name: str
    lines: int
    scale: int
    frames: int
    fps: float
    cpu: float
    busy: float
    peak_mb: int
    first: float | None = None
    after: float | None = None
    gain: float | None = None
    spread: float = 1.0
    processes: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The row's name in the JSON."""
        return f"{self.name} {self.lines}p {self.scale}x"


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        folder: for clips and results.
        repeats: of each row.
        lines: heights of the input.
        scales: 2, 4 or both.
        seconds: CPU seconds that one run of a stage should take, about.
        most_frames: of one clip.
        only: parts of names; empty is everything.
        say: told what comes, and what is left out and why.
    """

    folder: Path
    repeats: int
    lines: tuple[int, ...]
    scales: tuple[int, ...]
    seconds: float
    most_frames: int
    only: tuple[str, ...]
    say: Callable[[str], None]

    def wants(self, name: str) -> bool:
        """Whether a row is asked for."""
        return not self.only or any(part in name for part in self.only)


@dataclass(frozen=True)
class Task:
    """A row that is to be measured.

    Attributes:
        label: what is said of it before each run.
        command: to be run, each time in a process of its own.
        row: the row, of the runs.
        mark, memory_every: as `watch` takes them.
    """

    label: str
    command: Sequence[str]
    row: Callable[[Sequence[Usage]], Row]
    mark: str = NO_MARK
    memory_every: int = MEMORY_EVERY


def measured(plan: Plan, tasks: Sequence[Task]) -> Iterator[Row]:
    """The rows, each as soon as its last run is over."""
    runs: list[list[Usage]] = [[] for _ in tasks]
    for repeat in range(1, plan.repeats + 1):
        for task, done in zip(tasks, runs, strict=True):
            plan.say(f"{task.label}, run {repeat} of {plan.repeats}")
            done.append(watch(task.command, REPOSITORY, task.mark, task.memory_every))
            if repeat == plan.repeats:
                yield task.row(done)


def table_tasks(plan: Plan) -> Iterator[Task]:
    """Stages, commands and peers, for each size and scale."""
    models = {model.name: model for model in bundled_models()}
    for lines in plan.lines:
        for scale in plan.scales:
            pixels = lines * lines * 16 // 9
            tiers = [tier for tier in reversed(TIERS) if f"{tier}-{scale}x" in models]
            writing = pixels * scale**2 * 5e-8  # CPU seconds of encoding a frame, about
            macs = {tier: models[f"{tier}-{scale}x"].config.macs_per_pixel * pixels for tier in tiers}
            yield from _stages(plan, lines, scale, writing)
            for tier in tiers:
                yield from _tier(plan, lines, scale, tier, macs[tier] / MODEL_MACS + writing)
            yield from _peers(plan, lines, scale, tiers, macs, writing)


def _stages(plan: Plan, lines: int, scale: int, writing: float) -> Iterator[Task]:
    if plan.wants("decode") and scale == plan.scales[0]:
        yield _work(plan, "decode", lines, 1, "-", 0.005)
    if plan.wants("encode"):
        yield _work(plan, "encode", lines, scale, "-", writing)
    if plan.wants("steady"):
        yield _work(plan, "steady", lines, scale, "-", writing)
    if plan.wants("prove"):
        yield _work(plan, "prove", lines, scale, "-", writing)
    if plan.wants("lanczos"):
        yield _work(plan, "lanczos", lines, scale, "-", writing, _gain(plan, "lanczos", scale, ""))


def _tier(plan: Plan, lines: int, scale: int, tier: str, cost: float) -> Iterator[Task]:
    quality = _gain(plan, "vidsr", scale, tier) if plan.wants(f"vidsr {tier}") else None
    if plan.wants(f"model {tier}"):
        yield _work(plan, "model", lines, scale, tier, cost)
    if plan.wants(f"vidsr {tier}"):
        frames = _frames(plan, cost / COMMAND_LENGTH)
        source = clips.driving(plan.folder, lines, frames)
        yield _command(plan, f"vidsr {tier}", source, lines, scale, tier, frames, quality)


def _peers(
    plan: Plan, lines: int, scale: int, tiers: Sequence[str], macs: dict[str, int], writing: float
) -> Iterator[Task]:
    kinds = {f"plain:{tier}": macs[tier] / PLAIN_MACS for tier in tiers}
    kinds |= {"fsrcnn": lines**2 * 2e-6, "realesr": lines**2 * 5e-5}
    for kind, cost in kinds.items():
        name, _, tier = kind.partition(":")
        label = f"plain loop {tier}" if tier else name
        if not plan.wants(label):
            continue
        try:
            make_peer(name, scale, tier)
        except PeerMissing as missing:
            plan.say(f"{label} is left out: {missing}")
            continue
        yield _work(plan, "peer", lines, scale, kind, cost + writing, _gain(plan, name, scale, tier), label)


def _gain(plan: Plan, kind: str, scale: int, model: str) -> float | None:
    """The gain in decibels; measured with few frames where the run is short."""
    return gain(kind, scale, model, frames=6 if plan.repeats > 1 else 1)


def _frames(plan: Plan, cost: float) -> int:
    return max(2 * BATCH, min(plan.most_frames, int(plan.seconds / max(cost, 1e-3))) // BATCH * BATCH)


def _work(
    plan: Plan, kind: str, lines: int, scale: int, model: str, cost: float, gain: float | None = None, label: str = ""
) -> Task:
    frames = _frames(plan, cost)
    source = clips.driving(plan.folder, lines, frames)
    name = label or (kind if model == "-" else f"{kind} {model}")
    command = [
        sys.executable,
        "-m",
        "benchmarks.work",
        kind,
        str(source),
        str(plan.folder / "out.mp4"),
        str(scale),
        model,
    ]

    def row(runs: Sequence[Usage]) -> Row:
        said = [json.loads(run.stdout.splitlines()[-1]) for run in runs]
        fps = [s["frames"] / s["seconds"] for s in said]
        cpu = [s["cpu_seconds"] / s["frames"] for s in said]
        busy = [s["cpu_seconds"] / s["seconds"] / (os.cpu_count() or 1) for s in said]
        return Row(name, lines, scale, frames, statistics.median(fps), statistics.median(cpu), statistics.median(busy),
                   _peak(runs), gain=gain, spread=max(fps) / min(fps))  # fmt: skip

    return Task(f"{name} {lines}p {scale}x, {frames} frames", command, row)


def _command(
    plan: Plan, name: str, source: Path, lines: int, scale: int, model: str, frames: int, gain: float | None = None,
    memory_every: int = MEMORY_EVERY,
) -> Task:  # fmt: skip
    """`vidsr upscale` as a user starts it."""
    result = plan.folder / "whole.mp4"
    command = [sys.executable, "-m", "vidsr", "upscale", str(source), "-o", str(result), "--overwrite",
               "--scale", str(scale), "--model", model, "--codec", "libx264", "--json"]  # fmt: skip

    def row(runs: Sequence[Usage]) -> Row:
        fps = [frames / run.seconds for run in runs]
        first = [run.first_seconds for run in runs if run.first_seconds is not None]
        after = [
            (frames - BATCH) / (run.seconds - run.first_seconds)
            for run in runs
            if run.first_seconds is not None and frames >= LEAST_FRAMES
        ]
        busy = [run.cpu_seconds / run.seconds / (os.cpu_count() or 1) for run in runs]
        return Row(name, lines, scale, frames, statistics.median(fps),
                   statistics.median(run.cpu_seconds / frames for run in runs), statistics.median(busy), _peak(runs),
                   statistics.median(first) if first else None, statistics.median(after) if after else None,
                   gain, max(fps) / min(fps), _rounded(runs[0].by_process))  # fmt: skip

    return Task(f"{name} {lines}p {scale}x, {frames} frames", command, row, FIRST_FRAME, memory_every)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


def _peak(runs: Sequence[Usage]) -> int:
    return int(statistics.median(run.peak_bytes for run in runs)) >> 20


def special_tasks(plan: Plan, long_seconds: int, short_seconds: int) -> Iterator[Task]:
    """The parked clip, and a long video against a short one."""
    if plan.wants("parked"):
        frames = plan.most_frames
        for name, make in (("parked", clips.parked), ("driving", clips.driving)):
            yield _command(plan, name, make(plan.folder, plan.lines[0], frames), plan.lines[0], 2, "auto", frames)
    if plan.wants("memory"):
        for seconds in (short_seconds, long_seconds):
            source = clips.endless(plan.folder, seconds)
            frames = seconds * 25
            yield _command(plan, f"memory {seconds} s", source, 90, 2, "fast", frames, memory_every=1)


def start_seconds(plan: Plan) -> dict[str, float]:
    """Seconds of `vidsr --help`, and of importing torch and av and starting a bare Ray."""
    bare = ("import torch, av, ray, logging; ray.init(address='local', include_dashboard=False, "
            "logging_level=logging.ERROR, log_to_driver=False)")  # fmt: skip
    commands = {"help": [sys.executable, "-m", "vidsr", "--help"], "bare": [sys.executable, "-c", bare]}
    times = {}
    for name, command in commands.items():
        if plan.wants("start"):
            plan.say(f"start: {name}")
            times[name] = statistics.median(watch(command, REPOSITORY).seconds for _ in range(plan.repeats))
    return times
