"""What a damaged source does not give: which frames are lost, when, and why; and gaps filled, if that is wished.

Time is kept: a lost frame leaves a gap, and the frames after it stay where they are. Reading what can be decoded is
`probe`'s work; a file without its index is `recover`'s.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

import av

from vidsr.media.boxes import children, is_mp4
from vidsr.media.container import open_input
from vidsr.media.decoders import decode_in_order
from vidsr.media.matroska import EBML, LONGEST_HEADER, SEGMENT, element_header
from vidsr.media.packets import beyond_end, demux
from vidsr.media.probe import VideoInfo
from vidsr.media.table import FrameTable

T = TypeVar("T")
_SEGMENT = SEGMENT.to_bytes(4, "big")


@dataclass(frozen=True)
class _Gap:
    """Consecutive frames that are lost.

    Attributes:
        start: when the first of them would be shown, in seconds.
        stop: when the next frame that is there is shown, or the last lost one would begin.
        frames: how many.
    """

    start: Fraction
    stop: Fraction
    frames: int


def assess(info: VideoInfo) -> tuple[str, ...]:
    """What is missing of a source, as sentences for people; empty where nothing is.

    Args:
        info: the source as probed; for damage that only decoding shows, probed with `decode=True`.

    Raises:
        InputError: the file cannot be opened any more.
    """
    gaps = list(_gaps_of(info))
    with open_input(info.path) as container:
        beyond = beyond_end(container)
    end = info.table.time(len(info.table))
    lost, last = beyond.pop(info.stream_index, (0, False))
    if last:
        gaps = [gap for gap in gaps if gap.start < end] + [_Gap(end, end + lost / info.rate, lost)]
    sentences = [_gap_sentence(gap) for gap in gaps]
    if lost and not last:
        sentences.append(f"{_count(lost, 'frame')} lost: the file does not hold what its index says of them")
    sentences.extend(f"{info.streams[i].label}: {_count(n, 'packet')} lost" for i, (n, _) in beyond.items())
    if not lost and _is_cut(info):
        sentences.append(f"the file ends early: what it held after {float(end):.3f} s is lost")
    if info.sequential:
        concealed = sum(frame.is_corrupt for frame in decode_in_order(info.path, info.stream_index))
        if concealed:
            sentences.append(f"{_count(concealed, 'frame')} decoded with errors that can be seen")
    if sentences:
        sentences.extend(_damaged_sound(info))
    return tuple(sentences)


def _count(number: int, what: str) -> str:
    return f"{number} {what} is" if number == 1 else f"{number} {what}s are"


def _gap_sentence(gap: _Gap) -> str:
    return f"{_count(gap.frames, 'frame')} lost between {float(gap.start):.3f} s and {float(gap.stop):.3f} s"


def _gaps_of(info: VideoInfo) -> Iterator[_Gap]:
    """The pictures that the packets promise and the decoder did not give, those between the same frames together."""
    table = info.table
    for place, group in itertools.groupby(info.missing, key=lambda pts: bisect.bisect_right(table.pts, pts)):
        lost = list(group)
        stop = table.pts[place] if place < len(table) else lost[-1]
        yield _Gap(lost[0] * table.time_base, stop * table.time_base, len(lost))


def _is_cut(info: VideoInfo) -> bool:
    """Whether the container's own sizes say that the file's end is missing."""
    with info.path.open("rb") as file:
        head = file.read(64)
        if is_mp4(file, info.size_bytes):
            return any(box.cut for box in children(file, 0, info.size_bytes))
    if head.startswith(EBML):
        return _matroska_end(head) > info.size_bytes
    return head.startswith(b"RIFF") and int.from_bytes(head[4:8], "little") + 8 > info.size_bytes


def _matroska_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends by its header; 0 where it does not say."""
    at = head.find(_SEGMENT)
    if at < 0 or at + LONGEST_HEADER > len(head):
        return 0
    try:
        _, length, size = element_header(head, at)
    except IndexError:
        return 0
    return 0 if size == (1 << 7 * (length - len(_SEGMENT))) - 1 else at + length + size


def _damaged_sound(info: VideoInfo) -> Iterator[str]:
    """Packets of sound that cannot be decoded; they are copied all the same."""
    with open_input(info.path) as container:
        sounds: list[Any] = [s for s in container.streams.audio if s.codec_context is not None]
        bad: dict[int, int] = {}
        for packet in demux(container, *sounds) if sounds else ():
            try:
                packet.decode()
            except av.error.FFmpegError:
                bad[packet.stream_index] = bad.get(packet.stream_index, 0) + 1
    for index, count in sorted(bad.items()):
        yield f"{info.streams[index].label}: {_count(count, 'packet')} damaged and kept as found"


def fill_gaps(info: VideoInfo) -> VideoInfo:
    """The video with every lost frame replaced by the frame before it, at the lost frame's time.

    Frames lost before the first and after the last one that is there are not replaced. `info.shows` of the result
    says which decoded frame each entry of its table shows; a video without gaps is returned as it is.
    """
    table = info.table
    fills = [pts for pts in info.missing if table.pts[0] < pts < table.pts[-1]]
    if not fills:
        return info
    shown = {pts: bisect.bisect_right(table.pts, pts) - 1 for pts in fills}
    shown.update((pts, index) for index, pts in enumerate(table.pts))
    pts = tuple(sorted(shown))
    steps = tuple(after - before for before, after in itertools.pairwise(pts))
    key = tuple(time == table.pts[shown[time]] and table.key[shown[time]] for time in pts)
    filled = FrameTable(pts, key, (*steps, table.durations[-1]), table.time_base)
    note = f"{len(fills)} lost frames show the frame before them"
    return replace(info, table=filled, shows=tuple(shown[time] for time in pts), notes=(*info.notes, note))


def as_shown(frames: Iterable[T], shows: tuple[int, ...]) -> Iterator[T]:
    """Decoded frames as `VideoInfo.shows` repeats them; as they are where it is empty."""
    if not shows:
        yield from frames
        return
    times = Counter(shows)
    for number, frame in enumerate(frames):
        yield from itertools.repeat(frame, times[number])
