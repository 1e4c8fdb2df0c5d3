"""One clock for files that were put together from several, each of which begins to count anew.

MPEG transport and programme streams may be joined by their bytes, and are: `cat a.ts b.ts`, a disc's VOB files; and so
are Matroska, and FLV and fragments of MP4, of live streams that had a break. Players go on from where the clock jumps
back, and so do the times that are read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.packet import Packet

# A stream's decode times never go back by so much, in seconds, while its clock runs on.
JUMP = Fraction(1, 2)
JOINED_FORMATS = ("mpegts", "mpeg", "flv")
PAUSE = 60  # seconds; a clock that begins anew within a longer one is rarer than files that were put together
# Seconds after which the clock of 33 bits of MPEG's formats begins anew, by FFmpeg's name of the format.
PERIODS = dict.fromkeys(("mpegts", "mpeg"), Fraction(1 << 33, 90_000))
LATEST = (1 << 63) - 1  # FFmpeg's times have 64 bits


@dataclass
class _Stream:
    """What is known of a stream's latest packet: which run of the clock it is from, and seconds of that clock."""

    run: int
    time: Fraction
    before: Fraction | None
    length: Fraction


class Clock:
    """Makes the times of a file's packets go on where its clock jumps back. It must see the packets of all streams.

    Attributes:
        jumps: how often the clock jumped back so far.
        period: seconds after which it begins anew by itself, or None.
    """

    def __init__(self) -> None:
        self.period: Fraction | None = None
        self._offsets = [Fraction(0)]
        self._streams: dict[int, _Stream] = {}

    @property
    def jumps(self) -> int:
        """See Clock."""
        return len(self._offsets) - 1

    def unroll(self, packet: Packet[Any]) -> None:
        """Give the next packet of the file its time on the one clock."""
        ticks = packet.dts if packet.dts is not None else packet.pts
        base = packet.time_base
        if ticks is None or not base:
            return
        known = self._streams.get(packet.stream_index)
        added = self._added(ticks * base, known)
        time = ticks * base - added
        run = self._run_of(time, known)
        self._streams[packet.stream_index] = _Stream(
            run, time, known.time if known else None, (packet.duration or 0) * base
        )
        shift = round((self._offsets[run] - added) / base)
        if shift:
            packet.pts, packet.dts = _moved(packet.pts, shift), _moved(packet.dts, shift)

    def _added(self, time: Fraction, known: _Stream | None) -> Fraction:
        """What FFmpeg added to a packet's time, in seconds, though its clock jumped back and did not begin anew.

        It adds a period to all times before the file's first. Where the clock does begin anew, they go on after that,
        without a pause as a rule.
        """
        if self.period is None or time < self.period:
            return Fraction(0)
        latest = known.time if known else max((each.time for each in self._streams.values()), default=time)
        return self.period if time - latest > PAUSE else Fraction(0)

    def _run_of(self, time: Fraction, known: _Stream | None) -> int:
        """Which run of the clock a packet is from; a new one where its stream went back and no run so far explains it.

        Packets of the run before may come late, and one packet may have a wrong time.
        """
        newest = self.jumps
        if not newest and (known is None or time >= known.time - JUMP):
            return newest  # nearly every file, at every packet
        now = self._now(newest)
        distances = {run: abs(time + offset - now) for run, offset in enumerate(self._offsets)}
        nearest = min(distances, key=lambda run: (distances[run], -run))
        if distances[nearest] < JUMP:
            return nearest
        if known is None:
            return newest
        returned = known.before is not None and abs(time - known.before) < JUMP
        if time >= known.time - JUMP or returned:
            return known.run
        self._offsets.append(now - time)
        return newest + 1

    def _now(self, run: int) -> Fraction:
        """When the latest packets of a run end, on the one clock, and those that are still to come as well."""
        offset = self._offsets[run]
        ends = [each.time + 2 * each.length + offset for each in self._streams.values() if each.run == run]
        return max(ends, default=offset)


def _moved(ticks: int | None, shift: int) -> int | None:
    """A later time; none where it is beyond what packets can have, as it may be in damaged fragments."""
    return None if ticks is None or abs(ticks + shift) > LATEST else ticks + shift
