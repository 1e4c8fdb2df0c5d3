"""The media side of a run without model and without Ray: decode, nearest neighbour, encode, mux, files beside."""

from __future__ import annotations

import itertools
from pathlib import Path

from vidsr.errors import DamagedVideo
from vidsr.frames import FrameBatch
from vidsr.media.beside.write import carry_beside
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.mux import MuxReport, mux
from vidsr.media.probe import VideoInfo, probe
from vidsr.settings import EncodeSettings

SETTINGS = EncodeSettings(crf=12, preset="ultrafast")


def upscale(source: Path, result: Path, scale: int = 2, segments: int = 2, settings: EncodeSettings | None = None,
            info: VideoInfo | None = None) -> MuxReport:  # fmt: skip
    """Makes `result` of all frames of `source`, in so many segments; once more if it turns out to be damaged."""
    info = info or probe(source)
    try:
        return _upscale(info, result, scale, segments, settings or _settings_for(info))
    except DamagedVideo:
        return _upscale(probe(source, decode=True), result, scale, segments, settings or _settings_for(info))


def _upscale(info: VideoInfo, result: Path, scale: int, segments: int, settings: EncodeSettings) -> MuxReport:
    count = len(info.table)
    keys = [i for i in range(count) if info.table.key[i]]
    wanted = {round(count * k / segments) for k in range(segments)}
    cuts = [*sorted({max(key for key in keys if key <= at) for at in wanted if keys[0] <= at} | {0}), count]
    folder = result.with_name(f".{result.name}.parts")
    folder.mkdir(exist_ok=True)
    paths = []
    for number, (first, stop) in enumerate(itertools.pairwise(cuts)):
        paths.append(folder / f"{number:03}.mkv")
        write_segment(paths[-1], info, first, stop, scale, settings)
    report = mux(info, paths, result, 0, count)
    carry_beside(info.path, result, report.left, made=result)
    return report


def _settings_for(info: VideoInfo) -> EncodeSettings:
    return SETTINGS if info.codec in ("h264", "hevc") else EncodeSettings()


def write_segment(path: Path, info: VideoInfo, first: int, stop: int, scale: int, settings: EncodeSettings) -> None:
    """Encodes frames first..stop-1, nearest neighbour."""
    width, height = info.width * scale, info.height * scale
    with SegmentEncoder(path, info, width, height, settings, 1) as encoder:
        for batch in decode_range(info, first, stop, 8):
            encoder.write(enlarged(batch, scale))
        encoder.close()


def enlarged(batch: FrameBatch, scale: int) -> FrameBatch:
    """The batch with every sample repeated."""
    shapes = batch.layout.plane_shapes(batch.width * scale, batch.height * scale)
    planes = tuple(
        plane.repeat(scale, axis=1).repeat(scale, axis=2)[:, :height, :width]
        for plane, (height, width) in zip(batch.planes, shapes, strict=True)
    )
    return batch.with_planes(planes)
