"""An independent maker of results for the tests of `verify`: nearest neighbour, and sabotage on demand.

It shares no code with the project, so that a check is not held against its own mistakes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

Frames = list[tuple[int, list[Any]]]  # timestamp, and the planes as arrays
Packets = list[Any]


def _planes(frame: av.VideoFrame) -> list[Any]:
    wide = frame.format.components[0].bits > 8
    arrays = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint16 if wide else np.uint8).reshape(plane.height, -1)
        arrays.append(rows[:, : plane.width].copy())
    return arrays


def enlarge(
    source: Path,
    result: Path,
    scale: int = 2,
    frames: Callable[[Frames], Frames] = lambda f: f,
    packets: Callable[[Packets], Packets] = lambda p: p,
    tags: dict[str, str] | None = None,
    colour: tuple[int, int, int, int] | None = None,
    options: dict[str, str] | None = None,
    chapters: bool = True,
) -> Path:
    """Writes the source `scale` times larger, after `frames` and `packets` (of other streams) had their way."""
    # Edit lists count in the movie's time scale: the default of 1000 would round the start of a track.
    muxer = {"movie_timescale": "192000"} if result.suffix in (".mp4", ".mov") else {}
    with av.open(str(source)) as old, av.open(str(result), "w", options=muxer) as new:
        video = old.streams.video[0]
        decoded: Frames = []
        durations: dict[int, int] = {}
        others: Packets = []
        for packet in old.demux():
            if packet.stream.index == video.index:
                durations[packet.pts] = packet.duration or 0
                decoded.extend((frame.pts, _planes(frame)) for frame in packet.decode())
            elif packet.size:
                others.append(packet)
        new.metadata.update(dict(old.metadata) if tags is None else tags)
        if chapters and old.chapters():
            new.set_chapters(old.chapters())
        stream = new.add_stream("libx264", rate=video.average_rate, options={"preset": "ultrafast", **(options or {})})
        context = stream.codec_context
        stream.width, stream.height = video.width * scale, video.height * scale
        stream.pix_fmt = video.codec_context.pix_fmt
        stream.metadata.update(video.metadata)
        context.time_base = video.time_base
        values = colour or (
            video.codec_context.colorspace,
            video.codec_context.color_primaries,
            video.codec_context.color_trc,
            video.codec_context.color_range,
        )
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = values
        places = {}
        for each in old.streams:
            if each.index != video.index and (each.codec_context or any(p.stream_index == each.index for p in others)):
                copy = new.add_stream_from_template(each)
                copy.metadata.update(each.metadata)
                places[each.index] = copy
        _write(new, stream, frames(decoded), [(p, places[p.stream_index]) for p in packets(others)], scale, durations)
    return result


def _write(
    new: Any, stream: Any, decoded: Frames, others: list[tuple[Any, Any]], scale: int, durations: dict[int, int]
) -> None:
    pending = []
    for packet, copy in others:
        packet.stream = copy
        pending.append(packet)
    for pts, planes in decoded:
        frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
        for plane, small in zip(frame.planes, planes, strict=True):
            large = small.repeat(scale, axis=0).repeat(scale, axis=1)[: plane.height, : plane.width]
            np.frombuffer(memoryview(plane), large.dtype).reshape(plane.height, -1)[:, : plane.width] = large
        frame.pts, frame.time_base = pts, stream.codec_context.time_base
        pending.extend(stream.encode(frame))
    pending.extend(stream.encode(None))
    for packet in pending[len(others) :]:
        packet.duration = durations.get(packet.pts, packet.duration)
    for packet in sorted(pending, key=lambda p: (p.dts or 0) * p.time_base):
        new.mux(packet)
