"""Running a command and watching the whole tree of its processes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.2
NO_MARK = "\0"  # in no line
MEMORY_EVERY = 10  # samples; reading proportional memory walks every page table, on the cores that are measured


class CommandFailed(Exception):
    """A command of a benchmark exited with an error; the message holds the end of what it said."""


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: wall time.
        cpu_seconds: user and system time of all processes of the tree.
        peak_bytes: most memory of the tree at one time, pages that several processes share counted once (PSS).
        first_seconds: until the first line on stderr that contains the mark, or None.
        by_process: CPU seconds by process name.
        stdout: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    first_seconds: float | None
    by_process: dict[str, float]
    stdout: str


def watch(command: Sequence[str], folder: Path, mark: str = NO_MARK, memory_every: int = MEMORY_EVERY) -> Usage:
    """Run a command to its end.

    Args:
        command: program and arguments.
        folder: to run in.
        mark: what the line on stderr contains that says that the first frame is written.
        memory_every: samples of CPU time for one of memory; 1 finds the peak of a run of seconds, and slows it down.

    Raises:
        CommandFailed: it exits with an error.
    """
    started = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        said, printed = _Reader(process.stderr, mark, started), _Reader(process.stdout, NO_MARK, started)
        tree = _Tree(process.pid, memory_every)
        while process.poll() is None:
            tree.sample()
            time.sleep(SAMPLE_SECONDS)
        seconds = time.monotonic() - started
        said.join()
        printed.join()
    if process.returncode:
        raise CommandFailed(f"{' '.join(command)} exited with {process.returncode}: {said.text[-1500:]}")
    return Usage(seconds, sum(tree.cpu.values()), tree.peak, said.marked, tree.by_name(), printed.text)


class _Reader(threading.Thread):
    """Keeps what a stream says, and when a line with the mark came."""

    def __init__(self, stream: object, mark: str, started: float) -> None:
        super().__init__(daemon=True)
        self._stream, self._mark, self._began = stream, mark, started
        self.text = ""
        self.marked: float | None = None
        self.start()

    def run(self) -> None:
        """Read to the end."""
        for line in self._stream:  # type: ignore[attr-defined]
            if self.marked is None and self._mark in line:
                self.marked = time.monotonic() - self._began
            self.text += line


class _Tree:
    """CPU time and memory of a process and all that it starts, by sampling; what ended keeps its last value."""

    def __init__(self, pid: int, memory_every: int) -> None:
        self._root = psutil.Process(pid)
        self._memory_every = memory_every
        self._samples = 0
        self._names: dict[tuple[int, float], str] = {}
        self.cpu: dict[tuple[int, float], float] = {}
        self.peak = 0

    def sample(self) -> None:
        """Look once."""
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        memory = 0
        # short commands at every sample
        weigh = self._samples < MEMORY_EVERY or self._samples % self._memory_every == 0
        for process in processes:
            try:
                times, key = process.cpu_times(), (process.pid, process.create_time())
                self._names[key] = _name(process)
                self.cpu[key] = float(times.user + times.system)
                if weigh:
                    memory += int(process.memory_full_info().pss)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        self.peak = max(self.peak, memory)
        self._samples += 1

    def by_name(self) -> dict[str, float]:
        """CPU seconds by process name, most first."""
        total: dict[str, float] = {}
        for key, seconds in self.cpu.items():
            total[self._names[key]] = total.get(self._names[key], 0.0) + seconds
        return dict(sorted(total.items(), key=lambda item: -item[1]))


def _name(process: psutil.Process) -> str:
    """Ray's workers say in their title what they run; other processes are called by their program."""
    title = (process.cmdline() or [process.name()])[0]
    return title.split(".")[0] if title.startswith("ray::") else process.name()
