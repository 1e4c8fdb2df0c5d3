"""How a video's source and segments reach the tasks that need them, whatever the job's places are."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.cache import NodeCache
from jobs.storage import STATE_FOLDER, Entry, Place, read_json
from vidsr.graph.ledger import Ledger, changed_parts, key_digest
from vidsr.graph.segments import Segment
from vidsr.media.recover import remove_recovered

SEGMENTS = f"{STATE_FOLDER}/segments"
RECOVERED = f"{STATE_FOLDER}/recovered"


@dataclass(frozen=True)
class Travel:
    """The Transfer of one video of a job.

    Segments of an object store are uploaded as they are finished, each with its note, so that any node can finish
    what another began.

    Attributes:
        inputs: the place of the source.
        entry: the source.
        output: the place of the result.
        result: the result's name there.
        cache: copies of sources on each node; results of an object store are made beside it.
        recovered: of a source without its index, the frames that were found, as a file of the output.
    """

    inputs: Place
    entry: Entry
    output: Place
    result: str
    cache: NodeCache
    recovered: Entry | None = None

    @contextmanager
    def source(self) -> Iterator[Path]:
        """See Transfer. Gives the path of the source, or of what was recovered of it."""
        wanted = self._recovered or self._original
        with self.cache.hold_all(wanted) as paths:
            yield paths[0] if paths else self._path

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Keeps the source and what was recovered of it on this node. Gives the source's path."""
        with self.cache.hold_all([*self._original, *self._recovered]):
            yield self._path

    @property
    def _original(self) -> list[tuple[Place, Entry]]:
        return [(self.inputs, self.entry)] if self.inputs.folder is None else []

    @property
    def _recovered(self) -> list[tuple[Place, Entry]]:
        return [(self.output, self.recovered)] if self.recovered else []

    @property
    def _path(self) -> Path:
        folder = self.inputs.folder
        return self.cache.path(self.inputs, self.entry) if folder is None else folder / self.entry.name

    def share_recovered(self, path: Path) -> Travel:
        """Put what was recovered of the source in the output, an object store, so that every node can have it.

        Args:
            path: of the file that `vidsr.media.recover` wrote on this node; it is removed.
        """
        name = f"{RECOVERED}/{self.result}{path.suffix}"
        self.output.upload(path, name)
        remove_recovered(path)
        return replace(self, recovered=self.output.entry(name))

    @property
    def name(self) -> str:
        """The source's whole path or URL."""
        return self.inputs.url_of(self.entry.name)

    @property
    def far_name(self) -> str | None:
        """The same where this node only has a copy of the source, or makes the result for another place."""
        return self.name if None in (self.inputs.folder, self.output.folder) else None

    def with_name(self, message: str) -> str:
        """A message in which the source has its own name, and not that of its copy on a node."""
        return message.replace(str(self._path), self.name)

    @property
    def result_path(self) -> Path:
        """Where the result is made: in its place, or in a folder of its own on each node."""
        if self.output.folder is not None:
            return Path(self.output.url_of(self.result))
        own = hashlib.sha256(self.output.url_of(self.result).encode()).hexdigest()[:24]
        return self.cache.folder.with_name(f"{self.cache.folder.name}-work") / own / Path(self.result).name

    def deliver(self, ledger: Ledger, segment: Segment) -> None:
        """See Transfer."""
        if self.output.folder is None:
            path = ledger.path(segment)
            for file in (path, path.with_suffix(".json")):  # the note comes last: it says that the segment is whole
                self.output.upload(file, f"{self._segments}/{file.name}")
                file.unlink()

    def open_ledger(self, key: dict[str, Any], segments: tuple[Segment, ...]) -> tuple[list[Segment], str | None]:
        """What `Ledger.open` and `Ledger.is_finished` say, for segments in an object store.

        Returns:
            The segments that are missing, and which part of the key changed if the run starts over.
        """
        old = read_json(self.output, f"{self._segments}/run.json")
        changed = old is not None and changed_parts(old, key)
        if changed:
            self._remove_segments()
        self.output.write(f"{self._segments}/run.json", json.dumps(key).encode())
        sizes = {Path(entry.name).name: entry.size for entry in self.output.files(self._segments)}
        digest = key_digest(key)
        return [s for s in segments if not self._is_finished(s, sizes, digest)], changed or None

    def _is_finished(self, segment: Segment, sizes: dict[str, int], key: str) -> bool:
        note = str(Path(segment.file_name).with_suffix(".json"))
        if segment.file_name not in sizes or note not in sizes:
            return False
        return read_json(self.output, f"{self._segments}/{note}") == segment.note(sizes[segment.file_name], key)

    def collect(self, ledger: Ledger, segments: tuple[Segment, ...]) -> None:
        """Bring all segments of an object store to this node."""
        if self.output.folder is None:
            ledger.folder.mkdir(parents=True, exist_ok=True)
            for segment in segments:
                path = ledger.path(segment)
                self.output.download(f"{self._segments}/{path.name}", path)

    def publish(self) -> None:
        """Upload a finished result with what lies beside it, and remove the segments. The result comes last."""
        if self.output.folder is not None:
            return
        path = self.result_path
        beside = [file for file in path.parent.iterdir() if file.is_file() and file != path]
        for file in (*beside, path):
            self.output.upload(file, str(Path(self.result).with_name(file.name)))
        self.clear()

    def clear(self) -> None:
        """Remove what a result in an object store was made of."""
        self._remove_segments()
        if self.recovered:
            self.output.delete(self.recovered.name)
        shutil.rmtree(self.result_path.parent, ignore_errors=True)  # which a later try on another node does not have

    def lacks_segments(self, segments: tuple[Segment, ...]) -> bool:
        """Whether an object store has not all segments: they go once the result is there."""
        there = {Path(entry.name).name for entry in self.output.files(self._segments)}
        return not there.issuperset(segment.file_name for segment in segments)

    @property
    def _segments(self) -> str:
        return f"{SEGMENTS}/{self.result}"

    def _remove_segments(self) -> None:
        for entry in self.output.files(self._segments):
            self.output.delete(entry.name)
