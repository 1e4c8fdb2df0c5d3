"""What only decoded frames say: pixel format, range, display matrix, interlacing, HDR metadata."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from vidsr.errors import NotAVideo
from vidsr.frames import Colour
from vidsr.media.decoders import decode_in_order, side_data
from vidsr.media.pixels import SourceFormat, colour_of, source_format

Point = tuple[Fraction, Fraction]
_COORDINATE_STEP = Fraction(1, 50_000)
_LUMINANCE_STEPS = Fraction(1, 10_000), Fraction(1, 256)  # of the minimum and of the maximum
# What codecs can say of a mastering display; the rest, as 0, means that it is not known (ITU-T H.265, D.3.28).
_LEAST_COORDINATE, _LARGEST_COORDINATES = Fraction(1, 10_000), (Fraction(74, 100), Fraction(84, 100))
_LARGEST_MINIMUM, _MAXIMA = Fraction(5), (5, 10_000)  # cd/m2
_LARGEST_LIGHT_LEVEL = 65535
FRAMES_TO_LOOK_AT = 4


@dataclass(frozen=True)
class Hdr:
    """Static HDR metadata (SMPTE ST 2086 and CTA-861.3).

    Attributes:
        primaries: CIE x, y of red, green and blue of the mastering display; None where not given.
        white: CIE x, y of its white point.
        luminance: its minimum and maximum in cd/m2; None where not given.
        light_level: (MaxCLL, MaxFALL) in cd/m2; None where not given.
    """

    primaries: tuple[Point, Point, Point] | None = None
    white: Point | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light_level: tuple[int, int] | None = None

    def alike(self, other: Hdr | None) -> bool:
        """Whether two say the same as far as codecs can: HEVC counts in decimal fractions, AV1 in binary ones."""
        if other is None or self.light_level != other.light_level:
            return False
        colours = _near(self._coordinates, other._coordinates, itertools.repeat(_COORDINATE_STEP))
        return colours and _near(self.luminance or (), other.luminance or (), _LUMINANCE_STEPS)

    @property
    def known(self) -> Hdr:
        """What of it codecs can say; a light level of 0 and 0 is one that is not known (CTA-861.3)."""
        least, largest = _LEAST_COORDINATE, itertools.cycle(_LARGEST_COORDINATES)
        colours = all(least <= value <= most for value, most in zip(self._coordinates, largest, strict=False))
        low, high = self.luminance or (Fraction(0), Fraction(0))
        bright = low <= min(_LARGEST_MINIMUM, high) and _MAXIMA[0] <= high <= _MAXIMA[1]
        light = self.light_level and 0 < max(self.light_level) <= _LARGEST_LIGHT_LEVEL
        return Hdr(
            self.primaries if colours else None,
            self.white if colours else None,
            self.luminance if bright else None,
            self.light_level if light else None,
        )

    @property
    def is_lost(self) -> bool:
        """Whether it says something that is not `known`."""
        known = self.known
        lost = [ours for ours, theirs in ((self._coordinates, known._coordinates), (self.luminance, known.luminance),
                (self.light_level, known.light_level)) if ours != theirs]  # fmt: skip
        return any(itertools.chain(*(each or () for each in lost)))

    @property
    def _coordinates(self) -> tuple[Fraction, ...]:
        return tuple(itertools.chain(*(self.primaries or ()), self.white or ()))


def _near(ours: Sequence[Fraction], theirs: Sequence[Fraction], steps: Iterable[Fraction]) -> bool:
    return len(ours) == len(theirs) and all(abs(a - b) <= c for a, b, c in zip(ours, theirs, steps, strict=False))


@dataclass(frozen=True)
class FirstFrames:
    """What the first frames of a stream say; what is not explained here, `VideoInfo` explains.

    Attributes:
        source: how the frames become planes.
        stereoscopic: whether each shows two pictures, for two eyes.
        timecode: HH:MM:SS:FF of the first frame that has one within the picture's stream, or None.
        notes: what no result can say, as sentences.
        pts: when each is shown, in ticks, or None.
    """

    pix_fmt: str
    width: int
    height: int
    source: SourceFormat
    colour: Colour
    rotation: int
    display_matrix: tuple[int, ...] | None
    interlaced: bool
    stereoscopic: bool
    hdr: Hdr | None
    timecode: str | None
    notes: tuple[str, ...]
    pts: tuple[int | None, ...]


def read_first_frames(path: Path, stream_index: int) -> FirstFrames:
    """Decode the first frames of a stream.

    Raises:
        NotAVideo: nothing can be decoded, or its pixel format cannot be upscaled.
    """
    frames = list(itertools.islice(decode_in_order(path, stream_index), FRAMES_TO_LOOK_AT))
    if not frames:
        raise NotAVideo(f"{path}: no frame of it can be decoded")
    frame = frames[0]
    hdr = _hdr(frame)
    try:
        source = source_format(frame.format.name)
    except ValueError:
        raise NotAVideo(f"{path}: pixel format {frame.format.name} cannot be upscaled") from None
    return FirstFrames(
        pix_fmt=frame.format.name,
        width=frame.width,
        height=frame.height,
        source=source,
        colour=colour_of(frame, source),
        rotation=frame.rotation,
        display_matrix=_display_matrix(frame),
        interlaced=any(each.interlaced_frame for each in frames),
        stereoscopic=bool(side_data(frame, Type.STEREO3D)),
        hdr=hdr.known if hdr.known != Hdr() else None,
        timecode=next(filter(None, map(_timecode, frames)), None),
        notes=(*([source.note] if source.note else []), *_left_out(frame, hdr)),
        pts=tuple(each.pts for each in frames),
    )


def _left_out(frame: VideoFrame, hdr: Hdr) -> Iterator[str]:
    for kind, what in (
        (Type.SPHERICAL, "it is a 360-degree video"),
        (Type.AMBIENT_VIEWING_ENVIRONMENT, "it says how bright the room was that it is meant for"),
        (Type.ICC_PROFILE, "its colours have an ICC profile"),
        (Type.DYNAMIC_HDR_PLUS, "each of its frames has brightness metadata of its own (HDR10+)"),
        (Type.DYNAMIC_HDR_VIVID, "each of its frames has brightness metadata of its own (HDR Vivid)"),
        (Type.AFD, "its frames say which part of them is in use (AFD)"),
    ):
        if side_data(frame, kind):
            yield not_said(what)
    if hdr.is_lost:
        yield not_said("its HDR metadata has values that no codec can say")


def _timecode(frame: VideoFrame) -> str | None:
    """The timecode that a frame has within the picture's stream; None where it has none, or but counts from 0.

    Of H.264 and HEVC it is that of SMPTE ST 12-1 in decimal digits of 4 bits, of MPEG-2 the 25 bits of its groups.
    """
    if clock := _side_data(frame, Type.S12M_TIMECODE):
        count, code = struct.unpack_from("=2I", clock)
        digits = [code & 0x3F, code >> 8 & 0x7F, code >> 16 & 0x7F, code >> 24 & 0x3F] if count else [0]
        numbers, dropped = [10 * (each >> 4) + (each & 15) for each in digits], code >> 30 & 1
    elif group := _side_data(frame, Type.GOP_TIMECODE):
        (code,) = struct.unpack_from("=q", group)
        numbers, dropped = [code >> 19 & 0x1F, code >> 13 & 0x3F, code >> 6 & 0x3F, code & 0x3F], code >> 24 & 1
    else:
        return None
    if not any(numbers):
        return None
    hours, minutes, seconds, number = numbers
    return f"{hours:02}:{minutes:02}:{seconds:02}{';' if dropped else ':'}{number:02}"


def not_said(what: str) -> str:
    """A note of what no result can say, because PyAV has no way to write it."""
    return f"{what}, which the result does not say; tell the player, or inject the metadata again"


def _side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    return next(iter(side_data(frame, kind)), None)


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data = _side_data(frame, Type.DISPLAYMATRIX)
    return struct.unpack("=9i", data) if data else None


def turn_of(display_matrix: tuple[int, ...] | None) -> tuple[int, ...]:
    """How a display matrix turns and mirrors the picture, without what it moves it by."""
    return display_matrix[:6] if display_matrix else (1 << 16, 0, 0, 0, 1 << 16, 0)


def _hdr(frame: VideoFrame) -> Hdr:
    """Read FFmpeg's AVMasteringDisplayMetadata (20 ints of rationals, two flags) and AVContentLightMetadata."""
    display = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    light = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    hdr = Hdr()
    if display is not None:
        *numbers, has_primaries, has_luminance = struct.unpack("=22i", display[:88])
        values = [Fraction(a, b or 1) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
        points = [(values[i], values[i + 1]) for i in range(0, 8, 2)]
        if has_primaries:
            hdr = Hdr((points[0], points[1], points[2]), points[3])
        if has_luminance:
            hdr = Hdr(hdr.primaries, hdr.white, (values[8], values[9]))
    if light is not None:
        hdr = Hdr(hdr.primaries, hdr.white, hdr.luminance, struct.unpack("=2I", light[:8]))
    return hdr
