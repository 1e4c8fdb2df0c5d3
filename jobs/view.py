"""What a folder job shows: a live table on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Protocol

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from jobs.records import VideoRecord
from vidsr.console import LINE_SECONDS, counted, stderr

LISTED = 6


class View(Protocol):
    """Who watches a folder job."""

    def begin(self, videos: int, done: int, failed: int, source_bytes: int) -> None:
        """The job starts; of its videos, so many are done or stay failed, the others have so many bytes together."""

    def advance(self, frames: int) -> None:
        """So many more frames are finished."""

    def now(self, working: list[str]) -> None:
        """These videos are being worked on."""

    def end_video(self, record: VideoRecord) -> None:
        """A video is final."""

    def say(self, sentence: str) -> None:
        """Something that the user should know."""

    def stop(self) -> None:
        """The job ended."""


class Figures:
    """What both views count. Time left comes from bytes of sources, since a video's frames are known late."""

    def __init__(self) -> None:
        self.videos = self.done_before = self.failed_before = self.frames = 0
        self.total_bytes = self.ended_bytes = 0
        self.ended: Counter[str] = Counter()
        self.working: list[str] = []
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the begin."""
        return max(time.monotonic() - self.began, 1e-3)

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds

    @property
    def failed(self) -> int:
        """Videos without a result."""
        return self.failed_before + self.ended["failed"] + self.ended["quarantined"]

    @property
    def final(self) -> int:
        """Videos for which nothing is left to do."""
        return self.done_before + self.failed_before + sum(self.ended.values())

    @property
    def left(self) -> str:
        """Time left, or a dash before it can be told."""
        if not self.ended_bytes:
            return "–"
        seconds = int(self.seconds * (self.total_bytes - self.ended_bytes) / self.ended_bytes)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def row(self) -> dict[str, str]:
        """The figures in words."""
        return {
            "videos": f"{self.final}/{self.videos}",
            "failed": str(self.failed),
            "frames": f"{self.frames:,}",
            "fps": f"{self.rate:.2f}",
            "left": self.left,
        }


class LineFolderView:
    """A line for each video, and one with the figures every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._figures = Figures()
        self._spoke = time.monotonic()

    def begin(self, videos: int, done: int, failed: int, source_bytes: int) -> None:
        """See View."""
        self._figures = Figures()
        self._figures.videos, self._figures.total_bytes = videos, source_bytes
        self._figures.done_before, self._figures.failed_before = done, failed
        and_failed = f" and {failed} failed before" if failed else ""
        all_videos, to_do = counted(videos, "video"), decimal(source_bytes)
        self.say(f"{all_videos}, {done} of them done before{and_failed}, {to_do} to do")

    def advance(self, frames: int) -> None:
        """See View."""
        self._figures.frames += frames

    def now(self, working: list[str]) -> None:
        """See View."""
        self._figures.working = working
        if time.monotonic() - self._spoke >= LINE_SECONDS:
            self._spoke = time.monotonic()
            self.say(", ".join(f"{name} {value}" for name, value in self._figures.row().items()))

    def end_video(self, record: VideoRecord) -> None:
        """See View."""
        self._figures.ended[record.state] += 1
        if record.good:
            self._figures.ended_bytes += record.source_bytes
            self.say(f"{record.result}: {record.state}, {counted(record.frames, 'frame')}")
        else:
            self._figures.total_bytes -= record.source_bytes  # most fail at once, which tells nothing of the others
            # Most messages begin with the file's name, which is said already.
            why = replace(record, error_message=record.error_message.removeprefix(record.source).lstrip(": ")).reason
            self.say(f"{record.source}: {record.state}, {why}")

    def say(self, sentence: str) -> None:
        """See View."""
        self._console.print(sentence, soft_wrap=True, markup=False)

    def stop(self) -> None:
        """See View."""
        if self._figures.videos:  # else it ended before it began, and why is said
            self.say(", ".join(f"{name} {value}" for name, value in self._figures.row().items()))


class TableFolderView(LineFolderView):
    """A table that stays at the foot of the terminal, with what ended above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar = Progress(TextColumn("videos"), BarColumn(bar_width=None), TaskProgressColumn(), console=console)
        self._task = self._bar.add_task("videos", total=None)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._draw)

    def begin(self, videos: int, done: int, failed: int, source_bytes: int) -> None:
        """See View."""
        super().begin(videos, done, failed, source_bytes)
        self._bar.update(self._task, total=videos, completed=self._figures.final)
        self._live.start()

    def now(self, working: list[str]) -> None:
        """See View."""
        self._figures.working = working

    def end_video(self, record: VideoRecord) -> None:
        """See View."""
        super().end_video(record)
        self._bar.advance(self._task)

    def stop(self) -> None:
        """See View."""
        self._live.stop()

    def _draw(self) -> Group:
        row = self._figures.row()
        table = Table(*row, "working on", box=None, pad_edge=False)
        working = self._figures.working
        names = "\n".join(working[:LISTED]) + (f"\nand {len(working) - LISTED} more" if len(working) > LISTED else "")
        table.add_row(*row.values(), Text(names))
        return Group(self._bar, table)


def make_view() -> LineFolderView:
    """The view that fits stderr."""
    return TableFolderView(stderr) if stderr.is_interactive else LineFolderView(stderr)
