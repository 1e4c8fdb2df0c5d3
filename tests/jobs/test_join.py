"""Which results are joined and what of, without Ray; `test_schedule.py` joins those of whole jobs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from jobs.cache import NodeCache
from jobs.channels import recordings
from jobs.join import Results, describe_clip, join_recording, joined_name
from jobs.storage import open_place
from tests.media.clips import Clip, make_clip
from vidsr.errors import OutputExists, RunError
from vidsr.media.probe import probe


def results(folder: Path) -> Results:
    return Results(open_place(folder), NodeCache(folder / "cache", 0))


def test_clips_that_are_shown_otherwise_are_another_video(tmp_path: Path) -> None:
    """A camera that was turned round: the join showed them upside down."""
    clip = Clip(frames=5, options={"preset": "ultrafast"})
    for number, rotation in enumerate((0, 0, 180, 180)):
        make_clip(tmp_path / f"20260101_12000{number}.mp4", replace(clip, rotation=rotation))
    there = results(tmp_path)
    clips = [describe_clip(there, path.name) for path in sorted(tmp_path.glob("*.mp4"))]
    found = sorted(recordings(clips), key=joined_name)
    for recording, turned in zip(found, (0, 180), strict=True):
        assert join_recording(there, recording) == ()
        made = probe(tmp_path / joined_name(recording))
        assert (made.frames, abs(made.rotation)) == (10, turned)


def test_a_join_that_failed_claims_no_file(tmp_path: Path) -> None:
    """What a user put in its place was lost to the next run."""
    for number, frames in enumerate(("1", "3")):
        clip = Clip(frames=5, options={"preset": "veryfast", "bf": "0", "refs": frames})
        make_clip(tmp_path / f"20260101_12000{number}.mp4", clip)
    there = results(tmp_path)
    (recording,) = recordings([describe_clip(there, path.name) for path in tmp_path.glob("*.mp4")])
    with pytest.raises(RunError, match="coded with other parameters"):
        join_recording(there, recording)
    target = tmp_path / joined_name(recording)
    target.write_bytes(b"of the user")
    with pytest.raises(OutputExists, match="exists and is no join"):
        join_recording(there, recording)
    assert target.read_bytes() == b"of the user"


def test_clips_of_another_container_stop_no_join(tmp_path: Path) -> None:
    """Copies of some, as other programs make them: that MPEG-TS codes parameters otherwise stopped all of the join."""
    clip = Clip(frames=5, options={"preset": "ultrafast"})
    for number, suffix in enumerate(("mp4", "mp4", "ts")):
        make_clip(tmp_path / f"20260101_12000{number}.{suffix}", clip)
    there = results(tmp_path)
    found = recordings([describe_clip(there, path.name) for path in tmp_path.iterdir()])
    assert sorted(len(each.clips) for each in found) == [1, 2]
    assert all(join_recording(there, each) == () for each in found if len(each.clips) == 2)


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
