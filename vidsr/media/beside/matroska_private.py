"""What a Matroska file tells and FFmpeg does not read, so that no muxer writes it (RFC 9559).

Languages of tracks with a region or a script (pt-BR, zh-Hant), chapters with titles in several languages, within
others or in several editions, and tags that are repeated, are about something else than the file, or are no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from vidsr.media.beside.index import PrivateBlock
from vidsr.media.matroska import EBML, TRACK_ENTRY, TRACKS, elements, top_elements

CHAPTERS, TAGS = 0x1043A770, 0x1254C367
LANGUAGE, LANGUAGE_BCP47 = 0x22B59C, 0x22B59D
EDITION, ATOM, DISPLAY = 0x45B9, 0xB6, 0x80
ORDERED, HIDDEN, SEGMENT_UID, PROCESS = 0x45DD, 0x98, 0x6E67, 0x6944
TAG, TARGETS, SIMPLE_TAG, TAG_NAME, TAG_LANGUAGE, TAG_BINARY = 0x7373, 0x63C0, 0x67C8, 0x45A3, 0x447A, 0x4485
TARGET_TYPE, TRACK_TARGET, CHAPTER_TARGET, EDITION_TARGET, ATTACHMENT_TARGET = 0x63CA, 0x63C5, 0x63C4, 0x63C9, 0x63C6
_LARGEST = 1 << 24  # bytes of what is looked into


def is_matroska(file: BinaryIO) -> bool:
    """Whether the file begins as Matroska and WebM do."""
    file.seek(0)
    return file.read(len(EBML)) == EBML


def private_of_matroska(file: BinaryIO, size: int) -> Iterator[PrivateBlock]:
    """What the file tells and FFmpeg does not read; of a damaged one, what comes before the damage."""
    for kind, start, length, stop in top_elements(file, size):
        file.seek(start + length)
        content = file.read(min(stop - start - length, _LARGEST)) if kind in (TRACKS, CHAPTERS, TAGS) else b""
        with suppress(IndexError):
            if kind == TRACKS:
                yield from _languages(content, start + length)
            elif kind == CHAPTERS and _are_rich(content):
                yield PrivateBlock("Segment/Chapters", ((start, stop - start),))
            elif kind == TAGS and _is_any_unread(content):
                yield PrivateBlock("Segment/Tags", ((start, stop - start),))


def _languages(tracks: bytes, offset: int) -> Iterator[PrivateBlock]:
    """The languages that tracks have more of than three letters say; FFmpeg knows their older element alone."""
    at, number = 0, 0
    for kind, head, entry in elements(tracks):
        at += len(head)
        place, older, newer = at, b"", None
        for inner, inner_head, content in elements(entry) if kind == TRACK_ENTRY else ():
            length = len(inner_head) + len(content)
            if inner == LANGUAGE:
                older = content.rstrip(b"\0")
            elif inner == LANGUAGE_BCP47:
                newer = (content.rstrip(b"\0"), ((offset + place, length),))
            place += length
        if newer and _says_more(newer[0], older):
            yield PrivateBlock(f"Segment/Tracks/TrackEntry[{number}]/LanguageBCP47", newer[1])
        number += kind == TRACK_ENTRY
        at += len(entry)


def _says_more(language: bytes, code: bytes) -> bool:
    """Whether a language says more than the code of three letters that FFmpeg reads; two letters usually do not."""
    if language in (b"und", code):
        return False
    return b"-" in language or len(language) == 3 or code in (b"", b"und")


def _are_rich(chapters: bytes) -> bool:
    """Whether chapters are more than one list of titles."""
    editions = [content for kind, _, content in elements(chapters) if kind == EDITION]
    for edition in editions:
        for kind, _, content in elements(edition):
            if kind == ORDERED and any(content):
                return True
            inner = [kind for kind, _, _ in elements(content)] if kind == ATOM else []
            said = {kind for kind, _, value in elements(content) if any(value)} if kind == ATOM else set()
            if inner.count(DISPLAY) > 1 or said & {ATOM, HIDDEN, SEGMENT_UID, PROCESS}:
                return True
    return len(editions) > 1


def _is_any_unread(tags: bytes) -> bool:
    """Whether tags lose something when FFmpeg reads them, or would get other names when it writes them."""
    seen: set[tuple[bytes, bytes, bytes]] = set()
    for kind, _, tag in elements(tags):
        parts = [(inner, content) for inner, _, content in elements(tag)] if kind == TAG else []
        target = b"".join(content for inner, content in parts if inner == TARGETS)
        aims = {inner for inner, _, value in elements(target) if any(value)}
        if aims & {EDITION_TARGET, ATTACHMENT_TARGET} or (
            TARGET_TYPE in aims and not aims & {TRACK_TARGET, CHAPTER_TARGET}
        ):
            return True
        for inner, content in parts:
            if inner != SIMPLE_TAG:
                continue
            found = {kind: value for kind, _, value in elements(content)}
            named = (target, found.get(TAG_NAME, b"").upper(), found.get(TAG_LANGUAGE, b"und"))
            if named in seen or {SIMPLE_TAG, TAG_BINARY} & set(found):
                return True
            seen.add(named)
    return False
