"""Writes beside a result what its container cannot hold, so that nothing of the source is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer

from vidsr.media.beside.index import bin_path, coding_of, index_path
from vidsr.media.beside.private import private_data
from vidsr.media.beside.sidefiles import copy_side_files, side_files
from vidsr.media.bitstream import NAL_CODECS
from vidsr.media.chapters import chapters_of, fit_mp4
from vidsr.media.container import (
    RAW_TAGS,
    attachments_of,
    data_of,
    dispositions,
    find_video,
    open_input,
    printable,
)
from vidsr.media.decode import user_data_of
from vidsr.media.decoders import decode_in_order
from vidsr.media.description import description_of, tags_of
from vidsr.media.firstframe import read_first_frames, turn_of
from vidsr.media.packets import AnyPacket, is_before_lead
from vidsr.media.probe import StreamInfo
from vidsr.media.tags import begun_later, lost_tags, stream_tags
from vidsr.media.untimed import demux_with_arrivals
from vidsr.paths import write_error, write_whole

CAPTION_CODECS = ("mpeg2video", "mpeg1video", "av1")  # which may have closed captions in their frames


def carry_beside(
    source: Path,
    result: Path,
    refused: Sequence[StreamInfo] = (),
    made: Path | None = None,
    original: Path | None = None,
    later: tuple[int, Fraction] = (0, Fraction(1)),
) -> tuple[Path, ...]:
    """Writes what a result's container does not hold into files beside it.

    Private data and refused streams go to RESULT.telemetry.bin with its index RESULT.telemetry.json, as
    `vidsr.media.beside.index` describes; refused attachments to RESULT.NAME; side files of the source's stem are copied
    under the result's stem. Tags and chapters that the result does not have go into the index.

    Args:
        source: the video.
        result: the name of the result.
        refused: streams of the source that are not in the result.
        made: where the result's file is now, to see which tags it has; None leaves tags out.
        original: the user's file, where `source` was recovered from it.
        later: of a part, `VideoInfo.timecode_at` its first frame, whose timecode it has.

    Returns:
        the files written; empty where everything is in the result.

    Raises:
        OutputUnwritable, DiskTooSmall: writing fails.
    """
    try:
        original = original or source
        copies = copy_side_files(original, result) + _save_attachments(source, result, refused)
        index = _lost_descriptions(source, made, refused, later) if made else {}
        writer = _BinWriter(bin_path(result))
        writer.add_private(original)
        writer.add_streams(source, [stream for stream in refused if stream.kind != "attachment"])
        if made and _loses_user_data(source, made):
            writer.add_user_data(source)
        index.update(writer.finish())
        if not index and not copies:
            index_path(result).unlink(missing_ok=True)
            return ()
        index = {"source": original.name, **index, "files": [path.name for path in copies]}
        # A byte of a tag that is not UTF-8 becomes JSON's escape of the surrogate that Python reads it as.
        text = json.dumps(index, indent=1, ensure_ascii=False).encode(errors="backslashreplace")
        write_whole(index_path(result), text)
    except OSError as error:
        raise write_error(f"{result}: a file beside it", error) from error
    return (*copies, *([bin_path(result)] if "bytes" in index else []), index_path(result))


def place_beside(files: Sequence[Path], original: Path, result: Path) -> tuple[Path, ...]:
    """Moves what `carry_beside` wrote elsewhere to where the result will be, in the place of an older result's files.

    Args:
        files: what it wrote, under the result's name in another folder of the same disk.
        original: the user's file; its own side files stay as they are.
        result: the final name of the result.

    Raises:
        OutputUnwritable, DiskTooSmall: writing fails.
    """
    own = {each.absolute() for each in side_files(original)}
    wanted = [result.with_name(each.name) for each in files]
    try:
        for each, target in zip(files, wanted, strict=True):
            if target.absolute() not in own:
                each.replace(target)
        for stale in {bin_path(result), index_path(result)} - set(wanted):
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(f"{result}: a file beside it", error) from error
    return tuple(target for target in wanted if target.absolute() not in own)


def _save_attachments(source: Path, result: Path, refused: Iterable[StreamInfo]) -> list[Path]:
    wanted = {stream.index for stream in refused if stream.kind == "attachment"}
    if not wanted:
        return []
    with open_input(source) as container:
        return [
            write_whole(result.with_name(f"{result.name}.{name}"), data_of(stream))
            for name, stream in attachments_of(container).items()
            if stream.index in wanted
        ]


def _cue(packet: AnyPacket) -> tuple[str, ...]:
    """What WebVTT says of a packet's text beside it: its identifier and its settings; nothing where neither."""
    said = {each.data_type: printable(bytes(each).decode(errors=RAW_TAGS)) for each in packet.iter_sidedata()}
    cue = tuple(said.get(kind, "") for kind in ("webvtt_identifier", "webvtt_settings"))
    return cue if any(cue) else ()


class _BinWriter:
    """Writes the .bin file, a piece at a time, and keeps account of the pieces."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("wb")
        self._blocks: list[dict[str, Any]] = []
        self._streams: list[dict[str, Any]] = []
        self._user_data: list[list[int | None]] = []

    def add_private(self, source: Path) -> None:
        """Copies the source's private data."""
        with source.open("rb") as file:
            for block in private_data(source):
                offset, digest = self._file.tell(), hashlib.sha256()
                for piece in block.pieces(file):
                    digest.update(piece)
                    self._file.write(piece)
                place = {"path": block.path, "source_offset": block.offset}
                self._blocks.append({**place, **self._account(offset, digest.hexdigest())})

    def add_streams(self, source: Path, streams: Iterable[StreamInfo]) -> None:
        """Copies the packets of streams, one stream after the other."""
        for info in streams:
            offset, digest = self._file.tell(), hashlib.sha256()
            packets = []
            with open_input(source) as container:
                stream = container.streams[info.index]
                coding = coding_of(stream, description_of(container, stream))
                for packet in demux_with_arrivals(container, {info.index}, find_video(container, source).index):
                    content = bytes(packet)
                    place = [packet.pts, packet.dts, packet.duration, self._file.tell(), len(content)]
                    packets.append([*place, *_cue(packet)])
                    digest.update(content)
                    self._file.write(content)
            described = {"index": info.index, "kind": info.kind, "codec": info.codec, "language": info.language}
            described |= {"time_base": str(info.time_base), **coding, "tags": dict(info.tags)}
            self._streams.append({**described, **self._account(offset, digest.hexdigest()), "packets": packets})

    def add_user_data(self, source: Path) -> None:
        """Copies the user data messages of every frame, which only H.264 and HEVC carry."""
        with open_input(source) as container:
            index = find_video(container, source).index
        for frame in decode_in_order(source, index):
            for message in user_data_of(frame):
                self._user_data.append([frame.pts, self._file.tell(), len(message)])
                self._file.write(message)

    def _account(self, offset: int, sha256: str) -> dict[str, Any]:
        return {"offset": offset, "length": self._file.tell() - offset, "sha256": sha256}

    def finish(self) -> dict[str, Any]:
        """Gives the file its name, or removes it where it holds nothing; returns what the index says of it."""
        size = self._file.tell()
        self._file.close()
        if not size:
            self._part.unlink()
            self._path.unlink(missing_ok=True)
            return {"streams": self._streams} if self._streams else {}
        self._part.replace(self._path)
        found = {"bytes": size, "blocks": self._blocks, "streams": self._streams}
        return {**found, "user_data": self._user_data} if self._user_data else found


def _loses_user_data(source: Path, made: Path) -> bool:
    """Whether frames may carry user data in the source and cannot in the result."""
    codecs = []
    for path in (source, made):
        with open_input(path) as container:
            codecs.append(find_video(container, path).codec_context.codec.canonical_name)
    return codecs[0] in (*NAL_CODECS, *CAPTION_CODECS) and codecs[1] not in NAL_CODECS


def _lost_descriptions(
    source: Path, made: Path, refused: Sequence[StreamInfo], later: tuple[int, Fraction]
) -> dict[str, Any]:
    """Tags, flags and chapters of the source that the file `made` does not have; empty where it has all."""
    with open_input(source) as old, open_input(made) as new:
        pictures = find_video(old, source).index, find_video(new, made).index
        index: dict[str, Any] = {}
        if tags := lost_tags(_of_part(tags_of(old), later), tags_of(new)):
            index["tags"] = tags
        streams: dict[str, dict[str, str]] = {}
        for stream, other in _counterparts(old, new, pictures, {stream.index for stream in refused}):
            lost = _lost_stream_tags(stream, other, later, upscaled=stream.index == pictures[0])
            if stream.index == pictures[0]:
                lost |= _lost_rotation(source, made, pictures)
            if lost:
                streams[str(stream.index)] = lost
        if streams:
            index["stream_tags"] = streams
        chapters = chapters_of(old)
        fit = "mp4" not in new.format.name or (fit_mp4(chapters) and not _is_heard_early(old))
        if chapters and not (new.chapters() and fit):
            index["chapters"] = [
                {"start": float(begin), "end": float(end), "title": title} for begin, end, title in chapters
            ]
        return index


def _of_part(tags: Mapping[str, str], later: tuple[int, Fraction]) -> dict[str, str]:
    return dict(begun_later(tags.items(), *later))


def _is_heard_early(source: InputContainer) -> bool:
    """Whether sound begins so early that all is later in MP4, chapters too, which then do not begin at 0."""
    return any(is_before_lead((s.start_time or 0) * Fraction(s.time_base or 0)) for s in source.streams.audio)


def _counterparts(
    old: InputContainer, new: InputContainer, pictures: tuple[int, int], refused: set[int]
) -> Iterator[tuple[Any, Any]]:
    """Each carried stream of the source and its counterpart; streams of one kind correspond by their order."""
    places: dict[str, list[Any]] = {}
    for stream in new.streams:
        places.setdefault("picture" if stream.index == pictures[1] else stream.type, []).append(stream)
    kinds = {s.index: "picture" if s.index == pictures[0] else s.type for s in old.streams}
    for stream in old.streams:
        kind = kinds[stream.index]
        complete = len(places.get(kind, ())) == sum(k == kind for i, k in kinds.items() if i >= stream.index)
        if places.get(kind) and (stream.index not in refused or complete):
            yield stream, places[kind].pop(0)


def _lost_stream_tags(stream: Any, other: Any, later: tuple[int, Fraction], upscaled: bool) -> dict[str, str]:
    """Tags, language and flags of a source's stream that its counterpart does not have."""
    given = _of_part(stream.metadata, later)
    tags = lost_tags(stream_tags(given.items(), copied=not upscaled), other.metadata)
    if (stream.language or "und") != (other.language or "und"):
        tags["language"] = stream.language or "und"
    if set(dispositions(stream)) - set(dispositions(other)) - {"default"}:
        tags["disposition"] = ",".join(dispositions(stream))
    return tags


def _lost_rotation(source: Path, made: Path, pictures: tuple[int, int]) -> dict[str, str]:
    """The source's rotation in degrees, where `made` has another display matrix."""
    ours, theirs = (read_first_frames(path, index) for path, index in zip((made, source), pictures[::-1], strict=True))
    return {} if turn_of(ours.display_matrix) == turn_of(theirs.display_matrix) else {"rotation": str(theirs.rotation)}
