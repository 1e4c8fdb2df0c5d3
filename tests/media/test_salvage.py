"""Damaged sources: what is missing is named, time is kept, hopeless files are refused with a reason."""

from __future__ import annotations

import re
import shutil
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from vidsr.errors import InputEmpty, InputError, NotAVideo
from vidsr.media.decode import decode_range
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.proof.verify import verify
from vidsr.media.recover import lacks_index, probe_or_recover, recover
from vidsr.media.salvage import assess, fill_gaps

FILMED = Clip(frames=60, width=160, height=96, sound=("aac",), options={"g": "10", "bf": "2", "preset": "veryfast"})
FASTSTART = replace(FILMED, muxer={"movflags": "+faststart"})
NO_REORDERING = replace(FASTSTART, options={"g": "10", "bf": "0", "preset": "veryfast"})
FRAGMENTED = replace(FILMED, muxer={"movflags": "frag_keyframe+empty_moov"})


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def without_index(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])
    return path


def broken_packets(path: Path, first: int, stop: int) -> Path:
    """Zeroes the coded data of some pictures, lengths included: packets that no decoder takes."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        spans = [(p.pts, p.pos, p.size) for p in container.demux(video) if p.size]
    for _, position, size in sorted(spans)[first:stop]:
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    return path


MPEG4 = replace(FILMED, codec="mpeg4", options={})


@pytest.mark.parametrize(
    ("suffix", "clip"),
    [
        ("mp4", FASTSTART),
        ("mp4", MPEG4),
        ("mkv", FILMED),
        ("mkv", replace(FILMED, muxer={"live": "1"})),  # whose header does not say where it ends
        ("avi", replace(MPEG4, sound=("libmp3lame",))),
    ],
    ids=["h264", "mpeg4", "mkv", "live", "avi"],
)
def test_whole_file_has_no_damage(tmp_path: Path, suffix: str, clip: Clip) -> None:
    info = probe(make_clip(tmp_path / f"clip.{suffix}", clip))
    assert assess(info) == ()
    assert fill_gaps(info) is info


@pytest.mark.parametrize(
    ("suffix", "clip", "told"),
    [
        ("mp4", FASTSTART, "frames are lost between"),
        ("mp4", FRAGMENTED, "the file ends early"),
        ("mkv", FILMED, "the file ends early"),
        ("avi", replace(MPEG4, sound=("libmp3lame",)), "the file ends early"),
    ],
    ids=["faststart", "fragmented", "mkv", "avi"],
)
def test_truncated_file(tmp_path: Path, suffix: str, clip: Clip, told: str) -> None:
    info = probe(cut(make_clip(tmp_path / f"clip.{suffix}", clip), 0.6))
    damage = assess(info)
    assert any(told in sentence for sentence in damage), damage
    assert 20 < info.frames < 50
    if clip is FASTSTART:
        assert info.frames + _lost(damage) == 60
        end = info.table.time(info.frames)
        assert _gaps(damage)[-1] == (60 - info.frames, end, Fraction(60, 25))
        assert not any("video stream" in each or "ends early" in each for each in damage), "said once"
        assert any("audio stream 1" in sentence and "packets are lost" in sentence for sentence in damage)


def beyond_the_end(path: Path, sound: bool) -> Path:
    """Says of the second chunk of a track's samples that it lies where the file has ended."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"stco") if sound else content.index(b"stco")
    struct.pack_into(">I", content, at + 4 + 8 + 4, len(content) + 1000)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("sound", "told"),
    [(False, r"(\d+) frames? (?:is|are) lost: the file does not hold"), (True, r"audio stream 1.*: (\d+) packets? ")],
)
def test_what_comes_after_a_sample_that_the_file_does_not_hold_is_kept(sound: bool, told: str, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", NO_REORDERING)
    info = probe(beyond_the_end(make_clip(tmp_path / "clip.mp4", NO_REORDERING), sound))
    (said,) = (int(found[1]) for found in (re.search(told, sentence) for sentence in assess(info)) if found)
    assert 0 < said < 50
    upscale(info.path, tmp_path / "result.mp4", info=info)
    proof = verify(info.path, tmp_path / "result.mp4")
    assert proof.ok, [c for c in proof.checks if not c.ok]
    counts = []
    for path in (whole, tmp_path / "result.mp4"):
        with av.open(str(path)) as container:
            counts.append(Counter(packet.stream_index for packet in container.demux() if packet.size))
    lost = counts[0] - counts[1]
    assert lost == {int(sound): said}


def lost_in_the_middle(tmp_path: Path) -> tuple[VideoInfo, set[Fraction]]:
    path = broken_packets(make_clip(tmp_path / "clip.mp4", NO_REORDERING), 24, 28)
    info = probe(path)
    return info, {Fraction(i, 25) for i in range(60)}


def test_gap_stays_a_gap(tmp_path: Path) -> None:
    info, promised = lost_in_the_middle(tmp_path)
    assert info.sequential
    damage = assess(info)
    shown = {info.table.time(i) for i in range(info.frames)}
    assert _lost(damage) == 60 - info.frames >= 4
    assert shown < promised
    lost = promised - shown
    assert all(any(start <= time <= stop for _, start, stop in _gaps(damage)) for time in lost)
    report = upscale(info.path, tmp_path / "result.mp4", info=info)
    assert not report.not_carried
    proof = verify(info.path, tmp_path / "result.mp4")
    assert proof.ok, [c for c in proof.checks if not c.ok]
    made = probe(tmp_path / "result.mp4")
    assert {made.table.time(i) for i in range(made.frames)} == shown


@pytest.mark.parametrize(("first", "said"), [(58, "2 frames are lost between 2.320 s and 2.360 s"),
                                            (59, "1 frame is lost between 2.360 s and 2.360 s")])  # fmt: skip
def test_the_last_frames_are_lost(tmp_path: Path, first: int, said: str) -> None:
    path = broken_packets(make_clip(tmp_path / "clip.mp4", NO_REORDERING), first, 60)
    damage = assess(probe(path))
    assert damage[0] == said


def test_gaps_are_filled_only_when_asked_to(tmp_path: Path) -> None:
    info, promised = lost_in_the_middle(tmp_path)
    filled = fill_gaps(info)
    assert {filled.table.time(i) for i in range(filled.frames)} == promised
    repeated = [i for i in range(1, filled.frames) if filled.shows[i] == filled.shows[i - 1]]
    assert len(repeated) == len(info.missing)
    assert filled.table.end == info.table.end
    outside = replace(info, missing=(info.table.pts[0] - 1, info.table.end))
    assert fill_gaps(outside) is outside, "there is no frame before, or no end to the gap"
    batches = list(decode_range(filled, 0, filled.frames, 16))
    frames = [batch.planes[0][at] for batch in batches for at in range(len(batch))]
    assert len(frames) == 60
    for index in range(1, 60):
        assert (frames[index] == frames[index - 1]).all() == (index in repeated)
    upscale(info.path, tmp_path / "result.mp4", info=filled)
    proof = verify(info.path, tmp_path / "result.mp4")
    assert proof.ok, [c for c in proof.checks if not c.ok]
    assert "repeat the one before" in next(c.detail for c in proof.checks if c.name == "frames")
    assert not verify(info.path, tmp_path / "result.mp4", filled=False).ok


def test_damaged_sound_is_told_beside_lost_frames(tmp_path: Path) -> None:
    path = broken_packets(make_clip(tmp_path / "clip.mp4", NO_REORDERING), 24, 28)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(container.streams.audio[0]) if p.size][20:24]
    for position, size in spans:
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    damage = assess(probe(path))
    assert any("audio stream 1" in s and "packets are damaged" in s for s in damage), damage
    upscale(path, tmp_path / "result.mp4")
    assert verify(path, tmp_path / "result.mp4").ok


def test_real_damaged_files(shared_data: Path) -> None:
    damage = assess(probe(shared_data / "video" / "corrupted.mp4"))
    assert _lost(damage) == 1
    damage = assess(probe(shared_data / "video" / "no-initial-keyframe.ts"))
    assert _lost(damage) == 63
    assert _gaps(damage)[0][0] == 63


@pytest.mark.parametrize(
    "clip",
    [
        replace(FILMED, options={**FILMED.options, "x264-params": "repeat-headers=1"}),
        replace(FILMED, codec="libx265", options={"x265-params": "log-level=none:keyint=10:repeat-headers=1"}),
    ],
    ids=["h264", "hevc"],
)
def test_index_is_missing_and_the_stream_repeats_its_parameters(tmp_path: Path, clip: Clip) -> None:
    whole = make_clip(tmp_path / "whole.mp4", clip)
    shutil.copy(whole, tmp_path / "elsewhere.bak")
    damaged = without_index(whole)
    assert lacks_index(damaged)
    sentences = recover(damaged, tmp_path / ".recovered.mp4")
    info = probe(tmp_path / ".recovered.mp4")
    assert info.frames == 60
    assert "30.000 frames per second" in sentences[1]
    shutil.move(tmp_path / "elsewhere.bak", tmp_path / "sound.mov")
    _assert_same_pictures(info, probe(tmp_path / "sound.mov"))


def _lost(damage: Iterable[str]) -> int:
    return sum(frames for frames, _, _ in _gaps(damage))


def _gaps(damage: Iterable[str]) -> list[tuple[int, Fraction, Fraction]]:
    """Frames, begin and end in seconds of each gap that users are told of."""
    found = (re.fullmatch(r"(\d+) frames? (?:is|are) lost between (.*) s and (.*) s", each) for each in damage)
    return [(int(gap[1]), Fraction(gap[2]), Fraction(gap[3])) for gap in found if gap]


def _assert_same_pictures(info: VideoInfo, original: VideoInfo) -> None:
    assert not info.sequential
    assert info.table.pts[0] == 0
    pairs = zip(decode_range(info, 0, 60, 60), decode_range(original, 0, 60, 60), strict=True)
    for ours, theirs in pairs:
        assert all((a == b).all() for a, b in zip(ours.planes, theirs.planes, strict=True))


def test_index_is_missing_and_a_neighbour_has_the_parameters(tmp_path: Path) -> None:
    neighbour = make_clip(tmp_path / "0001.mp4", FILMED)
    make_clip(tmp_path / "0003.mp4", replace(FILMED, width=320, height=192, frames=20))
    damaged = without_index(Path(shutil.copy(neighbour, tmp_path / "0002.mp4")))
    sentences = recover(damaged, tmp_path / ".recovered.mp4")
    info = probe(tmp_path / ".recovered.mp4")
    assert info.frames == 60
    assert "0001.mp4" in sentences[0]
    assert "25.000 frames per second" in sentences[1]
    _assert_same_pictures(info, probe(neighbour))
    neighbour.unlink()
    with pytest.raises(NotAVideo, match="index is missing"):
        recover(damaged, tmp_path / ".again.mp4")
    assert not (tmp_path / ".again.mp4").exists()


def test_index_is_missing_and_sound_looks_like_a_slice(tmp_path: Path) -> None:
    """As compressed sound, which lies among the pictures, does by chance: here what an AAC encoder makes of silence."""
    neighbour = make_clip(tmp_path / "0001.mp4", FILMED)
    damaged = without_index(Path(shutil.copy(neighbour, tmp_path / "0002.mp4")))
    content, sound = damaged.read_bytes(), bytes.fromhex("00000007211a8fffffffff 00000003016d69 00000003616d64")
    at = content.index(b"mdat") - 4
    size = int.from_bytes(content[at : at + 4], "big") + len(sound)
    damaged.write_bytes(content[:at] + size.to_bytes(4, "big") + content[at + 4 :] + sound)
    recover(damaged, tmp_path / ".recovered.mp4")
    _assert_same_pictures(probe(tmp_path / ".recovered.mp4"), probe(neighbour))


HEVC_FILMED = replace(FILMED, codec="libx265", options={"x265-params": "log-level=none:keyint=10"})
SLICES = replace(FILMED, options={**FILMED.options, "x264-params": "slices=4"})


@pytest.mark.parametrize(
    "filmed",
    [FILMED, replace(FILMED, options={**FILMED.options, "preset": "ultrafast"}), SLICES, HEVC_FILMED],
    ids=["cabac", "cavlc", "slices", "hevc"],
)
@pytest.mark.parametrize("size", [(16, 16), (80, 48), (160, 64), (96, 160), (160, 192), (320, 192)], ids=str)
def test_index_is_missing_and_the_nearest_neighbour_has_another_size(
    tmp_path: Path, filmed: Clip, size: tuple[int, int]
) -> None:
    if filmed is HEVC_FILMED and size == (16, 16):
        size = (32, 32)  # the least that x265 takes
    whole = make_clip(tmp_path / "0009.mp4", filmed)
    damaged = without_index(Path(shutil.copy(whole, tmp_path / "0002.mp4")))
    make_clip(tmp_path / "0001.mp4", replace(filmed, width=size[0], height=size[1], frames=20))
    sentences = recover(damaged, tmp_path / ".recovered.mp4")
    assert "0009.mp4" in sentences[0]
    _assert_same_pictures(probe(tmp_path / ".recovered.mp4"), probe(whole))
    whole.unlink()
    with pytest.raises(NotAVideo, match=r"index is missing.*same camera and resolution"):
        recover(damaged, tmp_path / ".again.mp4")


def test_index_is_missing_and_all_pictures_are_black(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "0001.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "medium"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = 1280, 720
        black = av.VideoFrame.from_ndarray(np.full((1080, 1280), 128, np.uint8), format="yuv420p")
        for number in range(5):
            black.pts = number
            container.mux(stream.encode(black))
        container.mux(stream.encode(None))
    damaged = without_index(Path(shutil.copy(tmp_path / "0001.mp4", tmp_path / "0002.mp4")))
    recover(damaged, tmp_path / ".recovered.mp4")
    assert probe(tmp_path / ".recovered.mp4").frames == 5


def test_index_is_missing_and_other_neighbours_are_no_videos(tmp_path: Path) -> None:
    neighbour = make_clip(tmp_path / "0001.mp4", FILMED)
    damaged = without_index(Path(shutil.copy(neighbour, tmp_path / "0006.mp4")))
    (tmp_path / "0002.mp4").touch()
    (tmp_path / "0003.mp4").mkdir()
    (tmp_path / "0004.mp4").symlink_to(tmp_path / "gone.mp4")
    shutil.copy(neighbour, tmp_path / "0005.mp4").chmod(0)
    with av.open(str(tmp_path / "0007.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*sound.encode(frame), *sound.encode(None)])
    recover(damaged, tmp_path / ".recovered.mp4")
    assert probe(tmp_path / ".recovered.mp4").frames == 60


def test_index_is_missing_in_a_file_with_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = make_clip(tmp_path / "12:29.mp4", FILMED)
    without_index(Path(shutil.copy(whole, "12:30.mp4")))
    recover(Path("12:30.mp4"), Path("12:31.mp4"))
    assert probe(Path("12:31.mp4")).frames == 60


def test_probe_or_recover(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "0001.mp4", FILMED)
    target = tmp_path / ".recovered.mp4"
    info, said = probe_or_recover(whole, target)
    assert (info.path, said, target.exists()) == (whole, (), False)
    damaged = without_index(Path(shutil.copy(whole, tmp_path / "0002.mp4")))
    info, said = probe_or_recover(damaged, target)
    assert (info.path, info.frames, len(said)) == (target, 60, 3)
    written = target.stat().st_mtime_ns
    assert probe_or_recover(damaged, target) == (info, said)
    assert target.stat().st_mtime_ns == written
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(NotAVideo):
        probe_or_recover(tmp_path / "text.mp4", tmp_path / "no.mp4")


def test_real_dashcam_without_its_index(shared_data: Path, tmp_path: Path) -> None:
    shutil.copy(shared_data / "video" / "thinkware-1080p-gps.mp4", tmp_path / "good.mp4")
    damaged = cut(without_index(Path(shutil.copy(tmp_path / "good.mp4", tmp_path / "bad.mp4"))), 0.5)
    sentences = recover(damaged, tmp_path / ".recovered.mp4")
    info = probe(tmp_path / ".recovered.mp4")
    assert 25 <= info.frames <= 35
    assert f"{info.frames} frames were found" in sentences[0]


@pytest.mark.parametrize(
    "content", [b"\0" * 4096, b"MP4? no." * 500, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x08mdat"]
)
def test_hopeless_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        probe(path)
    assert str(path) in caught.value.message
    with pytest.raises(NotAVideo):
        recover(path, tmp_path / ".recovered.mp4")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(InputEmpty, match="0 bytes"):
        probe(tmp_path / "clip.mp4")
