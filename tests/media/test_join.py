from __future__ import annotations

import errno
import os
import re
import resource
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.media import clips
from tests.media.clips import MILLISECOND, Clip, join_streams, make_clip
from tests.media.pipeline import upscale
from tests.media.test_mux import encode_doubled_cover, with_cover
from vidsr.errors import DiskTooSmall, RunError, VerifyFailed
from vidsr.media import join as joining
from vidsr.media.join import Part, join
from vidsr.media.probe import probe
from vidsr.media.tracks import turn_off
from vidsr.settings import EncodeSettings

BASE = Clip(frames=25, sound=("aac",), options={"bf": "2", "preset": "veryfast", "g": "10"}, rotation=90,
            tags={"creation_time": "2024-05-06T07:08:09.000000Z"})  # fmt: skip


def pictures(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(frame.planes[0]) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("gap", [Fraction(0), Fraction(3, 2)])
def test_pictures_times_and_sound(tmp_path: Path, suffix: str, gap: Fraction) -> None:
    clip = BASE if suffix != "mkv" else replace(BASE, rotation=0)
    sources = [make_clip(tmp_path / f"{n}.{suffix}", clip) for n in range(3)]
    parts = [Part(path, number * (1 + gap)) for number, path in enumerate(sources)]
    target = tmp_path / "out" / f"joined.{suffix}"
    assert join(parts, target) == ()
    assert pictures(target) == [each for path in sources for each in pictures(path)]
    made, first = probe(target), probe(sources[0])
    times = [float(made.table.time(k) - made.table.time(0)) for k in range(75)]
    assert np.allclose(times, [n * float(1 + gap) + k / 25 for n in range(3) for k in range(25)], atol=0.0011)
    assert (made.rotation, dict(made.tags).get("creation_time")) == (first.rotation, dict(first.tags)["creation_time"])
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        if suffix != "mkv":
            assert float((video.duration or 0) * video.time_base) == pytest.approx(float(2 * (1 + gap)) + 1, abs=0.002)
        sound = [float(f.pts * f.time_base) for f in container.decode(audio=0)]
    assert sound == sorted(sound) and len(sound) >= 3 * 46
    assert sum(1 for t in sound if 1 < t < 1 + float(gap)) <= 2, "no sound in the gap"
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_sound_that_is_left_out_is_told(tmp_path: Path) -> None:
    picture = make_clip(tmp_path / "picture.mp4", replace(BASE, rotation=0, sound=()))
    whole = make_clip(tmp_path / "whole.mp4", replace(BASE, rotation=0, frames=60))
    with av.open(str(whole)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as only:
        copy = only.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = copy
                only.mux(packet)
    clip = join_streams(tmp_path / "clip.mp4", picture, tmp_path / "sound.mp4")
    (told,) = join([Part(clip, Fraction(0)), Part(clip, Fraction(1))], tmp_path / "joined.mp4")
    assert re.match("clip.mp4: 6[5-9] packets of audio stream 1 .* left out, before the end of the part before", told)


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Part(make_clip(tmp_path / f"{n}.mkv", Clip(frames=2)), Fraction(n)) for n in range(2)]
    target, synced = tmp_path / "joined.mkv", []

    def sync(number: int) -> None:
        assert not target.exists()
        synced.append(os.fstat(number).st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    join(parts, target)
    assert synced == [target.stat().st_ino]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_second_video_with_reordered_frames(suffix: str, tmp_path: Path) -> None:
    clip = replace(BASE, rotation=0, tags={}, options={**BASE.options, "x264-params": "b-adapt=0:scenecut=0"})
    rear = make_clip(tmp_path / "rear.mkv", replace(clip, width=64, sound=()))
    source = join_streams(tmp_path / "a.mkv", make_clip(tmp_path / "front.mkv", clip), rear)
    joined = tmp_path / f"joined.{suffix}"
    assert join([Part(source, Fraction(0)), Part(source, Fraction(1))], joined) == ()
    with av.open(str(joined)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=1)]
    assert np.allclose(times, np.arange(50) / 25, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_chapters_and_timecode(suffix: str, tmp_path: Path) -> None:
    """Whose tracks MOV's muxer makes anew: GoPro's films have one."""
    clip = Clip(frames=10, sound=("flac" if suffix == "mkv" else "pcm_s16le",), chapters=2,
                tags={"timecode": "01:02:03:04"})  # fmt: skip
    source = make_clip(tmp_path / f"a.{suffix}", clip)
    joined = tmp_path / f"joined.{suffix}"
    assert join([Part(source, Fraction(0)), Part(source, Fraction(2, 5))], joined) == ()
    with av.open(str(joined)) as container:
        begins = [(float(c["start"] * c["time_base"]), c["metadata"]["title"]) for c in container.chapters()]
        assert len({chapter["id"] for chapter in container.chapters()}) == 4
    assert begins == [(0, "Part 0"), (0.18, "Part 1"), (0.4, "Part 0"), (0.58, "Part 1")]
    made = probe(joined)
    assert [dict(s.tags).get("timecode") for s in made.streams] == [
        dict(s.tags).get("timecode") for s in probe(source).streams
    ]


def test_a_timecode_of_a_video_with_frames_left_out(tmp_path: Path) -> None:
    """Numbers that are dropped are of 30000/1001 frames a second, and there are fewer."""
    times = tuple(1001 * number for number in range(60) if number % 10 not in (3, 7))
    rate, tick = Fraction(30000, 1001), Fraction(1, 30000)
    clip = Clip(times=times, tick=tick, rate=rate, tags={"timecode": "01:02:03;04"})
    source = make_clip(tmp_path / "a.mov", clip)
    joined = tmp_path / "joined.mov"
    assert join([Part(source, Fraction(0)), Part(source, Fraction(3))], joined) == ()
    assert dict(probe(joined).stream.tags)["timecode"] == "01:02:03;04"


def test_the_shape_of_pixels_stays(tmp_path: Path) -> None:
    wide = Clip(frames=10, codec="libvpx-vp9", aspect=Fraction(3, 2))
    sources = []
    for number in range(2):
        clip = make_clip(tmp_path / f"{number}.mp4", wide)
        info = probe(clip)
        sources.append(tmp_path / f"{number}.mkv")
        upscale(clip, sources[-1], settings=EncodeSettings("libvpx-vp9", container="mkv"), info=info)
    assert probe(sources[0]).sample_aspect == Fraction(3, 2)
    join([Part(sources[0], Fraction(0)), Part(sources[1], Fraction(1))], tmp_path / "joined.mkv")
    assert probe(tmp_path / "joined.mkv").sample_aspect == Fraction(3, 2)
    with av.open(str(tmp_path / "joined.mkv")) as container:
        assert "title" not in {key.lower() for key in container.streams.video[0].metadata}


def test_sound_that_matroska_has_no_name_for_stays(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        clip = make_clip(tmp_path / f"{number}.avi", Clip(codec="mpeg4", frames=25, sound=("pcm_mulaw",)))
        upscale(clip, tmp_path / f"{number}.mkv")
        parts.append(Part(tmp_path / f"{number}.mkv", Fraction(number)))
    assert join(parts, tmp_path / "joined.mkv") == ()
    with av.open(str(tmp_path / "joined.mkv")) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_mulaw"
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 2 * 48000


def write_lines(path: Path, times: list[int]) -> Path:
    """Writes ten frames, short packets of FLAC and lines of text that begin at these milliseconds."""
    clip = Clip(frames=25, sound=("flac",), sound_options={"frame_size": "40"})
    with av.open(str(make_clip(path.with_suffix(".clip.mkv"), clip))) as source, av.open(str(path), "w") as made:
        copies = [made.add_stream_from_template(stream) for stream in source.streams]
        text = made.add_mux_stream("subrip")
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                made.mux(packet)
        for number, time in enumerate(times):
            line = av.Packet(b"line %d" % number)
            line.stream, line.time_base, line.pts, line.dts, line.duration = text, MILLISECOND, time, time, 100
            made.mux(line)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_clips_whose_average_rates_differ(codec: str, tmp_path: Path) -> None:
    """Encoders write it into what must be equal otherwise; cameras that drop frames make no two clips alike in it."""
    parts, begin = [], Fraction(0)
    for number, rate in enumerate((Fraction(30), Fraction(2961, 100))):
        clip = Clip(codec=codec, frames=6, rate=rate, options={"preset": "veryfast"})
        parts.append(Part(make_clip(tmp_path / f"{number}.mp4", clip), begin))
        begin += 6 / rate
    assert join(parts, tmp_path / "joined.mp4") == ()
    assert pictures(tmp_path / "joined.mp4") == [each for part in parts for each in pictures(part.path)]


@pytest.mark.parametrize("suffix", ["ts", "mp4"])
@pytest.mark.parametrize("starts", [(0, 60), (60, 0)])
def test_clocks_that_go_on_from_file_to_file(starts: tuple[int, int], suffix: str, tmp_path: Path) -> None:
    """Of one that did, the join had a hole as long as the clips before; one that began anew was refused."""
    wanted = [replace(BASE, rotation=0, frames=12, muxer={"output_ts_offset": str(start)}) for start in starts]
    sources = [make_clip(tmp_path / f"{number}.{suffix}", clip) for number, clip in enumerate(wanted)]
    joined = tmp_path / f"joined.{suffix}"
    assert join([Part(path, number * Fraction(12, 25)) for number, path in enumerate(sources)], joined) == ()
    table, first = probe(joined).table, probe(sources[0]).table
    assert np.allclose([float(table.time(k) - first.time(0)) for k in range(24)], np.arange(24) / 25, atol=1e-4)
    sound = [len(packets_of(path, "audio")) for path in (*sources, joined)]
    assert sum(sound[:2]) - 3 <= sound[2] <= sum(sound[:2])


def test_more_clips_than_files_may_be_open(tmp_path: Path) -> None:
    """A day in clips of a minute are 1,440, and many systems allow a process 1,024 files."""
    part = make_clip(tmp_path / "a.mkv", Clip(frames=1))
    limits, free = resource.getrlimit(resource.RLIMIT_NOFILE), os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 20, limits[1]))
    try:
        join([Part(part, number * Fraction(1, 25)) for number in range(30)], tmp_path / "joined.mkv")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert probe(tmp_path / "joined.mkv").frames == 30


def packets_of(path: Path, kind: str) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(getattr(container.streams, kind)[0]) if p.pts is not None]


def test_lines_and_sound_of_the_same_time_all_stay(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.mkv", [0, 400, 400, 1000])  # and the last one with the next part's first
    joined = tmp_path / "joined.mkv"
    assert join([Part(source, Fraction(0)), Part(source, Fraction(1))], joined) == ()
    for kind in ("subtitles", "audio"):
        lines = packets_of(source, kind)
        assert packets_of(joined, kind) == [(t + 1000 * n, line) for n in range(2) for t, line in lines]


@pytest.mark.parametrize("shown", [True, False])
def test_subtitles_stay_on_or_off(shown: bool, tmp_path: Path) -> None:
    source, target = make_clip(tmp_path / "source.mp4", Clip(subtitles=("mov_text",))), tmp_path / "joined.mp4"
    if not shown:
        turn_off(source, [2])
    join([Part(source, Fraction(n)) for n in range(2)], target)
    with av.open(str(target)) as container:
        assert bool(container.streams.subtitles[0].disposition & Disposition.default) == shown


def test_lines_before_the_end_of_the_part_before_are_counted(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.mkv", [0, 100, 1150])
    joined = tmp_path / "joined.mkv"
    sentences = join([Part(source, Fraction(number)) for number in range(3)], joined)
    of_each = "a.mkv: 2 packets of subtitle stream 2 (subrip) left out, before the end of the part before"
    assert sentences == (of_each, of_each)
    assert [time for time, _ in packets_of(joined, "subtitles")] == [0, 100, 1150, 2150, 3150]


def test_names_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = [Part(Path(make_clip(tmp_path / f"12:3{n}.mp4", BASE).name), Fraction(n)) for n in range(2)]
    join(parts, Path("13:00.mp4"))
    assert probe(Path("13:00.mp4")).frames == 50


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_cover_picture_stays(suffix: str, tmp_path: Path) -> None:
    """Matroska got a track for it without a packet."""
    jpeg = encode_doubled_cover(tmp_path)
    source = with_cover(tmp_path / "a.mkv", jpeg)
    if suffix == "mp4":
        upscale(source, tmp_path / "a.mp4")
        source = tmp_path / "a.mp4"
    joined = tmp_path / f"joined.{suffix}"
    assert join([Part(source, Fraction(0)), Part(source, Fraction(1))], joined) == ()
    assert [stream.cover for stream in probe(joined).streams] == [False, True]
    with av.open(str(joined)) as container:
        assert [bytes(packet) for packet in container.demux(container.streams[1]) if packet.size] == [jpeg]
    plain = Path(join_streams(tmp_path / "plain.mkv", tmp_path / "film.mkv"))
    if suffix == "mkv":
        (sentence,) = join([Part(plain, Fraction(0)), Part(source, Fraction(1))], tmp_path / "other.mkv")
        assert sentence == "a.mkv: cover picture 1 (mjpeg, cover.jpeg) has no counterpart"


def test_sound_goes_to_that_of_its_language_and_codec(tmp_path: Path) -> None:
    clip = Clip(frames=25, sound=("aac", "aac"))
    both, spanish = make_clip(tmp_path / "both.mkv", clip), tmp_path / "spanish.mkv"
    with av.open(str(both)) as source, av.open(str(spanish), "w") as made:
        copies = {number: made.add_stream_from_template(source.streams[number], opaque=True) for number in (0, 2)}
        copies[2].metadata["language"] = "spa"
        copies[2].disposition = Disposition.default | Disposition.comment
        for packet in source.demux(*(source.streams[number] for number in copies)):
            if packet.size:
                packet.stream = copies[packet.stream_index]
                made.mux(packet)
    joined = tmp_path / "joined.mkv"
    assert join([Part(both, Fraction(0)), Part(spanish, Fraction(1))], joined) == ()
    with av.open(str(joined)) as container:
        counts = [0, 0, 0]
        for packet in container.demux():
            counts[packet.stream_index] += packet.size > 0
    assert counts[0] == 50 and counts[2] > 1.9 * counts[1]
    join([Part(spanish, Fraction(0)), Part(spanish, Fraction(1))], tmp_path / "twice.mkv")
    with av.open(str(tmp_path / "twice.mkv")) as container:
        assert container.streams[1].disposition & Disposition.comment
    other = make_clip(tmp_path / "other.mkv", replace(clip, sound=("flac",)))
    (sentence,) = join([Part(both, Fraction(0)), Part(other, Fraction(1))], tmp_path / "joined.mkv")
    assert sentence == "other.mkv: audio stream 1 (flac, eng) has no counterpart"


@pytest.mark.parametrize(
    ("codec", "suffix", "goes_on"),
    [("aac", "mp4", False), ("aac", "ts", True), ("pcm_s16le", "mov", False), ("ac3", "mkv", True)],
)
def test_sound_of_another_rate_is_not_played_at_the_first_ones(
    codec: str, suffix: str, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where packets do not say it: with AAC of MP4 at half the rate it was twice as fast, or nothing."""
    parts, clip = [], Clip(frames=12, sound=(codec,), options={"preset": "ultrafast"})
    for number, rate in enumerate((48000, 32000)):
        monkeypatch.setattr(clips, "AUDIO_RATE", rate)
        parts.append(Part(make_clip(tmp_path / f"{number}.{suffix}", clip), number * Fraction(12, 25)))
    joined = tmp_path / f"joined.{suffix}"
    said = join(parts, joined)
    rates = {48000, 32000} if goes_on else {48000}
    assert said == (() if goes_on else (f"1.{suffix}: audio stream 1 ({codec}, eng) has no counterpart",))
    with av.open(str(joined)) as container:
        assert {frame.sample_rate for frame in container.decode(audio=0)} == rates


def test_a_second_video_of_another_size_is_not_mixed(tmp_path: Path) -> None:
    front, sources = make_clip(tmp_path / "front.mkv", Clip(frames=5)), []
    for width in (64, 48):
        rear = make_clip(tmp_path / "rear.mkv", Clip(frames=5, width=width))
        sources.append(join_streams(tmp_path / f"{width}.mkv", front, rear))
    (said,) = join([Part(path, n * Fraction(1, 5)) for n, path in enumerate(sources)], tmp_path / "joined.mkv")
    assert said == "48.mkv: video stream 1 (h264) has no counterpart"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_clips_whose_ticks_are_finer_than_the_first_ones(suffix: str, tmp_path: Path) -> None:
    """One that was found without its index counts whole frames; the next clips' were moved to its ticks."""
    times = (0, 3003, 6006, 12000, 13000, 21000)
    coarse = make_clip(tmp_path / "a.mp4", Clip(frames=10, muxer={"video_track_timescale": "25"}))
    fine, joined = make_clip(tmp_path / "b.mp4", Clip(times=times)), tmp_path / f"joined.{suffix}"
    assert (probe(coarse).table.time_base, probe(fine).table.time_base) == (Fraction(1, 25), Fraction(1, 90000))
    join([Part(coarse, Fraction(0)), Part(fine, Fraction(2, 5))], joined)
    table, expected = probe(joined).table, [2 / 5 + time / 90000 for time in times]
    assert np.allclose([float(table.time(10 + k)) for k in range(6)], expected, rtol=0, atol=float(table.time_base) / 2)


def test_frames_that_are_lost_or_late_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Part(make_clip(tmp_path / f"{n}.mkv", Clip(frames=5)), Fraction(n)) for n in range(2)]
    target, write = tmp_path / "joined.mkv", joining._write
    for count, later, said in ((1, 0, "would have 5 frames, its parts have 10"), (2, 1, "0.1000 s beside their times")):

        def write_wrong(given: list[Any], *rest: Any, count: int = count, later: int = later) -> tuple[str, ...]:
            wrong = [given[0], replace(given[1], later=given[1].later + Fraction(later, 10))]
            return write(wrong[:count], *rest)

        monkeypatch.setattr(joining, "_write", write_wrong)
        with pytest.raises(VerifyFailed, match=said):
            join(parts, target)
    monkeypatch.setattr(joining, "_write", write)
    monkeypatch.setattr(joining, "sync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DiskTooSmall, match=r"joined\.mkv"):
        join(parts, target)
    assert not list(tmp_path.glob("joined*"))


def test_what_is_no_continuation_is_refused(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.mp4", BASE)
    for other, why in (
        (replace(BASE, width=128), "another picture"),
        (replace(BASE, rotation=270), "another picture"),
        (replace(BASE, options={"bf": "0", "g": "10", "preset": "ultrafast"}), "other parameters"),
    ):
        second = make_clip(tmp_path / "b.mp4", other)
        with pytest.raises(RunError, match=rf"b\.mp4 .*{why}"):
            join([Part(first, Fraction(0)), Part(second, Fraction(1))], tmp_path / "joined.mp4")
    for begin in (Fraction(1, 5), Fraction(24, 25)):
        with pytest.raises(RunError, match="begins before the video before it ends"):
            join([Part(first, Fraction(0)), Part(first, begin)], tmp_path / "joined.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
