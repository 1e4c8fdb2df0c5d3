"""Which encoder codes a result, in which pixel format, with which options."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
from av.codec import Codec

from vidsr.clean import LOSSLESS
from vidsr.errors import EncoderMissing, SettingsError, UnknownCodec
from vidsr.frames import PixelLayout
from vidsr.machine import has_avx512
from vidsr.media.firstframe import Hdr
from vidsr.media.pixels import source_format
from vidsr.media.probe import VideoInfo
from vidsr.settings import EncodeSettings

# The encoder that a family's name means, and that a source of that codec gets.
FAMILIES = {
    "h264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "prores": "prores_ks",
}
HARDWARE = ("nvenc", "qsv", "vaapi", "amf", "mf", "vulkan", "v4l2m2m", "videotoolbox", "mediacodec", "rkmpp")
# Encoders of FFmpeg that not every build has.
ELSEWHERE = {"libaom-av1", "librav1e", "libopenh264", "libxvid", "libkvazaar", "libvvenc", "libtheora", "libxavs2"}
X264_PRESETS = "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split()
QP2LAMBDA = 118  # FFmpeg counts `global_quality` in so many parts of a quantiser
# Codecs whose streams cannot say that they use the full range; players would show wrong contrast.
LIMITED_RANGE_ONLY = ("prores", "mpeg2video", "mpeg1video", "dnxhd", "vp8")
# Codecs that mean one matrix and cannot say another: BT.601's, as H.273 numbers that of 625 lines.
MATRIX_OF = {"mjpeg": 5, "vp8": 5}


@dataclass(frozen=True)
class Rules:
    """How one encoder, or one family of them, is driven.

    Attributes:
        crf: its default, visually transparent.
        crf_max: its largest.
        crf_option: the option that takes it; None where the fixed quantiser `flags +qscale` does, and "" for none.
        presets: allowed presets; empty where it has none.
        preset: its default.
        preset_option: the option that takes the preset.
        options: more options, given the number of threads.
    """

    crf: int
    crf_max: int
    crf_option: str | None
    presets: tuple[str, ...] = ()
    preset: str = ""
    preset_option: str = "preset"
    options: Callable[[int], dict[str, str]] = lambda threads: {}


def _up_to(largest: int) -> tuple[str, ...]:
    return tuple(str(n) for n in range(largest + 1))


def x264_params() -> str:
    """Closed GOPs, and the same bits each time.

    x264's AVX-512 code of macroblock trees gives other bits on every run; its AVX2 code does not, and every CPU with
    AVX-512 has AVX2.
    """
    return "open-gop=0:asm=avx2" if has_avx512() else "open-gop=0"


RULES = {
    # Fast presets at a lower CRF: nearly as true as medium at 17 and 19, for less than half of its CPU time
    # (docs/performance.md).
    "libx264": Rules(16, 51, "crf", tuple(X264_PRESETS), "veryfast", options=lambda n: {"x264-params": x264_params()}),
    "libx265": Rules(
        16,
        51,
        "crf",
        tuple(X264_PRESETS),
        "superfast",
        options=lambda n: {"x265-params": f"log-level=none:open-gop=0:pools={n}:frame-threads={min(n, 4)}:info=0"},
    ),
    "libsvtav1": Rules(22, 63, "crf", _up_to(13), "8", options=lambda n: {"svtav1-params": f"lp={n}:irefresh-type=2"}),
    "libvpx-vp9": Rules(
        20, 63, "crf", _up_to(8), "4", "cpu-used", lambda n: {"b": "0", "row-mt": "1", "deadline": "good"}
    ),
    "libvpx": Rules(8, 63, "crf", _up_to(16), "4", "cpu-used", lambda n: {"b": "50M", "deadline": "good"}),
    "ffv1": Rules(0, 0, "", options=lambda n: {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}),
    "prores_ks": Rules(0, 0, "", ("proxy", "lt", "standard", "hq"), "hq", "profile"),
    "mjpeg": Rules(2, 31, None, options=lambda n: {"strict": "unofficial"}),  # or it refuses limited range
    "nvenc": Rules(19, 51, "cq", tuple(f"p{n}" for n in range(1, 8)), "p5", options=lambda n: {"rc": "vbr", "b": "0"}),
}
# Where encoders take parameters of their own, and what they call mastering display and content light level.
_HDR_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
LOSSLESS_RULES = Rules(0, 0, "")
QUANTISER_RULES = Rules(2, 31, None)


def own_rules(codec: str) -> Rules | None:
    """The rules of an encoder that has some of its own: of those we have tried."""
    return RULES.get("nvenc" if codec.endswith("_nvenc") else codec)


def rules_of(codec: str) -> Rules:
    """The rules of an encoder; encoders without their own are driven by a fixed quantiser."""
    return own_rules(codec) or (LOSSLESS_RULES if codec in LOSSLESS else QUANTISER_RULES)


def check_encoder(name: str) -> str:
    """The encoder that `name` (an encoder or a family such as "hevc") means, after seeing that it is there.

    Raises:
        UnknownCodec: no encoder has this name.
        EncoderMissing: it exists, but not in this FFmpeg or not on this machine.
    """
    name = FAMILIES.get(name.lower(), name)
    try:
        codec = Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        if name in ELSEWHERE or name.rpartition("_")[2] in HARDWARE:
            raise EncoderMissing(f"encoder {name} is not in this build of FFmpeg; use libx264 or libx265") from None
        raise UnknownCodec(f"no encoder is called {name!r}; use libx264, libx265, libsvtav1 or ffv1") from None
    if codec.type != "video" or codec.name != name:
        raise UnknownCodec(f"{name!r} is not a video encoder; use libx264, libx265, libsvtav1 or ffv1")
    if name.rpartition("_")[2] in HARDWARE:
        _try_hardware(name)
    return name


def _try_hardware(name: str) -> None:
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
    context.time_base = Fraction(1, 25)
    try:
        context.encode(av.VideoFrame(256, 256, "yuv420p"))
    except av.error.FFmpegError:
        raise EncoderMissing(f"encoder {name} finds no hardware on this machine; use libx264 or libx265") from None


def encoder_for(info: VideoInfo, settings: EncodeSettings) -> str:
    """The encoder that the settings name, or for "auto" the one that `choose_codec` takes.

    Raises:
        UnknownCodec, EncoderMissing: as `check_encoder`.
    """
    return check_encoder(choose_codec(info) if settings.codec == "auto" else settings.codec)


def choose_codec(info: VideoInfo, lossless: bool = True) -> str:
    """An encoder of the source's family that can code its layout and keep its HDR metadata, else another.

    Lossless sources stay lossless unless told not to.
    """
    layout = info.layout
    first = "ffv1" if lossless and info.codec in LOSSLESS else FAMILIES.get(info.codec, "libx264")
    candidates = [first]
    if info.path.suffix.lower() == ".webm":
        candidates = [c for c in (first, "libvpx-vp9", "libsvtav1") if c.startswith(("libvpx", "libsvt"))]
    able = [c for c in (*candidates, "libx265", "ffv1") if best_pix_fmt(c, layout, info.colour.full_range)]
    keeping = able if first in LOSSLESS else [codec for codec in able if keeps_hdr(codec, info)]
    return next(iter(keeping or able), "ffv1")


def pix_fmt_for(codec: str, layout: PixelLayout, full_range: bool) -> str:
    """The encoder's pixel format with the very samples of `layout`.

    Raises:
        SettingsError: it has none.
    """
    name = best_pix_fmt(codec, layout, full_range)
    if name is None:
        what = f"{layout.pix_fmt} in full range" if full_range else layout.pix_fmt
        another = "" if codec == "libx265" else "--codec libx265 or, for any format, "
        raise SettingsError(f"{codec} cannot code {what}; use {another}--codec ffv1")
    return name


def best_pix_fmt(codec: str, layout: PixelLayout, full_range: bool) -> str | None:
    """The encoder's pixel format with the very samples of `layout`, planar if there is one so, or None."""
    encoder = Codec(codec, "w")
    if full_range and encoder.canonical_name in LIMITED_RANGE_ONLY:
        return None
    if layout.grey and encoder.canonical_name == "h264":
        return None  # it has grey (4:0:0), but FFmpeg decodes it as 4:2:0
    if not layout.chroma_x and encoder.canonical_name == "prores":
        return None  # 4:4:4 is of its 4444 profiles, which have 12 bits
    found: list[tuple[bool, bool, str]] = []
    for form in encoder.video_formats or ():
        try:
            source = source_format(form.name)
        except ValueError:
            continue
        if source.layout == layout and not source.rgb and len(form.components) not in (2, 4):
            found.append((source.convert is not None, form.name.startswith("yuvj") != full_range, form.name))
    return min(found)[2] if found else None


def check_matrix(codec: str, info: VideoInfo) -> None:
    """Refuse an encoder whose codec means another colour matrix than a video has.

    Raises:
        SettingsError: it does.
    """
    meant = MATRIX_OF.get(Codec(codec, "w").canonical_name, info.colour.matrix)
    if meant != info.colour.matrix:
        raise SettingsError(f"{codec} cannot say the colour matrix of {info.path}; use --codec libx264 or libx265")


def check_hdr(codec: str, info: VideoInfo) -> None:
    """Refuse an encoder that cannot write a video's static HDR metadata.

    Raises:
        SettingsError: it cannot.
    """
    if not keeps_hdr(codec, info):
        raise SettingsError(f"{codec} cannot keep the HDR metadata of {info.path}; use --codec libx265")


def keeps_hdr(codec: str, info: VideoInfo) -> bool:
    """Whether an encoder can write all static HDR metadata that a video has."""
    if info.hdr is None:
        return True
    # SVT-AV1 takes no display of 0 cd/m2, which says that its light is not known.
    dark = info.hdr.primaries is not None and info.hdr.luminance is None
    return codec in _HDR_OPTIONS and not (dark and codec == "libsvtav1")


def encoder_options(codec: str, settings: EncodeSettings, info: VideoInfo, threads: int) -> dict[str, str]:
    """All options for one segment's encoder.

    Raises:
        SettingsError: the encoder does not have that preset or crf, or no place for HDR metadata.
    """
    rules = rules_of(codec)
    options = dict(rules.options(threads))
    if codec == "ffv1" and max(info.layout.chroma_x, info.layout.chroma_y) > 1:
        # Of four pixels that share their colour, FFmpeg's slices lose the last ones of a side; version 1 has no slices.
        options = {"level": "1", "g": "1"}
    crf = rules.crf if settings.crf is None else settings.crf
    if settings.crf is not None and (rules.crf_option == "" or crf > rules.crf_max):
        limit = f"takes --crf 0 to {rules.crf_max}" if rules.crf_max else "is lossless or fixed and takes no --crf"
        raise SettingsError(f"{codec} {limit}")
    if rules.crf_option:
        options[rules.crf_option] = str(crf)
    elif rules.crf_option is None:
        options |= {"flags": "+qscale", "global_quality": str(max(crf, 1) * QP2LAMBDA)}
    if settings.preset is not None and settings.preset not in rules.presets:
        raise SettingsError(
            f"{codec} has no preset {settings.preset!r}; " + (f"use one of {', '.join(rules.presets)}" if rules.presets
            else "leave --preset out")
        )  # fmt: skip
    if rules.presets:
        options[rules.preset_option] = settings.preset or rules.preset
    check_hdr(codec, info)
    if info.hdr is not None:
        _add_hdr(codec, info.hdr, options)
    if info.colour.chroma_location:
        options["chroma_sample_location"] = str(info.colour.chroma_location)
    return options


def _add_hdr(codec: str, hdr: Hdr, options: dict[str, str]) -> None:
    """Mastering display and content light level, in the words of the encoders that write them; 0 is not known."""
    option, display, light = _HDR_OPTIONS[codec]
    parts = [options[option]]
    unknown = (Fraction(0), Fraction(0))
    if hdr.primaries or hdr.luminance:
        red, green, blue = hdr.primaries or (unknown,) * 3
        points = zip("GBR", (green, blue, red), strict=True)
        colours = "".join(f"{name}({_pair(codec, point, 50000)})" for name, point in points)
        white = f"WP({_pair(codec, hdr.white or unknown, 50000)})"
        parts.append(f"{display}={colours}{white}L({_pair(codec, (hdr.luminance or unknown)[::-1], 10000)})")
    if hdr.light_level:
        parts.append(f"{light}={hdr.light_level[0]},{hdr.light_level[1]}")
    options[option] = ":".join(parts)


def _pair(codec: str, values: tuple[Fraction, Fraction], unit: int) -> str:
    """Two numbers, as floats for SVT-AV1 and in units of 1/50000 or 1/10000 for x264 and x265."""
    if codec == "libsvtav1":
        return ",".join(f"{float(value):.5f}" for value in values)
    return ",".join(str(round(value * unit)) for value in values)


def calm_threads() -> None:
    """Take real-time priority from this process's threads.

    SVT-AV1, run as root, gives it to its own threads and to the caller's, from which every child process inherits it;
    one that computes then starves the machine.
    """
    if not hasattr(os, "sched_setscheduler"):
        return
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))


def quieten() -> None:
    """Keep SVT-AV1, which prints past FFmpeg's log, to errors."""
    os.environ.setdefault("SVT_LOG", "1")
