"""Segments: their samples, colour, user data, HDR metadata, and what encoders refuse."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.media.clips import CASES, Clip, encodable, make_clip
from tests.media.frames import double
from vidsr.errors import (
    DiskTooSmall,
    EncoderError,
    EncoderMissing,
    OutputUnwritable,
    SettingsError,
    UnknownCodec,
    UnsupportedSize,
)
from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.media.bitstream import NalFormat, insert_user_data, nal_units, sei_messages
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.encoders import (
    best_pix_fmt,
    check_encoder,
    check_hdr,
    check_matrix,
    choose_codec,
    encoder_options,
    pix_fmt_for,
)
from vidsr.media.firstframe import Hdr
from vidsr.media.probe import VideoInfo, probe
from vidsr.settings import EncodeSettings

QUICK = {"libx264": "ultrafast", "libx265": "ultrafast", "libsvtav1": "12", "libvpx-vp9": "8"}


def encode(
    path: Path, info: VideoInfo, codec: str, batches: list[FrameBatch] | None = None, threads: int = 2, crf: int = -1
) -> Path:
    batches = batches or [double(batch) for batch in decode_range(info, 0, info.frames, 5)]
    settings = EncodeSettings(codec, None if crf < 0 else crf, QUICK.get(codec))
    with SegmentEncoder(path, info, batches[0].width, batches[0].height, settings, threads) as encoder:
        for batch in batches:
            encoder.write(batch)
        assert encoder.close() == sum(map(len, batches))
    return path


def luma_error(info: VideoInfo, made: VideoInfo) -> float:
    """Mean absolute difference of luma, in code values of 8 bits."""
    worst = 0.0
    pairs = zip(decode_range(info, 0, info.frames, 8), decode_range(made, 0, made.frames, 8), strict=True)
    for source, result in pairs:
        ours = result.planes[0] / 2.0 ** (result.layout.depth - 8)
        worst = max(worst, float(np.abs(double(source).planes[0] / 2.0 ** (source.layout.depth - 8) - ours).mean()))
    return worst


@pytest.mark.parametrize("case", CASES)
def test_the_default_encoder_keeps_samples_depth_and_colour(tmp_path: Path, case: str) -> None:
    suffix, clip = CASES[case]
    if not encodable(clip):
        pytest.skip(f"no encoder {clip.codec} here")
    info = probe(make_clip(tmp_path / f"clip.{suffix}", clip))
    made = probe(encode(tmp_path / "segment.mkv", info, choose_codec(info)))
    assert (made.width, made.height) == (info.width * 2, info.height * 2)
    assert made.layout == info.layout
    assert replace(made.colour, tagged_range=info.colour.tagged_range) == info.colour
    assert made.sample_aspect == info.sample_aspect
    assert made.table.key[0]
    assert luma_error(info, made) < 1.5


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "mpeg4", "mjpeg"])
def test_every_encoder_writes_all_frames_in_order(tmp_path: Path, codec: str) -> None:
    if not encodable(Clip(codec=codec)):
        pytest.skip(f"no encoder {codec} here")
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(colour=(1, 1, 1, 1))))
    made = probe(encode(tmp_path / "segment.mkv", info, codec))
    assert made.frames == info.frames
    assert luma_error(info, made) < 1.5


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip()))
    for codec in ("libx264", "libx265", "ffv1"):
        packets = []
        for run in range(2):
            path = encode(tmp_path / f"{codec}{run}.mkv", info, codec)
            with av.open(str(path)) as container:
                packets.append([bytes(packet) for packet in container.demux() if packet.size])
        assert packets[0] == packets[1]


def test_a_prores_source_is_not_brought_down(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mov", Clip(codec="prores_ks", pix_fmt="yuv422p10le", frames=3)))
    assert choose_codec(info) == "prores_ks"
    assert probe(encode(tmp_path / "segment.mkv", info, "prores_ks")).layout == info.layout


def test_auto_takes_an_encoder_with_the_very_layout(tmp_path: Path) -> None:
    grey = probe(make_clip(tmp_path / "grey.mkv", Clip(codec="ffv1", pix_fmt="gray", frames=3)))
    for codec in ("av1", "mjpeg"):  # SVT-AV1 has no grey, and x264's does not come back as such
        assert choose_codec(replace(grey, codec=codec)) == "libx265"
    made = probe(encode(tmp_path / "segment.mkv", grey, "libx265"))
    assert made.layout == grey.layout and luma_error(grey, made) < 1.5
    dv = probe(
        make_clip(tmp_path / "dv.avi", Clip("dvvideo", "yuv411p", 720, 480, frames=3, rate=Fraction(30000, 1001)))
    )
    assert choose_codec(dv) == "ffv1"


@pytest.mark.parametrize("codec", ["ffv1", "libvpx-vp9", "mjpeg"])
def test_hdr_metadata_that_cannot_be_kept_is_refused(tmp_path: Path, codec: str) -> None:
    info = replace(probe(make_clip(tmp_path / "clip.mp4", Clip(frames=3))), hdr=HDR)
    with pytest.raises(SettingsError, match=f"{codec} cannot keep the HDR metadata"):
        check_hdr(codec, info)
    with pytest.raises(SettingsError, match="libsvtav1 cannot keep"):  # a display of which only the colours are known
        check_hdr("libsvtav1", replace(info, hdr=replace(HDR, luminance=None)))


@pytest.mark.parametrize(("name", "codec"), [("clip.mkv", "libx265"), ("clip.webm", "libsvtav1")])
def test_auto_takes_an_encoder_that_keeps_hdr_metadata(tmp_path: Path, name: str, codec: str) -> None:
    """VP9 has no place for it but the container's."""
    clip = Clip(codec="libvpx-vp9", frames=3)
    info = probe(make_clip(tmp_path / name, clip))
    assert choose_codec(info) == "libvpx-vp9"
    assert choose_codec(replace(info, hdr=HDR)) == codec
    assert choose_codec(replace(info, hdr=replace(HDR, luminance=None))) == "libx265"
    lossless = replace(info, codec="ffv1", hdr=HDR, path=tmp_path / "clip.mkv")
    assert choose_codec(lossless) == "ffv1", "to stay lossless is the user's to give up"


@pytest.mark.parametrize("codec", ["mjpeg", "libvpx"])
def test_a_colour_matrix_that_a_codec_cannot_say_is_refused(tmp_path: Path, codec: str) -> None:
    info = probe(make_clip(tmp_path / "clip.mkv", Clip(frames=3, colour=(1, 1, 1, 1))))
    with pytest.raises(SettingsError, match=f"{codec} cannot say the colour matrix of .*clip.mkv; use"):
        check_matrix(codec, info)
    again = probe(encode(tmp_path / "segment.mkv", info, codec))
    check_matrix(codec, again)
    assert best_pix_fmt("libvpx", info.layout, full_range=True) is None


USER_DATA = (bytes(range(16)) + b"speed 42", bytes(range(16, 32)) + b"\0\0\1\0\0\0\3\0\0" + b"x" * 600)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_user_data_stays_with_its_frame(tmp_path: Path, codec: str) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(options={"bf": "2"})))
    batches = [double(batch) for batch in decode_range(info, 0, info.frames, 5)]
    given = [tuple(m + bytes([i + 1]) for m in USER_DATA[: (i + 1) % 3]) for i in range(info.frames)]
    plain = encode(tmp_path / "plain.mkv", info, codec, [replace(batch, user_data=()) for batch in batches])
    batches = [replace(batch, user_data=tuple(given[i] for i in batch.index)) for batch in batches]
    made = probe(encode(tmp_path / "segment.mkv", info, codec, batches))
    assert made.user_data
    assert [m for batch in decode_range(made, 0, made.frames, 4) for m in batch.user_data] == given
    assert flags(tmp_path / "segment.mkv") == flags(plain)


def flags(path: Path) -> list[tuple[int | None, int | None, bool]]:
    """When each packet is shown and how long, and whether the file says that decoding can begin with it."""
    with av.open(str(path)) as container:
        return [(packet.pts, packet.duration, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def test_a_user_data_unit_survives_its_own_syntax() -> None:
    for form in (NalFormat(hevc=False, length_size=0), NalFormat(hevc=True, length_size=0)):
        picture = b"\0\0\0\1" + (b"\x26\x01" if form.hevc else b"\x65") + b"samples"
        data = insert_user_data(b"\0\0\0\1\x09\x10" * (not form.hevc) + picture, USER_DATA, form)
        units = list(nal_units(data, form))
        assert form.is_picture(form.kind(units[-1]))
        messages = [m for kind, m in sei_messages(form.body(units[-2])) if kind == 5]
        assert tuple(messages) == USER_DATA


HDR = Hdr(
    primaries=((Fraction(34000, 50000), Fraction(16000, 50000)), (Fraction(13250, 50000), Fraction(34500, 50000)),
               (Fraction(7500, 50000), Fraction(3000, 50000))),
    white=(Fraction(15635, 50000), Fraction(16450, 50000)),
    luminance=(Fraction(50, 10000), Fraction(1000)),
    light_level=(1000, 400),
)  # fmt: skip


@pytest.mark.parametrize("codec", ["libx265", "libx264", "libsvtav1"])
def test_hdr_metadata(tmp_path: Path, codec: str) -> None:
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", colour=(9, 9, 16, 1), frames=4)
    info = replace(probe(make_clip(tmp_path / "clip.mp4", clip)), hdr=HDR)
    made = probe(encode(tmp_path / "segment.mkv", info, codec))
    assert made.hdr is not None and made.hdr.light_level == HDR.light_level
    assert made.hdr.primaries and made.hdr.white and made.hdr.luminance and HDR.primaries and HDR.luminance
    for ours, theirs in zip(made.hdr.primaries, HDR.primaries, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    assert [float(value) for value in made.hdr.luminance] == pytest.approx([0.005, 1000], rel=0.01)
    assert HDR.alike(made.hdr) and not HDR.alike(None)
    for other in (replace(HDR, light_level=(1000, 401)), replace(HDR, luminance=None),
                  replace(HDR, white=(Fraction(15640, 50000), Fraction(16450, 50000)))):  # fmt: skip
        assert not other.alike(made.hdr)


def test_rates_that_encoders_or_milliseconds_cannot_hold(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=6)))
    for rate in (Fraction(90000), Fraction(1, 60), Fraction(3628800, 502589), Fraction(100000001, 3333333)):
        for codec in ("libx264", "mpeg4"):
            assert probe(encode(tmp_path / "segment.mkv", replace(info, rate=rate), codec)).frames == 6


def test_nothing_half_written_gets_the_name(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip()))
    batch = double(next(decode_range(info, 0, 4, 4)))
    path = tmp_path / "segment.mkv"
    encoder = SegmentEncoder(path, info, batch.width, batch.height, EncodeSettings("libx264"), 2)
    with contextlib.suppress(RuntimeError), encoder:
        encoder.write(batch)
        assert not path.exists()
        raise RuntimeError("the model failed")
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_failure_leaves_an_earlier_segment_alone(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=4)))
    path = encode(tmp_path / "segment.mkv", info, "libx264")
    before = path.read_bytes()
    with pytest.raises(EncoderError), SegmentEncoder(path, info, 64, 64, EncodeSettings("libx264"), 2) as encoder:
        encoder.close()
    assert path.read_bytes() == before and not list(tmp_path.glob("*.part"))


def test_two_runs_may_make_the_same_segment_at_once(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=4)))
    batch = double(next(decode_range(info, 0, 4, 4)))
    path, settings = tmp_path / "segment.mkv", EncodeSettings("ffv1")  # which writes each frame at once
    encoders = [SegmentEncoder(path, info, batch.width, batch.height, settings, 2) for _ in range(2)]
    for encoder in encoders:
        encoder.write(batch)
    for encoder in encoders:
        encoder.close()
        assert probe(path).frames == 4
    assert not list(tmp_path.glob("*.part"))


def test_refusals(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mkv", Clip(codec="ffv1", pix_fmt="yuv444p16le", frames=2)))
    for settings, error, words in [
        (EncodeSettings("libx264"), SettingsError, "ffv1"),
        (EncodeSettings("ffv1", crf=20), SettingsError, "no --crf"),
        (EncodeSettings("ffv1", preset="fast"), SettingsError, "leave --preset out"),
        (EncodeSettings("x264"), UnknownCodec, "libx264"),
    ]:
        with pytest.raises(error, match=words):
            SegmentEncoder(tmp_path / "segment.mkv", info, 192, 128, settings, 2)
    eight = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=2)))
    for settings, words in [
        (EncodeSettings("libx264", crf=60), "0 to 51"),
        (EncodeSettings("libx264", preset="5"), "ultrafast"),
        (EncodeSettings("libsvtav1", preset="fast"), "13"),
    ]:
        with pytest.raises(SettingsError, match=words):
            SegmentEncoder(tmp_path / "segment.mkv", eight, 192, 128, settings, 2)
    with pytest.raises(UnsupportedSize, match="193x128"):
        SegmentEncoder(tmp_path / "segment.mkv", eight, 193, 128, EncodeSettings("libx264"), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mkv", "clip.mp4"}


def test_names_of_encoders() -> None:
    assert check_encoder("libx264") == "libx264"
    assert check_encoder("hevc") == "libx265"
    for name in ("nonsense", "aac", "h264_cuvid"):
        with pytest.raises(UnknownCodec):
            check_encoder(name)
    with pytest.raises(EncoderMissing):
        check_encoder("libopenh264")
    if not os.path.exists("/dev/nvidia0"):
        with pytest.raises(EncoderMissing):
            check_encoder("hevc_nvenc")


@pytest.mark.parametrize("pix_fmt", ["yuv411p", "yuv410p"])
@pytest.mark.parametrize(("width", "height"), [(67, 48), (64, 51), (351, 203)])
def test_lossless_keeps_colour_that_four_pixels_share_up_to_the_border(
    tmp_path: Path, pix_fmt: str, width: int, height: int
) -> None:
    """Of results as large as those of odd sources are."""
    clip = Clip(codec="ffv1", pix_fmt=pix_fmt, width=64, height=48, frames=2)
    info = probe(make_clip(tmp_path / "clip.mkv", clip))
    random = np.random.default_rng(1)
    shapes = info.layout.plane_shapes(2 * width, 2 * height)
    planes = tuple(random.integers(0, 256, (2, *shape), np.uint8) for shape in shapes)
    path = tmp_path / "segment.mkv"
    with SegmentEncoder(path, info, 2 * width, 2 * height, EncodeSettings(codec="ffv1"), 2) as encoder:
        encoder.write(FrameBatch(planes, info.layout, info.colour, (0, 1)))
        encoder.close()
    (made,) = decode_range(probe(path), 0, 2, 2)
    for ours, theirs in zip(made.planes, planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pixel_formats() -> None:
    assert pix_fmt_for("libx264", PixelLayout(10, 1, 1), False) == "yuv420p10le"
    assert pix_fmt_for("prores_ks", PixelLayout(10, 1, 0), False) == "yuv422p10le"
    with pytest.raises(SettingsError, match="prores_ks cannot code yuv420p"):  # the result would be another file
        pix_fmt_for("prores_ks", PixelLayout(8, 1, 1), False)
    assert pix_fmt_for("ffv1", PixelLayout(8, 2, 0), False) == "yuv411p"
    with pytest.raises(SettingsError, match="libx265 cannot code yuv411p; use --codec ffv1"):  # not itself
        pix_fmt_for("libx265", PixelLayout(8, 2, 0), False)
    assert best_pix_fmt("libx264", PixelLayout(8, 2, 0), False) is None
    assert pix_fmt_for("hevc_nvenc", PixelLayout(10, 1, 1), False) == "p010le"
    assert pix_fmt_for("ffv1", PixelLayout(8, 0, 0, grey=True), True) == "gray"
    assert best_pix_fmt("libsvtav1", PixelLayout(8, 0, 0), False) is None
    for depth in (8, 10):
        with pytest.raises(SettingsError, match=r"libx264 cannot code gray.*--codec libx265"):
            pix_fmt_for("libx264", PixelLayout(depth, 0, 0, grey=True), False)
    assert best_pix_fmt("prores_ks", PixelLayout(8, 1, 1), True) is None  # it cannot say "full range"
    assert best_pix_fmt("prores_ks", PixelLayout(10, 0, 0), False) is None  # 4:4:4 comes back with 12 bits


def test_profiles_of_prores_that_come_back_with_12_bits_are_refused(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mov", Clip(codec="prores_ks", pix_fmt="yuv422p10le", frames=1)))
    for preset in ("4444", "4444xq"):
        with pytest.raises(SettingsError, match=f"no preset '{preset}'; use one of proxy, lt, standard, hq"):
            encoder_options("prores_ks", EncodeSettings(preset=preset), info, 1)


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=4)))
    batch = next(decode_range(info, 0, 4, 4))
    with SegmentEncoder(tmp_path / "s.mkv", info, 192, 128, EncodeSettings("libx264"), 2) as encoder:
        with pytest.raises(ValueError, match="96x64"):
            encoder.write(batch)
        deep = FrameBatch(tuple(p.astype(np.uint16) for p in double(batch).planes), PixelLayout(10), Colour(), (0,))
        with pytest.raises(ValueError, match="depth=10"):
            encoder.write(deep)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=8)))
    monkeypatch.setattr("vidsr.media.encode.uuid4", lambda: SimpleNamespace(hex="one"))
    (tmp_path / "0.mkv.one.part").symlink_to("/dev/full")
    with pytest.raises(DiskTooSmall, match=r"0\.mkv cannot be written, the disk is full; make room"):
        encode(tmp_path / "0.mkv", info, "libx264")
    assert not (tmp_path / "0.mkv").exists()


def test_a_folder_that_goes_away_is_no_failure_of_the_encoder(tmp_path: Path) -> None:
    """As that of a drive that was pulled out."""
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=8)))
    path = tmp_path / "drive" / "0.mkv"
    path.parent.mkdir()
    batch = double(next(decode_range(info, 0, 8, 8)))
    settings = EncodeSettings("ffv1")  # which writes each frame at once
    with SegmentEncoder(path, info, batch.width, batch.height, settings, 2) as encoder:
        path.parent.rmdir()
        with pytest.raises(OutputUnwritable, match="its folder is missing; make that, or use -o elsewhere"):
            encoder.write(batch)
