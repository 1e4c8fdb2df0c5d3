"""Metadata tags on their way from source to result: which travel, and how MP4 and MOV are made to keep them."""

from __future__ import annotations

from collections.abc import Iterable

# What the muxer writes itself, or what would be a lie about the result.
CONTAINER_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
STREAM_OWN = {"encoder", "duration"}
# Statistics that Matroska writers leave; true only of streams that are copied.
STATISTICS = ("bps", "number_of_frames", "number_of_bytes", "duration-", "_statistics_")
# Tags that MP4 has a place for (iTunes and 3GPP boxes); for others the muxer must write Apple's key list.
MP4_PLACES = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "creation_time", "timecode",
}  # fmt: skip


def container_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The container's tags that the result gets."""
    return {key: value for key, value in tags if key.lower() not in CONTAINER_OWN}


def stream_tags(tags: Iterable[tuple[str, str]], copied: bool) -> dict[str, str]:
    """A stream's tags that its counterpart gets; `copied` is false for the stream that was upscaled."""
    kept = {key: value for key, value in tags if key.lower() not in STREAM_OWN or copied}
    if copied:
        return kept
    return {key: value for key, value in kept.items() if not key.lower().startswith(STATISTICS)}


def needs_key_list(tags: Iterable[str]) -> bool:
    """Whether MP4 has no place of its own for one of these container tags."""
    return any(key.lower() not in MP4_PLACES for key in tags)
