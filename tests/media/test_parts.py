"""Parts of a video (`--start`, `--end`), edit lists that play only parts of a file, captions within its pictures."""

from __future__ import annotations

import itertools
import json
import re
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, join_streams, make_clip
from tests.media.frames import encode_doubled
from tests.media.pipeline import upscale
from vidsr.media.beside.index import index_path
from vidsr.media.beside.write import carry_beside
from vidsr.media.bitstream import NalFormat, captions, user_data_unit
from vidsr.media.decode import user_data_of
from vidsr.media.mux import mux
from vidsr.media.outlets import Outlets
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.proof.verify import verify
from vidsr.media.tags import advanced
from vidsr.settings import EncodeSettings

RATE = Fraction(30000, 1001)


def cut_out(source: Path, result: Path, first: int, stop: int) -> None:
    """Make a part and prove it."""
    info = probe(source)
    report = mux(info, encode_doubled(info, result.parent, [first, stop]), result, first, stop)
    carry_beside(source, result, report.left, made=result, later=info.timecode_at(first))
    proof = verify(source, result, first=first, stop=stop)
    assert proof.ok, [check for check in proof.checks if not check.ok]


def test_a_part_has_the_timecode_of_its_first_frame(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "video" / "gopro-gpmd-tmcd.mp4"
    info = probe(source)
    cut_out(source, tmp_path / "part.mp4", 30, 60)
    before, after = (dict(probe(path).stream.tags)["timecode"] for path in (source, tmp_path / "part.mp4"))
    assert after == advanced(before, 30, info.rate) != before
    with av.open(str(tmp_path / "part.mp4")) as container:
        (track,) = [s for s in container.streams if s.type == "data" and "timecode" in s.metadata]
        assert track.metadata["timecode"] == after


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_a_part_has_the_uncompressed_sound_of_its_time(suffix: str, tmp_path: Path) -> None:
    """Packets that begin with the part's first frame are its own, those that begin where it ends are not."""
    source = make_clip(tmp_path / f"clip.{suffix}", Clip(frames=40, sound=("pcm_s16le",)))
    with av.open(str(source)) as container:
        times = {p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None}
    first, stop = 8, 32
    assert {Fraction(first, 25), Fraction(stop, 25)} <= times
    cut_out(source, tmp_path / f"part.{suffix}", first, stop)


def _count_by(path: Path, rate: Fraction) -> None:
    """Makes a file's timecode count so many frames a second."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"tmcd")  # the last one is that of the sample description
    struct.pack_into(">IIB", content, entry + 20, rate.numerator, rate.denominator, round(rate))
    path.write_bytes(content)


DROPPED = tuple(1001 * number for number in range(60) if number % 10 not in (3, 7))


def test_a_timecode_that_lies_beside_is_that_of_the_first_frame(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", Clip(frames=6, tags={"timecode": "01:00:00:00"}))
    cut_out(source, tmp_path / "part.ts", 3, 6)
    assert json.loads(index_path(tmp_path / "part.ts").read_text())["tags"]["timecode"] == "01:00:00:03"


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
@pytest.mark.parametrize("timecode", ["01:02:03;04", "01:02:03:29"])
@pytest.mark.parametrize(
    ("clip", "begin", "later"),
    [
        (Clip(times=DROPPED, tick=Fraction(1, 30000), rate=RATE), 24, 30),
        (Clip(frames=60, rate=2 * RATE), 30, 15),
        (Clip(frames=60, rate=RATE), 30, 30),
    ],
    ids=["frames left out", "half the rate", "the same rate"],
)
def test_a_timecode_counts_as_before(
    clip: Clip, begin: int, later: int, timecode: str, suffix: str, tmp_path: Path
) -> None:
    """Whatever the rate of the pictures, which cameras leave out, or of which two have one number."""
    source = make_clip(tmp_path / f"source.{suffix}", replace(clip, tags={"timecode": timecode}))
    _count_by(source, RATE)
    before = dict(probe(source).stream.tags)["timecode"]
    for first in (0, begin):
        result = tmp_path / f"{first}.{suffix}"
        cut_out(source, result, first, len(clip.seconds))
        assert dict(probe(result).stream.tags)["timecode"] == advanced(before, later if first else 0, RATE)


@pytest.mark.parametrize(
    ("before", "frames", "rate", "after"),
    [
        ("01:00:00:00", 30, Fraction(30), "01:00:01:00"),
        ("00:00:59;29", 1, RATE, "00:01:00;02"),
        ("00:09:59;29", 1, RATE, "00:10:00;00"),
        ("00:00:00;00", 17982, RATE, "00:10:00;00"),
        ("00:08:59;59", 1, 2 * RATE, "00:09:00;04"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("00:00:00:00", 3, Fraction(1, 3), "00:00:03:00"),
        ("no timecode", 9, RATE, "no timecode"),
    ],
)
def test_timecodes_go_on(before: str, frames: int, rate: Fraction, after: str) -> None:
    assert advanced(before, frames, rate) == after


@pytest.mark.parametrize(
    ("before", "after", "timecode"),
    [
        ("mkv", "mkv", "1:00:00:00"),
        ("mkv", "mkv", "00:00:00:30"),
        ("mkv", "mp4", "1:00:00:00"),
        ("mp4", "mp4", "25:00:00:00"),
    ],
)
def test_an_odd_timecode_of_a_whole_video_stays(before: str, after: str, timecode: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / f"clip.{before}", Clip(frames=6, tags={"timecode": timecode}))
    cut_out(source, tmp_path / f"whole.{after}", 0, 6)


@pytest.mark.parametrize("rate", [Fraction(1, 3), Fraction(480)])
def test_a_timecode_of_very_slow_or_fast_frames(rate: Fraction, tmp_path: Path) -> None:
    """A timecode track counts 1 to 255 numbers a second."""
    source = make_clip(tmp_path / "clip.mkv", Clip(frames=6, rate=rate, tags={"timecode": "01:00:00:00"}))
    for first in (0, 3):
        cut_out(source, tmp_path / f"{first}.mp4", first, 6)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mov_text"), ("mkv", "subrip")])
def test_a_part_that_begins_within_a_subtitle(suffix: str, codec: str, tmp_path: Path) -> None:
    """Each is shown for 200 ms; frame 7 is at 280 ms."""
    clip = Clip(frames=40, subtitles=(codec,), sound=("aac",), options={"g": "10"})
    source = make_clip(tmp_path / f"clip.{suffix}", clip)
    cut_out(source, tmp_path / f"part.{suffix}", 7, 30)
    with av.open(str(tmp_path / f"part.{suffix}")) as container:
        track = container.streams.subtitles[0]
        times = [float(p.pts * p.time_base) for p in container.demux(track) if p.size > 2]
    assert times == pytest.approx([0, 0.12, 0.32], abs=0.002)


def test_a_part_has_the_chapters_that_overlap_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "clip.mkv", Clip(frames=40, chapters=4, options={"g": "10"}))
    cut_out(source, tmp_path / "part.mkv", 12, 25)
    with av.open(str(tmp_path / "part.mkv")) as container:
        assert len(container.chapters()) == 2
    monkeypatch.setattr(Outlets, "add_chapters", lambda *_: None)
    info = probe(source)
    mux(info, encode_doubled(info, tmp_path, [12, 25]), tmp_path / "bare.mkv", 12, 25)
    wrong = [check.name for check in verify(source, tmp_path / "bare.mkv", first=12, stop=25).checks if not check.ok]
    assert wrong == ["chapters"]


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("mkv", "ac3"), ("mkv", "libopus"), ("ts", "mp2")])
def test_a_part_of_silence(suffix: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packets are all the same; one that is missing is found by the times of those after it."""
    clip = Clip(frames=60, sound=(codec,), silent=True, options={"g": "10"})
    source, part = make_clip(tmp_path / f"clip.{suffix}", clip), tmp_path / f"part.{suffix}"
    cut_out(source, part, 35, 50)
    given = itertools.count()
    with monkeypatch.context() as sabotage:
        address = Outlets.address
        sabotage.setattr(Outlets, "address", lambda *a: _later(address(*a)) if next(given) == 7 else address(*a))
        info = probe(source)
        mux(info, encode_doubled(info, tmp_path, [35, 50]), part, 35, 50)
    wrong = [check.name for check in verify(source, part, first=35, stop=50).checks if not check.ok]
    assert wrong == ["audio 1"]


def _later(packet: av.Packet) -> av.Packet:
    packet.pts += round(Fraction(15, 1000) / packet.time_base)
    packet.dts = packet.pts
    return packet


def lines(path: Path, codec: str, times: tuple[int, ...]) -> Path:
    """Lines of text that are shown for 100 ms from these milliseconds on."""
    with av.open(str(path), "w") as container:
        track = container.add_mux_stream(codec)
        for time in times:
            text = b"%d km/h" % time
            packet = av.Packet(struct.pack(">H", len(text)) + text if codec == "mov_text" else text)
            packet.stream, packet.time_base = track, Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = time, time, 100
            container.mux(packet)
    return path


@pytest.mark.parametrize("times", [(0,), (0, 500)])
@pytest.mark.parametrize(
    ("suffix", "result", "subtitle"), [("mp4", "mp4", "mov_text"), ("mp4", "mov", "mov_text"), ("mkv", "mkv", "subrip")]
)
def test_a_part_without_packets_of_some_streams(
    suffix: str, result: str, subtitle: str, times: tuple[int, ...], tmp_path: Path
) -> None:
    """Sound, subtitles and data end before it; MP4 has a filler where it has no line."""
    short = Clip(frames=20, sound=("aac",), data="bin_data" if suffix == "mp4" else None)
    early = make_clip(tmp_path / f"early.{suffix}", short)
    text = lines(tmp_path / f"text.{suffix}", subtitle, times)
    late = make_clip(tmp_path / f"late.{suffix}", Clip(frames=50, options={"g": "10"}))
    source = join_streams(tmp_path / f"clip.{suffix}", late, early, text)
    cut_out(source, tmp_path / f"part.{result}", 30, 45)
    checks = verify(source, tmp_path / f"part.{result}", first=30, stop=45).checks
    without = {check.name.split()[0] for check in checks if check.detail.endswith("no packets in this part")}
    assert without == {"video", "audio", "subtitle"} | ({"data"} if suffix == "mp4" else set())


def test_a_lost_subtitle_that_spans_the_part_is_found(tmp_path: Path) -> None:
    """No line begins in the part, and one that begins before it is shown throughout."""
    clip = Clip(frames=40, options={"g": "10"})
    source = make_clip(tmp_path / "clip.mp4", replace(clip, subtitles=("mov_text",)))
    cut_out(source, tmp_path / "part.mp4", 6, 9)
    cut_out(make_clip(tmp_path / "bare.mp4", clip), tmp_path / "lost.mp4", 6, 9)
    wrong = [check.name for check in verify(source, tmp_path / "lost.mp4", first=6, stop=9).checks if not check.ok]
    assert wrong == ["subtitle 1"]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_part_with_sound_that_avi_counts_by_packets(suffix: str, tmp_path: Path) -> None:
    """A tick of 24 milliseconds, of which the part begins 16 after one."""
    clip = Clip(codec="mpeg4", frames=40, sound=("libmp3lame",))
    cut_out(make_clip(tmp_path / "clip.avi", clip), tmp_path / f"part.{suffix}", 13, 26)


def edit(path: Path, edits: list[tuple[int | None, int]], tracks: tuple[int, ...] = (0, 1)) -> Path:
    """Give tracks an edit list of (begin, length) in milliseconds; the movie's ticks are milliseconds.

    Where `begin` is None nothing is shown for that long.
    """
    content = bytearray(path.read_bytes())
    numbers = itertools.count()
    at = 0
    while (at := content.find(b"elst", at + 1)) >= 0:
        if next(numbers) not in tracks:
            continue
        track = content.rindex(b"trak", 0, at)
        scale = content.index(b"mdhd", track) + 16
        (ticks,) = struct.unpack_from(">I", content, scale)
        (lead,) = struct.unpack_from(">i", content, at + 16)
        begins = (-1 if begin is None else lead + begin * ticks // 1000 for begin, _ in edits)
        entries = b"".join(struct.pack(">IiHH", n, at, 1, 0) for at, (_, n) in zip(begins, edits, strict=True))
        grown = len(entries) - 12 * struct.unpack_from(">I", content, at + 8)[0]
        content[at + 12 : at + 12 + len(entries) - grown] = entries
        struct.pack_into(">I", content, at + 8, len(edits))
        for box in (at, content.rindex(b"edts", 0, at), track, content.rindex(b"moov", 0, at)):
            struct.pack_into(">I", content, box - 4, struct.unpack_from(">I", content, box - 4)[0] + grown)
    path.write_bytes(bytes(content))
    return path


def heard(path: Path) -> float:
    """Seconds of sound that a player plays."""
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate


def begins(path: Path, **stream: int) -> float:
    """When a stream's first frame is, in seconds."""
    with av.open(str(path)) as container:
        frame = next(container.decode(**stream))
        return float(frame.pts * frame.time_base)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize(
    "edits",
    [[(0, 600), (1200, 600)], [(800, 1200)], [(520, 1200)]],
    ids=["middle cut out", "begin cut off", "begin cut off between times that Matroska has"],
)
def test_sound_that_an_edit_list_cuts_out_stays_out(edits: list[tuple[int, int]], suffix: str, tmp_path: Path) -> None:
    clip = Clip(frames=50, sound=("aac",), options={"g": "5", "bf": "0"})
    source = edit(make_clip(tmp_path / "clip.mp4", clip), edits)
    result = tmp_path / f"result.{suffix}"
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert heard(source) == pytest.approx(1.2, abs=0.05)
    assert heard(result) == pytest.approx(heard(source), abs=0.13)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("begin", [0, 250])
def test_sound_that_begins_late_is_not_heard_earlier(begin: int, suffix: str, tmp_path: Path) -> None:
    """What an edit list cuts off before it would be played, as it does not lie before 0: the encoder's delay too."""
    clip = Clip(frames=50, sound=("aac",), options={"g": "5", "bf": "0"})
    source = edit(make_clip(tmp_path / "clip.mp4", clip), [(None, 300), (begin, 500)], tracks=(1,))
    result = tmp_path / f"result.{suffix}"
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert heard(result) == pytest.approx(heard(source), abs=0.022)
    assert begins(result, audio=0) - begins(result, video=0) == pytest.approx(0.3, abs=0.023)


def test_lines_that_an_edit_list_moves(tmp_path: Path) -> None:
    clip = Clip(frames=50, subtitles=("mov_text",), options={"g": "5", "bf": "0"})
    source = edit(make_clip(tmp_path / "clip.mp4", clip), [(None, 300), (0, 800)], tracks=(1,))
    result = tmp_path / "result.mp4"
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    with av.open(str(result)) as container:
        packets = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size > 2]
    assert [bytes(packet)[2:8] for packet in packets] == [b"line 0", b"line 1", b"line 2", b"line 3"]
    assert all(packet.pts >= 0 for packet in packets)


def with_early_sound(path: Path, codec: str) -> Path:
    """A Matroska file with sound from 320 ms before 0 on, where its first frame is, and with two chapters."""
    kept = {"avoid_negative_ts": "disabled"}
    clip = Clip(sound=(codec,), start=Fraction(8, 25), options={"g": "5"}, muxer=kept)
    later = make_clip(path.with_name("later.mkv"), clip)
    with av.open(str(later)) as source, av.open(str(path), "w", container_options=kept) as early:
        copies = {each.index: early.add_stream_from_template(each, opaque=True) for each in source.streams}
        early.set_chapters(
            [
                {"id": i, "start": i * 400, "end": i * 400 + 400, "time_base": Fraction(1, 1000),
                 "metadata": {"title": f"Part {i}"}}
                for i in range(2)
            ]
        )  # fmt: skip
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                packet.pts, packet.dts = packet.pts - 320, packet.dts - 320
                early.mux(packet)
    return path


FRAGMENTS = "+empty_moov+default_base_moof"


def _sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_of_fragments_of_one_frame_is_whole(suffix: str, tmp_path: Path) -> None:
    """FFmpeg's muxer gives half of its packets the time of those before, and its demuxer marks these as cut out."""
    clip = Clip(sound=("aac",), frames=40, options={"bf": "0"}, muxer={"movflags": f"frag_every_frame{FRAGMENTS}"})
    source, result = make_clip(tmp_path / "clip.mp4", clip), tmp_path / f"result.{suffix}"
    with av.open(str(source)) as container:
        assert any(packet.is_discard for packet in container.demux(audio=0))
    upscale(source, result)
    assert _sound_of(result) == _sound_of(source)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    cut_out(source, tmp_path / f"part.{suffix}", 10, 30)


def test_pictures_of_fragments_that_come_twice_are_said_to_be_left_out(tmp_path: Path) -> None:
    clip = Clip(frames=40, options={"g": "10", "bf": "0"}, muxer={"movflags": f"frag_keyframe{FRAGMENTS}"})
    content = make_clip(tmp_path / "clip.mp4", clip).read_bytes()
    second, third = (m.start() - 4 for m in list(re.finditer(b"moof", content))[1:3])
    twice = tmp_path / "twice.mp4"
    twice.write_bytes(content[:third] + content[second:])
    info = probe(twice)
    (note,) = info.notes
    assert len(info.table) == 40 and "10 pictures are left out" in note


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "aac"), ("mov", "aac"), ("mp4", "libopus"), ("mov", "ac3"), ("mp4", "libmp3lame"), ("mkv", "aac")],
)
def test_sound_that_is_heard_before_the_first_frame_still_is(suffix: str, codec: str, tmp_path: Path) -> None:
    """Nothing before 0 is played of MP4 and MOV. There the encoder's delay, which is silent, is played too."""
    source, result = with_early_sound(tmp_path / "early.mkv", codec), tmp_path / f"result.{suffix}"
    assert begins(source, video=0) == 0
    assert begins(source, audio=0) == pytest.approx(-0.32, abs=0.025)
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert heard(result) == pytest.approx(heard(source), abs=0.025)
    assert begins(result, audio=0) - begins(result, video=0) == pytest.approx(-0.32, abs=0.025)
    cut_out(source, tmp_path / f"begin.{suffix}", 0, 15)
    cut_out(source, tmp_path / f"end.{suffix}", 15, 24)


def test_a_result_that_hides_early_sound_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, result = with_early_sound(tmp_path / "early.mkv", "aac"), tmp_path / "result.mp4"
    with monkeypatch.context() as sabotage:
        sabotage.setattr(VideoInfo, "sound_lead", Fraction(0))
        upscale(source, result)
    wrong = [check.name for check in verify(source, result).checks if not check.ok]
    assert "audio 1" in wrong and "times" in wrong


@pytest.mark.parametrize("codec", ["auto", "libx265", "ffv1"])
def test_closed_captions_stay_with_their_frames(codec: str, tmp_path: Path) -> None:
    """As American broadcasts and some recorders have them, inside the coded pictures."""
    plain = make_clip(tmp_path / "plain.mkv", Clip(frames=20, options={"bf": "2", "g": "10"}))
    source = tmp_path / "captioned.mkv"
    with av.open(str(plain)) as before, av.open(str(source), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        form = NalFormat.of("h264", before.streams.video[0].codec_context.extradata)
        for packet in before.demux(video=0):
            if packet.size:
                message = next(captions(b"\xfc\x94" + bytes([packet.pts // 40 % 128]) + b"\xf9\x80\x80"))
                unit = user_data_unit((message,), form)
                fuller = av.Packet(len(unit).to_bytes(4, "big") + unit + bytes(packet))
                fuller.pts, fuller.dts, fuller.time_base = packet.pts, packet.dts, packet.time_base
                fuller.is_keyframe, fuller.stream = packet.is_keyframe, stream
                after.mux(fuller)
    with av.open(str(source)) as container:
        given = [user_data_of(frame) for frame in container.decode(video=0)]
    assert len(set(given)) == 20
    result = tmp_path / "result.mkv"
    upscale(source, result, settings=EncodeSettings(codec=codec))
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert any(check.name == "user data of frames" and "20 messages" in check.detail for check in proof.checks)
    if codec != "ffv1":  # whose captions lie beside the result
        with av.open(str(result)) as container:
            assert [user_data_of(frame) for frame in container.decode(video=0)] == given
