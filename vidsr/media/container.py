"""Opening files and making new ones: PyAV's errors become ours, and its traps are avoided."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import Container, InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidsr.errors import InputMissing, NoPicture, NotAVideo
from vidsr.media.boxes import begins_anew
from vidsr.media.latecomers import options_for
from vidsr.paths import check_source, refuse_still, write_error

# PyAV's `metadata_errors`: bytes of tags that are not UTF-8 (old cameras write GBK, Latin-1) go from file to file.
RAW_TAGS = "surrogateescape"
# What follows the result's name in files that vidsr itself writes beside it.
OWN_SUFFIXES = {"vidsr.json", "telemetry.json", "telemetry.bin", "gpx"}
# Bytes of an attachment's name, of which the end is kept: the result's name goes before it, and both have 255.
LONGEST_ATTACHMENT = 100
# FFmpeg reads the files that these name as if they were one: what is enlarged would not be the file that was given.
PLAYLISTS = {"concat", "dash", "hls", "imf"}


def open_input(path: Path, hwaccel: HWAccel | None = None, options: dict[str, str] | None = None) -> InputContainer:
    """Open a media file for reading.

    Args:
        path: the file.
        hwaccel: other hardware than the CPU to decode on.
        options: of FFmpeg's demuxer.

    Raises:
        InputMissing, InputUnreadable, InputEmpty: by what the file system says.
        NotAVideo: FFmpeg finds no container in it, or it is a picture in one.
    """
    check_source(path)
    if path.is_dir():
        raise InputMissing(f"{path} is a folder; name a video in it")
    if not path.is_file():
        raise InputMissing(f"{path} is no file; check the name")
    refuse_still(path)
    if begins_anew(path):  # of several files put together each goes on only where the one before ended
        options = {"interleaved_read": "0", **(options or {})}
    options = {**options_for(path), **(options or {})}
    try:
        container = av.open(url_of(path), metadata_errors=RAW_TAGS, hwaccel=hwaccel, options=options)
    except (av.error.FFmpegError, ValueError) as error:
        raise NotAVideo(
            f"{path}: not a video that can be read ({reason_of(error)}); if it plays elsewhere, copy it again"
        ) from error
    if PLAYLISTS & set(container.format.name.split(",")):
        container.close()
        raise NotAVideo(f"{path}: a list of other files, not a video; name those instead")
    return container


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """Another name to write a media file under; it gets its own at the end, and is removed after an error.

    Raises:
        OutputUnwritable, DiskTooSmall: writing fails.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
    except (av.error.FFmpegError, OSError) as error:
        part.unlink(missing_ok=True)
        raise write_error(target, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(target)


def url_of(path: Path) -> str:
    """A path as FFmpeg takes it for sure: "12:30.mp4" alone would be a protocol named 12."""
    return f"file:{path}"


def path_of(container: Container) -> Path:
    """The path that `open_input` opened."""
    return Path(container.name.removeprefix("file:"))


def printable(text: str) -> str:
    """A text out of a file, for people and JSON: bytes that are not UTF-8 become U+FFFD."""
    return text.encode(errors=RAW_TAGS).decode(errors="replace")


def reason_of(error: Exception) -> str:
    """What FFmpeg says was wrong, in a few words."""
    return (getattr(error, "strerror", None) or str(error)).lower().rstrip(".")


def find_video(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture and that FFmpeg can decode.

    Raises:
        NoPicture: there is sound but no such stream.
        NotAVideo: there is nothing that can be decoded.
    """
    for stream in container.streams.video:
        if not is_cover(stream) and stream.codec_context is not None:
            return stream
    if container.streams.audio:
        raise NoPicture(f"{path}: it has sound but no picture; name a video")
    raise NotAVideo(f"{path}: no video stream in it can be decoded")


def is_cover(stream: Stream) -> bool:
    """Whether the stream is a cover picture or thumbnail, not a film."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def is_attached(stream: Stream) -> bool:
    """Whether the stream is a cover picture: one picture of the whole film, at no time."""
    return bool(stream.disposition & Disposition.attached_pic)


def attachments_of(container: InputContainer) -> dict[str, Stream]:
    """Attached files by the names that they get beside a result: no two the same, none with a folder, none our own."""
    found: dict[str, Stream] = {}
    for stream in container.streams:
        if stream.type == "attachment":
            name = Path(printable(stream.metadata.get("filename", ""))).name or f"attachment{stream.index}"
            name = os.fsencode(name)[-LONGEST_ATTACHMENT:].decode(errors="ignore")
            while name in found or name.lower() in OWN_SUFFIXES:
                name = f"{stream.index}.{name}"
            found[name] = stream
    return found


def data_of(stream: Any) -> bytes:
    """The content of an attachment."""
    return bytes(stream.data)


def dispositions(stream: Any) -> tuple[str, ...]:
    """The names of a stream's flags, sorted."""
    return tuple(sorted(flag.name for flag in type(stream.disposition) if flag in stream.disposition))
