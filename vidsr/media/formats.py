"""Containers for the result: which a suffix means, what each can hold, and which a source gets."""

from __future__ import annotations

from av.codec import Codec
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidsr.errors import SettingsError
from vidsr.frames import PixelLayout
from vidsr.media.bitstream import NalFormat, declared_parameter_sets, nal_units
from vidsr.media.container import open_input
from vidsr.media.matroska import MATROSKA_FAMILY
from vidsr.media.muxers import MOV_FAMILY, is_blu_ray, takes_copy, takes_video
from vidsr.media.probe import VideoInfo
from vidsr.media.streamheaders import changes_header
from vidsr.media.tags import container_tags, needs_key_list

# Containers that keep any frame's time. AVI, MPEG-PS, ASF and others count frames, or FFmpeg writes them so.
FORMATS = {
    "mp4": "mp4", "m4v": "mp4", "lrv": "mp4", "insv": "mp4", "360": "mp4", "f4v": "mp4", "mov": "mov", "qt": "mov",
    "3gp": "3gp", "3g2": "3g2", "mkv": "matroska", "webm": "webm", "ts": "mpegts", "mts": "mpegts", "m2ts": "mpegts",
    "m2t": "mpegts", "tp": "mpegts", "trp": "mpegts",
}  # fmt: skip
# FFmpeg writes any stream into MPEG-TS; these its demuxer gives back as what they were.
TS_CODECS = {
    "h264", "hevc", "mpeg2video", "mpeg1video", "aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "dts",
    "truehd", "opus", "dvb_subtitle", "dvb_teletext",
}  # fmt: skip
# Only out of MPEG-TS: elsewhere the header of MPEG-4 Part 2, without which it cannot be decoded, is the file's alone.
WITH_HEADERS = {"mpeg4"}
# Of camcorders: only where the programme says that it is of a Blu-ray disc.
BLU_RAY_CODECS = {"pcm_bluray", "hdmv_pgs_subtitle"}
# Pictures that Matroska's demuxer gives back as covers.
MATROSKA_COVERS = ("mjpeg", "png", "gif", "tiff")
MATROSKA_TICKS = 1000  # a second
# What says nothing of colours, and what says all but their range; and the codecs whose streams say either themselves.
COLOURLESS, RANGELESS = ("3gp", "3g2", "mpegts"), ("mov",)
SAYS_COLOUR, SAYS_RANGE = ("h264", "hevc", "mpeg2video"), ("h264", "hevc", "mjpeg")


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
    lost = colour.tagged and name in COLOURLESS and family not in SAYS_COLOUR
    if lost or (colour.full_range and name in COLOURLESS + RANGELESS and family not in SAYS_RANGE):
        raise SettingsError(
            f"{suffix} files with {codec} video cannot say the colours of {info.path}; "
            "use --codec libx264 or libx265, or --container mkv or -o NAME.mkv"
        )


def check_sampling(suffix: str, codec: str, layout: PixelLayout) -> None:
    """Refuse a suffix whose container cannot say how an encoder's chroma is sampled; FFmpeg writes a file without.

    Raises:
        SettingsError: with the way out.
    """
    if (layout.chroma_x, layout.chroma_y) == (0, 1) and _is_mp4_of_vp9(suffix, Codec(codec, "w").canonical_name):
        raise SettingsError(
            f"{suffix} files cannot hold {codec} video of {layout.pix_fmt}, which has no name in their header; "
            "use --container mkv or -o NAME.mkv, or --codec libx264"
        )


def _is_mp4_of_vp9(suffix: str, codec: str | None) -> bool:
    """Whether a header says the chroma by a number that 4:4:0 has none of ("VP Codec ISO Media File Format", vpcC)."""
    return codec == "vp9" and format_of(suffix) == "mp4"


def check_times(suffix: str, info: VideoInfo) -> None:
    """Refuse a suffix whose container's ticks are too long to tell a video's frames apart.

    Raises:
        SettingsError: with the way out.
    """
    if not _tells_apart(suffix, info):
        raise SettingsError(
            f"{info.path} has more than {MATROSKA_TICKS} frames a second, which {suffix} files cannot tell apart; "
            "use --container mov or -o NAME.mov"
        )


def _tells_apart(suffix: str, info: VideoInfo) -> bool:
    """Whether a suffix's container has a time for each frame: those of Matroska's files are milliseconds."""
    return format_of(suffix) not in MATROSKA_FAMILY or info.rate <= MATROSKA_TICKS


def holds(suffix: str, codec: str) -> bool:
    """Whether a suffix's container takes an encoder's video.

    Raises:
        SettingsError: it has none that can be written.
    """
    return _holds(format_of(suffix), codec)


def _holds(name: str, codec: str) -> bool:
    """Whether a container takes an encoder's video."""
    codec = Codec(codec, "w").canonical_name
    return codec in TS_CODECS if name == "mpegts" else takes_video(name, codec)


def fits(stream: Stream, info: VideoInfo, suffix: str) -> bool:
    """Whether a suffix's container takes such a stream of a source, and gives it back."""
    name, cover = format_of(suffix), info.streams[stream.index].cover
    if stream.disposition & Disposition.timed_thumbnails:  # pictures of chapters, of which muxers make one cover
        return False
    if cover and name == "mp4":  # where Apple's key list has no place for it
        return not needs_key_list(container_tags(info.tags)) and takes_copy(name, suffix, stream)
    if cover:
        return name == "matroska" and info.streams[stream.index].codec in MATROSKA_COVERS
    if stream.type == "attachment":
        return name == "matroska"
    return _is_read_again(stream, info, suffix) and takes_copy(name, suffix, stream)


def _is_read_again(stream: Stream, info: VideoInfo, suffix: str) -> bool:
    """Whether a demuxer gives a stream back as what it was, if the muxer takes it."""
    name, codec = format_of(suffix), info.streams[stream.index].codec
    if isinstance(stream, VideoStream) and _is_mp4_of_vp9(suffix, codec):
        return not (stream.codec_context.pix_fmt or "").startswith("yuv440p")
    if name == "mpegts" and codec == "hevc" and _has_messages(stream):
        return False
    # Recorders of live streams go on after a break with other sound, of which only MP4 and MOV can say both headers.
    if (
        info.container == "flv"
        and codec == "aac"
        and name not in MOV_FAMILY
        and changes_header(info.path, stream.index)
    ):
        return False
    if name == "mpegts" and stream.type != "data":
        of_ts = codec in WITH_HEADERS and info.container == "mpegts"
        return codec in TS_CODECS or of_ts or (codec in BLU_RAY_CODECS and is_blu_ray(suffix, stream.container))
    if name == "mov" and stream.type == "data":
        # MOV's muxer takes any packets: of other containers it drops some, and of a codec that FFmpeg does not know it
        # leaves out the sample description, without which nobody can read them.
        return "mov" in info.container and codec is not None
    return stream.type in ("audio", "video", "subtitle", "data")


def _has_messages(stream: Stream) -> bool:
    """Whether an HEVC stream's header has messages (SEI), which FFmpeg would write into MPEG-TS's pictures."""
    header = stream.codec_context.extradata or b"" if stream.codec_context else b""
    form = NalFormat.of("hevc", header)
    units = nal_units(declared_parameter_sets(header, hevc=True), NalFormat(True, 0)) if form.length_size else ()
    return any(form.kind(unit) not in form.parameter_sets for unit in units)


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
    left, coarse = _misfits(info, ".mkv"), not _tells_apart(".mkv", info)
    if name is None:
        why = f"{_files(suffix)} cannot keep every frame's time"
    elif not _holds(name, codec):
        why = f"{suffix} files cannot hold {codec} video"
    else:
        misfits = _misfits(info, suffix)
        if len(left) >= len(misfits):
            return suffix, ""
        why = f"{suffix} files cannot hold {', '.join(misfits)}"
    if coarse and _holds("mov", codec):
        return ".mov", f"{why} and Matroska cannot tell its frames apart, so the result is MOV"
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
