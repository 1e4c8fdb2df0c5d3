"""What was found out of a file, kept until that is another."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar, TypeVarTuple

More = TypeVarTuple("More")
R = TypeVar("R")


def remembered(ask: Callable[[Path, *More], R]) -> Callable[[Path, *More], R]:
    """A question that reads a file, whose answers of the latest files are kept while these have their size and time."""

    @lru_cache(maxsize=16)
    def answer(path: Path, size: int, mtime_ns: int, more: tuple[*More]) -> R:
        return ask(path, *more)

    @wraps(ask)
    def asked(path: Path, /, *more: *More) -> R:
        status = path.stat()
        return answer(path, status.st_size, status.st_mtime_ns, more)

    return asked
