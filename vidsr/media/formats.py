"""Containers for the result: which a suffix means, what each can hold, how its muxer is set."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction
from math import lcm

import av
from av.codec import Codec
from av.container import Container
from av.stream import Stream

from vidsr.errors import SettingsError
from vidsr.media import matroska
from vidsr.media.container import RAW_TAGS, open_input
from vidsr.media.probe import VideoInfo
from vidsr.media.tags import container_tags, needs_key_list

# Containers that keep any frame's time. AVI, MPEG-PS, ASF and others count frames, or FFmpeg writes them so.
FORMATS = {
    "mp4": "mp4", "m4v": "mp4", "lrv": "mp4", "insv": "mp4", "360": "mp4", "f4v": "mp4", "mov": "mov", "qt": "mov",
    "3gp": "3gp", "3g2": "3g2", "mkv": "matroska", "webm": "webm", "ts": "mpegts", "mts": "mpegts", "m2ts": "mpegts",
    "m2t": "mpegts", "tp": "mpegts", "trp": "mpegts",
}  # fmt: skip
MOV_FAMILY = ("mp4", "mov", "3gp", "3g2")
# Seconds that pictures may lie before their sound in a file; players read at least so far ahead.
MOST_LEAD = 2
MATROSKA_FAMILY = matroska.FAMILY
# FFmpeg writes any stream into MPEG-TS; these its demuxer gives back as what they were.
TS_CODECS = {
    "h264", "hevc", "mpeg2video", "mpeg1video", "aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "dts",
    "truehd", "opus", "dvb_subtitle", "dvb_teletext",
}  # fmt: skip
# Only out of MPEG-TS: elsewhere the header of MPEG-4 Part 2, without which it cannot be decoded, is the file's alone.
WITH_HEADERS = {"mpeg4"}
# Of camcorders: only where the programme says that it is of a Blu-ray disc.
BLU_RAY_CODECS = {"pcm_bluray", "hdmv_pgs_subtitle"}
LARGEST_TIMESCALE = 10_000_000
UNSPECIFIED = 2  # matrix, primaries or transfer
# What says nothing of colours, and what says all but their range; and the codecs whose streams say either themselves.
COLOURLESS, RANGELESS = ("3gp", "3g2", "mpegts"), ("mov",)
SAYS_COLOUR, SAYS_RANGE = ("h264", "hevc", "mpeg2video"), ("h264", "hevc", "mjpeg")
# The packet identifiers that FFmpeg gives to MPEG-TS's programme map: always on Blu-ray, and unless told otherwise.
BLU_RAY_MAP, FIRST_MAP = 0x100, 0x1000
SECOND_VIDEO = 0x1B00  # of Blu-ray


def _files(suffix: str) -> str:
    """What the files of a suffix are called, that of none too."""
    return f"{suffix} files" if suffix else "files without a suffix"


def format_of(suffix: str) -> str:
    """FFmpeg's name of the container that a file suffix means.

    Raises:
        SettingsError: it means none that can be written.
    """
    name = FORMATS.get(suffix.lower().lstrip("."))
    if name is None:
        raise SettingsError(f"{_files(suffix)} cannot keep every frame's time; use .mkv, .mp4 or .mov, or --container")
    return name


def check_container(suffix: str, codec: str) -> None:
    """Refuse a suffix whose container cannot be written, or video of an encoder that it or a segment cannot hold.

    Raises:
        SettingsError: with the way out.
    """
    if not holds(suffix, codec):
        another = "" if format_of(suffix) == "matroska" else "--container mkv or -o NAME.mkv, or "
        raise SettingsError(f"{suffix} files cannot hold {codec} video; use {another}another --codec")
    if not _holds("matroska", codec):
        raise SettingsError(f"segments, which are Matroska, cannot hold {codec} video; use another --codec")


def check_colour(suffix: str, codec: str, info: VideoInfo) -> None:
    """Refuse a suffix whose container cannot say the colours of a video, if neither can an encoder's codec.

    Raises:
        SettingsError: with the way out.
    """
    name, family, colour = format_of(suffix), Codec(codec, "w").canonical_name, info.colour
    said = (colour.matrix, colour.primaries, colour.transfer) != (UNSPECIFIED,) * 3
    lost = said and name in COLOURLESS and family not in SAYS_COLOUR
    if lost or (colour.full_range and name in COLOURLESS + RANGELESS and family not in SAYS_RANGE):
        raise SettingsError(
            f"{suffix} files with {codec} video cannot say the colours of {info.path}; "
            "use --codec libx264 or libx265, or --container mkv or -o NAME.mkv"
        )


def holds(suffix: str, codec: str) -> bool:
    """Whether a suffix's container takes an encoder's video.

    Raises:
        SettingsError: it has none that can be written.
    """
    return _holds(format_of(suffix), codec)


def _holds(name: str, codec: str) -> bool:
    """Whether a container takes an encoder's video: a file of it, in memory, is begun to see."""
    codec = Codec(codec, "w").canonical_name
    if name == "mpegts":
        return codec in TS_CODECS
    try:
        trial = av.open(io.BytesIO(), "w", format=name)
        trial.add_mux_stream(codec, width=64, height=64)
        if name not in MATROSKA_FAMILY:  # whose muxer does not begin before it has the encoder's own header
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def most_lead(name: str, time_base: Fraction) -> int | None:
    """`most_lead` of `timing.join` for a container; None for those that keep durations, or need none."""
    return round(MOST_LEAD / time_base) if name in MOV_FAMILY else None


def container_options(name: str, suffix: str, info: VideoInfo) -> dict[str, str]:
    """Options of a muxer: index at the front, every tag, exact times."""
    if name in MOV_FAMILY:
        flags = "+faststart"
        if needs_key_list(container_tags(info.tags)):
            flags += "+use_metadata_tags"
        colour = info.colour
        if colour.full_range or (colour.matrix, colour.primaries, colour.transfer) != (UNSPECIFIED,) * 3:
            flags += "+write_colr"  # a box that is otherwise left out where one of the three is not said
        return {"movflags": flags, "movie_timescale": str(_movie_timescale(info))}
    if name == "mpegts":
        return {"mpegts_copyts": "1", **_programme_map(suffix, info)}
    # Encoder delay puts the first sound packets before 0; Matroska's muxer takes it out, so nothing has to be moved.
    return {"avoid_negative_ts": "disabled"} if name in MATROSKA_FAMILY else {}


def _programme_map(suffix: str, info: VideoInfo) -> dict[str, str]:
    """Options that keep MPEG-TS's programme map off the identifiers that the source's streams have."""
    with open_input(info.path) as source:
        taken, blu_ray = {stream.id for stream in source.streams}, _is_blu_ray(suffix, source)
    free = next(pid for pid in itertools.count(FIRST_MAP) if pid not in taken)
    return {"mpegts_m2ts_mode": str(int(blu_ray)), "mpegts_pmt_start_pid": str(free)}


def _is_blu_ray(suffix: str, source: Container) -> bool:
    """Whether MPEG-TS made of a source is such as camcorders write: of Blu-ray, with packets of 192 bytes."""
    return suffix.lower() in (".m2ts", ".mts") and all(stream.id != BLU_RAY_MAP for stream in source.streams)


def keep_pid(copy: Stream, stream: Stream) -> None:
    """Give a copied stream of MPEG-TS the packet identifier that it had.

    Streams of other files get the muxer's, as their numbers may be those of MPEG-TS's own tables. It has none for a
    second video of Blu-ray.
    """
    if copy.container.format.name == "mpegts":
        if stream.container.format.name == "mpegts":
            copy.id = stream.id
        elif stream.type == "video":
            copy.id = SECOND_VIDEO + stream.index


def _movie_timescale(info: VideoInfo) -> int:
    """Ticks per second in which all start offsets are whole, as far as the field is wide enough."""
    scale = info.table.time_base.denominator
    for stream in info.streams:
        common = lcm(scale, stream.time_base.denominator)
        if stream.kind == "audio" and common <= LARGEST_TIMESCALE:
            scale = common
    return scale


def fits(stream: Stream, info: VideoInfo, suffix: str) -> bool:
    """Whether a suffix's container takes such a stream: a file of it alone, in memory, is begun to see."""
    name = format_of(suffix)
    if stream.type == "attachment":
        return name == "matroska"
    if info.streams[stream.index].cover:  # which Apple's key list has no place for
        return name == "matroska" or (name == "mp4" and not needs_key_list(container_tags(info.tags)))
    if stream.type not in ("audio", "video", "subtitle", "data"):
        return False
    if name == "mpegts" and stream.type != "data":
        taken = TS_CODECS | (BLU_RAY_CODECS if _is_blu_ray(suffix, stream.container) else set())
        taken |= WITH_HEADERS if info.container == "mpegts" else set()
        if info.streams[stream.index].codec not in taken:
            return False
    # MOV's muxer takes any packets: of other containers it drops some, and of a codec that FFmpeg does not know it
    # leaves out the sample description, without which nobody can read them.
    odd = "mov" not in info.container or info.streams[stream.index].codec is None
    if name == "mov" and stream.type == "data" and odd:
        return False
    options = {}
    if name == "mp4" and (info.streams[stream.index].codec or "").startswith("pcm_"):
        options = {"movflags": "empty_moov"}  # the muxer looks at its channels only when it describes it: now, so
    elif name == "mpegts":
        options = {"mpegts_m2ts_mode": str(int(_is_blu_ray(suffix, stream.container)))}
    try:
        trial = av.open(io.BytesIO(), "w", format=name, container_options=options, metadata_errors=RAW_TAGS)
        keep_pid(matroska.add_copied(trial, stream, {}), stream)
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError, KeyError):
        return False
    return True


def choose_suffix(info: VideoInfo, container: str, codec: str) -> tuple[str, str]:
    """The suffix of the result's container, and why it is not the source's ("" if it is).

    Args:
        info: the source.
        container: "auto" keeps the source's unless it cannot keep the times or the picture, or Matroska can hold more
            of its streams; then it is Matroska, or MOV where that can hold more than Matroska. "same" keeps it; any
            other is the suffix itself, without its dot.
        codec: the encoder of the picture.

    Raises:
        SettingsError: "same", and the source's container cannot keep every frame's time.
    """
    if container not in ("auto", "same"):
        return f".{container}", ""
    suffix = info.path.suffix
    if container == "same":
        format_of(suffix)
        return suffix, ""
    name = FORMATS.get(suffix.lower().lstrip("."))
    left = _misfits(info, ".mkv")
    if name is None:
        why = f"{_files(suffix)} cannot keep every frame's time"
    elif not _holds(name, codec):
        why = f"{suffix} files cannot hold {codec} video"
    else:
        misfits = _misfits(info, suffix)
        if len(left) >= len(misfits):
            return suffix, ""
        why = f"{suffix} files cannot hold {', '.join(misfits)}"
    if left and _holds("mov", codec) and len(_misfits(info, ".mov")) < len(left):
        return ".mov", f"{why} and Matroska cannot hold {', '.join(left)}, so the result is MOV"
    return ".mkv", f"{why}, so the result is Matroska"


def silence(info: VideoInfo, suffix: str) -> str:
    """Says that a result of that suffix has no sound where the source has some, and why; else ""."""
    sound = [stream.label for stream in info.streams if stream.kind == "audio"]
    if not sound or set(sound) - set(_misfits(info, suffix)):
        return ""
    return f"the result has no sound: {suffix} files cannot hold {', '.join(sound)}, so it lies beside"


def _misfits(info: VideoInfo, suffix: str) -> list[str]:
    """The source's streams that a suffix's container cannot hold."""
    with open_input(info.path) as source:
        streams = [stream for stream in source.streams if stream.index != info.stream_index]
        return [info.streams[s.index].label for s in streams if not fits(s, info, suffix)]
