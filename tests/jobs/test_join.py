"""Which results are joined and what of, without Ray; `test_schedule.py` joins those of whole jobs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from jobs.cache import NodeCache
from jobs.channels import recordings
from jobs.join import Results, describe_clip, join_recording
from jobs.storage import open_place
from tests.media.clips import Clip, make_clip
from vidsr.media.probe import probe


def results(folder: Path) -> Results:
    return Results(open_place(folder), NodeCache(folder / "cache", 0))


def test_a_clip_whose_first_frames_are_lost_keeps_its_time(tmp_path: Path) -> None:
    """Its sound is there from the begin. The clip after it was taken to begin before its end."""
    clip = Clip(frames=20, sound=("aac",), options={"preset": "ultrafast"})
    for number, lost in enumerate((0, 5, 0)):
        part = replace(clip, frames=clip.frames - lost, start=Fraction(lost, 25))
        make_clip(tmp_path / f"20260101_12000{number}.mp4", part)
    there = results(tmp_path)
    (recording,) = recordings([describe_clip(there, path.name) for path in sorted(tmp_path.glob("*.mp4"))])
    assert join_recording(there, recording) == ()
    table = probe(tmp_path / "20260101_120000_joined.mp4").table
    times = [number * Fraction(4, 5) + frame * Fraction(1, 25) for number in range(3) for frame in range(20)]
    assert [table.time(index) for index in range(55)] == times[:20] + times[25:]
