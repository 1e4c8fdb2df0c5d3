"""From FFmpeg's pixel formats to planar YUV: which layout a source gets, and the samples of a decoded frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange
from numpy.typing import DTypeLike

from vidsr.frames import Colour, PixelLayout, Plane

# What hardware decoders give, U and V in turn in one plane, by the format that FFmpeg's own decoders give.
SEMI_PLANAR = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}


@dataclass(frozen=True)
class SourceFormat:
    """How the frames of a source become planes.

    Attributes:
        layout: the planes' layout.
        convert: the pixel format to convert to first, or None where the planes can be taken as they are.
        rgb: whether the source is RGB (or has a palette), so that the conversion rounds.
        note: what the user should know about the conversion, or None.
    """

    layout: PixelLayout
    convert: str | None = None
    rgb: bool = False
    note: str | None = None


def source_format(name: str) -> SourceFormat:
    """The planar layout that holds frames of FFmpeg's pixel format `name` with the least loss.

    Raises:
        ValueError: the format cannot be held (more than 16 bits, floating point, hardware frames).
    """
    form = VideoFormat(name, 16, 16)
    samples = [c for c in form.components if not c.is_alpha]
    depth = max((c.bits for c in samples), default=0)
    alpha = "; transparency is left out" if len(form.components) > len(samples) else ""
    if form.is_rgb or form.has_palette or form.is_bayer or name.startswith("xyz"):
        layout = PixelLayout(8 if depth <= 8 else 10 if depth <= 10 else 12 if depth <= 12 else 16, 0, 0)
        return SourceFormat(layout, layout.pix_fmt, True, f"{name} is converted to {layout.pix_fmt}, rounded{alpha}")
    if not 1 <= depth <= 16 or "f16" in name or "f32" in name:
        raise ValueError(name)
    if len(samples) == 1:
        layout = PixelLayout(max(depth, 8), 0, 0, grey=True)
    else:
        layout = PixelLayout(max(depth, 8), _log2(16 // form.chroma_width(16)), _log2(16 // form.chroma_height(16)))
    if _is_planar(name, layout):
        return SourceFormat(layout, note=f"{name}{alpha}" if alpha else None)
    return SourceFormat(layout, layout.pix_fmt, note=f"{name} is rearranged as {layout.pix_fmt}, without loss{alpha}")


def _log2(ratio: int) -> int:
    return ratio.bit_length() - 1


def _is_planar(name: str, layout: PixelLayout) -> bool:
    planar = layout.pix_fmt
    return name in (planar, planar.replace("yuv", "yuvj"), planar.replace("yuv", "yuva"))


def is_full_range(frame: VideoFrame) -> bool:
    """Whether a frame's luma uses the whole range of its samples."""
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def colour_of(frame: VideoFrame, source: SourceFormat) -> Colour:
    """What the planes of a decoded frame mean after the conversion that `source` asks for; without chroma location."""
    if source.rgb:
        return Colour(Colour().resolved_matrix(frame.height), frame.color_primaries, frame.color_trc, True)
    tagged = frame.color_range != ColorRange.UNSPECIFIED or frame.format.name.startswith("yuvj")
    return Colour(frame.colorspace, frame.color_primaries, frame.color_trc, is_full_range(frame), tagged_range=tagged)


def to_planar(frame: VideoFrame, source: SourceFormat) -> VideoFrame:
    """A decoded frame in the planar format of `source.layout`; the same frame where nothing has to change."""
    if source.convert is None:
        return frame
    if not source.rgb:
        return rearranged(frame, source.convert)
    return rgb_to_yuv(frame, source.convert)


def rearranged(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """A frame in another pixel format, by swscale on one thread.

    Several would each take some rows, and write beyond the end of their last one: over the begin of the next, which
    another thread may have written before.
    """
    return frame.reformat(format=pix_fmt, threads=1)


def rgb_to_yuv(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """A frame of RGB or of a palette in a planar 4:4:4 format of full range, whatever its tags say.

    Each sample is the nearest one: swscale's are half a code off in chroma, and in luma of more than 8 bits.
    Formula: ITU-T H.273, equations for MatrixCoefficients 1 and 5/6.
    """
    layout = source_format(pix_fmt).layout
    planar = pix_fmt.replace("yuv444p", "gbrp")
    # Where it only has to leave transparency out, swscale leaves some pixels unwritten.
    taken = frame.format.name in (planar, planar.replace("gbrp", "gbrap"))
    rgb = planes_of(frame if taken else rearranged(frame, planar), layout)
    green, blue, red = (plane.astype(np.float32) for plane in rgb)
    kr, kb = Colour().luma_weights(frame.height)
    y = kr * red + (1 - kr - kb) * green + kb * blue
    centre, top = 1 << (layout.depth - 1), (1 << layout.depth) - 1
    values = (y, (blue - y) / (2 * (1 - kb)) + centre, (red - y) / (2 * (1 - kr)) + centre)
    made = VideoFrame(frame.width, frame.height, pix_fmt)
    made.color_range = ColorRange.JPEG
    fill_planes(made, tuple(np.rint(plane).clip(0, top).astype(rgb[0].dtype) for plane in values), 0)
    return made


def planes_of(frame: VideoFrame, layout: PixelLayout) -> tuple[Plane, ...]:
    """A frame's samples as arrays (1, h, w), by `copy_planes`."""
    planes = empty_planes(layout, frame.width, frame.height, 1)
    copy_planes(frame, planes, 0)
    return planes


def copy_planes(frame: VideoFrame, targets: tuple[Plane, ...], at: int) -> None:
    """Copy a frame's samples, without row padding, to position `at` of arrays (N, h, w).

    The frame is planar, or one of SEMI_PLANAR: swscale would round some samples of 10 bits.
    """
    if frame.format.name in SEMI_PLANAR.values():
        luma, chroma = (rows_of(plane, target.dtype) for plane, target in zip(frame.planes, targets, strict=False))
        for target, samples in zip(targets, (luma, chroma[:, 0::2], chroma[:, 1::2]), strict=True):
            height, width = target.shape[1:]
            unused = 16 - 10 if frame.format.name.startswith("p010") else 0
            target[at] = samples[:height, :width] >> unused
        return
    for plane, target in zip(frame.planes, targets, strict=False):
        height, width = target.shape[1:]
        target[at] = rows_of(plane, target.dtype)[:height, :width]


def fill_planes(frame: VideoFrame, planes: tuple[Plane, ...], at: int) -> None:
    """Copy position `at` of arrays (N, h, w) to a planar frame."""
    for plane, given in zip(frame.planes, planes, strict=False):
        height, width = given.shape[1:]
        rows_of(plane, given.dtype)[:height, :width] = given[at]


def rows_of(plane: VideoPlane, kind: DTypeLike) -> Plane:
    """The samples (h, w) of a frame's plane, uint8 or uint16, with the padding of its rows: a view into the frame."""
    rows: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size).view(kind)
    return rows


def empty_planes(layout: PixelLayout, width: int, height: int, frames: int) -> tuple[Plane, ...]:
    """Arrays (frames, h, w) for the planes of a layout, uint8 or uint16, not initialised."""
    kind = np.uint8 if layout.depth == 8 else np.uint16
    return tuple(np.empty((frames, *shape), kind) for shape in layout.plane_shapes(width, height))
