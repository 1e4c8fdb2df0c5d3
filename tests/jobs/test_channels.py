from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from jobs.channels import Clip, channel_of, clock_of, recordings

SHAPE = (1280, 720, "h264")


def clip(name: str, created: float | None = None, seconds: float = 60, shape: tuple[int, int, str] = SHAPE) -> Clip:
    return Clip(name, None if created is None else Fraction(created), Fraction(seconds), shape)


def order(*clips: Clip) -> list[list[str]]:
    return [[each.name for each in recording.clips] for recording in recordings(clips)]


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("NO20260101-120000-000001F.MP4", "f"),
        ("NO20260101-120000-000001B.MP4", "b"),
        ("20260101_120000_NR.mp4", "r"),
        ("20260101_120000_EF.mp4", "f"),
        ("2026_0101_120000_0001I.MP4", "i"),
        ("drive_F.mp4", "f"),
        ("FILE260101-120000A.MP4", "a"),
        ("MOVB0012.avi", "b"),
        ("2026-01-01_12-00-00-left_repeater.mp4", "left_repeater"),
        ("2026-01-01_12-00-00-front.mp4", "front"),
        ("240915_143027_001_FH.MP4", "fh"),
        ("240915_143027_001_FL.MP4", "fl"),
        ("231011_175029_199_RH_RADR.MP4", "rh"),
        ("GRMN0001.MP4", ""),
        ("holiday.mp4", ""),
        ("GOPRO_FINAL.mp4", ""),
    ],
)
def test_channels(name: str, channel: str) -> None:
    assert channel_of(f"folder/{name}") == channel


@pytest.mark.parametrize(
    "name",
    ["NO20260101-120003-000001F.MP4", "2026_0101_120003_0001F.MP4", "2026-01-01_12-00-03-back.mp4",
     "FILE260101-120003A.MP4", "20260101_120003_NF.mp4", "260101_120003_001_FH.MP4"],
)  # fmt: skip
def test_clocks(name: str) -> None:
    assert clock_of(name) == 1767268803


def test_no_clock() -> None:
    assert clock_of("GRMN0001.MP4") is None
    assert clock_of("99999999-999999.mp4") is None


def test_cameras_are_never_mixed(shared_data: Path) -> None:
    names = sorted(path.name for path in (shared_data / "video" / "loop-70mai").iterdir())
    assert len(names) == 3
    assert order(*(clip(name) for name in names)) == [[name] for name in names]
    seconds = [name.replace("120000", "120100").replace("000001", "000002") for name in names]
    assert order(*(clip(n) for n in seconds + names)) == [list(pair) for pair in zip(names, seconds, strict=True)]


def test_creation_time_before_the_clock_in_the_name() -> None:
    early, late = clip("20260105_100000_NF.mp4", created=1000), clip("20260101_100000_NF.mp4", created=1060)
    assert order(late, early) == [[early.name, late.name]]
    still = [clip(f"20260101_10{minute:02}00_NF.mp4", created=0.5) for minute in (2, 0, 1)]
    assert order(*still) == [[each.name for each in sorted(still, key=lambda c: c.name)]], "the clock stood still"


def test_gaps() -> None:
    clips = [clip("a.mp4", 0), clip("b.mp4", 61), clip("c.mp4", 131), clip("d.mp4", 400), clip("e.mp4", 458)]
    first, second = recordings(clips)
    assert [c.name for c in first.clips] == ["a.mp4", "b.mp4", "c.mp4"]
    assert first.offsets == (0, 60, 131), "one second is the clock's step, eleven are a gap"
    assert second.offsets == (0, 60), "an overlap loses no picture"


def test_other_pictures_and_folders_are_other_recordings() -> None:
    assert order(clip("1/a.mp4", 0), clip("2/b.mp4", 60)) == [["1/a.mp4"], ["2/b.mp4"]]
    assert len(order(clip("a.mp4", 0), clip("b.mp4", 60, shape=(640, 360, "h264")))) == 2


def test_names_alone() -> None:
    (recording,) = recordings([clip("GRMN0002.MP4", seconds=30), clip("GRMN0001.MP4")])
    assert [c.name for c in recording.clips] == ["GRMN0001.MP4", "GRMN0002.MP4"]
    assert recording.offsets == (0, 60)


def test_numbers_in_names_are_counted() -> None:
    """clip10 came before clip2."""
    names = [f"clip{number}.mp4" for number in (1, 2, 9, 10, 11)]
    assert order(*(clip(name) for name in sorted(names))) == [names]
    assert order(clip("9 b.mp4"), clip("09.mp4"), clip("a.mp4")) == [["09.mp4", "9 b.mp4", "a.mp4"]]


def test_chapters_of_one_recording_follow_one_another() -> None:
    """GoPro gives all of a recording the time of the first, and the names of its chapters to others in between."""
    chapters = [clip(f"GX0{chapter}0001.MP4", 1000) for chapter in (1, 2, 3)]
    soon, later = clip("GX010002.MP4", 1190), clip("GX010003.MP4", 5000)
    first, second = recordings([later, chapters[2], soon, *chapters[:2]])
    assert (first.clips, first.offsets) == ((*chapters, soon), (0, 60, 120, 190))
    assert second.clips == (later,)
    older = [clip(name, 1000) for name in ("GOPR0001.MP4", "GP010001.MP4")]
    assert order(clip("GOPR0002.MP4", 9000), *older[::-1]) == [[c.name for c in older], ["GOPR0002.MP4"]]


@pytest.mark.parametrize("other", ["holiday.mp4", "20260102_080000 (1).mp4"])
def test_a_name_without_a_clock_and_a_copy_join_no_other_drives(other: str) -> None:
    """All of them were ordered by their names then, and the drives of all days were one video without a gap."""
    drives = [f"2026010{day}_080{minute}00.mp4" for day in (1, 2, 5) for minute in (0, 1)]
    found = order(*(clip(name) for name in (other, *drives)))
    first, second, third = ([name for name in each if name != other] for each in found if each != [other])
    assert [first, second, third] == [drives[:2], drives[2:4], drives[4:]]
