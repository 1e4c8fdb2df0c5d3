"""Metadata tags on their way from source to result: which travel, which are lost, and which MP4 has places for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction

_TIMECODE = re.compile(r"(\d+):(\d\d):(\d\d)([:;.])(\d+)")
# Of FLV: true of the source's bytes alone.
_FLV_SIZES = {
    "datasize", "videosize", "audiosize", "lasttimestamp", "lastkeyframetimestamp", "lastkeyframelocation",
}  # fmt: skip
# What the muxer writes itself, or what would be a lie about the result.
CONTAINER_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"} | _FLV_SIZES
STREAM_OWN = {"encoder", "duration"}
# True only of streams that are copied: statistics that Matroska writers leave, and that more blocks hold transparency.
COPIED_ONLY = ("bps", "number_of_frames", "number_of_bytes", "duration-", "_statistics_", "alpha_mode")
# Facts about the file's own writing, not about what was filmed; each writer states its own.
_WRITERS_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "software", "vendor_id", "duration",
                 "language", "rotate", "bps", "number_of_", "_statistics", "filename", "mimetype")  # fmt: skip
# Tags that MP4 has a place for (iTunes and 3GPP boxes); for others the muxer must write Apple's key list.
MP4_PLACES = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "creation_time", "timecode",
}  # fmt: skip


def folded(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags with their keys in lower case: containers differ in how they write them."""
    return {key.lower(): value for key, value in tags}


def container_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The container's tags that the result gets."""
    return {key: value for key, value in tags if key.lower() not in CONTAINER_OWN}


def stream_tags(tags: Iterable[tuple[str, str]], copied: bool) -> dict[str, str]:
    """A stream's tags that its counterpart gets; `copied` is false for the stream that was upscaled."""
    kept = {key: value for key, value in one_title(tags).items() if key.lower() not in STREAM_OWN or copied}
    if copied:
        return kept
    return {key: value for key, value in kept.items() if not key.lower().startswith(COPIED_ONLY)}


def one_title(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags with a stream's name under the key that muxers take: MP4's demuxer calls it `name`, and others `title`."""
    given = dict(tags)
    titled = "title" in folded(given.items())
    return {"title" if key.lower() == "name" and not titled else key: value for key, value in given.items()}


def essential_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that tell of the film and not of the program that wrote the file; keys in lower case."""
    titled = folded(one_title(tags.items()).items())
    return {k: v for k, v in titled.items() if not k.startswith(_WRITERS_TAGS) and k not in CONTAINER_OWN and v.strip()}


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


def begun_later(tags: Iterable[tuple[str, str]], frames: int, rate: Fraction) -> tuple[tuple[str, str], ...]:
    """The tags of a part that begins so many frames later: a timecode is that of its first frame.

    Where that is the video's first, they are as they were, whatever a timecode looks like.
    """
    if not frames:
        return tuple(tags)
    return tuple((k, advanced(v, frames, rate) if k.lower() == "timecode" else v) for k, v in tags)


def advanced(timecode: str, frames: int, rate: Fraction) -> str:
    """A timecode HH:MM:SS:FF some frames later; with ; or . before FF it drops numbers (SMPTE ST 12-1, 5.2.2)."""
    found = _TIMECODE.fullmatch(timecode.strip())
    if not found:
        return timecode
    hours, minutes, seconds, number = (int(found[group]) for group in (1, 2, 3, 5))
    base = max(round(rate), 1)  # of a picture every few seconds, each has a number
    dropped = base // 15 if found[4] in ";." else 0  # numbers left out each minute but every tenth
    minutes += 60 * hours
    count = (60 * minutes + seconds) * base + number - dropped * (minutes - minutes // 10) + frames
    tens, rest = divmod(count % (24 * 60 * 60 * base - 24 * 54 * dropped), 600 * base - 9 * dropped)
    count = 600 * base * tens + rest
    if rest >= 60 * base:  # the first minute of ten drops none
        count += dropped * (1 + (rest - 60 * base) // (60 * base - dropped))
    seconds, number = divmod(count, base)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{found[4]}{number:02}"


def needs_key_list(tags: Iterable[str]) -> bool:
    """Whether MP4 has no place of its own for one of these container tags."""
    return any(key.lower() not in MP4_PLACES for key in tags)
