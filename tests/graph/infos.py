"""VideoInfos of videos that need not exist."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from vidsr.frames import Colour, PixelLayout
from vidsr.media.probe import VideoInfo
from vidsr.media.table import FrameTable


def info_of(pts: Sequence[int], key: Sequence[bool], time_base: Fraction) -> VideoInfo:
    """A 64x48 video with these frames."""
    durations = [b - a for a, b in zip(pts, [*pts[1:], pts[-1] + 1], strict=True)]
    return VideoInfo(
        path=Path("drive.mp4"), container="mov,mp4", size_bytes=1000, mtime_ns=0, stream_index=0, codec="h264",
        codec_tag="avc1", pix_fmt="yuv420p", width=64, height=48, layout=PixelLayout(), colour=Colour(), rotation=0,
        display_matrix=None, sample_aspect=Fraction(1), rate=Fraction(10), duration=None,
        table=FrameTable(tuple(pts), tuple(key), tuple(durations), time_base), streams=(), interlaced=False,
        sequential=None,
    )  # fmt: skip
