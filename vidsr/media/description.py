"""What FFmpeg's own description of a file says and PyAV does not tell: codec tags, chroma location, service names."""

from __future__ import annotations

import re

import av
from av.container import InputContainer
from av.stream import Stream

TIMECODE = "tmcd"  # the codec tag of MP4's timecode tracks
CHROMA_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
_OWN_SERVICE = ("Service01", "FFmpeg")  # what its MPEG-TS muxer calls the service and the provider if nobody does


def description_of(container: InputContainer, stream: Stream) -> str:
    """FFmpeg's own words about a stream."""
    section = re.search(rf"^  Stream #0:{stream.index}\b.*\n(   .*\n)*", _description(container), re.MULTILINE)
    return section.group() if section else ""


def _description(container: InputContainer) -> str:
    """FFmpeg's own description of a file: PyAV tells of programmes and chroma locations nowhere else.

    It has the latter only at the verbose log level. Bytes that are not UTF-8 are escaped.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)
    av.logging.set_libav_level(av.logging.VERBOSE)
    try:
        return str(container.dumps_format())  # type: ignore[attr-defined]  # missing in the stubs
    finally:
        av.logging.set_level(level)


def chroma_location(description: str) -> int:
    """FFmpeg's AVChromaLocation of a stream by its `description_of`, 0 where the file does not say."""
    line = re.search(r" Video: .*", description)
    words = re.split(r"[(),] ?", line.group()) if line else []
    return next((CHROMA_LOCATIONS.index(word) for word in words if word in CHROMA_LOCATIONS), 0)


def codec_tag(description: str) -> str:
    """A stream's four-character code in its container by its `description_of`, such as "hvc1"; "" where it has none.

    PyAV does not tell it of data streams, and raises where it is a number with a byte above 127, as MPEG-TS and AVI
    have it.
    """
    number = re.match(r"  Stream .* / 0x([0-9A-F]+)\)", description)
    code = int(number[1], 16).to_bytes(4, "little").decode("latin-1") if number else ""
    return code if code.isascii() and code.isprintable() else ""


def codec_name(description: str) -> str | None:
    """FFmpeg's name of a stream's codec by its `description_of`, also where it has no decoder; None if not known."""
    name = re.match(r"  Stream .*?: (?:Video|Audio|Subtitle|Data): (\w+)", description)
    return name[1] if name and name[1] not in ("none", "unknown_codec") else None


def is_dolby_vision(description: str) -> bool:
    """Whether a video stream is Dolby Vision by its `description_of`."""
    return "\n      DOVI configuration record:" in description


def frame_cropping(description: str) -> tuple[int, int, int, int] | None:
    """(left, right, top, bottom): the columns and lines of a picture that are not to be shown, by `description_of`."""
    found = re.search(r"\n      Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", description)
    return (int(found[1]), int(found[2]), int(found[3]), int(found[4])) if found else None


def tags_of(container: InputContainer) -> dict[str, str]:
    """A container's tags; of MPEG-TS also the name and the provider of its service, if they are not the muxer's own."""
    tags = dict(container.metadata)
    if container.format.name == "mpegts":
        for key, text in re.findall(r"^ +(service_name|service_provider) *: (.*)$", _description(container), re.M):
            value = re.sub(r"\\x([89a-f].)", lambda byte: chr(0xDC00 + int(byte[1], 16)), text)  # as RAW_TAGS has it
            if value not in _OWN_SERVICE:
                tags.setdefault(key, value)
    return tags


def programmes_of(container: InputContainer) -> list[str]:
    """The names, or else the numbers, of a file's programmes that have streams: some cameras have one for each view."""
    found = []
    for part in re.split(r"^  (?=(?:No )?Program\b)", _description(container), flags=re.MULTILINE):
        number, name = re.match(r"Program (\d+)", part), re.search(r"^ +service_name *: (.*)$", part, re.MULTILINE)
        if number and "\n  Stream #" in part:
            found.append(name[1] if name else number[1])
    return found
