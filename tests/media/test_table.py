"""How long frames last and how many come in a second, by what packets declare."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidsr.media import table
from vidsr.media.table import FrameTable, Packets, _durations, _Reader, decode_table

PTS = (0, 10, 20, 40)


@pytest.mark.parametrize(
    ("declared", "by_sum", "last"),
    [
        ([10, 10, 10, 20], True, 10),  # of MP4, whose packets declare their distances in the order of decoding
        ([10, 10, 10, 20], False, 20),
        ([10, 0, 25, 20], True, 20),  # one does not say how long it lasts
        ([1, 1, 1, 5], True, 5),  # all together end before the last frame begins
        ([10, 10, 20, 4], False, 20),  # too short to be true
    ],
)
def test_the_last_frame_lasts_as_its_packet_says(declared: list[int], by_sum: bool, last: int) -> None:
    assert _durations(PTS, declared, by_sum) == (10, 10, 20, last)


def test_a_single_frame_lasts_a_tick_at_least() -> None:
    assert _durations((5,), [0], False) == (1,)
    assert _durations((), [], True) == ()


@pytest.mark.parametrize(("ticks", "declared", "rate"), [(334, 30, 30), (360, 30, Fraction(250, 9)), (400, 0, 25)])
def test_a_declared_rate_counts_where_it_is_nearly_true(ticks: int, declared: int, rate: Fraction) -> None:
    pts = tuple(range(0, 100 * ticks, ticks))
    table = FrameTable(pts, (True,) * 100, (ticks,) * 100, Fraction(1, 10_000))
    assert table.rate(Fraction(declared)) == rate


def test_a_measured_rate_can_be_that_of_television() -> None:
    table = FrameTable(tuple(range(0, 100 * 1001, 1001)), (True,) * 100, (1001,) * 100, Fraction(1, 30_000))
    assert table.rate(Fraction(0)) == Fraction(30_000, 1001)


def test_two_pictures_an_hour_apart_have_a_rate() -> None:
    assert 0 < FrameTable((0, 3600), (True, True), (3600, 3600), Fraction(1)).rate(Fraction(0)) < 1


def test_a_video_without_frames_has_a_rate() -> None:
    assert FrameTable((), (), (), Fraction(1, 1000)).rate(Fraction(0)) == 25


def packet(pts: int | None, key: bool = True, **more: Any) -> Any:
    usual = {"size": 9, "pos": 0, "duration": 10, "is_corrupt": False, "is_discard": False}
    return SimpleNamespace(pts=pts, is_keyframe=key, has_sidedata=lambda _: False, **{**usual, **more})


@pytest.mark.parametrize(
    ("packets", "shown", "why"),
    [
        ([packet(0), packet(10, False)], 2, None),
        ([packet(0), packet(10, False), packet(20, is_discard=True)], 2, None),
        ([packet(0), packet(10, is_corrupt=True)], 2, "1 packets are damaged"),
        ([packet(0), packet(10), packet(10)], 3, "1 packets have the timestamp of another"),
        ([packet(0), packet(None)], 2, "1 packets have no timestamp"),
        ([packet(0, False), packet(10)], 2, "it does not begin with a key frame"),
        ([packet(0, is_discard=True)], 0, "its packets give no picture"),
    ],
)
def test_packets_that_do_not_tell_the_frames_are_distrusted(packets: list[Any], shown: int, why: str | None) -> None:
    context: Any = SimpleNamespace(codec=SimpleNamespace(canonical_name="mpeg4"), extradata=None)
    stream: Any = SimpleNamespace(codec_context=context)
    reader = _Reader("avi", stream, Path("a.avi"))
    for each in packets:
        reader.read(each)
    assert (len(reader.entries), reader.distrust()) == (shown, why)


@pytest.mark.parametrize(
    ("frames", "pts", "last"),
    [
        ([(0, 0, 40), (40, 40, 40)], (0, 40), 40),
        ([(0, 0, 0), (40, 40, 0)], (0, 40), 40),
        ([(0, 0, 0)], (0,), 40),  # as long as one is at the stream's rate
        ([(None, 7, 40), (None, 45, 30)], (7, 45), 30),
        ([(None, None, 40), (None, None, 40)], (0, 40), 40),
        ([(5, 5, 40), (5, 5, 40)], (5, 6), 40),
    ],
)
def test_decoded_frames_without_times_or_lengths(
    monkeypatch: pytest.MonkeyPatch, frames: list[tuple[int | None, int | None, int]], pts: tuple[int, ...], last: int
) -> None:
    picture = {"width": 2, "height": 2, "format": SimpleNamespace(name="yuv420p")}
    decoded = [SimpleNamespace(pts=p, dts=d, duration=length, **picture) for p, d, length in frames]
    monkeypatch.setattr(table, "decode_in_order", lambda *_: iter(decoded))
    promised = Packets((), (), (), Fraction(1, 1000), None, False, 0, ())
    made, _, _ = decode_table(Path("a.avi"), 0, promised, Fraction(25))
    assert (made.pts, made.durations[-1]) == (pts, last)
