"""Sources of an object store as files of a node: each is copied once, and the oldest go when there is no room."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.storage import Entry, Place
from vidsr.errors import DiskTooSmall


@dataclass(frozen=True)
class NodeCache:
    """A folder that exists under the same path on every node, on a disk of its own.

    Attributes:
        folder: the path.
        limit: bytes that all copies may have together.
    """

    folder: Path
    limit: int

    def path(self, place: Place, entry: Entry) -> Path:
        """Where a source's copy is on every node; another version of the source has another path."""
        version = f"{place.url_of(entry.name)} {entry.size} {entry.mtime_ns} {entry.tag}"
        return self.folder / hashlib.sha256(version.encode()).hexdigest()[:24] / Path(entry.name).name

    @contextmanager
    def hold(self, place: Place, entry: Entry) -> Iterator[Path]:
        """A source's copy, which stays while the context lasts.

        Raises:
            InputMissing: the source is gone.
            DiskTooSmall: it is larger than the limit.
        """
        path = self.path(place, entry)
        if entry.size > self.limit:
            raise DiskTooSmall(
                f"{place.url_of(entry.name)} has {entry.size / 1e9:.1f} GB, more than the cache of a node "
                f"({self.limit / 1e9:.1f} GB); use a larger --cache-gb"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            with _locked(path.parent.with_suffix(".lock"), fcntl.LOCK_EX) as lock:
                if not path.exists():
                    self._make_room(entry.size)
                    place.download(entry.name, path)
                    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))  # every node sees the same source
                os.utime(path.parent)  # last used
                fcntl.flock(lock, fcntl.LOCK_SH)
                if path.exists():  # between the two locks it may have been removed to make room
                    yield path
                    return

    def _make_room(self, size: int) -> None:
        """Remove copies that nobody holds, those first that were used longest ago."""
        copies = sorted(self._copies(), key=lambda copy: copy[1])
        excess = sum(held for _, _, held in copies) + size - self.limit
        for folder, _, held in copies:
            if excess <= 0:
                return
            if _remove_unless_held(folder):
                excess -= held

    def _copies(self) -> list[tuple[Path, float, int]]:
        """(folder, last use, bytes) of each copy."""
        found = []
        for folder in self.folder.iterdir():
            if folder.is_dir():
                try:
                    size = sum(path.stat().st_size for path in folder.iterdir())
                    found.append((folder, folder.stat().st_mtime, size))
                except FileNotFoundError:
                    continue  # another process makes room too
        return found


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, kind)
        yield lock
    finally:
        os.close(lock)  # also gives the lock back, as the end of the process does


def _remove_unless_held(folder: Path) -> bool:
    try:
        with _locked(folder.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
