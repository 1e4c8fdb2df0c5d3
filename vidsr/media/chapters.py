"""Chapters: when each begins and ends and what it is called, and how much of that MP4 can say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from av.container import InputContainer

from vidsr.media.tags import folded

# Begin and end in seconds, and title.
Chapter: TypeAlias = tuple[Fraction, Fraction, str]
CHAPTER_TICK = Fraction(1, 1000)


def chapters_of(container: InputContainer) -> tuple[Chapter, ...]:
    """The chapters of a file, in its order."""
    return tuple(map(plain_chapter, container.chapters()))


def plain_chapter(chapter: Any) -> Chapter:
    """A chapter as PyAV gives it and `set_chapters` takes it."""
    tick = chapter["time_base"] or CHAPTER_TICK
    title = folded(chapter["metadata"].items()).get("title", "")  # Matroska's may be TITLE
    return chapter["start"] * tick, chapter["end"] * tick, title


def moved_chapters(
    container: InputContainer, later: Fraction, begin: Fraction | None = None, end: Fraction | None = None
) -> list[Any]:
    """The chapters of a file as PyAV's `set_chapters` takes them, so many seconds later.

    With `begin` or `end`, seconds of the file's clock: those that overlap the part between them, cut to it.
    """
    moved = []
    for chapter in container.chapters():
        tick = chapter["time_base"] or CHAPTER_TICK
        start, stop, _ = plain_chapter(chapter)
        start, stop = max(start, begin or start), min(stop, end or stop)
        if start < stop or (begin is None and end is None):
            times = {"start": round((start + later) / tick), "end": round((stop + later) / tick)}
            moved.append({**chapter, **times})
    return moved


def alike(one: Chapter, other: Chapter) -> bool:
    """Whether they have one title and, but for rounding, the same times."""
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= CHAPTER_TICK and one[2] == other[2]


def fit_mp4(chapters: Iterable[Chapter]) -> bool:
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
