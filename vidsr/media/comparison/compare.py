"""A source and its result, side by side: a page to look into, a still, and thumbnails."""

from __future__ import annotations

import base64
import json
import math
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from vidsr.errors import NotAVideo, SettingsError
from vidsr.media.comparison.excerpt import (
    Clip,
    Pair,
    check_scale,
    luma,
    open_clip,
    pair_frames,
    psnr_and_shift,
    times_differ,
)
from vidsr.media.comparison.proxy import ProxyEncoder, copy_packets, to_picture
from vidsr.media.comparison.still import compose
from vidsr.page import fill_page
from vidsr.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES, check_target, temporary_folder, write_output

LARGEST_SIDE = 4096  # pixels; what H.264 decoders in browsers take
LARGEST_COPY = 48 << 20  # bytes; a larger result is coded again for the page
THUMBNAIL_SIDE = 240  # pixels


@dataclass(frozen=True)
class FrameMeasure:
    """One frame of the stretch.

    Attributes:
        time: seconds from the first frame of the video.
        psnr: of the result, made small again, against the source: luma, in dB; None where both are equal.
        shift: mean luma of that difference in 8-bit code values; above 0 the result is brighter.
    """

    time: float
    psnr: float | None
    shift: float


def write_page(source: Path, result: Path, page: Path, start: float = 0, seconds: float = 10) -> None:
    """Write a self-contained HTML page that shows a stretch of both videos in step.

    Args:
        source: the video that was enlarged.
        result: the larger video.
        page: the page to write; it replaces an older one.
        start: where the stretch begins, in seconds from the first frame.
        seconds: its length.

    Raises:
        InputError: one of the videos is missing, cannot be decoded, or has no frame in the stretch.
        SettingsError: the result is not an enlargement of the source, the name is that of a picture or video, or the
            stretch is empty.
        OutputIsInput: the page would replace one of them.
        OutputUnwritable, DiskTooSmall: the page cannot be written.
    """
    check_target(page, source, result)
    if page.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        raise SettingsError(f"{page} would be a page of another suffix; give -o a name that ends in .html")
    if not (0 <= start < math.inf and seconds > 0):
        raise SettingsError(f"a stretch of {seconds:g} s from {start:g} s is empty; give positive times")
    left, right = open_clip(source), open_clip(result)
    check_scale(left, right)
    copied = _plays_as_it_is(right, start, seconds)
    with TemporaryDirectory(prefix="vidsr-compare-", dir=temporary_folder()) as folder:
        shown = (Path(folder, "source.mp4"), Path(folder, "result.mp4"))
        frames = _code_stretch(left, right, start, seconds, shown, copied)
        text = _fill_template(_describe(left, right, frames, copied), shown)
    write_output(page, text.encode())


def write_still(source: Path, result: Path, png: Path, time: float) -> None:
    """Write a PNG: the source, enlarged by bicubic, beside the result, and crops of both.

    Args:
        source: the video that was enlarged.
        result: the larger video.
        png: the picture to write; it replaces an older one.
        time: which frame, in seconds from the first.

    Raises:
        InputError: one of the videos is missing, cannot be decoded, or has no frame at that time.
        SettingsError: the result is not an enlargement of the source, the name has another suffix than .png, or the
            time is no number.
        OutputIsInput: the picture would replace one of them.
        OutputUnwritable, DiskTooSmall: the picture cannot be written.
    """
    check_target(png, source, result)
    if not math.isfinite(time):
        raise SettingsError(f"--time {time:g} makes no sense; give seconds from the first frame")
    if png.suffix.lower() != ".png":
        raise SettingsError(f"{png} would be a PNG of another suffix; give --png a name that ends in .png")
    left, right = open_clip(source), open_clip(result)
    scale = check_scale(left, right)
    pair = _pair_at(left, right, time)
    width, height = right.width & ~1, right.height & ~1
    before, after = to_picture(pair.source, left, width, height), to_picture(pair.result, right, width, height)
    psnr, _ = psnr_and_shift(luma(pair.source), luma(pair.result))
    agreement = "exactly" if psnr is None else f"to {psnr:.1f} dB"
    names = _told_apart(source, result)
    captions = (
        f"{names[0]}  {left.width} x {left.height}, enlarged {scale:g}x by bicubic",
        f"{names[1]}  {right.width} x {right.height}",
        f"At {pair.time:.3f} s. The result, made small again, agrees with the source {agreement} (PSNR of luma).",
    )
    write_output(png, _encode(compose(before, after, captions), "PNG"))


def thumbnail_pair(source: Path, result: Path) -> tuple[bytes, bytes]:
    """One frame from the middle of both videos, as small JPEG files (source, result) for a report.

    Raises:
        InputError: one of the videos is missing, cannot be decoded, or they have no frame in common there.
    """
    left, right = open_clip(source), open_clip(result)
    pair = _pair_at(left, right, left.duration / 2 if left.duration < float("inf") else 0.0)
    before = to_picture(pair.source, left, left.width & ~1, left.height & ~1)
    after = to_picture(pair.result, right, right.width & ~1, right.height & ~1)
    for picture in (before, after):
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    return _encode(before, "JPEG"), _encode(after, "JPEG")


def _pair_at(left: Clip, right: Clip, time: float) -> Pair:
    pair = next(pair_frames(left, right, time, 0), None)
    if pair is None:
        raise NotAVideo(f"{left.path} and {right.path} have no common frame at {time:g} s; name another time")
    return pair


def _plays_as_it_is(clip: Clip, start: float, seconds: float) -> bool:
    """Whether a browser plays the video's own coded pictures and all of them belong to the stretch."""
    return (
        clip.codec == "h264"
        and clip.pix_fmt == "yuv420p"
        and clip.rotation == 0
        and max(clip.width, clip.height) <= LARGEST_SIDE
        and start == 0
        and clip.duration <= seconds
        and clip.size_bytes <= LARGEST_COPY
        and times_differ(clip)
    )


def _shown_size(clip: Clip) -> tuple[int, int]:
    """Width and height on the page: even, and halved until browsers decode it."""
    width, height = clip.width, clip.height
    while max(width, height) > LARGEST_SIDE:
        width, height = width // 2, height // 2
    return width & ~1, height & ~1


def _code_stretch(
    left: Clip, right: Clip, start: float, seconds: float, shown: tuple[Path, Path], copied: bool
) -> list[FrameMeasure]:
    """Write both sides of the page as H.264, from time 0 on, and measure every pair of frames."""
    frames: list[FrameMeasure] = []
    width, height = _shown_size(right)
    with ExitStack() as stack:
        before = stack.enter_context(ProxyEncoder(shown[0], left, width, height))
        after = None if copied else stack.enter_context(ProxyEncoder(shown[1], right, width, height))
        for pair in pair_frames(left, right, start, seconds):
            frames.append(FrameMeasure(pair.time, *psnr_and_shift(luma(pair.source), luma(pair.result))))
            before.write(pair.source, pair.time - frames[0].time)
            if after is not None:
                after.write(pair.result, pair.time - frames[0].time)
        if not frames:
            raise NotAVideo(f"{left.path} and {right.path} have no common frame from {start:g} s; name another start")
    if copied:
        copy_packets(right, shown[1], frames[0].time)
    return frames


def _describe(left: Clip, right: Clip, frames: list[FrameMeasure], copied: bool) -> dict[str, Any]:
    """What the page's script needs to know, as JSON values; times count from the stretch's first frame."""
    width, height = _shown_size(right)
    aspect = width * right.aspect / height
    sides = {
        name: {
            "name": shown,
            "width": clip.width,
            "height": clip.height,
            "codec": clip.codec,
            "rate": round(clip.rate, 3),
            "bytes": clip.size_bytes,
        }
        for name, clip, shown in zip(
            ("source", "result"), (left, right), _told_apart(left.path, right.path), strict=True
        )
    }
    return {
        **sides,
        "scale": round(right.width / left.width, 3),
        "aspect": 1 / aspect if right.rotation % 180 else aspect,
        "copied": copied,
        "reduced": width < right.width - 1,
        "start": round(frames[0].time, 6),
        "times": [round(f.time - frames[0].time, 6) for f in frames],
        "psnr": [None if f.psnr is None else round(f.psnr, 3) for f in frames],
        "shift": [round(f.shift, 4) for f in frames],
    }


def _told_apart(source: Path, result: Path) -> tuple[str, str]:
    """What both videos are called: their names, with their folders' where these are the same."""
    names = [(path.name, f"{path.absolute().parent.name}/{path.name}") for path in (source, result)]
    number = int(source.name == result.name)
    return names[0][number], names[1][number]


def _fill_template(data: dict[str, Any], shown: tuple[Path, Path]) -> str:
    """The page: the template with the data and both videos in their places."""
    title = f"{data['source']['name']} and {data['result']['name']}"
    source, result = (f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in shown)
    return fill_page("vidsr.media.comparison", "compare.html", title, json.dumps(data), SOURCE=source, RESULT=result)


def _encode(picture: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()
