"""Checks that everything but the picture came along: streams, tags, chapters, attachments, private data."""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from vidsr.errors import OutputExists
from vidsr.media.beside import Record
from vidsr.media.container import printable
from vidsr.media.inventory import DIGEST_BYTES, NO_TIME, Chapter, Contents, Inventory
from vidsr.media.private import private_data

SIDE_SUFFIXES = (".gps", ".3gf", ".nmea", ".srt", ".gpx")
# Facts about the file's own writing, not about what was filmed; each writer states its own.
_WRITERS_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "software", "vendor_id", "duration",
                 "language", "rotate", "bps", "number_of_", "_statistics", "filename", "mimetype")  # fmt: skip
_CHAPTER_TICK = Fraction(1, 1000)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it holds.
        detail: what was found, for people.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Timing:
    """Where the picture begins in both files, in seconds, and which part of the source the result shows.

    `start` and `end` are None unless the result shows a part only; `damaged` says that the source's packets cannot
    be trusted.
    """

    source: Fraction
    result: Fraction
    start: Fraction | None = None
    end: Fraction | None = None
    damaged: bool = False


def essential_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that tell of the film and not of the program that wrote the file; keys in lower case."""
    folded = {key.lower(): value for key, value in tags.items()}
    return {k: v for k, v in folded.items() if not k.startswith(_WRITERS_TAGS) and v.strip()}


def lost_tags(source: Mapping[str, str], result: Mapping[str, str]) -> dict[str, str]:
    """The source's tags that the result does not have with the same value."""
    ours = {key: _comparable(key, value) for key, value in essential_tags(result).items()}
    return {k: v for k, v in essential_tags(source).items() if ours.get(k) != _comparable(k, v)}


def _comparable(key: str, value: str) -> str:
    if key == "creation_time":
        try:
            moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError:
            return value
        return str(int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()))
    return value.strip()


def check_streams(source: Inventory, result: Inventory, timing: Timing, record: Record) -> Iterator[Check]:
    """One check per stream of the source other than the picture."""
    left = dict(result.others)
    latest: dict[str, int] = {}
    for stream in source.others.values():
        if not stream.times:
            continue  # an empty track, or MP4's own track of chapter titles
        name = f"{stream.kind} {stream.index}"
        match = _best_match(stream, left)
        if match is None or _packets_fault(stream, match, timing):
            if record.holds_stream(stream.index, stream.coding):
                within = left.pop(match.index).times if match and set(match.digests) & set(stream.digests) else ()
                found = f"all {len(stream.times)} packets beside the result, {len(within)} in it"
                yield Check(name, True, f"{_named(stream)}: {found}")
                continue
            if match is None:
                yield Check(name, False, f"{_named(stream)}: missing")
                continue
        left.pop(match.index)
        fault = (
            _packets_fault(stream, match, timing)
            or _times_fault(stream, match, timing)
            or _description_fault(stream, match, record)
        )
        if not fault and match.index < latest.get(stream.kind, -1):
            fault = "comes in another order"
        latest[stream.kind] = match.index
        yield Check(name, not fault, f"{_named(stream)}: {fault or f'{len(match.times)} packets, unchanged'}")


def _named(stream: Contents) -> str:
    language = "" if stream.language == "und" else f", {stream.language}"
    return printable(f"{stream.codec or stream.tag or stream.kind}{language}")


def _best_match(stream: Contents, left: Mapping[int, Contents]) -> Contents | None:
    """The result's stream of this kind with the most of the same packets; the first of equals."""
    alike = [other for other in left.values() if other.kind == stream.kind]
    digests = set(stream.digests)
    return max(alike, key=lambda other: len(digests & set(other.digests)), default=None)


def _is_remade(stream: Contents, timing: Timing) -> bool:
    """Whether it is a part's timecode track, which is made anew; its tag says of which frame."""
    return timing.start is not None and stream.kind == "data" and any(key.lower() == "timecode" for key in stream.tags)


def _packets_fault(stream: Contents, match: Contents, timing: Timing) -> str | None:
    if _is_remade(stream, timing):
        return None
    if timing.start is None:
        if match.digests == stream.digests:
            return None
        if timing.damaged and _position(match, stream) is not None:
            return None  # alone, a stream of a damaged file can be read further than beside the picture
        if len(match.digests) != len(stream.digests):
            return f"{len(match.digests)} packets instead of {len(stream.digests)}"
        changed = sum(a != b for a, b in zip(match.digests, stream.digests, strict=True))
        return f"{changed} packets changed"
    if stream.borderless:
        return None if match.digests == stream.digests else "other sound than the source has in that range"
    first = _position(stream, match)
    if first is None:
        return "its packets are not a run of the source's"
    return _coverage_fault(stream, first, first + len(match.digests), timing)


def _position(whole: Contents, part: Contents) -> int | None:
    """Where the packets of one stream lie among those of the other, as a run without gaps.

    Searched as bytes, which takes time in proportion to the lengths, however much the packets repeat (silence).
    """
    packets, run = b"".join(whole.digests), b"".join(part.digests)
    at = packets.find(run)
    while at > 0 and at % DIGEST_BYTES:
        at = packets.find(run, at + 1)
    return None if at < 0 else at // DIGEST_BYTES


def _coverage_fault(stream: Contents, first: int, stop: int, timing: Timing) -> str | None:
    """Whether packets that begin within the part are missing; one at either end may be cut."""
    begin, end = timing.start or Fraction(0), timing.end or Fraction(0)
    within = [i for i, t in enumerate(stream.times) if t != NO_TIME and begin <= t * stream.time_base < end]
    if within and (within[0] + 1 < first or within[-1] - 1 > stop - 1):
        return "packets of this part of the source are missing"
    return None


def _times_fault(stream: Contents, match: Contents, timing: Timing) -> str | None:
    """Whether a packet's distance from the picture's beginning changed by more than the result can express.

    Sound whose time does not come after that of the packet before it cannot be written so, and is moved.
    """
    if _is_remade(stream, timing):
        return None
    latest = NO_TIME
    for number, (theirs, ours) in enumerate(_pairs_of_times(stream, match, timing)):
        backwards = stream.kind != "video" and theirs <= latest
        latest = max(latest, theirs)
        if backwards or NO_TIME in (ours, theirs):
            continue
        wanted = theirs * stream.time_base
        if stream.kind == "subtitle" and timing.start is not None:
            wanted = max(wanted, timing.start)  # one that spans the part's begin is shown from there
        moved = ours * match.time_base - timing.result - (wanted - timing.source)
        if abs(moved) >= match.time_base:
            return f"packet {number} is {float(moved) * 1000:+.3f} ms off against the picture"
    return None


def _pairs_of_times(stream: Contents, match: Contents, timing: Timing) -> Iterator[tuple[int, int]]:
    """(time in the source, time in the result) of each packet that both have."""
    if stream.borderless:
        yield from zip(stream.times[:1], match.times[:1], strict=False) if timing.start is None else ()
    elif len(stream.times) >= len(match.times):
        yield from zip(stream.times[_position(stream, match) or 0 :], match.times, strict=False)
    else:
        yield from zip(stream.times, match.times[_position(match, stream) or 0 :], strict=False)


def _description_fault(stream: Contents, match: Contents, record: Record) -> str | None:
    if stream.language != match.language and not record.holds_tag("language", stream.language, stream.index):
        return printable(f"language {match.language} instead of {stream.language}")
    lost = {k: v for k, v in lost_tags(stream.tags, match.tags).items() if not record.holds_tag(k, v, stream.index)}
    if lost:
        return "tags lost: " + ", ".join(f"{key}={value!r}" for key, value in lost.items())
    flags = set(stream.disposition) - set(match.disposition) - {"default"}
    if flags and not record.holds_tag("disposition", ",".join(stream.disposition), stream.index):
        return "flags lost: " + ", ".join(sorted(flags))
    return None


def check_tags(source: Inventory, result: Inventory, record: Record) -> Check:
    """The container's tags: title, dates, place, make and model."""
    lost = lost_tags(source.tags, result.tags)
    beside = {k for k, v in lost.items() if record.holds_tag(k, v)}
    gone = {k: v for k, v in lost.items() if k not in beside}
    if gone:
        return Check("tags", False, "lost: " + ", ".join(f"{k}={v!r}" for k, v in gone.items()))
    kept = len(essential_tags(source.tags)) - len(beside)
    return Check("tags", True, f"{kept} kept" + (f", {len(beside)} beside the result" if beside else ""))


def check_chapters(source: Inventory, result: Inventory, timing: Timing, record: Record) -> Check:
    """Chapters by time and title; times move with the picture, and a part has those that overlap it, cut to it."""
    ours, theirs = result.chapters, source.chapters
    if not ours and theirs and record.chapters == len(theirs):
        return Check("chapters", True, f"{len(theirs)} beside the result")
    if timing.start is not None:
        theirs = tuple(_chapters_within(theirs, timing))
    if len(ours) != len(theirs):
        return Check("chapters", False, f"{len(ours)} instead of {len(theirs)}")
    for (start, end, title), (start0, end0, title0) in zip(ours, theirs, strict=True):
        moved = max(abs(start - start0), abs(end - end0))
        if moved > _CHAPTER_TICK or title != title0:
            return Check(
                "chapters", False, f"{title!r} at {float(start):.3f} s was {title0!r} at {float(start0):.3f} s"
            )
    return Check("chapters", True, f"{len(ours)} kept")


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


def check_private(source: Path, record: Record) -> Check:
    """Private data of the source's container, which is in the record beside the result."""
    blocks = private_data(source)
    with source.open("rb") as file:
        missing = [block.path for block in blocks if not record.holds_block(block, file)]
    if missing:
        return Check("private data", False, "not beside the result: " + ", ".join(sorted(set(missing))))
    return Check("private data", True, f"{len(blocks)} blocks beside the result" if blocks else "none")


def side_files(path: Path) -> list[Path]:
    """Files of the same stem that cameras write beside a video, whatever the case of their names."""
    stem = path.stem.lower()
    return sorted(
        each
        for each in path.parent.iterdir()
        if each.stem.lower() == stem and each.suffix.lower() in SIDE_SUFFIXES and each.is_file()
    )


def check_side_files_free(source: Path, result: Path) -> None:
    """Refuse to copy the source's side files over others that have those names.

    Raises:
        OutputExists: one of them exists.
    """
    for each in side_files(source):
        copy = result.with_name(result.stem + each.suffix)
        if copy != each and copy.exists() and not filecmp.cmp(copy, each, shallow=False):
            raise OutputExists(
                f"{copy} exists and {each.name} would replace it; use --overwrite, or -o for another name"
            )


def check_side_files(source: Path, result: Path) -> Check:
    """Copies of side files, byte for byte."""
    files = side_files(source)
    wrong = []
    for each in files:
        copy = result.with_name(result.stem + each.suffix)
        if copy != each and (not copy.is_file() or copy.read_bytes() != each.read_bytes()):
            wrong.append(each.name)
    if wrong:
        return Check("side files", False, "not beside the result: " + ", ".join(wrong))
    return Check("side files", True, f"{len(files)} beside the result" if files else "none")
