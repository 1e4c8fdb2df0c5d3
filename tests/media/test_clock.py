"""Files put together from several, whose clock begins anew: times go on, and sound stays with its picture."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from vidsr.media.clock import LATEST, Clock
from vidsr.media.container import open_input
from vidsr.media.packets import demux
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify

PART = Clip(sound=("mp2",), options={"bf": "2", "g": "12", "preset": "veryfast"}, frames=40)


def times_of(path: Path) -> dict[str, list[Fraction]]:
    """Presentation times of the packets of each kind, as the project reads them."""
    found: dict[str, list[Fraction]] = {}
    with open_input(path) as container:
        for packet in demux(container, *container.streams):
            found.setdefault(packet.stream.type, []).append(packet.pts * packet.time_base)
    return {kind: sorted(times) for kind, times in found.items()}


@pytest.fixture
def joined(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two recordings and a file of the bytes of both."""
    one = make_clip(tmp_path / "one.ts", PART)
    other = make_clip(tmp_path / "other.ts", PART)
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    return one, other, both


def test_times_go_on_where_the_clock_jumps_back(joined: tuple[Path, Path, Path], tmp_path: Path) -> None:
    one, other, both = joined
    info = probe(both)
    assert info.sequential is not None and "clock jumps back (1 x)" in info.sequential
    assert len(info.table) == 2 * PART.frames
    steps = {after - before for before, after in zip(info.table.pts, info.table.pts[1:], strict=False)}
    assert min(steps) == 3600 and max(steps) <= 4 * 3600  # a joint of some frames at most

    first, second, all_of = times_of(one), times_of(other), times_of(both)
    for kind in ("video", "audio"):
        assert len(all_of[kind]) == len(first[kind]) + len(second[kind])
    apart = second["audio"][0] - second["video"][0]
    assert all_of["audio"][len(first["audio"])] - all_of["video"][len(first["video"])] == apart

    result = tmp_path / "both.mkv"
    upscale(both, result, segments=1)
    report = verify(both, result)
    assert report.ok, [check for check in report.checks if not check.ok]
    made = times_of(result)
    for kind in ("video", "audio"):
        assert max(abs(a - b) for a, b in zip(made[kind], all_of[kind], strict=True)) <= Fraction(1, 1000)


@pytest.mark.parametrize("begin", [5000, 90_000])
def test_times_go_on_where_the_clock_jumps_back_to_before_the_first(begin: int, tmp_path: Path) -> None:
    """FFmpeg takes that for a clock of 33 bits that began anew, 26 hours later."""
    late = replace(PART, muxer={"mpegts_copyts": "1", "output_ts_offset": str(begin)})
    one, other = make_clip(tmp_path / "one.ts", late), make_clip(tmp_path / "other.ts", PART)
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    info = probe(both)
    assert info.sequential is not None and "clock jumps back (1 x)" in info.sequential
    assert info.duration is not None and info.duration == pytest.approx(2 * PART.frames / PART.rate, abs=0.2)
    first, second, all_of = times_of(one), times_of(other), times_of(both)
    apart = second["audio"][0] - second["video"][0]
    assert all_of["audio"][len(first["audio"])] - all_of["video"][len(first["video"])] == apart
    result = tmp_path / "both.mp4"
    upscale(both, result, segments=1)
    assert verify(both, result).ok


def test_times_go_on_where_fragments_begin_anew(tmp_path: Path) -> None:
    """As recorders of live streams put them together after a break; the first of a run lack a few pictures."""
    movie = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    clip = Clip(sound=("aac",), options={"bf": "0", "g": "10"}, frames=40, muxer=movie)
    one = make_clip(tmp_path / "one.mp4", clip)
    both = tmp_path / "both.mp4"
    both.write_bytes(one.read_bytes() * 2)
    info = probe(both)
    assert info.sequential is not None and "clock jumps back (1 x)" in info.sequential
    alone, all_of = times_of(one), times_of(both)
    assert len(all_of["audio"]) == 2 * len(alone["audio"])
    last = alone["audio"][-1]
    assert [time for time in all_of["audio"] if time <= last] == alone["audio"]
    moved = all_of["audio"][-1] - last
    assert moved >= alone["video"][-1]
    assert all_of["video"][-1] - alone["video"][-1] == pytest.approx(moved, abs=0.001)

    result = tmp_path / "result.mp4"
    upscale(both, result, segments=1)
    assert verify(both, result).ok
    assert times_of(result)["video"] == [info.table.time(number) for number in range(len(info.table))]
    steps = {after - before for before, after in zip(info.table.pts, info.table.pts[1:], strict=False)}
    assert min(steps) * info.table.time_base == 1 / clip.rate


def test_times_go_on_where_the_clock_of_a_stream_that_was_joined_late_jumps_back(tmp_path: Path) -> None:
    """FFmpeg takes less than the first time for a clock of 32 bits that begins anew, and adds 49 days."""
    one = make_clip(tmp_path / "one.flv", Clip(frames=10, options={"bf": "0"})).read_bytes()
    late, at = bytearray(one), 13
    while at < len(late):  # each tag's time, in milliseconds
        late[at + 4 : at + 7] = (int.from_bytes(late[at + 4 : at + 7]) + 10_000_000).to_bytes(3)
        at += int.from_bytes(late[at + 1 : at + 4]) + 15
    both = tmp_path / "both.flv"
    both.write_bytes(late + one[13:])
    info = probe(both)
    assert info.sequential is not None and "clock jumps back (1 x)" in info.sequential
    assert len(info.table) == 20 and info.table.duration is not None and info.table.duration < 1


@pytest.mark.parametrize(("suffix", "depth"), [("flv", "0"), ("flv", "2"), ("mkv", "0"), ("mkv", "2"), ("webm", "0")])
def test_times_go_on_where_another_file_begins(suffix: str, depth: str, tmp_path: Path) -> None:
    """As recorders of live streams go on after a break, in the same file."""
    clip = Clip(sound=("aac",), options={"bf": depth, "g": "10", "preset": "veryfast"}, frames=40)
    if suffix == "webm":
        clip = Clip("libvpx", sound=("libopus",), options={"deadline": "realtime"}, frames=40, muxer={"live": "1"})
    one = make_clip(tmp_path / f"one.{suffix}", clip)
    both, result = tmp_path / f"both.{suffix}", tmp_path / "result.mkv"
    both.write_bytes(one.read_bytes() + one.read_bytes()[13 if suffix == "flv" else 0 :])  # FLV: without its header
    info = probe(both)
    assert info.sequential is not None and "clock jumps back (1 x)" in info.sequential
    upscale(both, result, segments=1)
    assert verify(both, result).ok
    alone, all_of = times_of(one), times_of(result)
    for kind, times in alone.items():
        moved = all_of[kind][len(times)] - times[0]
        assert moved >= alone["video"][-1]
        assert all_of[kind] == pytest.approx([*times, *(time + moved for time in times)], abs=0.002)


def unrolled(*packets: tuple[int, float]) -> tuple[list[float], int]:
    """Times of packets, given as (stream, seconds), on the one clock; and how often it jumped."""
    clock, times = Clock(), []
    for stream, time in packets:
        packet: Any = SimpleNamespace(
            stream_index=stream, pts=None, dts=round(time * 1000), duration=40, time_base=Fraction(1, 1000)
        )
        clock.unroll(packet)
        times.append(packet.dts / 1000)
    return times, clock.jumps


def test_a_late_packet_of_the_run_before_stays_with_it() -> None:
    times, jumps = unrolled((0, 9.92), (1, 9.9), (0, 9.96), (0, 1.0), (1, 9.94), (0, 1.04), (1, 1.02), (1, 1.06))
    assert jumps == 1
    assert times[:3] == [9.92, 9.9, 9.96] and times[4] == 9.94
    assert times[5] - times[3] == pytest.approx(0.04) and times[6] - times[3] == pytest.approx(0.02)
    assert 9.96 < times[3] <= 10.1 and times[7] - times[6] == pytest.approx(0.04)


@pytest.mark.parametrize("wrong", [0.1, 3600.0])
def test_one_wrong_time_moves_no_other(wrong: float) -> None:
    times, _ = unrolled((0, 9.92), (0, 9.96), (0, wrong), (0, 10.04), (0, 10.08), (0, 10.12))
    assert [times[k] for k in (0, 1, 3, 4, 5)] == [9.92, 9.96, 10.04, 10.08, 10.12]


def test_a_pause_is_no_jump() -> None:
    times, jumps = unrolled((0, 1.0), (1, 1.0), (0, 3600.0), (1, 3600.0), (0, 3600.04))
    assert (times, jumps) == ([1.0, 1.0, 3600.0, 3600.0, 3600.04], 0)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_clock_that_is_about_to_begin_anew(suffix: str, tmp_path: Path) -> None:
    """FFmpeg takes the times before that for negative, at which no container shows frames."""
    before = Fraction(2**33, 90000) - Fraction(1, 2)
    clip = Clip(start=before, frames=24, muxer={"mpegts_copyts": "1"}, options={"g": "8"})
    source = make_clip(tmp_path / "source.ts", clip)
    assert probe(source).table.pts[0] < 0
    upscale(source, tmp_path / f"result.{suffix}")
    proof = verify(source, tmp_path / f"result.{suffix}")
    assert proof.ok, [check for check in proof.checks if not check.ok]


def test_a_clock_that_begins_anew_by_itself_goes_on(tmp_path: Path) -> None:
    begin = 2**33 // 90_000 - 100
    slow = Clip(
        times=tuple(range(0, 200, 10)), tick=Fraction(1), muxer={"mpegts_copyts": "1", "output_ts_offset": str(begin)}
    )
    info = probe(make_clip(tmp_path / "slow.ts", slow))
    assert info.sequential is None and info.duration == pytest.approx(200, abs=0.01)


def test_a_time_beyond_what_packets_can_have_is_none() -> None:
    """Damaged fragments have any."""
    clock, packet = Clock(), av.Packet(1)
    packet.time_base = Fraction(1, 1000)
    for ticks, expected in ((LATEST, LATEST), (0, LATEST), (5000, None)):
        packet.pts = packet.dts = ticks
        clock.unroll(packet)
        assert packet.pts == packet.dts == expected
