"""Copied videos of a part: what their decoders need from before its begin, and what is shown just then."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from vidsr.media.packets import AnyPacket, moment_of


class Leads:
    """What comes before a part's first frame of copied videos: all packets from the last key frame on, for decoders.

    The frame that is still shown when the part begins, is shown from there on. Only files with edit lists can hide the
    others.
    """

    def __init__(self, begin: Fraction) -> None:
        self._begin = begin
        self._held: dict[int, list[AnyPacket]] = {}
        self._begun: set[int] = set()

    def take(self, packet: AnyPacket) -> list[AnyPacket]:
        """The packets to write now that the next one is read: none until all that are shown before the part are."""
        index = packet.stream_index
        if index in self._begun:
            return [packet]
        held = self._held.setdefault(index, [])
        if packet.is_keyframe and self._is_early(packet):
            held.clear()
        held.append(packet)
        if packet.dts is None or packet.dts * packet.time_base < self._begin:
            return []
        self._begun.add(index)
        return self._lasting(self._held.pop(index))

    def rest(self) -> list[AnyPacket]:
        """The packets to write where streams ended."""
        return [packet for held in self._held.values() for packet in self._lasting(held)]

    def _is_early(self, packet: AnyPacket) -> bool:
        return (moment_of(packet) or 0) * packet.time_base < self._begin

    def _lasting(self, held: list[AnyPacket]) -> list[AnyPacket]:
        """The packets with the new time of the frame that is still shown; none where none is shown later."""
        early = [packet for packet in held if self._is_early(packet) and packet.pts is not None]
        later = [moment_of(packet) for packet in held if not self._is_early(packet)]
        if not later:
            return []
        shown = max(
            (packet for packet in early if not packet.is_discard), key=lambda packet: packet.pts or 0, default=None
        )
        if shown is not None:
            begin = ceil(self._begin / shown.time_base)
            shown.pts = shown.pts if begin in later else begin
        return held
