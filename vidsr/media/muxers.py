"""FFmpeg's muxers: how each is set for a result, and whether it takes a stream."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction
from math import ceil, lcm

import av
from av.container import Container
from av.stream import Stream

from vidsr.media.container import RAW_TAGS, open_input
from vidsr.media.matroska import MATROSKA_FAMILY, add_copied
from vidsr.media.probe import VideoInfo
from vidsr.media.tags import container_tags, needs_key_list

MOV_FAMILY = ("mp4", "mov", "3gp", "3g2")
# Seconds that pictures may lie before their sound in a file; players read at least so far ahead.
MOST_LEAD = 2
LARGEST_TIMESCALE = 10_000_000
FASTEST_SOUND = 192_000  # samples a second, each of which is a tick of MP4's sound
LONGEST_LINE = (1 << 31) - 1  # ticks
# The packet identifiers that FFmpeg gives to MPEG-TS's programme map: always on Blu-ray, and unless told otherwise.
BLU_RAY_MAP, FIRST_MAP = 0x100, 0x1000
SECOND_VIDEO = 0x1B00  # of Blu-ray


def container_options(name: str, suffix: str, info: VideoInfo) -> dict[str, str]:
    """Options of a muxer: index at the front, every tag, exact times."""
    if name in MOV_FAMILY:
        flags = "+faststart"
        if needs_key_list(container_tags(info.tags)):
            flags += "+use_metadata_tags"
        if info.colour.full_range or info.colour.tagged:
            flags += "+write_colr"  # a box that is otherwise left out where one of the three is not said
        return {"movflags": flags, "movie_timescale": str(_movie_timescale(info))}
    if name == "mpegts":
        return {"mpegts_copyts": "1", **_programme_map(suffix, info)}
    # Encoder delay puts the first sound packets before 0; Matroska's muxer takes it out, so nothing has to be moved.
    return {"avoid_negative_ts": "disabled"} if name in MATROSKA_FAMILY else {}


def _movie_timescale(info: VideoInfo) -> int:
    """Ticks per second in which all start offsets are whole, as far as the field is wide enough."""
    scale = info.table.time_base.denominator
    for stream in info.streams:
        common = lcm(scale, stream.time_base.denominator)
        if stream.kind == "audio" and common <= LARGEST_TIMESCALE:
            scale = common
    return scale


def ticks_of_lines(stream: Stream, info: VideoInfo) -> Fraction | None:
    """Ticks, in seconds, for a copied track of subtitles in MP4 and MOV, of which its own are a multiple.

    FFmpeg's muxer ends a line where a packet of another stream has a larger number of ticks than the line's end. Where
    theirs are shorter, as with the milliseconds of many tracks, it would put an empty line behind each. None is for
    lines that last more of these ticks than it takes: minutes to hours, as where a film has few.
    """
    own = Fraction(stream.time_base or Fraction(1, 1000))
    shortest = max(FASTEST_SOUND, *(each.time_base.denominator for each in info.streams))
    finer = ceil(own * shortest)
    begins = [entry.timestamp for entry in stream.index_entries]
    longest = max((after - before for before, after in itertools.pairwise(begins)), default=0)
    return own / finer if longest * finer <= LONGEST_LINE else None


def _programme_map(suffix: str, info: VideoInfo) -> dict[str, str]:
    """Options that keep MPEG-TS's programme map off the identifiers that the source's streams have."""
    with open_input(info.path) as source:
        taken, blu_ray = {stream.id for stream in source.streams}, is_blu_ray(suffix, source)
    free = next(pid for pid in itertools.count(FIRST_MAP) if pid not in taken)
    return {"mpegts_m2ts_mode": str(int(blu_ray)), "mpegts_pmt_start_pid": str(free)}


def is_blu_ray(suffix: str, source: Container) -> bool:
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


def most_lead(name: str, time_base: Fraction) -> int | None:
    """`most_lead` of `timing.join` for a container; None for those that keep durations, or need none."""
    return round(MOST_LEAD / time_base) if name in MOV_FAMILY else None


def takes_video(name: str, codec: str) -> bool:
    """Whether a muxer takes video of a codec: a file of it, in memory, is begun to see."""
    try:
        trial = av.open(io.BytesIO(), "w", format=name)
        trial.add_mux_stream(codec, width=64, height=64)
        if name not in MATROSKA_FAMILY:  # whose muxer does not begin before it has the encoder's own header
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def takes_copy(name: str, suffix: str, stream: Stream) -> bool:
    """Whether a muxer takes packets of a stream as they are: a file of it alone, in memory, is begun to see."""
    options = {}
    if name == "mpegts":
        options = {"mpegts_m2ts_mode": str(int(is_blu_ray(suffix, stream.container)))}
    elif name == "mp4" and stream.codec_context is not None and stream.codec_context.name.startswith("pcm_"):
        options = {"movflags": "empty_moov"}  # the muxer looks at its channels only when it describes it: now, so
    try:
        trial = av.open(io.BytesIO(), "w", format=name, container_options=options, metadata_errors=RAW_TAGS)
        keep_pid(add_copied(trial, stream, {}), stream)
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError, KeyError):
        return False
    return True
