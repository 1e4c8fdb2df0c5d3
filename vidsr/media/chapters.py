"""Chapters: when each begins and ends and what it is called, and how much of that MP4 can say."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from av.container import InputContainer

# Begin and end in seconds, and title.
Chapter: TypeAlias = tuple[Fraction, Fraction, str]
CHAPTER_TICK = Fraction(1, 1000)


def chapters_of(container: InputContainer) -> tuple[Chapter, ...]:
    """The chapters of a file, in its order."""
    found = []
    for chapter in container.chapters():
        tick = chapter["time_base"] or Fraction(1)
        tags = {key.lower(): value for key, value in chapter["metadata"].items()}  # of Matroska's it may be TITLE
        found.append((chapter["start"] * tick, chapter["end"] * tick, tags.get("title", "")))
    return tuple(found)


def alike(one: Chapter, other: Chapter) -> bool:
    """Whether they have one title and, but for rounding, the same times."""
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= CHAPTER_TICK and one[2] == other[2]


def fit_mp4(chapters: Sequence[Chapter]) -> bool:
    """Whether MP4 can say them: the first begins at 0, each takes time, and the next begins where it ends."""
    before = Fraction(0)
    for begin, end, _ in chapters:
        if abs(begin - before) > CHAPTER_TICK or end <= begin:
            return False
        before = end
    return True


def begins_in_mp4(chapters: Sequence[Chapter]) -> list[tuple[Fraction, str]]:
    """When MP4 says that each begins, and its title: the first at 0."""
    begins = [(begin, title) for begin, _, title in chapters]
    return [(Fraction(0), begins[0][1]), *begins[1:]] if begins else []
