"""How a video's source and segments reach the tasks that need them, whatever the job's places are."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.cache import NodeCache
from jobs.storage import Entry, Place, read_json
from vidsr.graph.plan import Ledger, Segment, changed_parts, key_digest

SEGMENTS = ".vidsr/segments"


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
    """

    inputs: Place
    entry: Entry
    output: Place
    result: str
    cache: NodeCache

    def source(self) -> AbstractContextManager[Path]:
        """See Transfer. Gives the source's path."""
        if self.inputs.folder is not None:
            return nullcontext(self.inputs.folder / self.entry.name)
        return self.cache.hold(self.inputs, self.entry)

    @property
    def result_path(self) -> Path:
        """Where the result is made: in its place, or in a folder of its own on each node."""
        if self.output.folder is not None:
            return self.output.folder / self.result
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
        self._remove_segments()
        shutil.rmtree(path.parent)

    @property
    def _segments(self) -> str:
        return f"{SEGMENTS}/{self.result}"

    def _remove_segments(self) -> None:
        for entry in self.output.files(self._segments):
            self.output.delete(entry.name)
