"""Timestamps of joined segments: presentation times from the frame table, decode times made anew.

Pure functions of integers (ticks of one time base).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stamp:
    """Times of one packet, in ticks: shown at `pts`, decoded at `dts`, `duration` long."""

    pts: int
    dts: int
    duration: int


def presentation_order(times: Sequence[int]) -> list[int]:
    """The presentation position (0, 1, ...) of each packet of a segment, given its packets' own timestamps.

    Args:
        times: in decode order, all different.

    Raises:
        ValueError: two packets have the same timestamp.
    """
    rank = {time: position for position, time in enumerate(sorted(times))}
    if len(rank) != len(times):
        raise ValueError("two packets of a segment have the same timestamp")
    return [rank[time] for time in times]


def reorder_depth(orders: Sequence[Sequence[int]]) -> int:
    """How many packets, at most, are decoded before a frame that is shown before all of them needs its packet.

    Args:
        orders: for each segment the presentation position of each packet, in decode order.
    """
    return max((index - position for order in orders for index, position in enumerate(order)), default=0)


def join(
    orders: Sequence[Sequence[int]], pts: Sequence[int], durations: Sequence[int], by_decoding: bool = False
) -> Iterator[Stamp]:
    """Times for the packets of joined segments, in decode order.

    Packet i is decoded when frame i - depth is shown, with the depth by which frames are reordered; packets before
    that are decoded before the first frame is shown. So decode times ascend strictly and are never after the
    presentation, for any ascending `pts`.

    Args:
        orders: for each segment the presentation position of each packet, in decode order.
        pts: when each frame is shown, strictly ascending, of all segments together.
        durations: how long each frame is shown.
        by_decoding: for containers that add up the distances of decode times to get the length of the track (MP4):
            the last packet's duration stretches to the end of the last frame.

    Raises:
        ValueError: the segments do not have as many packets as there are frames.
    """
    if sum(map(len, orders)) != len(pts):
        raise ValueError(f"the segments have {sum(map(len, orders))} frames, not {len(pts)}")
    depth = reorder_depth(orders)
    lead = max(1, min(durations, default=1))
    index = 0
    for order in orders:
        begin = index
        for position in order:
            frame = begin + position
            dts = pts[index - depth] if index >= depth else pts[0] - (depth - index) * lead
            duration = durations[frame]
            if by_decoding and index == len(pts) - 1:
                length = pts[-1] + durations[-1] - pts[0]
                duration = length - (dts - pts[0] + depth * lead) if depth <= index else length - index * lead
            yield Stamp(pts[frame], dts, max(duration, 1))
            index += 1
