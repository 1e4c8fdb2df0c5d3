"""Which frames of a video a run makes, and the segments that they are cut into."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from vidsr.errors import SettingsError
from vidsr.media.probe import VideoInfo
from vidsr.settings import UpscaleSettings


@dataclass(frozen=True)
class Segment:
    """Frames first to stop - 1 of a video's frame table."""

    number: int
    first: int
    stop: int

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return self.stop - self.first

    @property
    def file_name(self) -> str:
        """The name of its file in a ledger; the note's has the suffix .json."""
        return f"{self.number:06d}.mkv"

    def note(self, size: int, key: str) -> dict[str, Any]:
        """What is noted of its file, of so many bytes and made under a key of that digest, once that is whole."""
        return {"first": self.first, "stop": self.stop, "bytes": size, "key": key}


@dataclass(frozen=True)
class FrameRange:
    """The frames of a run: first to stop - 1 of the table."""

    first: int
    stop: int


def choose_range(info: VideoInfo, settings: UpscaleSettings) -> FrameRange:
    """The frames between `--start` and `--end`, which count from the first frame.

    Raises:
        SettingsError: no frame lies there.
    """
    table = info.table
    if settings.start is None and settings.end is None:
        return FrameRange(0, len(table))
    ticks, per = table.time_base.numerator, table.time_base.denominator
    seconds = [(pts - table.pts[0]) * ticks / per for pts in table.pts]
    first = next((k for k, t in enumerate(seconds) if t >= (settings.start or 0.0)), len(seconds))
    stop = len(seconds)
    if settings.end is not None:
        stop = next((k for k, t in enumerate(seconds) if t >= settings.end), stop)
    if first >= stop:
        raise SettingsError(f"{info.path}: no frame lies in that range; the last one is at {seconds[-1]:.2f} s")
    return FrameRange(first, stop)


def cut(info: VideoInfo, span: FrameRange, seconds: float) -> tuple[Segment, ...]:
    """Cut a range into segments of at least `seconds`, at key frames where they are close enough.

    Where no key frame comes within twice the length, the cut is made anyway: decoding from an earlier key frame is
    cheap beside the model, and a video with one key frame stays resumable and distributable.
    """
    if info.sequential:
        return (Segment(0, span.first, span.stop),)
    table = info.table
    ticks, per = table.time_base.numerator, table.time_base.denominator
    cuts = [span.first]
    for k in range(span.first + 1, span.stop):
        elapsed = (table.pts[k] - table.pts[cuts[-1]]) * ticks / per
        if (elapsed >= seconds and table.key[k]) or elapsed >= 2 * seconds:
            cuts.append(k)
    edges = [*cuts, span.stop]
    return tuple(Segment(n, a, b) for n, (a, b) in enumerate(itertools.pairwise(edges)))
