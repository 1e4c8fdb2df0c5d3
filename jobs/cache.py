"""Sources of an object store as files of a node: each is copied once, and the oldest go when there is no room."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.storage import Entry, Place
from vidsr.errors import DiskTooSmall, OutputUnwritable

RESERVED = ".reserved"
WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class NodeCache:
    """A folder that exists under the same path on every node, on a disk of its own.

    Attributes:
        folder: the path.
        limit: bytes that all copies may have together, those that are being made included.
    """

    folder: Path
    limit: int

    def path(self, place: Place, entry: Entry) -> Path:
        """Where a source's copy is on every node; another version of the source has another path."""
        version = f"{place.url_of(entry.name)} {entry.size} {entry.mtime_ns} {entry.tag}"
        return self.folder / hashlib.sha256(version.encode()).hexdigest()[:24] / Path(entry.name).name

    @contextmanager
    def hold(self, place: Place, entry: Entry) -> Iterator[Path]:
        """A source's copy, which stays while the context lasts. Waits while others hold the room that it needs.

        Who holds one must not ask for another, as two could wait for each other for ever; see `hold_all`.

        Raises:
            InputMissing: the source is gone.
            DiskTooSmall: it is larger than the limit.
            OutputUnwritable: the folder's parent is another user's.
        """
        path = self.path(place, entry)
        self._refuse_beyond_limit(place.url_of(entry.name), entry.size)
        self._make()
        lock = path.parent.with_suffix(".lock")
        while True:
            with _locked(lock, fcntl.LOCK_SH):
                if _is_whole(path):
                    os.utime(path.parent)  # last used
                    yield path
                    return
            # A lock of its own: who waits for a copy must not wait for those who hold it already.
            with _locked(lock.with_suffix(".fetch"), fcntl.LOCK_EX), _locked(lock, fcntl.LOCK_SH):
                if not _is_whole(path):
                    self._fetch(place, entry, path)

    @contextmanager
    def hold_all(self, wanted: Sequence[tuple[Place, Entry]]) -> Iterator[list[Path]]:
        """The copies of some sources together; those who want several of them take turns on a node.

        Raises:
            InputMissing: one of the sources is gone.
            DiskTooSmall: together they are larger than the limit.
            OutputUnwritable: as `hold`.
        """
        names = ", ".join(place.url_of(entry.name) for place, entry in wanted)
        self._refuse_beyond_limit(names, sum(entry.size for _, entry in wanted))
        with ExitStack() as stack:
            if len(wanted) > 1:
                self._make()
                stack.enter_context(_locked(self.folder / "several.lock", fcntl.LOCK_EX))
            yield [stack.enter_context(self.hold(place, entry)) for place, entry in wanted]

    def _make(self) -> None:
        """Make the folder, in one that is for this user alone.

        Raises:
            OutputUnwritable: that is another user's, who could put other files in the place of the copies.
        """
        own = self.folder.parent
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        if own.stat().st_uid != os.getuid():
            raise OutputUnwritable(f"{own} belongs to another user; remove it, or set TMPDIR to another folder")
        self.folder.mkdir(exist_ok=True)

    def _refuse_beyond_limit(self, names: str, size: int) -> None:
        if size > self.limit:
            raise DiskTooSmall(
                f"{names}: {size / 1e9:.1f} GB, more than the cache of a node ({self.limit / 1e9:.1f} GB); "
                "use a larger --cache-gb"
            )

    def _fetch(self, place: Place, entry: Entry, path: Path) -> None:
        """Copy a source once there is room for it. Its locks are held."""
        while not self._reserve(path.parent, entry.size):
            time.sleep(WAIT_SECONDS)
        try:
            place.download(entry.name, path)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))  # every node sees the same source
        finally:
            with self._room():
                path.with_name(RESERVED).unlink()

    def _room(self) -> AbstractContextManager[None]:
        """While it lasts, no other process of this node takes or gives back room."""
        return _locked(self.folder / "room.lock", fcntl.LOCK_EX)

    def _reserve(self, folder: Path, size: int) -> bool:
        """Set room aside for a copy, by an empty file of its size; False while others hold too much."""
        with self._room():
            if folder.exists():  # of a process that ended while it copied
                _remove(folder)
            if not self._make_room(size):
                return False
            folder.mkdir()
            with (folder / RESERVED).open("wb") as file:
                file.truncate(size)
            return True

    def _make_room(self, size: int) -> bool:
        """Remove copies that nobody holds, those first that were used longest ago; whether that is enough."""
        folders = sorted((p for p in self.folder.iterdir() if p.is_dir()), key=lambda folder: folder.stat().st_mtime)
        sizes = {folder: _size(folder) for folder in folders}
        excess = sum(sizes.values()) + size - self.limit
        for folder in folders:
            if excess > 0 and _remove_unless_held(folder):
                excess -= sizes[folder]
        return excess <= 0


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, kind)
        yield
    finally:
        os.close(lock)  # also gives the lock back, as the end of the process does


def _is_whole(path: Path) -> bool:
    """Whether a copy is there, and not one that is being made."""
    return path.exists() and not path.with_name(RESERVED).exists()


def _size(folder: Path) -> int:
    """Bytes of a copy, or those set aside for one that is being made."""
    reserved = folder / RESERVED
    if reserved.exists():
        return reserved.stat().st_size
    return sum(path.stat().st_size for path in folder.iterdir())


def _remove_unless_held(folder: Path) -> bool:
    try:
        with _locked(folder.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            _remove(folder)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
