"""Checks that the streams other than the picture came along, packet by packet."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from vidsr.evidence import Check
from vidsr.media.beside.index import SideIndex
from vidsr.media.container import printable
from vidsr.media.description import TIMECODE
from vidsr.media.proof.carried import Timing
from vidsr.media.proof.inventory import DIGEST_BYTES, NO_TIME, Contents, Inventory
from vidsr.media.tags import lost_tags

_FILLER = hashlib.sha256(b"\0\0").digest()[:DIGEST_BYTES]  # MP4's muxer writes it where no line is shown


def check_streams(source: Inventory, result: Inventory, timing: Timing, index: SideIndex) -> Iterator[Check]:
    """One check per stream of the source other than the picture."""
    left = {number: _without_empty_ends(stream) for number, stream in result.others.items()}
    latest: dict[str, int] = {}
    for stream in map(_without_empty_ends, source.others.values()):
        if not stream.times:
            continue  # an empty track, or MP4's own track of chapter titles
        name = f"{stream.kind} {stream.index}"
        match = _best_match(stream, left)
        if _has_none(stream, match, timing):
            yield Check(name, True, f"{_named(stream)}: no packets in this part")
            continue
        fault = "missing" if match is None else _packets_fault(stream, match, timing)
        if fault or match is None:
            if index.holds_stream(stream.index, stream.coding):
                within = left.pop(match.index).times if match and set(match.digests) & set(stream.digests) else ()
                found = f"all {len(stream.times)} packets beside the result, {len(within)} in it"
                yield Check(name, True, f"{_named(stream)}: {found}")
                continue
            if match is None:
                yield Check(name, False, f"{_named(stream)}: {fault}")
                continue
        left.pop(match.index)
        fault = fault or _times_fault(stream, match, timing) or _description_fault(stream, match, timing, index)
        if stream.tag != TIMECODE:  # which muxers put last
            if not fault and match.index < latest.get(stream.kind, -1):
                fault = "comes in another order"
            latest[stream.kind] = match.index
        yield Check(name, not fault, f"{_named(stream)}: {fault or _unchanged(stream, match, timing)}")


def _unchanged(stream: Contents, match: Contents, timing: Timing) -> str:
    """What is said of a stream without a fault; also how many packets `_times_fault` passed over."""
    back = sum(_goes_back(stream, match, timing))
    but = f" but for times that go back in the source ({back})" if back else ""
    return f"{len(match.times)} packets, unchanged{but}"


def _without_empty_ends(stream: Contents) -> Contents:
    """A stream of subtitles without the empty lines at its ends.

    MP4's muxer begins with one where the first line comes later; readers may cut off the one that it puts at the end.
    """
    first, stop = 0, len(stream.digests)
    while stream.kind == "subtitle" and stop - first > 1 and stream.digests[stop - 1] == _FILLER:
        stop -= 1
    while stream.kind == "subtitle" and stop - first > 1 and stream.digests[first] == _FILLER:
        first += 1
    if stop - first == len(stream.digests):
        return stream
    kept = slice(first, stop)
    return replace(stream, times=stream.times[kept], durations=stream.durations[kept], digests=stream.digests[kept])


def _named(stream: Contents) -> str:
    language = "" if stream.language == "und" else f", {stream.language}"
    return printable(f"{stream.codec or stream.tag or stream.kind}{language}")


def _best_match(stream: Contents, left: Mapping[int, Contents]) -> Contents | None:
    """The result's stream of this kind with the most of the same packets; of equals one of its tag, then the first."""
    alike = [other for other in left.values() if other.kind == stream.kind]
    digests = set(stream.digests)
    return max(alike, key=lambda other: (len(digests & set(other.digests)), other.tag == stream.tag), default=None)


def _has_none(stream: Contents, match: Contents | None, timing: Timing) -> bool:
    """Whether the result shows a part in which the stream has no packets, and its match has none of them either."""
    if (
        timing.start is None
        or stream.borderless
        or stream.attached
        or _is_remade(stream, timing)
        or _within(stream, timing)
    ):
        return False
    return match is None or not (set(match.digests) - {_FILLER}) & set(stream.digests)


def _within(stream: Contents, timing: Timing) -> list[int]:
    """Which of the stream's packets a part has: those that begin in it, and subtitles that are still shown in it."""
    begin, end = ((moment or 0) / stream.time_base for moment in (timing.start, timing.end))
    lasting = stream.kind == "subtitle"
    return [
        number
        for number, (time, duration) in enumerate(zip(stream.times, stream.durations, strict=True))
        if time != NO_TIME and time < end and (time >= begin or (lasting and time + duration > begin))
    ]


def _shown(match: Contents, timing: Timing) -> list[int]:
    """Which packets of a part's video are shown: those before the part begins are for the decoder only."""
    return [number for number, time in enumerate(match.times) if time * match.time_base >= timing.result]


def _wanted(stream: Contents, match: Contents, timing: Timing) -> list[int]:
    """Which of a video's packets its match shows of a part.

    The frame that is still shown when the part begins is one of them where the container can hide those before it.
    """
    within = _within(stream, timing)
    begin = (timing.start or 0) / stream.time_base
    before = [number for number, time in enumerate(stream.times) if time != NO_TIME and time < begin]
    if not before or len(_shown(match, timing)) <= len(within):
        return within
    return sorted([max(before, key=stream.times.__getitem__), *within])


def _is_remade(stream: Contents, timing: Timing) -> bool:
    """Whether it is a part's timecode track, which is made anew; its tag says of which frame."""
    return timing.start is not None and stream.tag == TIMECODE


def _packets_fault(stream: Contents, match: Contents, timing: Timing) -> str | None:
    if _is_remade(stream, timing):
        return None
    if timing.start is None or stream.attached:
        return _whole_fault(stream, match, timing.damaged)
    if stream.borderless:
        return None if match.digests == stream.digests else "other sound than the source has in that range"
    if stream.kind == "video":  # whose packets of a time are no run where frames are reordered
        return _video_fault(stream, match, timing)
    first = _place(stream, match, timing)
    if first is None:
        return "its packets are not a run of the source's"
    stop = first + len(match.digests)
    return _coverage_fault(stream, first, stop, timing) or _header_fault(stream, match, first)


def _whole_fault(stream: Contents, match: Contents, damaged: bool) -> str | None:
    if match.digests == stream.digests:
        return _header_fault(stream, match, 0)
    if damaged and _position(match, stream) is not None:
        return None  # alone, a stream of a damaged file can be read further than beside the picture
    if len(match.digests) != len(stream.digests):
        return f"{len(match.digests)} packets instead of {len(stream.digests)}"
    changed = sum(a != b for a, b in zip(match.digests, stream.digests, strict=True))
    return f"{changed} packets changed"


def _header_fault(stream: Contents, match: Contents, first: int) -> str | None:
    """Whether a stream says elsewhere that its coding changes; `first` is the source's packet with which it begins."""
    stop = first + len(match.digests)
    expected = [number - first for number in stream.changes if first < number < stop]
    return None if list(match.changes) == expected else "where its coding changes in mid-stream is not said"


def _video_fault(stream: Contents, match: Contents, timing: Timing) -> str | None:
    """Whether a part's video shows other packets than the source's, or hides some that are not the source's."""
    shown = set(_shown(match, timing))
    wanted = [stream.digests[number] for number in _wanted(stream, match, timing)]
    same = [match.digests[number] for number in sorted(shown)] == wanted
    hidden = {digest for number, digest in enumerate(match.digests) if number not in shown}
    return None if same and hidden <= set(stream.digests) else "other packets than the source has in that range"


def _place(stream: Contents, match: Contents, timing: Timing) -> int | None:
    """Where the result's packets lie among the source's: those of silence may lie anywhere.

    So it is first looked for where the part begins; there one packet may be cut, or be one too many.
    """
    within = _within(stream, timing) if timing.start is not None else []
    packets, run = b"".join(stream.digests), b"".join(match.digests)
    for first in (within[0], within[0] - 1, within[0] + 1) if within else ():
        if first >= 0 and packets.startswith(run, first * DIGEST_BYTES):
            return first
    return _position(stream, match)


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
    """Whether packets of the part are missing; one at either end may be cut."""
    within = _within(stream, timing)
    if within and (within[0] + 1 < first or within[-1] - 1 > stop - 1):
        return "packets of this part of the source are missing"
    return None


def _times_fault(stream: Contents, match: Contents, timing: Timing) -> str | None:
    """Whether a packet's distance from the picture's beginning changed by more than the result can express.

    Sound and data whose time does not come after that of the packet before cannot be written so, and are moved.
    """
    if _is_remade(stream, timing) or (stream.attached and timing.start is not None):
        return None
    pairs = zip(_pairs_of_times(stream, match, timing), _goes_back(stream, match, timing), strict=True)
    for number, ((theirs, ours), backwards) in enumerate(pairs):
        if ours == NO_TIME != theirs and stream.kind != "audio":  # which goes on from the packet before
            return f"packet {number} has lost its time"
        if backwards or NO_TIME in (ours, theirs):
            continue
        wanted = theirs * stream.time_base
        if stream.kind in ("subtitle", "video") and timing.start is not None:
            wanted = max(wanted, timing.start)  # what spans the part's begin is shown from there
        moved = ours * match.time_base - timing.result - (wanted - timing.source)
        # FFmpeg does not read Matroska's times before 0: it counts back from the first one after, which is rounded too.
        if abs(moved) >= match.time_base * (2 if ours < 0 else 1):
            return f"packet {number} is {float(moved) * 1000:+.3f} ms off against the picture"
    return None


def _goes_back(stream: Contents, match: Contents, timing: Timing) -> Iterator[bool]:
    """Of each packet that both have: whether it is of sound or data and its time not after all of those before it."""
    latest = NO_TIME
    for theirs, _ in _pairs_of_times(stream, match, timing):
        yield stream.kind in ("audio", "data") and NO_TIME != theirs <= latest
        latest = max(latest, theirs)


def _pairs_of_times(stream: Contents, match: Contents, timing: Timing) -> Iterator[tuple[int, int]]:
    """(time in the source, time in the result) of each packet that both have."""
    if stream.borderless:
        yield from zip(stream.times[:1], match.times[:1], strict=False) if timing.start is None else ()
    elif stream.kind == "video" and timing.start is not None:
        ours = (match.times[number] for number in _shown(match, timing))
        yield from zip((stream.times[number] for number in _wanted(stream, match, timing)), ours, strict=False)
    elif len(stream.times) >= len(match.times):
        yield from zip(stream.times[_place(stream, match, timing) or 0 :], match.times, strict=False)
    else:
        yield from zip(stream.times, match.times[_position(match, stream) or 0 :], strict=False)


def _header_at(stream: Contents, match: Contents, timing: Timing) -> str | None:
    """What a decoder has to know of the source's packet with which the result's begin; None where no header says it."""
    declared: str | None = stream.coding.get("extradata")
    first = _place(stream, match, timing) or 0 if stream.changes and declared else 0
    changed = [header for number, header in stream.changes.items() if number <= first]
    return base64.b64encode(changed[-1]).decode() if changed else declared


def _description_fault(stream: Contents, match: Contents, timing: Timing, index: SideIndex) -> str | None:
    if stream.kind == "data" and match.tag not in ("", stream.tag or match.tag):
        return f"it is marked {match.tag} instead of {stream.tag}"
    if stream.language != match.language and not index.holds_tag("language", stream.language, stream.index):
        return printable(f"language {match.language} instead of {stream.language}")
    if stream.kind == "subtitle" and "default" in set(match.disposition) - set(stream.disposition):
        return "it is on and was off"
    lost = {k: v for k, v in lost_tags(stream.tags, match.tags).items() if not index.holds_tag(k, v, stream.index)}
    if lost:
        return "tags lost: " + ", ".join(f"{key}={value!r}" for key, value in lost.items())
    if stream.codec == match.codec == "aac":  # of others containers keep their headers in forms of their own
        headers = {_header_at(stream, match, timing), match.coding.get("extradata")} - {None}
        if len(headers) > 1:
            return "its decoder is told otherwise how it is coded"
    flags = set(stream.disposition) - set(match.disposition) - {"default"}
    if flags and not index.holds_tag("disposition", ",".join(stream.disposition), stream.index):
        return "flags lost: " + ", ".join(sorted(flags))
    return None
