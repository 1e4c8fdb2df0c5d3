"""Who watches a run, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Who watches a run."""

    def begin(self, source: Path, frames: int, done: int) -> None:
        """A video starts; `done` of its frames are finished already."""

    def advance(self, frames: int) -> None:
        """So many more frames are finished."""

    def stage(self, name: str) -> None:
        """What happens now: "starting", "upscaling", "joining", "verifying", "done"."""

    def say(self, sentence: str) -> None:
        """Something that the user should know."""


class Silent:
    """A Progress that shows nothing."""

    def begin(self, source: Path, frames: int, done: int) -> None:
        """See Progress."""

    def advance(self, frames: int) -> None:
        """See Progress."""

    def stage(self, name: str) -> None:
        """See Progress."""

    def say(self, sentence: str) -> None:
        """See Progress."""
