"""Frames by another road than the project's, and a tiny stand-in for a model: for the media tests."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from vidsr.frames import FrameBatch
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.probe import VideoInfo
from vidsr.settings import EncodeSettings

VIDEOS = [
    "bt601_full_range.mp4", "bt709_full_range.mp4", "corrupted.mp4", "dashcam-360p.mp4", "drive-720p-short.mp4",
    "drive-960x540.mp4", "drive-yellow.mp4", "edit-list.mp4", "gopro-gpmd-tmcd.mp4", "h264_10bits.mp4",
    "h265_10bits.mp4", "juscar-data-track.ts", "loop-70mai/NO20260101-120000-000001B.MP4",
    "loop-70mai/NO20260101-120000-000001F.MP4", "loop-70mai/NO20260101-120000-000001I.MP4", "nasa_13013.mp4",
    "nasa_13013_rotated.mp4", "no-initial-keyframe.ts", "novatek-hevc.ts", "odd-size-vp9.mp4", "rotated.mp4",
    "sar-2x1.mp4", "subtitles-ssa.mkv", "test_non_zero_start.mp4", "testsrc2_444_10bit_hevc.mp4", "testsrc2_hdr.mp4",
    "thinkware-1080p-gps.mp4", "vfr-odd.mp4",
]  # fmt: skip


def decoded(path: Path) -> Iterator[tuple[int | None, str]]:
    """(pts, digest of the planes) of every frame, decoded from the beginning on one thread; damage is passed over."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):  # PyAV ends so where a stream appears in mid-file
                packet = None
            try:
                for frame in stream.decode(packet):
                    yield frame.pts, _digest_of(frame)
            except av.error.FFmpegError:
                pass
            if packet is None:
                return


def _digest_of(frame: av.VideoFrame) -> str:
    digest = hashlib.sha1()
    size = 2 if max(c.bits for c in frame.format.components) > 8 else 1
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        digest.update(np.ascontiguousarray(rows[: plane.height, : plane.width * size]).tobytes())
    return digest.hexdigest()


def digests(info: VideoInfo, first: int, stop: int, batch_frames: int = 5, **options: int) -> list[tuple[int, str]]:
    """(pts, digest of the planes) of a range of frames, by the project's decoder."""
    found = []
    for batch in decode_range(info, first, stop, batch_frames, **options):  # type: ignore[arg-type]
        for at, index in enumerate(batch.index):
            digest = hashlib.sha1()
            for plane in batch.planes:
                digest.update(plane[at].tobytes())
            found.append((info.table.pts[index], digest.hexdigest()))
    return found


def double(batch: FrameBatch) -> FrameBatch:
    """The batch with twice the width and height, by nearest neighbour."""
    shapes = batch.layout.plane_shapes(batch.width * 2, batch.height * 2)
    planes = zip(batch.planes, shapes, strict=True)
    return batch.with_planes(tuple(p.repeat(2, 1).repeat(2, 2)[:, :h, :w] for p, (h, w) in planes))


def encode_doubled(
    info: VideoInfo, folder: Path, cuts: list[int], settings: EncodeSettings | None = None
) -> list[Path]:
    """Segments with the frames between the cuts, doubled."""
    settings = settings or EncodeSettings(preset="ultrafast" if info.codec in ("h264", "hevc") else None)
    paths = []
    for number, (first, stop) in enumerate(itertools.pairwise(cuts)):
        path = folder / f"{number}.mkv"
        with SegmentEncoder(path, info, info.width * 2, info.height * 2, settings, 2) as encoder:
            for batch in decode_range(info, first, stop, 4):
                encoder.write(double(batch))
            assert encoder.close() == stop - first
        paths.append(path)
    return paths
