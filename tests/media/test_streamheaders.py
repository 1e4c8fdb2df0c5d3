"""Copied sound and videos whose coding changes in mid-stream: live streams after a break, broadcasts."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media import clips
from tests.media.clips import Clip, join_streams, make_clip
from tests.media.pipeline import SETTINGS, upscale, write_segment
from vidsr.media import formats, outlets
from vidsr.media.beside.write import carry_beside
from vidsr.media.formats import choose_suffix
from vidsr.media.mux import mux
from vidsr.media.outlets import Outlets
from vidsr.media.probe import probe
from vidsr.media.proof.verify import VerifyReport, verify
from vidsr.media.streamheaders import StreamHeaders, changes_header

SOUND = Clip(frames=25, options={"bf": "0"}, sound=("aac",))
SCRIPT, VIDEO = 18, 9  # kinds of FLV's tags


def joined_flv(first: bytes, second: bytes) -> bytes:
    """Two FLV files as one, the second a second later, without its description and its picture's header."""
    at, content = 13, first
    while at + 15 <= len(second):
        kind, size = second[at], int.from_bytes(second[at + 1 : at + 4])
        time, body = int.from_bytes(second[at + 4 : at + 7]) + 1040, second[at + 11 : at + 11 + size]
        at += size + 15
        if kind == SCRIPT or (kind == VIDEO and body[1] != 1):
            continue
        tag = bytes([kind]) + size.to_bytes(3) + time.to_bytes(3) + bytes(4) + body
        content += tag + struct.pack(">I", len(tag))
    return content


@pytest.fixture(params=["ts", "flv"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second of sound at 48 kHz, and one at 24."""
    suffix = request.param
    parts = []
    for rate in (48_000, 24_000):
        monkeypatch.setattr(clips, "AUDIO_RATE", rate)
        parts.append(make_clip(tmp_path / f"{rate}.{suffix}", SOUND).read_bytes())
    path: Path = tmp_path / f"source.{suffix}"
    path.write_bytes(joined_flv(*parts) if suffix == "flv" else b"".join(parts))
    return path


def sound_of(report: VerifyReport) -> str:
    return next(check.detail for check in report.checks if check.name.startswith("audio"))


def decoded_rates(path: Path) -> set[int]:
    """Of all sound in a file; an error where some of it cannot be decoded."""
    with av.open(str(path)) as container:
        return {frame.sample_rate for frame in container.decode(audio=0)}


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4", "mov"])
def test_all_sound_of_a_result_can_be_decoded_and_all_of_the_source_is_there(source: Path, suffix: str) -> None:
    result = source.with_name(f"result.{suffix}")
    left = upscale(source, result).left
    report = verify(source, result)
    assert report.ok, report
    if (source.suffix, suffix) in ((".ts", "ts"), (".flv", "mp4"), (".flv", "mov")):
        assert not left and "unchanged" in sound_of(report) and decoded_rates(result) == {48_000, 24_000}
    else:
        assert [stream.kind for stream in left] == ["audio"] and "beside the result" in sound_of(report)
        assert source.suffix == ".flv" or decoded_rates(result) == {48_000}


def test_a_changed_header_that_is_not_said_is_found(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outlets, "cannot_say", lambda *_: False)
    monkeypatch.setattr(formats, "changes_header", lambda *_: False)
    upscale(source, source.with_name("result.mkv"))
    (fault,) = [check for check in verify(source, source.with_name("result.mkv")).checks if not check.ok]
    assert "where its coding changes in mid-stream is not said" in fault.detail


def header_of(path: Path) -> tuple[int, bytes | None]:
    """How many streams a file has, and the header that its sound has."""
    with av.open(str(path)) as container:
        return len(container.streams), container.streams.audio[0].codec_context.extradata


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_header_that_a_live_stream_repeats(suffix: str, tmp_path: Path) -> None:
    """FFmpeg's muxer of Matroska would write it over the description of the track."""
    part = make_clip(tmp_path / "part.flv", SOUND).read_bytes()
    source, result = tmp_path / "source.flv", tmp_path / f"result.{suffix}"
    source.write_bytes(joined_flv(part, part))
    assert not upscale(source, result).left
    report = verify(source, result)
    assert report.ok and "unchanged" in sound_of(report), report
    assert suffix == "ts" or header_of(result) == header_of(source)
    assert decoded_rates(result) == {48_000}


def test_a_broken_header_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = make_clip(tmp_path / "part.flv", SOUND).read_bytes()
    (tmp_path / "source.flv").write_bytes(joined_flv(part, part))
    monkeypatch.setattr(outlets, "without_header", lambda packet: packet)
    upscale(tmp_path / "source.flv", tmp_path / "result.mkv")
    (fault,) = [c for c in verify(tmp_path / "source.flv", tmp_path / "result.mkv").checks if not c.ok]
    assert "its decoder is told otherwise how it is coded" in fault.detail


def test_a_part_before_the_change_has_nothing_left_out(source: Path) -> None:
    info, segment, target = probe(source), source.with_name("segment.mkv"), source.with_name("part.mp4")
    write_segment(segment, info, 0, 20, 2, SETTINGS)
    assert not mux(info, [segment], target, 0, 20).left
    carry_beside(source, target, made=target)
    report = verify(source, target, stop=20)
    assert report.ok and "unchanged" in sound_of(report), report


def part_behind_the_change(source: Path) -> tuple[Path, VerifyReport]:
    """A result in MP4 of frames from 1.4 s on, and what the proof says of it."""
    info, segment, target = probe(source), source.with_name("segment.mkv"), source.with_name("part.mp4")
    write_segment(segment, info, 35, info.frames, 2, SETTINGS)
    carry_beside(source, target, mux(info, [segment], target, 35, info.frames).left, made=target)
    return target, verify(source, target, first=35)


def test_a_part_behind_the_change_begins_with_the_new_header(source: Path) -> None:
    target, report = part_behind_the_change(source)
    assert report.ok, report
    if source.suffix == ".flv":
        assert "unchanged" in sound_of(report) and decoded_rates(target) == {24_000}


@pytest.mark.parametrize("source", ["flv"], indirect=True)
def test_a_part_behind_the_change_with_the_first_header_is_found(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamHeaders, "repeat", lambda *_: None)
    (fault,) = [check for check in part_behind_the_change(source)[1].checks if not check.ok]
    assert "its decoder is told otherwise how it is coded" in fault.detail


def test_a_file_in_the_place_of_another_is_looked_at_anew(source: Path) -> None:
    """By a process that goes on, as one that uses the Python API."""
    path = source.with_name(f"48000{source.suffix}")
    assert not changes_header(path, 1)
    source.replace(path)
    assert changes_header(path, 1)


def test_a_live_stream_with_two_headers_becomes_mov(tmp_path: Path, source: Path) -> None:
    if source.suffix == ".flv":
        assert choose_suffix(probe(source), "auto", "libx264")[0] == ".mov"
    plain = make_clip(tmp_path / "plain.flv", SOUND)
    assert not changes_header(plain, 1) and choose_suffix(probe(plain), "auto", "libx264")[0] == ".mkv"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_second_video_whose_header_changes(suffix: str, tmp_path: Path) -> None:
    """A track of two sample descriptions, which Matroska and FFmpeg's muxer of MPEG-TS have no place for."""
    first = make_clip(tmp_path / "first.flv", Clip(frames=10, options={"bf": "0"})).read_bytes()
    later = Clip(frames=10, start=Fraction(1), options={"bf": "0", "preset": "veryfast", "x264-params": "cabac=1"})
    rear, result = tmp_path / "rear.flv", tmp_path / f"result.{suffix}"
    rear.write_bytes(first + make_clip(tmp_path / "later.flv", later).read_bytes()[13:])
    source = join_streams(tmp_path / "source.mp4", make_clip(tmp_path / "front.mp4", Clip(frames=10)), rear)
    left = upscale(source, result).left
    report = verify(source, result)
    assert report.ok, report
    detail = next(check.detail for check in report.checks if check.name == "video 1")
    assert (
        ("unchanged" in detail and not left) if suffix == "mp4" else "20 packets beside the result, 10 in it" in detail
    )
    with av.open(str(result)) as container:
        assert sum(1 for _ in container.decode(container.streams.video[1])) == (20 if suffix == "mp4" else 10)
