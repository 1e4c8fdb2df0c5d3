"""What PyAV has no way to tell Matroska's muxer, written into a finished file.

That is the shape of pixels, and sound that Matroska has no name of its own for: as A_MS/ACM it is described as AVI and
WMV do it. The names of the tracks hold the place: what is written there later moves nothing else in the file.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import BinaryIO

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream

from vidsr.media.remembered import remembered
from vidsr.media.tracks import keep_code
from vidsr.media.waveformat import name_channels, wave_format

MATROSKA_FAMILY = ("matroska", "webm")
# More than two elements of the largest numbers need, and a longer size of the element that they are put into.
ROOM = "room for DisplayWidth and DisplayHeight"
# Before a WAVEFORMATEX in base64, which is longer than the element that it becomes.
WAVE_ROOM = "WAVEFORMATEX: "
WAVE_CODEC, STAND_IN = b"A_MS/ACM", "pcm_s16le"
EBML = b"\x1a\x45\xdf\xa3"  # how every file begins
SEGMENT, TRACKS, TRACK_ENTRY, VOID, CRC_32 = 0x18538067, 0x1654AE6B, 0xAE, 0xEC, 0xBF
CLUSTER = 0x1F43B675
CODEC_ID, CODEC_PRIVATE, AUDIO, BIT_DEPTH = 0x86, 0x63A2, 0xE1, 0x6264
NAME, VIDEO, PIXEL_WIDTH, PIXEL_HEIGHT = 0x536E, 0xE0, 0xB0, 0xBA
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = DISPLAY = 0x54B0, 0x54BA, 0x54B2
STEREO_MODE = 0x53B8
# Of such pictures each eye sees half the width or height, and the size is what it sees (RFC 9559, 5.1.4.1.28.3).
_SIDE_BY_SIDE, _TOP_AND_BOTTOM = (1, 8, 9, 11), (2, 3, 6, 7)
LONGEST_HEADER = 12
_LONGEST_ID = 4
_CRC_LENGTH = 6


def needs_room(name: str, aspect: Fraction) -> bool:
    """Whether pixels of that shape must be written into a finished file; of most codecs the stream does not say it."""
    return name in MATROSKA_FAMILY and aspect != 1


def make_room(stream: Stream, room: str = ROOM) -> None:
    """Hold the place in the name of a track that is about to be written; `fill_rooms` takes it."""
    title = next((key for key in stream.metadata if key.lower() == "title"), "title")
    stream.metadata[title] = stream.metadata.get(title, "") + room


def add_copied(out: OutputContainer, stream: Stream, tags: Mapping[str, str]) -> Stream:
    """Add a stream of any container for packets like those of `stream`; `fill_rooms` has to finish a Matroska file.

    Args:
        out: the file.
        stream: of another file.
        tags: of the new stream.

    Raises:
        ValueError: the container has no place for it.
    """
    wave = b""
    try:
        copied = out.add_stream_from_template(stream, opaque=True)
    except ValueError:
        wave = wave_format(stream) if out.format.name == "matroska" else b""
        if not wave:
            raise
        assert isinstance(stream, AudioStream)
        copied = out.add_stream(STAND_IN, rate=stream.rate, layout=stream.layout.name)
    if out.format.name == "mp4" and isinstance(copied, AudioStream) and copied.codec_context.name.startswith("pcm_"):
        name_channels(copied)
    if out.format.name in ("mp4", "mov"):
        keep_code(copied, stream)
    copied.metadata.clear()
    copied.metadata.update(tags)
    if wave:
        make_room(copied, WAVE_ROOM + base64.b64encode(wave).decode())
    return copied


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The least whole numbers of the shape that a picture of such pixels has, not lower than the picture."""
    shape = aspect * width / height
    times = ceil(Fraction(height, shape.denominator))
    return shape.numerator * times, shape.denominator * times


def fill_rooms(path: Path, aspect: Fraction) -> None:
    """Write what the names of a finished file's tracks hold the place for into that place.

    Args:
        path: the file.
        aspect: the width to height of a pixel, for the track whose name ends with ROOM.
    """
    with path.open("r+b") as file:
        position = 0
        while True:
            file.seek(position)
            kind, length, size = element_header(file.read(LONGEST_HEADER), 0)
            if kind == TRACKS:
                break
            position += length if kind == SEGMENT else length + size
        file.seek(position + length)
        content = file.read(size)
        checked = content[0] == CRC_32
        tracks = b"".join(
            head + (_filled(body, aspect) if kind == TRACK_ENTRY else body)
            for kind, head, body in elements(content[_CRC_LENGTH * checked :])
        )
        if checked:
            tracks = _element(CRC_32, zlib.crc32(tracks).to_bytes(4, "little")) + tracks
        file.seek(position + length)
        file.write(tracks)


def _filled(entry: bytes, aspect: Fraction) -> bytes:
    """The content of a track entry, as long as before."""
    name = next((body for kind, _, body in elements(entry) if kind == NAME), b"")
    name, room, wave = name.partition(WAVE_ROOM.encode())
    if room:
        made = _as_wave(entry, base64.b64decode(wave))
    elif name.endswith(ROOM.encode()):
        name = name.removesuffix(ROOM.encode())
        made = _with_aspect(entry, aspect)
    else:
        return entry
    made += _element(NAME, name) if name else b""
    return made + _void(len(entry) - len(made))


def _as_wave(entry: bytes, wave: bytes) -> bytes:
    """The track entry of sound that a WAVEFORMATEX describes, without its name."""
    made = b""
    for kind, head, body in elements(entry):
        if kind == CODEC_ID:
            made += _element(CODEC_ID, WAVE_CODEC) + _element(CODEC_PRIVATE, wave)
        elif kind == AUDIO:
            made += _element(AUDIO, b"".join(head + body for kind, head, body in elements(body) if kind != BIT_DEPTH))
        elif kind not in (NAME, CODEC_PRIVATE):
            made += head + body
    return made


def _with_aspect(entry: bytes, aspect: Fraction) -> bytes:
    """The track entry of a picture with such pixels, without its name."""
    made = b""
    for kind, head, body in elements(entry):
        if kind == VIDEO:
            inner = {kind: (head, body) for kind, head, body in elements(body) if kind not in DISPLAY}
            width, height = (int.from_bytes(inner[kind][1], "big") for kind in (PIXEL_WIDTH, PIXEL_HEIGHT))
            mode = int.from_bytes(inner.get(STEREO_MODE, (b"", b""))[1], "big")
            seen = aspect / 2 if mode in _SIDE_BY_SIDE else aspect * 2 if mode in _TOP_AND_BOTTOM else aspect
            across, down = display_size(width, height, seen)
            kept = b"".join(head + body for head, body in inner.values())
            made += _element(VIDEO, kept + _number(DISPLAY_WIDTH, across) + _number(DISPLAY_HEIGHT, down))
        elif kind != NAME:
            made += head + body
    return made


def is_of_several(path: Path) -> bool:
    """Whether several files of Matroska were put together, each of which begins to count anew (`cat a.mkv b.mkv`)."""
    return len(_codings(path)) > 1


def differ_in_coding(path: Path) -> bool:
    """Whether several files were put together whose tracks are coded otherwise: FFmpeg reads all as the first one."""
    return len(set(filter(None, _codings(path)))) > 1


@remembered  # live recordings have no longer parts than blocks, and every reader of packets asks
def _codings(path: Path) -> tuple[tuple[bytes, ...], ...]:
    """Codec and header of each track, of each of the files that were put together."""
    files: list[tuple[bytes, ...]] = []
    with path.open("rb") as file:
        for kind, start, length, stop in top_elements(file, path.stat().st_size):
            if kind == int.from_bytes(EBML, "big"):
                files.append(())
            elif kind == TRACKS and files:
                file.seek(start + length)
                with suppress(IndexError):
                    files[-1] = tuple(_coding(file.read(stop - start - length)))
    return tuple(files)


def _coding(tracks: bytes) -> Iterator[bytes]:
    for kind, _, entry in elements(tracks):
        if kind == TRACK_ENTRY:
            yield from (content for part, _, content in elements(entry) if part in (CODEC_ID, CODEC_PRIVATE))


def top_elements(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int, int]]:
    """(identifier, offset, length of the header, end) of the parts of a file's segments, and of what is beside them."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(LONGEST_HEADER)
        try:
            kind, length, within = element_header(head, 0)
        except IndexError:
            return
        named = (kind.bit_length() + 7) // 8
        if named > _LONGEST_ID:
            return
        endless = within == (1 << 7 * (length - named)) - 1
        if kind == SEGMENT or (endless and kind == CLUSTER):  # of a live recording; what is in it follows
            at += length
            continue
        stop = at + length + within
        if endless or stop > size:
            return
        yield kind, at, length, stop
        at = stop


def elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(identifier, header, content) of each element."""
    at = 0
    while at < len(data):
        kind, length, size = element_header(data, at)
        yield kind, data[at : at + length], data[at + length : at + length + size]
        at += length + size


def element_header(data: bytes, at: int) -> tuple[int, int, int]:
    """(identifier, length of the header, length of the content) of the element there (RFC 8794, 4 to 6), in bytes.

    Raises:
        IndexError: the data ends within the header, or its length has more than 8 bytes.
    """
    middle = at + _length_of(data[at])
    end = middle + _length_of(data[middle])
    if end > len(data) or end - middle > 8:
        raise IndexError("this is no element's whole header")
    size = int.from_bytes(data[middle:end], "big") - (1 << 7 * (end - middle))
    return int.from_bytes(data[at:middle], "big"), end - at, size


def _length_of(first: int) -> int:
    return 9 - first.bit_length()


def _element(kind: int, content: bytes) -> bytes:
    length = next(n for n in range(1, 9) if len(content) < (1 << 7 * n) - 1)
    size = (len(content) | 1 << 7 * length).to_bytes(length, "big")
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + size + content


def _number(kind: int, value: int) -> bytes:
    return _element(kind, value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _void(length: int) -> bytes:
    """An element that only takes so many bytes, 2 or more."""
    wide = 1 if length <= 128 else 8
    size = length - 1 - wide
    return bytes([VOID]) + (size | 1 << 7 * wide).to_bytes(wide, "big") + bytes(size)
