"""What `probe` says of a file, held against what decoding it gives."""

from __future__ import annotations

import itertools
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.media.clips import CASES, VFR, Clip, encodable, frame_of, join_streams, make_clip, picture
from tests.media.frames import VIDEOS, decoded
from vidsr.errors import InputEmpty, InputMissing, NoPicture, NotAVideo
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.recover import probe_or_recover

LARGE = {"drive-yellow.mp4", "dashcam-360p.mp4", "vfr-odd.mp4", "thinkware-1080p-gps.mp4"}
SEQUENTIAL = {"corrupted.mp4": "damaged", "no-initial-keyframe.ts": "key frame"}


def assert_table_is_what_decoding_gives(info: VideoInfo) -> None:
    assert list(info.table.pts) == [pts for pts, _ in decoded(info.path)]
    assert all(a < b for a, b in itertools.pairwise(info.table.pts))
    assert len(info.table.key) == len(info.table.durations) == len(info.table) == info.frames
    assert info.table.key[0]
    assert all(duration > 0 for duration in info.table.durations)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in VIDEOS])
def test_real_files_have_the_frames_that_decoding_gives(shared_data: Path, name: str) -> None:
    info = probe(shared_data / "video" / name)
    assert_table_is_what_decoding_gives(info)
    reason = SEQUENTIAL.get(name)
    assert (info.sequential is None) if reason is None else (reason in (info.sequential or ""))
    assert pickle.loads(pickle.dumps(info)) == info


@pytest.mark.parametrize("case", CASES)
def test_synthetic_files_have_the_frames_that_decoding_gives(tmp_path: Path, case: str) -> None:
    suffix, clip = CASES[case]
    if not encodable(clip):
        pytest.skip(f"no encoder {clip.codec} here")
    info = probe(make_clip(tmp_path / f"clip.{suffix}", clip))
    assert_table_is_what_decoding_gives(info)
    assert info.sequential is None
    assert (info.width, info.height) == (clip.width, clip.height)
    assert info.layout.pix_fmt == clip.pix_fmt.replace("yuvj", "yuv")


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_variable_rate_keeps_every_time_and_the_last_duration(codec: str, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(codec, times=VFR)))
    assert [time * info.table.time_base for time in info.table.pts] == [Fraction(t, 90000) for t in VFR]
    assert info.table.durations[-1] * info.table.time_base == Fraction(1, 25)
    assert info.duration == Fraction(VFR[-1], 90000) + Fraction(1, 25)


def test_geometry_and_streams(shared_data: Path) -> None:
    videos = shared_data / "video"
    assert probe(videos / "rotated.mp4").rotation == -90
    assert probe(videos / "nasa_13013_rotated.mp4").rotation == 90
    assert probe(videos / "sar-2x1.mp4").sample_aspect == 2
    info = probe(videos / "nasa_13013.mp4")
    assert [s.kind for s in info.streams] == ["video", "audio", "subtitle", "video", "audio", "subtitle"]
    assert info.stream_index == 0 and info.streams[2].language == "eng"
    assert probe(videos / "drive-960x540.mp4").stream_index == 1


def test_colour(shared_data: Path) -> None:
    videos = shared_data / "video"
    colour = probe(videos / "bt601_full_range.mp4").colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.full_range) == (6, 6, 6, True)
    colour = probe(videos / "testsrc2_hdr.mp4").colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.full_range) == (9, 9, 16, False)
    assert probe(videos / "h264_10bits.mp4").layout.depth == 10
    assert not probe(videos / "h264_10bits.mp4").colour.tagged_range


def test_chroma_location(tmp_path: Path) -> None:
    plain = probe(make_clip(tmp_path / "plain.mp4", Clip()))
    corner = probe(make_clip(tmp_path / "corner.mp4", Clip(options={"chroma_sample_location": "topleft"})))
    assert (plain.colour.chroma_location, corner.colour.chroma_location) == (1, 3)


def test_user_data_is_noticed_and_an_encoders_banner_is_not(tmp_path: Path, shared_data: Path) -> None:
    assert not probe(make_clip(tmp_path / "banner.mp4", Clip())).user_data
    assert probe(shared_data / "video" / "drive-720p-short.mp4").user_data


def test_packets_without_timestamps_are_decoded_to_count_frames(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.h264", Clip(options={"bf": "2"})))
    assert info.sequential is not None and "timestamp" in info.sequential
    assert info.frames == 24 and info.rate == 25
    assert set(info.table.durations) == {Fraction(1, 25) / info.table.time_base}


def test_b_frames_in_avi(tmp_path: Path) -> None:
    assert_table_is_what_decoding_gives(
        probe(make_clip(tmp_path / "clip.avi", Clip(codec="mpeg4", options={"bf": "2", "g": "9"})))
    )


def test_a_file_without_key_frame_flags_has_one(tmp_path: Path) -> None:
    """MPEG-4 in MP4 without a sync sample table calls every packet a key frame."""
    path = make_clip(tmp_path / "clip.mp4", Clip(codec="mpeg4", options={"g": "6"}))
    content = path.read_bytes()
    assert content.count(b"stss") == 1
    path.write_bytes(content.replace(b"stss", b"free"))
    assert sum(probe(path).table.key) == 1


def test_wrong_key_frame_flags_are_seen_through(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=20, options={"g": "10", "bf": "0"}))
    right = probe(path).table.key
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    assert probe(path).table.key == right


def test_decoding_on_request_finds_the_same_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(options={"bf": "2"}))
    info, counted = probe(path), probe(path, decode=True)
    assert counted.sequential is not None
    assert counted.table.pts == info.table.pts
    assert counted.missing == ()


def test_bits_per_pixel_count_the_picture_alone(tmp_path: Path) -> None:
    """The same frames in containers with and without overhead and sound."""
    rates = []
    for name, sound in (("quiet.mp4", ()), ("loud.mkv", ("aac",)), ("loud.ts", ("aac",))):
        path = make_clip(tmp_path / name, Clip(frames=12, sound=sound))
        rates.append(probe(path).bits_per_pixel)
        with av.open(str(path)) as container:
            size = sum(packet.size for packet in container.demux(video=0))
        assert rates[-1] == 8 * size / (12 * 96 * 64)
    assert max(rates) < 1.1 * min(rates)  # MPEG-TS repeats the stream's parameters


def test_pictures_that_cannot_be_decoded_are_missing(shared_data: Path) -> None:
    info = probe(shared_data / "video" / "corrupted.mp4")
    assert info.missing == (30720,) and info.frames == 49
    gap = info.table.durations[info.table.pts.index(29696)]
    assert gap == 2048  # the lost picture's time stays


def test_what_a_session_of_python_prints_is_short(tmp_path: Path) -> None:
    """An hour of video was some megabytes of numbers."""
    info = probe(make_clip(tmp_path / "drive.mp4", Clip(frames=150, width=32, height=32)))
    assert "150 frames" in repr(info) and len(repr(info)) < 2000


def test_refusals(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(InputMissing):
        probe(tmp_path / "nothing.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputEmpty):
        probe(tmp_path / "empty.mp4")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20000))
    with pytest.raises(NotAVideo):
        probe(tmp_path / "noise.mp4")
    with pytest.raises(NoPicture):
        probe(shared_data / "video" / "two-audio.mp4")
    make_clip(tmp_path / "a.mp4", Clip(frames=3))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\nfile a.mp4\n")
    with pytest.raises(NotAVideo, match="a list of other files"):
        probe(tmp_path / "list.mp4")


def test_a_film_is_chosen_before_a_cover(tmp_path: Path) -> None:
    clip = Clip()
    cover = av.CodecContext.create("mjpeg", "w")
    assert isinstance(cover, av.VideoCodecContext)
    cover.width, cover.height, cover.pix_fmt, cover.time_base = 32, 32, "yuvj420p", Fraction(1, 25)
    small = Clip(width=32, height=32)
    picture_packet = cover.encode(frame_of(picture(small, 0), "yuvj420p", 32, 32))[0]
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container, av.open(str(make_clip(tmp_path / "film.mp4", clip))) as film:
        attached = container.add_mux_stream("mjpeg", width=32, height=32)
        attached.disposition = av.stream.Disposition.attached_pic
        video = container.add_stream_from_template(film.streams.video[0], opaque=True)
        picture_packet.stream = attached
        picture_packet.pts = picture_packet.dts = 0
        container.mux(picture_packet)
        for packet in film.demux():
            if packet.size:
                packet.stream = video
                container.mux(packet)
    info = probe(path)
    assert info.codec == "h264" and info.frames == 24
    assert [stream.cover for stream in info.streams].count(True) == 1


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"avis"])
def test_heic_and_avif_pictures_are_no_films(tmp_path: Path, brand: bytes) -> None:
    """FFmpeg gives each tile of a phone's picture as a film of one frame: a corner of it would be enlarged."""
    source = tmp_path / "still.heic"
    Image.new("RGB", (32, 20), "red").save(source, "AVIF")
    source.write_bytes(source.read_bytes().replace(b"ftypavif", b"ftyp" + brand))
    with pytest.raises(NotAVideo, match="save it as JPEG"):
        probe_or_recover(source, tmp_path / "recovered.mp4")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_that_a_second_video_is_not_enlarged_is_said(tmp_path: Path, suffix: str) -> None:
    front, rear = (make_clip(tmp_path / f"{name}.mp4", Clip(frames=4)) for name in ("front", "rear"))
    assert probe(front).notes == ()
    (note,) = probe(join_streams(tmp_path / f"both.{suffix}", front, rear)).notes
    assert note.startswith("video stream 1 (h264") and "is not enlarged, but kept as it is" in note
