"""A job's records and its summary below OUTPUT/.vidsr."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from os.path import isfile
from pathlib import Path
from typing import Any

from jobs.records import VideoRecord
from jobs.storage import STATE_FOLDER, Place, read_json, short_name
from vidsr.errors import SettingsError
from vidsr.evidence import digest
from vidsr.graph.ledger import changed_parts
from vidsr.settings import UpscaleSettings

RECORDS = f"{STATE_FOLDER}/videos"
SUMMARY = f"{STATE_FOLDER}/job.json"
READERS = 16


@dataclass
class JobSummary:
    """What a job did, as job.json says it.

    Attributes:
        input, output: the places.
        state: running, finished or interrupted.
        videos: how many the job looks after.
        results_left_out: videos of the folder that it does not look after, since vidsr made them.
        other_files: files of the folder that are no videos by their names.
        earlier: of its videos, done before it began.
        done, salvaged, failed, quarantined: by the state they have now, those of earlier runs included.
        computed_frames: frames that this run computed.
        retries: attempts beyond the first that this run made.
        started, finished: seconds since 1970 UTC; finished is None while it runs.
        settings: what was made.
        failures: source and reason of each that failed or is quarantined.
        joined: results of `--join`.
        join_failures: name and reason of each that could not be joined.
    """

    input: str
    output: str
    state: str = "running"
    videos: int = 0
    results_left_out: int = 0
    other_files: int = 0
    earlier: int = 0
    done: int = 0
    salvaged: int = 0
    failed: int = 0
    quarantined: int = 0
    computed_frames: int = 0
    retries: int = 0
    started: float = 0.0
    finished: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    joined: list[str] = field(default_factory=list)
    join_failures: dict[str, str] = field(default_factory=dict)

    def count(self, record: VideoRecord) -> None:
        """Add a video that is final."""
        setattr(self, record.state, getattr(self, record.state) + 1)
        if not record.good:
            self.failures[record.source] = record.reason

    def as_json(self) -> dict[str, Any]:
        """The summary in JSON values."""
        return asdict(self)


class JobState:
    """Reads and writes a job's records."""

    def __init__(self, output: Place) -> None:
        self._output = output

    def read_all(self, names: Iterable[str]) -> dict[str, VideoRecord]:
        """The records that are there, of many videos at once; a damaged one counts as missing."""
        there = {entry.name for entry in self._output.files(RECORDS)}
        wanted = [name for name in names if _file(name) in there]
        with ThreadPoolExecutor(READERS) as readers:
            found = dict(zip(wanted, readers.map(self.read, wanted), strict=True))
        return {name: record for name, record in found.items() if record is not None}

    def read(self, name: str) -> VideoRecord | None:
        """A video's record, or None if there is none that can be read."""
        content = self._output.read(_file(name))
        if content is None:
            return None
        try:
            return VideoRecord.from_json(content.decode("utf-8", "replace"))
        except SettingsError:
            return None

    def place(self, name: str) -> str:
        """Where a video's record is."""
        return self._output.url_of(_file(name))

    def write(self, name: str, record: VideoRecord) -> None:
        """Write a video's record whole."""
        self._output.write(_file(name), record.to_json().encode())

    def write_summary(self, summary: JobSummary) -> None:
        """Write the job's summary whole."""
        self._output.write(SUMMARY, json.dumps(summary.as_json(), indent=1).encode())

    def refuse_other_settings(self, settings: UpscaleSettings, overwrite: bool) -> None:
        """Results of two kinds must not mix below one output root.

        Raises:
            SettingsError: an earlier job made results with other settings, and they may not be overwritten.
        """
        old = (read_json(self._output, SUMMARY) or {}).get("settings") or {}
        new = wanted(settings)
        changed = changed_parts(old, new) if old else ""
        if changed and not overwrite:
            raise SettingsError(
                f"{self._output.url} holds results made with another {changed}; use the same settings, --overwrite to "
                "make all of them again, or -o for another place"
            )


def wanted(settings: UpscaleSettings) -> dict[str, Any]:
    """The settings that a result depends on, as JSON gives them back. Of a weights file, its content is one."""
    values = asdict(settings)
    for name in ("device", "backend", "hwaccel", "segment_seconds"):
        del values[name]
    if isfile(settings.model):
        values["model"] = f"{settings.model} (sha256 {digest(Path(settings.model))[1][:16]})"
    return dict(json.loads(json.dumps(values)))


def settings_digest(settings: UpscaleSettings) -> str:
    """A short hash of what a result depends on."""
    return hashlib.sha256(json.dumps(wanted(settings), sort_keys=True).encode()).hexdigest()[:12]


def _file(name: str) -> str:
    return f"{RECORDS}/{short_name(name)}.json"
