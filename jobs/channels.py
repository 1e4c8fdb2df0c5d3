"""Loop recordings: which clips are of one camera, in which order, and how much time lies between them. From names and
container times alone.

Dashcams cut what they record into files of one to three minutes. Each camera (front, rear, interior) is a channel.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import PurePosixPath

# 2026-01-01_12-00-00-left_repeater.mp4 (Tesla) and names that say it in words
_WORDS = re.compile(
    r"[-_ ](front|back|rear|interior|inside|cabin|left_repeater|right_repeater|left_pillar|right_pillar)$",
    re.IGNORECASE,
)
# NO20260101-120000-000001F.MP4 (70mai), 20260101_120000_NF.mp4 (BlackVue: N, E, P, M say why it was recorded),
# 2026_0101_120000_0001F.MP4 and ..._F.MP4 (Viofo), FILE260101-120000A.MP4, MOVA0001.MP4 (two channels A and B)
_LETTER = re.compile(r"(?:\d|_)[NEPM]?([ABFIRT])$")
# 240915_143027_001_FH.MP4, 231011_175029_199_RL_RADR.MP4 (Nextbase: the camera, its high or low quality, and why)
_QUALITY = re.compile(r"_([FRC][HL])(?:_[A-Z]+)?$")
_INSIDE = re.compile(r"^MOV([AB])\d+$")
# GX011234.MP4, GX021234.MP4 (GoPro: the chapter, then the recording's number); the HERO5 begins with GOPR1234.MP4
_CHAPTER = re.compile(r"^G(?:[A-Z]\d\d|OPR)(\d{4})$")
_CLOCK = re.compile(r"((?:19|20)?\d{2})[-_]?(\d{2})[-_]?(\d{2})[-_T ]?(\d{2})[-_.]?(\d{2})[-_.]?(\d{2})(?!\d)")

# Container times have whole seconds, so less than this between two clips is no gap.
CLOCK_STEP = Fraction(3, 2)
# After a longer pause it is another drive, and another video.
LONGEST_GAP = Fraction(60)


@dataclass(frozen=True)
class Clip:
    """A finished clip of a loop recording.

    Attributes:
        name: its name below the output root.
        created: the container's creation time in seconds since 1970, or None.
        seconds: its length.
        shape: what must be equal in one video, as `vidsr.media.join.shape_of` says.
    """

    name: str
    created: Fraction | None
    seconds: Fraction
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Recording:
    """Consecutive clips of one channel.

    Attributes:
        clips: in order of time.
        offsets: seconds from the begin of the first to the begin of each.
    """

    clips: tuple[Clip, ...]
    offsets: tuple[Fraction, ...]


def channel_of(name: str) -> str:
    """The channel that a file's name tells, in lower case, or "" for a camera alone."""
    stem = PurePosixPath(name).stem
    for pattern in (_WORDS, _LETTER, _QUALITY, _INSIDE):
        found = pattern.search(stem)
        if found:
            return found.group(1).lower()
    return ""


def clock_of(name: str) -> Fraction | None:
    """The time in a file's name, in seconds since 1970 if its clock were UTC, or None."""
    for found in _CLOCK.finditer(PurePosixPath(name).stem):
        year, month, day, hour, minute, second = (int(group) for group in found.groups())
        year += 2000 if year < 100 else 0
        try:
            moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            continue
        return Fraction(int(moment.timestamp()))
    return None


def recordings(clips: Sequence[Clip]) -> list[Recording]:
    """Group clips by folder, channel and picture, put each group in order, and cut it where another drive begins.

    The order comes from the containers' creation times. Where one has none, or the camera's clock stood still, it
    comes from the clocks in the names, and where these are missing too, from the names; then nothing is known of
    gaps. So one name without a clock must not take those of all others away: it is of another recording.
    """
    groups: dict[tuple[str, str, tuple[int | str, ...]], list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[str(PurePosixPath(clip.name).parent), channel_of(clip.name), clip.shape].append(clip)
    parts = [part for _, group in sorted(groups.items()) for part in _told_apart(group)]
    return [recording for part in parts for recording in _cut(part)]


def _told_apart(group: Sequence[Clip]) -> list[list[Clip]]:
    """The clips that one clock can order, or names."""
    if _created(group):
        return [list(group)]
    parts: dict[bool, list[Clip]] = defaultdict(list)
    for clip in group:
        parts[clock_of(clip.name) is None].append(clip)
    return list(parts.values())


def _created(group: Sequence[Clip]) -> dict[str, Fraction]:
    """The containers' creation times; none where one is missing or the camera's clock stood still."""
    times = {clip.name: clip.created for clip in group if clip.created is not None}
    return times if len(times) == len(group) == len(set(times.values())) else {}


def _cut(group: Sequence[Clip]) -> list[Recording]:
    begins = _begins(group)
    ordered = sorted(group, key=lambda clip: (begins[clip.name], _place_by_name(clip)))
    found: list[Recording] = []
    for clip in ordered:
        if found:
            last = found[-1]
            end = last.offsets[-1] + last.clips[-1].seconds
            begin = begins[clip.name] - begins[last.clips[0].name]
            gap = begin - end
            if gap <= LONGEST_GAP:
                offset = begin if gap >= CLOCK_STEP else end
                found[-1] = Recording((*last.clips, clip), (*last.offsets, offset))
                continue
        found.append(Recording((clip,), (Fraction(0),)))
    return found


def _begins(group: Sequence[Clip]) -> dict[str, Fraction]:
    """When each clip begins, by the best clock that all of them have; without any, one after the other by name.

    Chapters of a GoPro recording have one time together, that of the first.
    """
    if times := _created(group):
        return times
    clocks = {clip.name: clock for clip in group if (clock := clock_of(clip.name)) is not None}
    if len(clocks) == len(group):
        return clocks  # a copy has the time of its clip
    parts = {clip.name: _recording_of(clip) for clip in group}
    chaptered = None not in parts.values()
    begins: dict[str, Fraction] = {}
    ends: dict[tuple[Fraction, str] | None, Fraction] = {}
    for clip in sorted(group, key=_place_by_name):
        part = parts[clip.name] if chaptered else None
        begins[clip.name] = ends.get(part, part[0] if part else Fraction(0))
        ends[part] = begins[clip.name] + clip.seconds
    return begins


def _place_by_name(clip: Clip) -> list[tuple[int, str]]:
    """A key that sorts clips by their names as people do: numbers in them count."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", clip.name)]


def _recording_of(clip: Clip) -> tuple[Fraction, str] | None:
    """When a GoPro recording began, and its number, for each of its chapters."""
    name = _CHAPTER.search(PurePosixPath(clip.name).stem)
    return (clip.created, name[1]) if name and clip.created is not None else None
