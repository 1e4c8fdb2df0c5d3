"""The state of a folder job: one small JSON per video, which the job writes and the report reads.

A record is replaced whole: it is written under another name and renamed, so that a reader on another node sees
the old record or the new one, never half of one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from vidsr.errors import SettingsError

State = Literal["pending", "running", "done", "salvaged", "failed", "quarantined"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class VideoRecord:
    """What is known about one video of a job.

    Attributes:
        source: where the video is: a path or an fsspec URL.
        result: where its result is or will be.
        state: pending, running, done, salvaged (done from a damaged source), failed, or quarantined (it took
            workers down too often and is not tried again).
        frames: frames in the result.
        seconds: seconds of video in the result.
        source_bytes: size of the source.
        result_bytes: size of the result.
        attempts: how often the video was begun.
        error_class: name of the last error's class, "" without one.
        error_message: the last error in one line, "" without one.
        started: when the last attempt began, in seconds since 1970 UTC; None before the first.
        finished: when the last attempt ended, in seconds since 1970 UTC; None before that.
        key: fingerprint of the input (size, time and a sample of its content) and of the settings, by which a replaced
            input and other settings are seen.
        crashes: workers that died while they had this video.
        salvaged: what its damaged source did not give, as sentences.
        thumbnails: JPEG files of one frame, source then result, for the report; empty where there are none.
    """

    source: str
    result: str
    state: State = "pending"
    frames: int = 0
    seconds: float = 0.0
    source_bytes: int = 0
    result_bytes: int = 0
    attempts: int = 0
    error_class: str = ""
    error_message: str = ""
    started: float | None = None
    finished: float | None = None
    key: str = ""
    crashes: int = 0
    salvaged: tuple[str, ...] = ()
    thumbnails: tuple[str, ...] = ()

    @property
    def final(self) -> bool:
        """Whether the job is finished with this video."""
        return self.state not in ("pending", "running")

    @property
    def good(self) -> bool:
        """Whether there is a result."""
        return self.state in ("done", "salvaged")

    @property
    def reason(self) -> str:
        """Why there is no result, in one line."""
        return f"{self.error_class}: {self.error_message}" if self.error_class else self.error_message

    def at_places_of(self, other: VideoRecord) -> VideoRecord:
        """The same with the paths that a run has now: another may have seen a disk by another name."""
        return replace(self, source=other.source, result=other.result)

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> VideoRecord:
        """Read a record back; fields that this version does not know are left out.

        Raises:
            SettingsError: the text is not a record.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            known = {f.name for f in fields(VideoRecord)}
            record = VideoRecord(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise SettingsError(f"not a video's record ({error}); delete it and run the job again") from error
        if record.state not in STATES:
            raise SettingsError(f"a video's record has no state {record.state!r}; use one of {', '.join(STATES)}")
        return replace(record, salvaged=tuple(record.salvaged), thumbnails=tuple(record.thumbnails))
