"""The ledger of a run's finished segments, which makes it resumable, and the key under which they may be used again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vidsr
from vidsr.errors import OutputUnwritable
from vidsr.graph.segments import Segment
from vidsr.media.probe import VideoInfo
from vidsr.paths import sync, write_whole
from vidsr.settings import UpscaleSettings

SAMPLE_BYTES = 1 << 16


def content_sample(path: Path) -> str:
    """A hash of a file's first, middle and last 64 KiB, so that a replaced input is noticed."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for offset in (0, max(size // 2 - SAMPLE_BYTES // 2, 0), max(size - SAMPLE_BYTES, 0)):
            file.seek(offset)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def run_key(info: VideoInfo, settings: UpscaleSettings, weights: Sequence[str], backend: str) -> dict[str, Any]:
    """Everything that a finished segment depends on. A segment is reused only under an equal key.

    Args:
        info: the source.
        settings: with the scale, codec and model that were chosen.
        weights: sha256 of the weights files.
        backend: what computes, since backends round differently.
    """
    wanted = asdict(settings)
    # What has no influence, or is named by `weights` and `backend`.
    for elsewhere in ("gpx", "hwaccel", "model", "device", "backend"):
        del wanted[elsewhere]
    key = {
        "vidsr": vidsr.__version__,
        "source": {
            "size": info.size_bytes,
            "mtime_ns": info.mtime_ns,
            "sample": content_sample(info.path),
            "frames": len(info.table),
            "sequential": info.sequential,
        },
        "settings": wanted,
        "weights": list(weights),
        "backend": backend,
    }
    return dict(json.loads(json.dumps(key)))  # as it will be read back


def key_digest(key: dict[str, Any]) -> str:
    """A short hash of a run's key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


class Ledger:
    """The folder of a run's finished segments: `000003.mkv` with `000003.json`, and `run.json` with the key.

    Everything is written under another name and renamed, so a file that is there is whole. The folder lies beside
    the result and is removed when the result has its name.
    """

    def __init__(self, folder: Path, key: str = "") -> None:
        """Nothing is read or written yet.

        Args:
            folder: of the ledger.
            key: digest of the run's key, for one that is not opened: what a task of an earlier run still finishes is
                not taken for this run's.
        """
        self.folder = folder
        self.key = key

    @contextmanager
    def held(self, result: Path) -> Iterator[None]:
        """Keep other runs of this machine away; the end of the process, however it comes, lets go.

        Raises:
            OutputUnwritable: another run makes the same result.
        """
        lock = self._lock(result)
        try:
            yield
        finally:
            os.close(lock)

    def _lock(self, result: Path) -> int:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise OutputUnwritable(
                    f"{result} is being made by another run; wait until it ends, or use -o for another name"
                ) from None
            except OSError:
                return lock  # some network drives have no locks
            if self.folder.exists() and os.path.samestat(os.fstat(lock), self.folder.stat()):
                return lock
            os.close(lock)  # the other run has just ended, and removed it

    def open(self, key: dict[str, Any]) -> str | None:
        """Make the folder ready for a key. Finished segments of another key are removed.

        Returns:
            None, or which part of the key changed, so that the run starts over.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        run = self.folder / "run.json"
        changed = None
        if run.exists():
            old = _read_json(run)
            changed = "run.json" if old is None else changed_parts(old, key) or None
        if changed:
            self._clear()
        _write_json(run, key)
        self.key = key_digest(key)
        return changed

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # network drives put folders of their own into any
            else:
                path.unlink()

    def path(self, segment: Segment) -> Path:
        """Where a segment's encoded frames are."""
        return self.folder / segment.file_name

    def is_finished(self, segment: Segment) -> bool:
        """Whether a segment was finished by an earlier run and its file is as it was left."""
        path, note = self.path(segment), self.path(segment).with_suffix(".json")
        if not path.exists() or not note.exists():
            return False
        return _read_json(note) == segment.note(path.stat().st_size, self.key)

    def record(self, segment: Segment) -> None:
        """Note that a segment's file is whole, once it is on the disk: the note must not outlive a power loss alone."""
        path = self.path(segment)
        sync(path)
        _write_json(path.with_suffix(".json"), segment.note(path.stat().st_size, self.key))

    def remove(self) -> None:
        """Remove the folder and everything that a ledger writes into it."""
        self._clear()
        self.folder.rmdir()


def changed_parts(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The names of the parts of `new` that are not so in `old`, as a phrase; "" where all are."""
    return ", ".join(name for name in new if old.get(name) != new[name])


def _read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None if the file holds none: a power loss can leave it empty."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1).encode())
