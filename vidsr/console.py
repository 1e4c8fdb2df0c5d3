"""What the command shows while it works: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

# Names of files may hold what rich takes for markup, or for an emoji (`12:b:30.mp4`).
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
LINE_SECONDS = 10.0


def counted(number: int, thing: str) -> str:
    """So many of a thing whose plural ends in s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class TerminalProgress:
    """One rich bar for each video: frames, frames/s, time left, stage."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[stage]}"),
            console=stderr,
        )
        self._task: TaskID | None = None
        self._began = 0.0
        self._fresh = 0

    def begin(self, source: Path, frames: int, done: int) -> None:
        """See Progress."""
        self._bars.start()
        self._task = self._bars.add_task(source.name, total=frames, completed=done, rate="", stage="")
        self._began, self._fresh = time.monotonic(), 0

    def advance(self, frames: int) -> None:
        """See Progress."""
        self._fresh += frames
        rate = self._fresh / max(time.monotonic() - self._began, 1e-3)
        if self._task is not None:
            self._bars.update(self._task, advance=frames, rate=f"{rate:.2f} fps")

    def stage(self, name: str) -> None:
        """See Progress."""
        if self._task is not None:
            self._bars.update(self._task, stage=name)
        if name == "done":
            self._bars.stop()

    def say(self, sentence: str) -> None:
        """See Progress."""
        self._bars.console.print(sentence)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


class LineProgress:
    """A line at each stage and every few seconds, for logs."""

    def __init__(self) -> None:
        self._name, self._stage = "", ""
        self._frames = self._done = self._fresh = 0
        self._began = self._spoke = time.monotonic()

    def begin(self, source: Path, frames: int, done: int) -> None:
        """See Progress."""
        self._name, self._frames, self._done, self._fresh = source.name, frames, done, 0
        self._began = self._spoke = time.monotonic()

    def advance(self, frames: int) -> None:
        """See Progress."""
        self._done += frames
        self._fresh += frames
        now = time.monotonic()
        if now - self._spoke >= LINE_SECONDS or self._done == self._frames:
            self._spoke = now
            rate = self._fresh / max(now - self._began, 1e-3)
            self.say(f"{self._name}: {self._done}/{self._frames} frames, {rate:.2f} fps")

    def stage(self, name: str) -> None:
        """See Progress."""
        if name != self._stage:
            self._stage = name
            self.say(f"{self._name}: {name}")

    def say(self, sentence: str) -> None:
        """See Progress."""
        stderr.print(sentence, soft_wrap=True)

    def stop(self) -> None:
        """Nothing to leave."""


def make_progress() -> TerminalProgress | LineProgress:
    """The progress that fits stderr."""
    return TerminalProgress() if stderr.is_interactive else LineProgress()
