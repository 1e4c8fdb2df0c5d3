"""Clips whose frames carry their number, so that a test can read which one a browser shows."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 6
TICKS = Fraction(1, 90_000)
# Uneven on purpose: a page that assumed a constant rate would show other frames.
TIMES = tuple(round(90_000 * (i / 25 + (0.02 if i % 3 == 1 else 0))) for i in range(40))


def write_numbered(
    path: Path, width: int, height: int, times: Iterable[int] = TIMES, lift: int = 0, codec: str = "libx264"
) -> Path:
    """Write a clip with six vertical bars, bright where the frame's number has a bit; `lift` makes it brighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "10", "bf": "2", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TICKS
        for number, time in enumerate(times):
            luma = np.full((height, width), 60 + lift, np.uint8)
            for bit in range(BITS):
                if number >> bit & 1:
                    luma[:, width * bit // BITS : width * (bit + 1) // BITS] = 180 + lift
            grey = np.full((height // 2, width), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.concatenate([luma, grey]), format="yuv420p")
            frame.pts, frame.time_base = time, TICKS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
