"""Proof that a result is its source, only larger: both files are read in step, nothing of the run is trusted."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from av.video.frame import VideoFrame

from vidsr.media.beside import Record
from vidsr.media.carried import (
    Check,
    Timing,
    check_attachments,
    check_chapters,
    check_private,
    check_side_files,
    check_streams,
    check_tags,
    lost_tags,
)
from vidsr.media.container import CHROMA_LOCATIONS
from vidsr.media.decode import user_data_of
from vidsr.media.firstframe import turn_of
from vidsr.media.inventory import Inventory
from vidsr.media.picture import Factor, Grid, PictureJudge, grid_of, grid_size, with_neighbours
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.salvage import as_shown, fill_gaps
from vidsr.media.tags import stream_tags

__all__ = ["Check", "VerifyReport", "verify"]

Size: TypeAlias = tuple[int, int]

LEFT, TOP_LEFT = 1, 3
# Where 4:2:0 chroma may lie for streams of a codec to say it. No other codec says it, and none of another layout: what
# is read of them is what the codec or the container always means.
CHROMA_LOCATIONS_OF: dict[str, Sequence[int]] = {"h264": range(1, 7), "hevc": range(1, 7), "av1": (LEFT, TOP_LEFT)}


@dataclass(frozen=True)
class VerifyReport:
    """All checks of a result, in the order of their making."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


@dataclass(frozen=True)
class _Shown:
    """A decoded frame, reduced to what is compared."""

    pts: int | None
    grid: Grid
    user_data: tuple[bytes, ...]


def verify(
    source: Path,
    result: Path,
    size: Size | None = None,
    first: int = 0,
    stop: int | None = None,
    beside: Path | None = None,
    filled: bool | None = None,
    original: Path | None = None,
) -> VerifyReport:
    """Hold a result against its source.

    Args:
        source: the original.
        result: what was made of it.
        size: width and height that the picture must have; None takes every larger one that keeps the shape.
        first, stop: the frames of the source that the result shows; all by default.
        beside: the name under which files beside the result were written, where it is not the result's yet.
        filled: whether lost frames of a damaged source were replaced, as `fill_gaps` does; None looks at the number
            of frames.
        original: the user's file, where `source` was recovered from it: it has the side files and the private data.

    Raises:
        InputError: one of the files cannot be read at all.
    """
    source, result = Path(source), Path(result)
    original = Path(original or source)
    info, made = probe(source), probe(result)
    report = _verify(_expected(info, made, filled), made, size, first, stop, beside or result, original)
    if report is None:  # the source's packets promise frames that its decoder does not give
        info = probe(source, decode=True)
        report = _verify(_expected(info, made, filled), made, size, first, stop, beside or result, original)
    return report or VerifyReport((Check("frames", False, "the source cannot be decoded twice in the same way"),))


def _expected(info: VideoInfo, made: VideoInfo, filled: bool | None) -> VideoInfo:
    """The source with its gaps filled, if they were filled in the result."""
    full = fill_gaps(info)
    return full if filled or (filled is None and len(made.table) == len(full.table)) else info


def _verify(
    info: VideoInfo, made: VideoInfo, size: Size | None, first: int, stop: int | None, beside: Path, original: Path
) -> VerifyReport | None:
    stop = len(info.table) if stop is None else stop
    part = first > 0 or stop < len(info.table)
    record = Record.of(beside)
    checks = [_check_size(info, made, size), *_check_description(info, made, record)]
    info = info.begun_at(first)
    with _open(info) as ours, _open(made) as theirs:
        ours.begin_later(first, info.rate)
        ours.keep_part(
            info.table.time(first) if first else None, info.table.time(stop) if stop < len(info.table) else None
        )
        walk = _Walk(info, made, first, stop, part)
        if not walk.compare(ours, theirs):
            return None
        checks.extend(walk.checks(record))
        if ours.concealed:
            detail = f"{ours.concealed} of its frames decode with errors that can be seen; the result shows them too"
            checks.append(Check("source", True, detail))
        checks.append(_check_picture_tags(info, made, record))
        checks.extend(check_streams(ours, theirs, walk.timing, record))
        checks.append(check_chapters(ours, theirs, walk.timing, record))
        checks.append(check_attachments(ours, theirs, beside))
        checks.append(check_tags(ours, theirs, record))
    checks.append(check_private(original, record))
    checks.append(check_side_files(original, beside))
    return VerifyReport(tuple(checks))


def _open(info: VideoInfo) -> Inventory:
    return Inventory(info.path, info.stream_index, damaged=bool(info.sequential))


def _check_size(info: VideoInfo, made: VideoInfo, size: Size | None) -> Check:
    found = f"{made.width}x{made.height} from {info.width}x{info.height}"
    if size is not None:
        return Check("size", (made.width, made.height) == size, found)
    across, down = Fraction(made.width, info.width), Fraction(made.height, info.height)
    # an exact height may round the width to an even number
    same_shape = abs(info.width * down - made.width) <= 1
    return Check("size", same_shape and min(across, down) > 1, found)


def _check_description(info: VideoInfo, made: VideoInfo, record: Record) -> Iterator[Check]:
    """What a player is told about the picture."""
    yield _same("pixel format", info.layout.pix_fmt, made.layout.pix_fmt)
    for name, ours, theirs in (
        ("matrix", made.colour.matrix, info.colour.matrix),
        ("primaries", made.colour.primaries, info.colour.primaries),
        ("transfer", made.colour.transfer, info.colour.transfer),
        ("range", made.colour.full_range, info.colour.full_range),
    ):
        yield _same(f"colour {name}", theirs, ours)
    yield _check_chroma_location(info, made)
    alike = info.hdr is not None and info.hdr.alike(made.hdr)
    yield _same("HDR metadata", info.hdr, info.hdr if alike else made.hdr)
    # containers and codecs keep it as a ratio of 16 or 32 bit numbers
    close = abs(info.sample_aspect - made.sample_aspect) < info.sample_aspect / 10_000
    yield _same("sample aspect", info.sample_aspect, info.sample_aspect if close else made.sample_aspect)
    if info.display_matrix is not None and record.holds_tag("rotation", str(info.rotation), info.stream_index):
        yield Check("rotation", True, f"{info.rotation} degrees, beside the result")
    else:
        expected = info.display_matrix_at(made.width, made.height)
        if "matroska" in made.container and turn_of(expected) == turn_of(made.display_matrix):
            expected = made.display_matrix  # it has no place for what the turned picture is moved by
        yield _same("rotation", expected or (), made.display_matrix or ())


def _check_chroma_location(info: VideoInfo, made: VideoInfo) -> Check:
    """Where chroma lies among luma, as far as the result's codec can say it; readers take unspecified as left."""
    expected, found = (each.colour.chroma_location or LEFT for each in (info, made))
    says = CHROMA_LOCATIONS_OF.get(made.codec, ()) if (info.layout.chroma_x, info.layout.chroma_y) == (1, 1) else ()
    name = "colour chroma location"
    if expected == found or expected in says:
        return _same(name, CHROMA_LOCATIONS[expected], CHROMA_LOCATIONS[found])
    return Check(name, True, f"{CHROMA_LOCATIONS[expected]}, which {made.codec} {info.layout.pix_fmt} cannot say")


def _same(name: str, expected: object, found: object) -> Check:
    return Check(name, expected == found, f"{found}" if expected == found else f"{found} instead of {expected}")


def _check_picture_tags(info: VideoInfo, made: VideoInfo, record: Record) -> Check:
    lost = lost_tags(stream_tags(info.stream.tags, copied=False), dict(made.stream.tags))
    lost = {k: v for k, v in lost.items() if not record.holds_tag(k, v, info.stream_index)}
    language = info.stream.language or "und"
    if info.stream.language != made.stream.language and not record.holds_tag("language", language, info.stream_index):
        lost["language"] = language
    return Check("picture's tags", not lost, ", ".join(f"{k}={v!r} lost" for k, v in lost.items()) or "kept")


class _Walk:
    """Goes through both files frame by frame."""

    def __init__(self, info: VideoInfo, made: VideoInfo, first: int, stop: int, part: bool) -> None:
        self._info, self._made = info, made
        self._first, self._stop, self._part = first, stop, part
        self._judge = PictureJudge()
        self._count = 0
        self._times: list[str] = []
        self._user_data: list[str] = []
        self._messages = 0
        self._digest = hashlib.sha256()
        self._shift = Fraction(0)
        start = made.table.time(0)
        self.timing = Timing(info.table.time(first), start, damaged=bool(info.sequential))
        if part:
            self.timing = replace(self.timing, start=info.table.time(first), end=info.table.time(stop))

    def compare(self, source: Inventory, result: Inventory) -> bool:
        """Reads both files to their ends. False where the source gives other frames than its table says."""
        info = self._info
        columns, rows = grid_size(info.width, info.height)
        factor = (Fraction(self._made.width, info.width), Fraction(self._made.height, info.height))
        given, skipped = self._wanted(source)
        wanted = itertools.islice(as_shown(given, info.shows), skipped, skipped + self._stop - self._first)
        ours = with_neighbours(_shown(wanted, columns, rows, (Fraction(1), Fraction(1))))
        theirs = _shown(result.frames(), columns, rows, factor)
        for before, expected, after in ours:
            shown = next(theirs, None)
            if shown is None:
                break
            number = self._first + self._count
            earlier = before.grid if before else None
            later = after.grid if after else None
            self._judge.compare(number, shown.grid, earlier, expected.grid, later)
            self._compare_time(number, shown.pts)
            self._compare_user_data(number, expected.user_data, shown.user_data)
            self._count += 1
        self._judge.finish()
        self._count += sum(1 for _ in theirs)
        source.decoding = not self._part
        for _ in itertools.chain(ours, given):
            pass
        if source.concealed and not info.sequential:
            return False  # what hides an error differs with threads and with where decoding begins
        return self._part or given.count == (info.shows[-1] + 1 if info.shows else len(info.table))

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
        off = found - self._shift - table.time(number)
        if abs(off) >= made.time_base:
            self._times.append(f"frame {number} is {float(off) * 1000:+.3f} ms off")

    def _allowed_shift(self, shift: Fraction) -> Fraction:
        """How far the whole file may be moved: a part begins at 0, and some containers have no negative times."""
        if self._part or "mpegts" in self._made.container:
            return shift
        info = self._info
        earliest = min((s.start * s.time_base for s in info.streams if s.start is not None), default=Fraction(0))
        moved = "matroska" in self._made.container and abs(shift + earliest) < self._made.table.time_base
        return shift if moved else Fraction(0)

    def _compare_user_data(self, number: int, ours: tuple[bytes, ...], theirs: tuple[bytes, ...]) -> None:
        for message in ours:
            self._messages += 1
            self._digest.update(message)
        if ours != theirs:
            self._user_data.append(f"frame {number} has {len(theirs)} messages instead of {len(ours)}, or changed ones")

    def _check_user_data(self, record: Record) -> Check:
        digest = hashlib.sha256()
        for message in record.user_data():
            digest.update(message)
        beside = bool(self._user_data) and digest.digest() == self._digest.digest()
        kept = f"{self._messages} messages {'beside the result' if beside else 'kept'}"
        return Check(
            "user data of frames", beside or not self._user_data, kept if beside else _few(self._user_data) or kept
        )

    def checks(self, record: Record) -> Iterator[Check]:
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
        yield Check("picture", not judge.faulty, _few(judge.faults, judge.faulty) or detail)
        if self._messages or self._user_data:
            yield self._check_user_data(record)

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


def _shown(frames: Iterator[VideoFrame], columns: int, rows: int, factor: Factor) -> Iterator[_Shown]:
    for frame in frames:
        yield _Shown(frame.pts, grid_of(frame, columns, rows, factor), user_data_of(frame))


def _few(sentences: list[str], total: int | None = None) -> str:
    """The first sentences, and how many more there are."""
    total = len(sentences) if total is None else total
    return "; ".join(sentences[:3]) + (f"; and {total - 3} more" if total > 3 else "")
