"""What lies beside a result because its container cannot hold it: RESULT.telemetry.bin and its index.

The index RESULT.telemetry.json says where each piece of the .bin file comes from:

    source     name of the source
    blocks     private data of the source's container: path of its box, offset in the source, offset and length in
               the .bin file, sha256
    streams    streams that the result's container refuses: as above, what a decoder has to know (`coding_of`), and
               `packets`, one list each of pts, dts, duration (ticks of time_base, or null), offset and length in the
               .bin file; of WebVTT also the cue's identifier and settings, where it has some
    user_data  messages of frames that the result's codec cannot carry: [pts, offset and length in the .bin file]
    tags       container tags that the result does not have
    stream_tags  the same per stream: number in the source, then key and value
    chapters   start and end in seconds, and title
    files      copies of files beside the source

Of tags that are not UTF-8, each byte XX that does not fit is written as the escape \\udcXX.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from av.audio.stream import AudioStream
from av.stream import Stream
from av.video.stream import VideoStream

from vidsr.media.chapters import Chapter, alike
from vidsr.media.description import codec_tag
from vidsr.media.waveformat import wave_format


@dataclass(frozen=True)
class PrivateBlock:
    """Private bytes of a container.

    Attributes:
        path: where they are, such as "moov/udta/GPMF" or "pid 0x300".
        spans: (offset, length) of each piece in the source.
    """

    path: str
    spans: tuple[tuple[int, int], ...]

    @property
    def offset(self) -> int:
        """Offset of the first byte in the source."""
        return self.spans[0][0]

    @property
    def length(self) -> int:
        """Number of bytes."""
        return sum(length for _, length in self.spans)

    def pieces(self, source: BinaryIO) -> Iterator[bytes]:
        """The bytes, read from the source a piece at a time."""
        for offset, length in self.spans:
            source.seek(offset)
            yield from read_pieces(source, length)

    def read(self, source: BinaryIO) -> bytes:
        """All bytes."""
        return b"".join(self.pieces(source))

    def sha256(self, source: BinaryIO) -> str:
        """Hash of the bytes."""
        digest = hashlib.sha256()
        for piece in self.pieces(source):
            digest.update(piece)
        return digest.hexdigest()


def read_pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    """The next `length` bytes of a file, at most 1 MiB at a time; fewer at its end."""
    while length and (piece := file.read(min(length, 1 << 20))):
        length -= len(piece)
        yield piece


def coding_of(stream: Stream, description: str) -> dict[str, Any]:
    """What a decoder has to know of a stream besides the name of its codec; empty where FFmpeg does not know that.

    `description` is the stream's `description_of`.

    `codec_tag`: the four-character code; `extradata`: the codec's own header (of ASS the styles), in base64. Of sound
    `sample_rate`, `channels`, `layout`, `sample_format`, and the WAVEFORMATEX `wave_format` in base64, which also has
    the size of a block; of pictures `width`, `height` and `pixel_format`. What is unknown is left out.
    """
    context = stream.codec_context
    if context is None:
        return {}
    told: dict[str, Any] = {"codec_tag": codec_tag(description), "extradata": _as_text(context.extradata or b"")}
    if isinstance(stream, AudioStream):
        sound = stream.codec_context
        told |= {"sample_rate": sound.sample_rate, "channels": sound.channels, "layout": sound.layout.name}
        told |= {
            "sample_format": sound.format.name if sound.format else "",
            "wave_format": _as_text(wave_format(stream)),
        }
    elif isinstance(stream, VideoStream):
        told |= {"width": stream.width, "height": stream.height, "pixel_format": stream.codec_context.pix_fmt}
    return {key: value for key, value in told.items() if value}


def _as_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def bin_path(result: Path) -> Path:
    """Where the bytes beside a result are."""
    return result.with_name(result.name + ".telemetry.bin")


def index_path(result: Path) -> Path:
    """Where the index of those bytes is."""
    return result.with_name(result.name + ".telemetry.json")


def _check_form(index: Any) -> None:
    """Look up all that `SideIndex` reads of an index.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is not as this module describes it.
    """
    pieces = [*index.get("blocks", ()), *index.get("streams", ())]
    numbers = [each[name] for each in pieces for name in ("offset", "length")]
    numbers += [number for _, offset, length in index.get("user_data", ()) for number in (offset, length)]
    numbers += [each["index"] for each in index.get("streams", ())]
    numbers += [each["source_offset"] for each in index.get("blocks", ())]
    numbers += [each[name] for each in index.get("chapters", ()) for name in ("start", "end")]
    texts = [each["sha256"] for each in pieces] + [each["path"] for each in index.get("blocks", ())]
    texts += [each["title"] for each in index.get("chapters", ())]
    for tags in (index.get("tags", {}), *index.get("stream_tags", {}).values()):
        tags.items()
    if not all(isinstance(number, int | float) for number in numbers) or not all(isinstance(t, str) for t in texts):
        raise ValueError("something in it is of another type")


@dataclass(frozen=True)
class SideIndex:
    """The index beside a result, and the bytes that it tells of."""

    content: Path | None = None
    index: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, result: Path) -> SideIndex:
        """The index beside a result; an empty one where there is none or it cannot be read."""
        try:
            index = json.loads(index_path(result).read_text(encoding="utf-8"))
            _check_form(index)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return cls()
        return cls(bin_path(result), index)

    def holds_block(self, block: PrivateBlock, source: BinaryIO) -> bool:
        """Whether these bytes of the source are in the .bin file, unchanged."""
        return (block.path, block.offset, block.sha256(source)) in self._blocks

    def holds_stream(self, index: int, coding: dict[str, Any]) -> bool:
        """Whether the source's stream of this number is in the .bin file, unchanged, and its coding in the index."""
        return index in self._streams and coding.items() <= self._streams[index].items()

    def holds_tag(self, key: str, value: str, stream: int | None = None) -> bool:
        """Whether a tag of the container (or of a stream) is in the index."""
        tags = self.index.get("tags", {}) if stream is None else self.index.get("stream_tags", {}).get(str(stream), {})
        return bool(tags.get(key) == value)

    def user_data(self) -> Iterator[bytes]:
        """The messages of frames in the .bin file, in the order of frames."""
        entries = self.index.get("user_data", ())
        if not entries or self.content is None or not self.content.is_file():
            return
        with self.content.open("rb") as file:
            for _, offset, length in entries:
                file.seek(offset)
                yield file.read(length)

    def holds_chapters(self, chapters: Sequence[Chapter]) -> bool:
        """Whether just these chapters of the source are in the index."""
        entries = self.index.get("chapters", ())
        return len(entries) == len(chapters) and all(
            alike((entry["start"], entry["end"], entry["title"]), chapter)
            for entry, chapter in zip(entries, chapters, strict=True)
        )

    @cached_property
    def _blocks(self) -> set[tuple[str, int, str]]:
        return {
            (entry["path"], entry["source_offset"], entry["sha256"])
            for entry in self.index.get("blocks", ())
            if self._intact(entry)
        }

    @cached_property
    def _streams(self) -> dict[int, dict[str, Any]]:
        return {entry["index"]: entry for entry in self.index.get("streams", ()) if self._intact(entry)}

    def _intact(self, entry: dict[str, Any]) -> bool:
        if self.content is None or not self.content.is_file():
            return False
        digest, length = hashlib.sha256(), 0
        with self.content.open("rb") as file:
            file.seek(entry["offset"])
            for piece in read_pieces(file, entry["length"]):
                digest.update(piece)
                length += len(piece)
        return length == entry["length"] and digest.hexdigest() == str(entry["sha256"])
