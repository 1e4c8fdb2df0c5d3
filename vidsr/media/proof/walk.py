"""The walk through a source and its result in step: frames, times, pictures, and what lies within the frames."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from av.video.frame import VideoFrame

from vidsr.evidence import Check
from vidsr.media.beside.index import SideIndex
from vidsr.media.decode import user_data_of
from vidsr.media.pixels import is_full_range
from vidsr.media.probe import VideoInfo
from vidsr.media.proof.carried import Timing
from vidsr.media.proof.inventory import Inventory
from vidsr.media.proof.picture import (
    Factor,
    Grid,
    PictureJudge,
    closest,
    fields_of,
    grid_of,
    grid_size,
    with_neighbours,
)
from vidsr.media.salvage import as_shown

CHANGES = "changes"  # the check of what the source says otherwise from somewhere on


@dataclass(frozen=True)
class _Shown:
    """A decoded frame, reduced to what is compared."""

    pts: int | None
    grid: Grid
    fields: tuple[Grid, ...]  # of each field alone, where there are two
    user_data: tuple[bytes, ...]
    interlaced: bool
    colours: tuple[int, bool]  # matrix, and whether luma has the full range
    aspect: Fraction  # of a pixel


class Walk:
    """Goes through both files frame by frame."""

    def __init__(self, info: VideoInfo, made: VideoInfo, first: int, stop: int) -> None:
        self._info, self._made = info, made
        self._first, self._stop = first, stop
        self._part = first > 0 or stop < len(info.table)
        self._judge = PictureJudge()
        self._count = 0
        self._times: list[str] = []
        self._user_data: list[str] = []
        self._messages = 0
        self._digest = hashlib.sha256()
        self._shift = Fraction(0)
        self._changes: list[str] = []
        start = made.table.time(0)
        self.timing = Timing(info.table.time(first), start, damaged=bool(info.sequential))
        if self._part:
            self.timing = replace(self.timing, start=info.table.time(first), end=info.table.time(stop))

    def compare(self, source: Inventory, result: Inventory) -> bool:
        """Reads both files to their ends. False where the source gives other frames than its table says."""
        info = self._info
        columns, rows = grid_size(info.width, info.height)
        factor = (Fraction(self._made.width, info.width), Fraction(self._made.height, info.height))
        given, skipped = self._wanted(source)
        wanted = itertools.islice(as_shown(given, info.shows), skipped, skipped + self._stop - self._first)
        expected_frames = with_neighbours(_shown(source, wanted, columns, rows, (Fraction(1), Fraction(1))))
        shown_frames = _shown(result, result.frames(), columns, rows, factor)
        for before, expected, after in expected_frames:
            shown = next(shown_frames, None)
            if shown is None:
                break
            number = self._first + self._count
            self._judge.compare(number, shown.grid, *_grids(shown, before, expected, after))
            if before:
                self._look_for_change(number, before, expected)
            self._compare_time(number, shown.pts)
            self._compare_user_data(number, expected.user_data, shown.user_data)
            self._count += 1
        self._judge.finish()
        self._count += sum(1 for _ in shown_frames)
        source.decoding = not self._part
        for _ in itertools.chain(expected_frames, given):
            pass
        if source.concealed and not info.sequential:
            return False  # what hides an error differs with threads and with where decoding begins
        return self._part or given.count == (info.shows[-1] + 1 if info.shows else len(info.table))

    def _look_for_change(self, number: int, before: _Shown, now: _Shown) -> None:
        """Note what a video says once and its frames say otherwise from somewhere on."""
        if now.interlaced and not before.interlaced and not self._info.interlaced:
            self._changes.append(f"from frame {number} on it is interlaced, which was not looked for")
        if now.colours != before.colours:
            self._changes.append(
                f"from frame {number} on its colours are tagged otherwise, which the result does not say"
            )
        if now.aspect != before.aspect:
            self._changes.append(
                f"from about frame {number} on its pixels are {now.aspect} as wide as high, not {before.aspect}, "
                "which the result does not say"
            )

    def _wanted(self, source: Inventory) -> tuple[_Counted, int]:
        """The source's frames, and how many of them come before the first that is wanted."""
        table = self._info.table
        keys = [i for i in range(self._first + 1) if table.key[i]]
        if self._info.sequential or len(keys) < 3:
            return _Counted(source.frames()), self._first
        begin = keys[-2]  # one more than needed: pictures that lead a key frame refer to what comes before it
        given = (f for f in source.frames(table.pts[begin]) if f.pts is None or f.pts >= table.pts[begin])
        return _Counted(given), self._first - begin

    def _compare_time(self, number: int, pts: int | None) -> None:
        made, table = self._made.table, self._info.table
        if pts is None:
            self._times.append(f"frame {number} has no time")
            return
        found = pts * made.time_base
        if number == self._first:
            self._shift = self._allowed_shift(found - table.time(number))
            self.timing = replace(self.timing, moved=self._shift)
        off = found - self._shift - table.time(number)
        if abs(off) >= made.time_base:
            self._times.append(f"frame {number} is {float(off) * 1000:+.3f} ms off")

    def _allowed_shift(self, shift: Fraction) -> Fraction:
        """How far the whole file may be moved: a part begins at 0, and some containers play nothing before 0."""
        if self._part or "mpegts" in self._made.container:
            return shift
        in_mov = "mov" in self._made.container
        lead = self._info.lead(in_mov)
        if in_mov or lead:
            return lead
        earliest = min((s.start * s.time_base for s in self._info.streams if s.start is not None), default=Fraction(0))
        moved = "matroska" in self._made.container and abs(shift + earliest) < self._made.table.time_base
        return shift if moved else Fraction(0)

    def _compare_user_data(self, number: int, expected: tuple[bytes, ...], found: tuple[bytes, ...]) -> None:
        for message in expected:
            self._messages += 1
            self._digest.update(message)
        if found != expected:
            self._user_data.append(
                f"frame {number} has {len(found)} messages instead of {len(expected)}, or changed ones"
            )

    def _check_user_data(self, index: SideIndex) -> Check:
        digest = hashlib.sha256()
        for message in index.user_data():
            digest.update(message)
        beside = bool(self._user_data) and digest.digest() == self._digest.digest()
        kept = f"{self._messages} messages {'beside the result' if beside else 'kept'}"
        return Check(
            "user data of frames", beside or not self._user_data, kept if beside else _few(self._user_data) or kept
        )

    def checks(self, index: SideIndex) -> Iterator[Check]:
        """What was found."""
        expected = self._stop - self._first
        found = f"{self._count}" if self._count == expected else f"{self._count} instead of {expected}"
        repeated = expected - len(set(self._info.shows[self._first : self._stop]))
        found += f", {repeated} of them repeat the one before" if self._info.shows and repeated else ""
        yield Check("frames", self._count == expected, found)
        moved = f", all streams {float(self._shift) * 1000:+.3f} ms" if self._shift else ""
        yield Check("times", not self._times, _few(self._times) or f"{expected} exact{moved}")
        if not self._part:
            yield self._check_end()
        judge = self._judge
        detail = f"every frame shows its source's; largest difference {judge.worst:.1f} of 255"
        yield Check("picture", not judge.faults, _few(judge.faults) or detail)
        if self._changes:
            yield Check(CHANGES, True, _few(self._changes))
        if self._messages or self._user_data:
            yield self._check_user_data(index)

    def _check_end(self) -> Check:
        """When the last frame ends; some containers cannot say it, and of a damaged source it is a guess."""
        ours, theirs = self._made.table, self._info.table
        off = ours.time(len(ours)) - self._shift - theirs.time(len(theirs))
        ok = (
            "mpegts" in self._made.container
            or bool(self._info.sequential)
            or abs(off) <= max(ours.time_base, theirs.time_base)
        )
        return Check("end", ok, "same" if ok else f"the last frame ends {float(off) * 1000:+.3f} ms off")


class _Counted:
    """An iterator over frames that counts what it gave."""

    def __init__(self, frames: Iterator[VideoFrame]) -> None:
        self._frames = frames
        self.count = 0

    def __iter__(self) -> Iterator[VideoFrame]:
        return self

    def __next__(self) -> VideoFrame:
        frame = next(self._frames)
        self.count += 1
        return frame


def _shown(file: Inventory, frames: Iterator[VideoFrame], columns: int, rows: int, factor: Factor) -> Iterator[_Shown]:
    for frame in frames:
        colours = (int(frame.colorspace), is_full_range(frame))
        grid = grid_of(frame, columns, rows, factor)
        fields = fields_of(frame, columns, rows, factor) if frame.interlaced_frame else ()
        yield _Shown(frame.pts, grid, fields, user_data_of(frame), frame.interlaced_frame, colours, file.aspect)


def _grids(
    shown: _Shown, before: _Shown | None, expected: _Shown, after: _Shown | None
) -> tuple[Grid | None, Grid, Grid | None]:
    """What a frame of the result is held against, of its source's frame and those beside it.

    What was deinterlaced shows one field of each frame. A cut, a flash or fast motion between two fields makes the two
    together another picture, so the nearest of the whole and either field counts.
    """
    fields = () if shown.interlaced else expected.fields
    which = closest(shown.grid, (expected.grid, *fields))

    def one(frame: _Shown | None) -> Grid | None:
        return None if frame is None else frame.fields[which - 1] if which and frame.fields else frame.grid

    return one(before), (expected.grid, *fields)[which], one(after)


def _few(sentences: list[str]) -> str:
    """The first sentences, and how many more there are."""
    return "; ".join(sentences[:3]) + (f"; and {len(sentences) - 3} more" if len(sentences) > 3 else "")
