"""Checks that what describes the film and lies around it came along: tags, chapters, attachments, private data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidsr.evidence import Check
from vidsr.media.beside.index import SideIndex
from vidsr.media.beside.private import private_data
from vidsr.media.beside.sidefiles import side_file_copies, side_files
from vidsr.media.chapters import CHAPTER_TICK, Chapter, alike, begins_in_mp4
from vidsr.media.proof.inventory import Inventory
from vidsr.media.tags import essential_tags, lost_tags


@dataclass(frozen=True)
class Timing:
    """Where the picture begins in both files, in seconds, and which part of the source the result shows.

    `start` and `end` are None unless the result shows a part only; `damaged` says that the source's packets cannot
    be trusted; `moved` is how much later all of the result is allowed to be.
    """

    source: Fraction
    result: Fraction
    start: Fraction | None = None
    end: Fraction | None = None
    damaged: bool = False
    moved: Fraction = Fraction(0)


def check_tags(source: Inventory, result: Inventory, index: SideIndex) -> Check:
    """The container's tags: title, dates, place, make and model."""
    lost = lost_tags(source.tags, result.tags)
    beside = {k for k, v in lost.items() if index.holds_tag(k, v)}
    gone = {k: v for k, v in lost.items() if k not in beside}
    if gone:
        return Check("tags", False, "lost: " + ", ".join(f"{k}={v!r}" for k, v in gone.items()))
    kept = len(essential_tags(source.tags)) - len(beside)
    return Check("tags", True, f"{kept} kept" + (f", {len(beside)} beside the result" if beside else ""))


def check_chapters(source: Inventory, result: Inventory, timing: Timing, index: SideIndex) -> Check:
    """Chapters by time and title; times move with the picture, and a part has those that overlap it, cut to it.

    Where all of the source's lie beside, the file may have none, or say what MP4 can say of them.
    """
    ours, theirs = result.chapters, source.chapters
    beside = bool(theirs) and index.holds_chapters(theirs)
    if timing.start is not None:
        theirs = tuple(_chapters_within(theirs, timing))
    else:
        theirs = tuple((start + timing.moved, end + timing.moved, title) for start, end, title in theirs)
    fault = _chapters_fault(ours, theirs)
    if fault and beside and (not ours or _begin_as_in_mp4(ours, theirs)):
        return Check("chapters", True, f"{len(source.chapters)} beside the result, {len(ours)} in it")
    return Check("chapters", not fault, fault or f"{len(ours)} kept")


def _chapters_fault(ours: Sequence[Chapter], theirs: Sequence[Chapter]) -> str | None:
    if len(ours) != len(theirs):
        return f"{len(ours)} instead of {len(theirs)}"
    for (start, end, title), (start0, end0, title0) in zip(ours, theirs, strict=True):
        if not alike((start, end, title), (start0, end0, title0)):
            times = [
                f"from {float(each):.3f} to {float(until):.3f} s" for each, until in ((start, end), (start0, end0))
            ]
            return f"{title!r} {times[0]} was {title0!r} {times[1]}"
    return None


def _begin_as_in_mp4(ours: Sequence[Chapter], theirs: Sequence[Chapter]) -> bool:
    expected = begins_in_mp4(theirs)
    return len(ours) == len(expected) and all(
        abs(begin - begin0) <= CHAPTER_TICK and title == title0
        for (begin, _, title), (begin0, title0) in zip(ours, expected, strict=True)
    )


def _chapters_within(chapters: Iterable[Chapter], timing: Timing) -> Iterator[Chapter]:
    for start, end, title in chapters:
        begin, stop = max(start, timing.start or start), min(end, timing.end or end)
        if begin < stop:
            moved = timing.result - timing.source
            yield begin + moved, stop + moved, title


def check_attachments(source: Inventory, result: Inventory, beside: Path) -> Check:
    """Fonts and other attached files, by name and hash."""
    missing = [
        name
        for name, content in source.attachments.items()
        if content not in result.attachments.values()
        and not _is_copy(beside.with_name(f"{beside.name}.{name}"), content[1])
    ]
    if missing:
        return Check("attachments", False, "missing: " + ", ".join(missing))
    return Check("attachments", True, f"{len(source.attachments)} kept")


def _is_copy(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def check_private(source: Path, index: SideIndex) -> Check:
    """Private data of the source's container, which is in the index beside the result."""
    blocks = private_data(source)
    with source.open("rb") as file:
        missing = [block.path for block in blocks if not index.holds_block(block, file)]
    if missing:
        return Check("private data", False, "not beside the result: " + ", ".join(sorted(set(missing))))
    return Check("private data", True, f"{len(blocks)} blocks beside the result" if blocks else "none")


def check_side_files(source: Path, result: Path) -> Check:
    """Copies of side files, byte for byte."""
    files = side_files(source)
    copies = side_file_copies(source, result)
    wrong = [each.name for each, copy in copies if not copy.is_file() or copy.read_bytes() != each.read_bytes()]
    if wrong:
        return Check("side files", False, "not beside the result: " + ", ".join(wrong))
    return Check("side files", True, f"{len(files)} beside the result" if files else "none")
