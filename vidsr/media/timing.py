"""Timestamps of joined segments: presentation times from the frame table, decode times made anew.

Pure functions of integers (ticks of one time base).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


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
    orders: Sequence[Sequence[int]], pts: Sequence[int], durations: Sequence[int], most_lead: int | None = None
) -> Iterator[Stamp]:
    """Times for the packets of joined segments, in decode order.

    Decode times ascend strictly and are never after the presentation, for any ascending `pts`. Packet i is decoded when
    frame i - depth is shown, with the depth by which frames are reordered; packets before that are decoded before the
    first frame is shown.

    Args:
        orders: for each segment the presentation position of each packet, in decode order.
        pts: when each frame is shown, strictly ascending, of all segments together.
        durations: how long each frame is shown, until the next one.
        most_lead: for containers that have no durations but the distances of decode times (MP4): each packet is decoded
            its frame's duration before the next one, if decoding then begins so many ticks before the first frame or
            less. Players such as Chromium, which take the distance for how long a frame is shown, would otherwise pass
            over frames that last differently and are reordered. One that lasts very long would part all pictures from
            their sound in the file; then only the last packet's duration is changed, to end with the last frame.

    Raises:
        ValueError: the segments do not have as many packets as there are frames.
    """
    if sum(map(len, orders)) != len(pts):
        raise ValueError(f"the segments have {sum(map(len, orders))} frames, not {len(pts)}")
    if not pts:
        return
    begins = accumulate(map(len, orders), initial=0)
    frames = [begin + position for begin, order in zip(begins, orders, strict=False) for position in order]
    lengths = [max(durations[frame], 1) for frame in frames]
    depth = reorder_depth(orders)
    lead = max(1, min(durations))
    decoded = [pts[0] - (depth - index) * lead for index in range(min(depth, len(pts)))] + list(pts)
    if most_lead is not None:
        after = list(accumulate(lengths, initial=0))
        start = min(pts[frame] - time for frame, time in zip(frames, after, strict=False))
        if pts[0] - start <= most_lead:
            decoded = [start + time for time in after]
        else:
            last = len(frames) - 1
            lengths[last] = max(decoded[0] + sum(durations) - decoded[last], 1)
    for frame, dts, length in zip(frames, decoded, lengths, strict=False):
        yield Stamp(pts[frame], dts, length)
