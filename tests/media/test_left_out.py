"""What results cannot say of their sources is said before work starts."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import av
import pytest
from PIL import ImageCms

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from tests.media.test_parts import edit
from tests.media.test_untimed import checksum
from vidsr.media.beside.index import index_path
from vidsr.media.mpegts import TS_PACKET
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def described(path: Path, clip: Clip, entry: bytes, added: bytes) -> Path:
    """An MP4 file with a box more within the sample entry of its picture."""
    content = bytearray(make_clip(path, clip).read_bytes())
    begin = content.index(entry, content.index(b"stsd")) - 4
    (size,) = struct.unpack_from(">I", content, begin)
    content[begin + size : begin + size] = added
    for kind in (entry, b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        at = (content.rindex(kind) if kind != entry else begin + 4) - 4
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + len(added))
    path.write_bytes(bytes(content))
    return path


def replaced(path: Path, clip: Clip, message: str) -> Path:
    """A stream of HEVC that has another message in place of its content light level."""
    options = {"x265-params": "log-level=none:max-cll=1000,400"}
    stream = make_clip(path, replace(clip, codec="libx265", options=options)).read_bytes()
    light = b"\x4e\x01\x90\x04\x03\xe8\x01\x90\x80"
    assert light in stream
    path.write_bytes(stream.replace(light, bytes.fromhex(message)))
    return path


def test_a_360_degree_video_is_said_to_lose_that(tmp_path: Path) -> None:
    """An `sv3d` box (Spherical Video V2) within the sample entry, as 360-degree cameras write it."""
    sphere = box(b"equi", bytes(20))
    head = box(b"svhd", bytes(4) + b"camera\0")
    projection = box(b"proj", box(b"prhd", bytes(16)) + sphere)
    clip = described(tmp_path / "clip.mp4", Clip(frames=3), b"avc1", box(b"sv3d", head + projection))
    (note,) = probe(clip).notes
    assert "360-degree video, which the result does not say" in note


@pytest.mark.parametrize(("rate", "said"), [(0x10000, False), (0x20000, True), (0, True)])
def test_another_speed_is_said(rate: int, said: bool, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", Clip(frames=3))
    content = bytearray(clip.read_bytes())
    at = content.index(b"elst") + 20  # after version, count, and the first edit's length and begin
    assert struct.unpack_from(">I", content, at)[0] == 0x10000
    struct.pack_into(">I", content, at, rate)
    clip.write_bytes(content)
    assert any("changes the speed" in note for note in probe(clip).notes) is said


@pytest.mark.parametrize(
    ("edits", "said"), [([(0, 400), (None, 200), (400, 200)], True), ([(None, 200), (0, 400), (600, 200)], False)]
)
def test_a_pause_of_an_edit_list_is_said(edits: list[tuple[int | None, int]], said: bool, tmp_path: Path) -> None:
    clip = edit(make_clip(tmp_path / "clip.mp4", Clip(frames=25, options={"g": "5", "bf": "0"})), edits, tracks=(0,))
    assert any("has a pause" in note for note in probe(clip).notes) is said


def test_dolby_vision_is_said_to_be_lost(tmp_path: Path) -> None:
    """Profile 8.4, as phones record it: HLG that every player shows, and a record that it is more."""
    record = struct.pack(">BBHB19x", 1, 0, 8 << 9 | 1 << 3 | 1 << 2 | 1, 4 << 4)
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", colour=(9, 9, 18, 1), frames=3)
    path = described(tmp_path / "clip.mp4", clip, b"hev1", box(b"dvvC", record))
    (note,) = probe(path).notes
    assert note.startswith("it is Dolby Vision, which the result does not say")


def test_an_icc_profile_is_said_to_be_lost(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = described(tmp_path / "clip.mp4", Clip(frames=3), b"avc1", box(b"colr", b"prof" + profile))
    (note,) = probe(path).notes
    assert note.startswith("its colours have an ICC profile, which the result does not say")


@pytest.mark.parametrize("light", ["20000,0.005", "2,0.005", "1000,10"])
def test_a_mastering_display_that_cannot_be_is_said_to_be_lost(light: str, tmp_path: Path) -> None:
    """AV1 and Matroska have room for numbers for which H.264 and HEVC have none (ITU-T H.265, D.3.28), and some do."""
    display = f"mastering-display=G(0.265,0.690)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L({light})"
    clip = Clip(codec="libsvtav1", options={"svtav1-params": display}, frames=3)
    info = probe(make_clip(tmp_path / "clip.mkv", clip))
    assert info.hdr is not None and info.hdr.primaries and not info.hdr.luminance
    assert any(note.startswith("its HDR metadata has values that no codec can say") for note in info.notes)


def test_the_light_of_the_room_is_said_to_be_lost(tmp_path: Path) -> None:
    """As phones write it into HDR videos: 314 lux of daylight white."""
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", colour=(9, 9, 18, 1), frames=3)
    path = described(tmp_path / "clip.mp4", clip, b"hev1", box(b"amve", struct.pack(">IHH", 3140000, 15635, 16450)))
    (note,) = probe(path).notes
    assert note.startswith("it says how bright the room was that it is meant for, which the result does not say")


def test_a_cropping_box_is_said_to_be_lost(tmp_path: Path) -> None:
    """72x48 of 96x64 pixels, their middle 4 columns left of the picture's and 2 lines above."""
    aperture = struct.pack(">IIIIiIiI", 72, 1, 48, 1, -4, 1, -2, 1)
    path = described(tmp_path / "clip.mp4", Clip(frames=3), b"avc1", box(b"clap", aperture))
    (note,) = probe(path).notes
    assert "without 8 columns at its left, 16 right, 6 lines above and 10 below, which the result does not say" in note
    whole = struct.pack(">IIIIiIiI", 96, 1, 64, 1, 0, 1, 0, 1)  # as editors write it into every file
    assert not probe(described(tmp_path / "whole.mp4", Clip(frames=3), b"avc1", box(b"clap", whole))).notes


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("HDR10+", "b5003c00010401 40000c8186a0c35061a813880000030080000000"),
        ("HDR Vivid", "260004000501" + 24 * "01"),
    ],
)
def test_brightness_metadata_of_each_frame_is_said_to_be_lost(kind: str, message: str, tmp_path: Path) -> None:
    """ITU-T T.35 messages of SMPTE ST 2094-40 or of CUVA 005.1; here one takes the place of the content light level."""
    size = len(bytes.fromhex(message.replace("000003", "0000")))
    sei = f"4e0104{size:02x} {message} 80"
    path = replaced(tmp_path / "clip.hevc", Clip(pix_fmt="yuv420p10le", frames=3), sei)
    assert any(f"({kind})" in note for note in probe(path).notes)


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_the_timecode_of_groups_of_pictures_is_said_to_be_lost(suffix: str, tmp_path: Path) -> None:
    """Of MPEG-2, as camcorders of tape (HDV) write it. Most programs only count there, from 0."""
    for timecode, notes in (("10:11:12:13", 1), ("00:00:00:00", 0)):
        clip = Clip(codec="mpeg2video", frames=3, options={"gop_timecode": timecode})
        found = [note for note in probe(make_clip(tmp_path / f"clip.{suffix}", clip)).notes if "timecode" in note]
        assert len(found) == notes
        assert all(note.startswith(f"its pictures have a timecode of their own ({timecode}") for note in found)


def test_the_timecode_of_hevc_is_said_to_be_lost(tmp_path: Path) -> None:
    """A time code message (ITU-T H.265, D.2.27) of 01:02:03:04, as professional cameras write it."""
    bits = f"{1:02b}10{0:05b}100{4:09b}{3:06b}{2:06b}{1:05b}{0:05b}"
    body = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    path = replaced(tmp_path / "clip.hevc", Clip(frames=3), f"4e0188{len(body):02x}{body.hex()}80")
    assert any("timecode of their own (01:02:03:04 at the beginning)" in note for note in probe(path).notes)


def test_fields_of_hevc_are_enlarged_as_they_are(tmp_path: Path) -> None:
    """Each is a picture of its own; deinterlaced, it would lose half of its lines."""
    clip = Clip(codec="libx265", options={"x265-params": "log-level=none:interlace=tff"})
    source = make_clip(tmp_path / "clip.mkv", clip)
    with av.open(str(source)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    info = probe(source)
    (note,) = info.notes
    assert info.fields and not info.interlaced and "one of the two fields of a frame" in note
    upscale(source, tmp_path / "result.mkv")
    assert verify(source, tmp_path / "result.mkv").ok


def test_the_active_part_of_the_picture_is_said_to_be_lost(tmp_path: Path) -> None:
    """AFD, as broadcasts have it (ATSC A/53, part 4, 6.2.4): here that of 14:9 in the middle."""
    path = replaced(tmp_path / "clip.hevc", Clip(frames=3), "4e01 04 09 b50031 44544731 41 fb 80")
    assert any("which part of them is in use (AFD)" in note for note in probe(path).notes)


@pytest.mark.parametrize(("codec", "suffix"), [("qtrle", "mov"), ("png", "mov"), ("ffv1", "mkv")])
def test_transparency_is_said_to_be_lost(codec: str, suffix: str, tmp_path: Path) -> None:
    pix_fmt = {"qtrle": "argb", "png": "rgba", "ffv1": "yuva420p"}[codec]
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        for number in range(3):
            frame = av.VideoFrame(96, 64, "rgba").reformat(format=pix_fmt)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (note,) = probe(path).notes
    assert note.endswith("transparency is left out")


@pytest.mark.parametrize("suffix", ["webm", "mkv", "mp4"])
def test_transparency_of_vp9_is_said_to_be_lost_and_not_claimed(suffix: str, tmp_path: Path) -> None:
    """It lies in further blocks, of which FFmpeg's decoder knows nothing; a tag says that they are there."""
    plain = make_clip(tmp_path / "plain.webm", Clip(codec="libvpx-vp9", frames=4, options={"deadline": "realtime"}))
    source = tmp_path / "source.webm"
    with av.open(str(plain)) as before, av.open(str(source), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        stream.metadata["alpha_mode"] = "1"
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = stream
                after.mux(packet)
    assert probe(source).notes == ("transparency is left out",)
    result = tmp_path / f"result.{suffix}"
    report = upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    with av.open(str(result)) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}
    assert not index_path(result).exists() and report.not_carried == ()


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_programmes_that_become_one_are_said(suffix: str, tmp_path: Path) -> None:
    """Two programmes (ISO/IEC 13818-1, 2.4.4.3), as cameras of several views and broadcasts have them."""
    ids = {"mpegts_service_id": "2", "mpegts_start_pid": "512", "mpegts_pmt_start_pid": "4112"}
    clip = Clip(frames=4, sound=("aac",), tags={"service_name": "Front"})
    front = make_clip(tmp_path / "front.ts", clip)
    rear = make_clip(tmp_path / "rear.ts", replace(clip, tags={"service_name": "Rear"}, muxer=ids))
    content = front.read_bytes() + rear.read_bytes()
    table = b"\0\xb0\x11\0\1\xc1\0\0" + struct.pack(">4H", 1, 0xE000 | 0x1000, 2, 0xE000 | 0x1010)
    table += checksum(table).to_bytes(4, "big")
    packets = [content[at : at + TS_PACKET] for at in range(0, len(content), TS_PACKET)]
    kept = [packet for packet in packets if packet[1:3] != b"\x40\0"]
    source, result = tmp_path / "source.ts", tmp_path / f"result.{suffix}"
    source.write_bytes((b"\x47\x40\0\x10\0" + table).ljust(TS_PACKET, b"\xff") + b"".join(kept))
    assert probe(front).notes == ()
    assert "its 2 programmes (Front, Rear) become one, with the streams of all" in probe(source).notes
    assert len(upscale(source, result).carried) == 3 and verify(source, result).ok
