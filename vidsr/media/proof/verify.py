"""Proof that a result is its source, only larger: both files are read in step, nothing of the run is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from vidsr.evidence import Check
from vidsr.media.beside.index import SideIndex
from vidsr.media.description import CHROMA_LOCATIONS
from vidsr.media.firstframe import turn_of
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.proof.carried import (
    check_attachments,
    check_chapters,
    check_private,
    check_side_files,
    check_tags,
)
from vidsr.media.proof.inventory import Inventory
from vidsr.media.proof.streams import check_streams
from vidsr.media.proof.walk import CHANGES, Walk
from vidsr.media.salvage import fill_gaps
from vidsr.media.tags import lost_tags, stream_tags

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

    @property
    def changes(self) -> tuple[str, ...]:
        """What changes in the source in mid-stream and the result does not say, as sentences."""
        return tuple(check.detail for check in self.checks if check.name == CHANGES)


def verify(
    source: str | Path,
    result: str | Path,
    size: Size | None = None,
    first: int = 0,
    stop: int | None = None,
    beside: Path | None = None,
    filled: bool | None = None,
    original: Path | None = None,
    decode: bool = False,
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
        decode: as `probe`'s, where `first` and `stop` count the frames so.

    Raises:
        InputError: one of the files cannot be read at all.
    """
    source, result = Path(source), Path(result)
    original = Path(original or source)
    info, made = probe(source, decode), probe(result)
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
    index = SideIndex.of(beside)
    checks = [_check_size(info, made, size), *_check_description(info, made, index)]
    info = info.begun_at(first)
    with _open(info) as source, _open(made) as result:
        source.begin_later(*info.timecode_at(first))
        source.keep_part(
            info.table.time(first) if first else None, info.table.time(stop) if stop < len(info.table) else None
        )
        walk = Walk(info, made, first, stop)
        if not walk.compare(source, result):
            return None
        checks.extend(walk.checks(index))
        if source.concealed:
            detail = f"{source.concealed} of its frames decode with errors that can be seen; the result shows them too"
            checks.append(Check("source", True, detail))
        checks.append(_check_picture_tags(info, made, index))
        checks.extend(check_streams(source, result, walk.timing, index))
        checks.append(check_chapters(source, result, walk.timing, index))
        checks.append(check_attachments(source, result, beside))
        checks.append(check_tags(source, result, index))
    checks.append(check_private(original, index))
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


def _check_description(info: VideoInfo, made: VideoInfo, index: SideIndex) -> Iterator[Check]:
    """What a player is told about the picture."""
    yield _same("pixel format", info.layout.pix_fmt, made.layout.pix_fmt)
    yield _same("colour matrix", info.colour.matrix, made.colour.matrix)
    yield _same("colour primaries", info.colour.primaries, made.colour.primaries)
    yield _same("colour transfer", info.colour.transfer, made.colour.transfer)
    yield _same("colour range", *("full" if each.colour.full_range else "limited" for each in (info, made)))
    yield _check_chroma_location(info, made)
    alike = info.hdr is not None and info.hdr.alike(made.hdr)
    yield _same("HDR metadata", info.hdr, info.hdr if alike else made.hdr)
    # containers and codecs keep it as a ratio of 16 or 32 bit numbers
    close = abs(info.sample_aspect - made.sample_aspect) < info.sample_aspect / 10_000
    yield _same("sample aspect", info.sample_aspect, info.sample_aspect if close else made.sample_aspect)
    if info.display_matrix is not None and index.holds_tag("rotation", str(info.rotation), info.stream_index):
        yield Check("rotation", True, f"{info.rotation} degrees, beside the result")
    else:
        expected = info.display_matrix_at(made.width, made.height)
        if "matroska" in made.container and turn_of(expected) == turn_of(made.display_matrix):
            expected = made.display_matrix  # it has no place for what the turned picture is moved by
        kept = expected == made.display_matrix
        yield Check("rotation", True, _turned(made)) if kept else _same("rotation", expected, made.display_matrix)


def _turned(info: VideoInfo) -> str:
    """How players turn and mirror the picture, in words."""
    a, b, _, c, d, _ = turn_of(info.display_matrix)
    return f"{info.rotation} degrees{', mirrored' if a * d < b * c else ''}"


def _check_chroma_location(info: VideoInfo, made: VideoInfo) -> Check:
    """Where chroma lies among luma, as far as the result's codec can say it; readers take unspecified as left."""
    expected, found = (each.colour.chroma_location or LEFT for each in (info, made))
    says = CHROMA_LOCATIONS_OF.get(made.codec, ()) if (info.layout.chroma_x, info.layout.chroma_y) == (1, 1) else ()
    name = "colour chroma location"
    if expected == found or expected in says:
        return _same(name, CHROMA_LOCATIONS[expected], CHROMA_LOCATIONS[found])
    return Check(name, True, f"{CHROMA_LOCATIONS[expected]}, which {made.codec} {info.layout.pix_fmt} cannot say")


def _same(name: str, expected: object, found: object) -> Check:
    said, wanted = ("none" if each is None else str(each) for each in (found, expected))
    return Check(name, expected == found, said if expected == found else f"{said} instead of {wanted}")


def _check_picture_tags(info: VideoInfo, made: VideoInfo, index: SideIndex) -> Check:
    lost = lost_tags(stream_tags(info.stream.tags, copied=False), dict(made.stream.tags))
    lost = {k: v for k, v in lost.items() if not index.holds_tag(k, v, info.stream_index)}
    language = info.stream.language or "und"
    if info.stream.language != made.stream.language and not index.holds_tag("language", language, info.stream_index):
        lost["language"] = language
    return Check("picture's tags", not lost, ", ".join(f"{k}={v!r} lost" for k, v in lost.items()) or "kept")
