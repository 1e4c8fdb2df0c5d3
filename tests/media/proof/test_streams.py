"""Streams beside the picture: what they are marked as and come with, when they are decoded, which are shown."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest
from av.stream import Disposition

from tests.media.clips import Clip, join_streams, make_clip
from tests.media.pipeline import upscale
from tests.media.test_parts import cut_out
from vidsr.evidence import Check
from vidsr.media import mux as muxing
from vidsr.media.beside.index import SideIndex
from vidsr.media.bitstream import NalFormat
from vidsr.media.boxes import children
from vidsr.media.description import codec_tag
from vidsr.media.mux import MuxReport
from vidsr.media.outlets import Outlets
from vidsr.media.probe import probe
from vidsr.media.proof.carried import Timing
from vidsr.media.proof.inventory import DIGEST_BYTES, NO_TIME, Contents, Inventory
from vidsr.media.proof.streams import check_streams
from vidsr.media.proof.verify import verify
from vidsr.media.tracks import turn_off

TIMED = Clip(frames=30, sound=("aac",), data="bin_data", tags={"timecode": "01:00:00:00"}, options={"g": "10"})


def faults(source: Path, result: Path, first: int = 0, stop: int | None = None) -> dict[str, str]:
    checks = verify(source, result, first=first, stop=stop).checks
    return {check.name: check.detail for check in checks if not check.ok}


def prove(source: Path, result: Path) -> MuxReport:
    report = upscale(source, result)
    assert not faults(source, result)
    return report


def sound(packets: str, times: Sequence[int] = (), index: int = 1, **more: Any) -> Contents:
    """A stream of packets that are told apart by a letter; of 1 ms each, one after the other."""
    described = {"kind": "audio", "codec": "aac", "tag": "", "language": "eng", "disposition": (), "tags": {}, **more}
    return Contents(
        index=index, time_base=Fraction(1, 1000), form=NalFormat(False, 4),
        times=array("q", times or range(len(packets))), durations=array("q", [1] * len(packets)),
        digests=[letter.encode() * DIGEST_BYTES for letter in packets], **described,
    )  # fmt: skip


def checked(
    source: Sequence[Contents],
    result: Sequence[Contents],
    part: tuple[int, int] | None = None,
    damaged: bool = False,
) -> list[Check]:
    """The checks of a result's streams, of which `part` is shown, in ms."""
    begin, end = (Fraction(time, 1000) for time in part) if part else (None, None)
    ours, theirs = (
        cast("Inventory", SimpleNamespace(others={stream.index: stream for stream in streams}))
        for streams in (source, result)
    )
    timing = Timing(begin or Fraction(0), Fraction(0), begin, end, damaged)
    return list(check_streams(ours, theirs, timing, SideIndex()))


def wrong(*given: Any, **more: Any) -> list[str]:
    """What is found to be wrong."""
    return [check.detail.split(": ")[1] for check in checked(*given, **more) if not check.ok]


def test_a_stream_is_itself_and_nothing_else() -> None:
    first, second = sound("abcdef"), sound("ghijkl", index=2)
    assert wrong([first, second], [first, second]) == []
    assert wrong([first, second], [first]) == ["missing"]
    assert wrong([first, replace(first, index=2)], [first]) == ["missing"]
    assert wrong([first, second], [replace(first, index=2), replace(second, index=1)]) == ["comes in another order"]
    for less in ("abcde", "bcdef", "abdef"):
        assert wrong([first], [sound(less)]) == ["5 packets instead of 6"]
    assert wrong([first], [sound("abcdex")]) == ["1 packets changed"]
    assert wrong([first], [sound("abcdefx")]) == ["7 packets instead of 6"]


def test_a_stream_of_a_damaged_file_may_be_read_further_and_is_not_less() -> None:
    assert wrong([sound("abcdef")], [sound("abcdefgh")], damaged=True) == []
    assert wrong([sound("abcdef")], [sound("abcde")], damaged=True) == ["5 packets instead of 6"]
    assert wrong([sound("abcdef")], [sound("abxdef")], damaged=True) == ["1 packets changed"]


def test_a_packet_comes_when_it_came() -> None:
    source = sound("abcd")
    assert wrong([source], [sound("abcd", (0, 1, 3, 3))]) == ["packet 2 is +1.000 ms off against the picture"]
    assert wrong([source], [sound("abcd", (-1, 1, 2, 3))]) == []  # Matroska counts back
    assert wrong([source], [sound("abcd", (-2, 1, 2, 3))]) == ["packet 0 is -2.000 ms off against the picture"]
    assert wrong([source], [sound("abcd", (0, NO_TIME, 2, 3))]) == []
    data, less = (sound("abcd", times, kind="data") for times in ((), (0, NO_TIME, 2, 3)))
    assert wrong([data], [less]) == ["packet 1 has lost its time"]
    assert wrong([less], [data]) == []
    back = sound("abcd", (0, 5, 3, 6))
    (check,) = checked([back], [sound("abcd", (0, 5, 6, 6))])  # which no muxer takes
    assert check.ok and check.detail.endswith("4 packets, unchanged but for times that go back in the source (1)")
    assert checked([source], [source])[0].detail.endswith("4 packets, unchanged")
    assert wrong([back], [sound("abcd", (0, 5, 6, 7))]) == ["packet 3 is +1.000 ms off against the picture"]


@pytest.mark.parametrize("packets", ["abcdefghijklmnopqrstuvwxyzABCD", "abcd" * 7 + "ab", "a" * 30])
def test_a_part_has_the_packets_of_its_time(packets: str) -> None:
    """One at either end may be cut, or be one too many, though others are the same."""

    def found(first: int, stop: int) -> list[str]:
        times = range(first - 10, stop - 10)
        return wrong([sound(packets)], [sound(packets[first:stop], times)], (10, 20))

    silence = len(set(packets)) == 1  # of which the first tells nothing
    for first, stop in ((10, 20), (10, 21), (10, 19), *(() if silence else ((9, 20), (11, 20)))):
        assert found(first, stop) == [], (first, stop)
    for first, stop in ((12, 20), (10, 18)):
        assert found(first, stop), (first, stop)


@pytest.mark.parametrize(
    ("given", "made", "fault"),
    [
        ({"language": "spa"}, {"language": "und"}, "language und instead of spa"),
        ({"tags": {"title": "rear"}}, {}, "tags lost"),
        ({"disposition": ("forced", "default")}, {}, "flags lost"),
        ({"kind": "data", "tag": "gpmd"}, {"kind": "data", "tag": "stts"}, "it is marked stts instead of gpmd"),
    ],
)
def test_a_stream_keeps_what_is_said_of_it(given: dict[str, Any], made: dict[str, Any], fault: str) -> None:
    source = sound("abcdef", **given)
    assert wrong([source], [source]) == []
    assert wrong([source], [sound("abcdef", **made)]) == [fault]


def test_a_last_subtitle_of_no_length_stays(tmp_path: Path) -> None:
    """Those of DVDs say within themselves how long they are shown."""
    source = make_clip(tmp_path / "source.nut", Clip(subtitles=("dvd_subtitle",)))
    with av.open(str(source)) as container:
        assert [packet.duration for packet in container.demux(subtitles=0) if packet.size] == [0] * 4
    prove(source, tmp_path / "result.mp4")


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "avi"), ("pcm_bluray", "m2ts")])
def test_codec_tags_that_are_numbers(codec: str, suffix: str, tmp_path: Path) -> None:
    """WAVE format 0xFF, stream type 0x80."""
    source = make_clip(tmp_path / f"source.{suffix}", Clip(sound=(codec,), options={"bf": "0"}))
    assert probe(source).streams[1].codec == codec
    prove(source, tmp_path / "result.mkv")


def test_codec_tags() -> None:
    for said, tag in {
        "h264 (High) (avc1 / 0x31637661), yuv420p": "avc1",
        "vc1 (Advanced) ([234][0][0][0] / 0x00EA), yuv420p": "",
        "h264 (High), yuv420p": "",
    }.items():
        assert codec_tag(f"  Stream #0:0[0x1](und): Video: {said}, 96x64\n    Metadata:\n") == tag


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("tick", [Fraction(1, 1024), Fraction(1, 1000)])
@pytest.mark.parametrize("frames", [12, 60])
def test_the_end_of_the_last_line(suffix: str, tick: Fraction, frames: int, tmp_path: Path) -> None:
    """Where it is no whole tick of the film's clock, FFmpeg gives the empty line that its muxer puts behind it."""
    times = tuple(round(number / 25 / tick) for number in range(frames))
    clip = Clip(times=times, tick=tick, subtitles=("mov_text",))
    source = make_clip(tmp_path / f"source.{suffix}", clip)
    prove(source, tmp_path / f"result.{suffix}")
    # A film whose clock ticks otherwise, so that of one of them the empty line is given, and not of the other.
    prove(tmp_path / f"result.{suffix}", tmp_path / f"again.{suffix}")
    for first, stop in ((0, 11), (6, frames)):
        cut_out(source, tmp_path / f"part.{suffix}", first, stop)


@pytest.mark.parametrize(("suffix", "beside"), [("mp4", [2]), ("mov", [2]), ("mkv", [2, 3]), ("ts", [])])
def test_timed_data_of_sony_cameras_is_no_timecode(suffix: str, beside: list[int], tmp_path: Path) -> None:
    """FFmpeg reads a timecode out of `rtmd` samples, and its muxer of MP4 does not write such a track."""
    source = make_clip(tmp_path / "source.mp4", TIMED)
    source.write_bytes(source.read_bytes().replace(b"gpmd", b"rtmd"))
    assert all("timecode" in dict(stream.tags) for stream in probe(source).streams[2:])
    report = prove(source, tmp_path / f"result.{suffix}")
    assert [stream.index for stream in report.left] == beside


def swap_last_tracks(path: Path) -> None:
    """Swap tracks 3 and 4, which is the timecode's, and their numbers."""
    content = path.read_bytes()
    with path.open("rb") as file:
        moov = next(box for box in children(file, 0, len(content)) if box.kind == "moov")
        tracks = [box for box in children(file, moov.body, moov.stop) if box.kind == "trak"][-2:]
    three, four = (bytearray(content[box.start : box.stop]) for box in tracks)
    for track, number in ((three, 4), (four, 3)):
        track[track.index(b"tkhd") + 19] = number
    before = content[: tracks[0].start].replace(b"tmcd\0\0\0\4", b"tmcd\0\0\0\3")
    path.write_bytes(before + four + three + content[tracks[1].stop :])


def test_a_timecode_track_before_other_data(tmp_path: Path) -> None:
    """Muxers put it last."""
    source = make_clip(tmp_path / "source.mp4", TIMED)
    swap_last_tracks(source)
    assert ["timecode" in dict(stream.tags) for stream in probe(source).streams[2:]] == [True, False]
    assert prove(source, tmp_path / "result.mp4").not_carried == ()
    cut_out(source, tmp_path / "part.mp4", 3, 13)


def test_a_wrong_mark_of_data_is_found(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4", TIMED)
    result = tmp_path / "result.mp4"
    prove(source, result)
    result.write_bytes(result.read_bytes().replace(b"gpmd", b"stts"))
    assert "stts instead of gpmd" in faults(source, result)["data 2"]


def shown(path: Path, number: int) -> list[float]:
    """When the frames of a video stream are shown, in the order of decoding them."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=number)]


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_second_video_with_reordered_frames(suffix: str, tmp_path: Path) -> None:
    """Matroska says only when its frames are shown."""
    options = {"bf": "3", "g": "12", "preset": "medium", "x264-params": "b-adapt=0:scenecut=0"}
    front = make_clip(tmp_path / "front.mkv", Clip(frames=30, options={"g": "5"}, sound=("aac",)))
    rear = make_clip(tmp_path / "rear.mkv", Clip(frames=30, options=options, width=64))
    source = join_streams(tmp_path / "source.mkv", front, rear)
    result = tmp_path / f"result.{suffix}"
    assert prove(source, result).not_carried == ()
    first, again = shown(source, 1), shown(result, 1)
    assert len(again) == 30
    assert [time - again[0] for time in again] == pytest.approx([time - first[0] for time in first], abs=1e-6)
    cut_out(source, tmp_path / f"part.{suffix}", 8, 21)


def decoded(path: Path) -> list[bytes]:
    """The frames of the second video that are shown."""
    with av.open(str(path)) as container:
        frames = container.decode(video=1)
        return [frame.to_ndarray().tobytes() for frame in frames if frame.pts >= 0 and not frame.is_corrupt]


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_part_of_a_second_video_can_be_decoded_from_its_begin(codec: str, suffix: str, tmp_path: Path) -> None:
    """Its key frame lies before; without one MP4 would say that each of its packets is one."""
    front = make_clip(tmp_path / "front.mp4", Clip(frames=30, options={"g": "5"}))
    quick = {"g": "99", "bf": "0", "preset": "ultrafast", "x265-params": "log-level=none:bframes=0:keyint=99"}
    rear = make_clip(tmp_path / "rear.mp4", Clip(codec=codec, frames=30, options=quick, width=64, sound=("aac",)))
    source, part = join_streams(tmp_path / "source.mp4", front, rear), tmp_path / f"part.{suffix}"
    cut_out(source, part, 8, 21)
    assert decoded(part) == decoded(source)[8:21]
    assert shown(part, 1) == pytest.approx([number / 25 for number in range(13)], abs=1e-4)


@pytest.mark.parametrize(("before", "after"), [("mp4", "mp4"), ("mkv", "mp4"), ("mp4", "mov")])
@pytest.mark.parametrize("reordered", ["0", "2"])
def test_a_second_video_whose_frame_is_still_shown_where_a_part_begins(
    reordered: str, before: str, after: str, tmp_path: Path
) -> None:
    """The part begins at 0.32 s, the second video's frames at 0.3 s, which is seen from there on, and at 0.333 s."""
    front = make_clip(tmp_path / "front.mp4", Clip(frames=30, options={"g": "5"}))
    options = {"g": "12", "bf": reordered, "preset": "medium", "x264-params": "b-adapt=0:scenecut=0"}
    rear = make_clip(tmp_path / "rear.mp4", Clip(frames=36, rate=Fraction(30), options=options, width=64))
    source, part = join_streams(tmp_path / f"source.{before}", front, rear), tmp_path / f"part.{after}"
    cut_out(source, part, 8, 21)
    times = [Fraction(number, 30) - Fraction(8, 25) for number in range(10, 26)]
    assert shown(part, 1) == pytest.approx([0, *map(float, times)], abs=0.001)
    assert decoded(part)[:14] == decoded(source)[9:23]


def test_a_part_shows_a_frame_of_a_second_video_that_was_decoded_before_the_part_began(tmp_path: Path) -> None:
    """The last one, after which no packet comes."""
    front = make_clip(tmp_path / "front.mp4", Clip(frames=30, options={"g": "5"}))
    options = {"bf": "2", "preset": "medium", "x264-params": "b-adapt=0:scenecut=0"}
    rear = make_clip(tmp_path / "rear.mp4", Clip(frames=9, options=options, width=64))
    source, part = join_streams(tmp_path / "source.mp4", front, rear), tmp_path / "part.mp4"
    cut_out(source, part, 8, 21)
    assert decoded(part) == decoded(source)[8:]


def test_a_hidden_packet_that_is_not_the_sources_is_found(tmp_path: Path) -> None:
    front = make_clip(tmp_path / "front.mp4", Clip(frames=30, options={"g": "5"}))
    rear = make_clip(tmp_path / "rear.mp4", Clip(frames=30, options={"g": "6", "bf": "0"}, width=64))
    source, part = join_streams(tmp_path / "source.mp4", front, rear), tmp_path / "part.mp4"
    cut_out(source, part, 7, 21)
    assert not faults(source, part, 7, 21)
    with av.open(str(source)) as container:
        key = [bytes(packet) for packet in container.demux(container.streams[1]) if packet.is_keyframe][1]
    assert part.read_bytes().count(key) == 1
    part.write_bytes(part.read_bytes().replace(key, key[:-1] + bytes([key[-1] ^ 1])))
    assert faults(source, part, 7, 21) == {"video 1": "h264: other packets than the source has in that range"}


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_subtitles_that_are_off_stay_off(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "source.mp4", Clip(sound=("aac",), subtitles=("mov_text",)))
    turn_off(source, [3])
    result = tmp_path / f"result.{suffix}"
    prove(source, result)
    for path in (source, result):
        with av.open(str(path)) as container:
            assert [bool(s.disposition & Disposition.default) for s in container.streams] == [True, True, False]
    monkeypatch.setattr(muxing, "turn_off", lambda *_: None)
    upscale(source, result)
    assert faults(source, result) == {"subtitle 2": "mov_text, deu: it is on and was off"}


def test_a_line_before_the_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Muxers take packets in order of time: such a line may be left out of the result, and is never shown later."""
    source = make_clip(tmp_path / "source.mkv", Clip(frames=25, subtitles=("subrip",)))
    content = bytearray(source.read_bytes())
    at = content.index(b"line 2") - 3  # before it are its time, and its flags
    assert int.from_bytes(content[at : at + 2], "big") == 400
    content[at : at + 2] = (100).to_bytes(2, "big")
    source.write_bytes(content)
    report = upscale(source, tmp_path / "result.mkv")
    assert [stream.index for stream in report.left] == [1]
    assert "1 packets of subtitle stream 1" in report.not_carried[-1]
    assert not faults(source, tmp_path / "result.mkv")
    monkeypatch.setattr(Outlets, "leaves_out", lambda self, packet, begin: False)
    upscale(source, tmp_path / "another.mkv")
    assert faults(source, tmp_path / "another.mkv") == {
        "subtitle 1": "subrip, deu: packet 2 is +100.000 ms off against the picture"
    }


def test_why_a_stream_cannot_be_copied(tmp_path: Path) -> None:
    """Neither is the container's fault: no decoder in this build, and a second sound that FFmpeg finds too late."""
    teletext = Clip(sound=("mp2",), subtitles=("dvb_teletext",))
    report = prove(make_clip(tmp_path / "teletext.ts", teletext), tmp_path / "result.ts")
    assert ["dvb_teletext" in line and "no decoder" in line for line in report.not_carried] == [True]
    clip = Clip(frames=60, sound=("mp2",), options={"bf": "0"})
    one = make_clip(tmp_path / "one.ts", clip).read_bytes()
    two = make_clip(tmp_path / "two.ts", replace(clip, sound=("mp2", "ac3"))).read_bytes()
    late = tmp_path / "late.ts"
    late.write_bytes(one + (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 30_000 + two)
    report = prove(late, tmp_path / "result.ts")
    assert ["too late" in line for line in report.not_carried] == [True]
