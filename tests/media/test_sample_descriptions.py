"""What tracks of MP4 and MOV say beside their samples, and no muxer writes: it lies beside the result."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest

from tests.media.beside.test_telemetry import box, contents
from tests.media.clips import Clip, join_streams, make_clip
from tests.media.pipeline import upscale
from vidsr.media.beside.index import bin_path
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify

IN_TRACK = (b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov")


def grow(path: Path, kinds: tuple[bytes, ...], added: bytes) -> Path:
    """Puts a box at the end of the last one of the first kind, which lies in the last ones of the others."""
    content = bytearray(path.read_bytes())
    begin = content.rindex(kinds[0]) - 4
    (size,) = struct.unpack_from(">I", content, begin)
    places = [content.rindex(kind) - 4 for kind in kinds]
    content[begin + size : begin + size] = added
    for at in places:
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + len(added))
    path.write_bytes(content)
    return path


def with_gopro_track(path: Path) -> Path:
    """MOV's muxer takes it only from a file, which MP4's makes."""
    return make_clip(path.with_name("gopro.mp4"), Clip(frames=8, data="bin_data")).rename(path)


def with_unknown_track(path: Path) -> Path:
    """A track of timed metadata, as phones and action cameras write them, of a codec that FFmpeg does not know."""
    content = bytearray(with_gopro_track(path).read_bytes())
    at = content.rindex(b"gpmd")
    content[at : at + 4] = b"mebx"
    path.write_bytes(content)
    return grow(path, (b"mebx", *IN_TRACK), box(b"keys", box(b"\0\0\0\1", box(b"keyd", b"mdtacom.example.speed"))))


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
def test_a_track_of_a_codec_without_a_name_lies_beside_with_its_description(suffix: str, tmp_path: Path) -> None:
    source = with_unknown_track(tmp_path / f"source.{suffix}")
    (found,) = contents(source).items()
    assert found[0] == "moov/trak[1]/mdia/minf/stbl/stsd" and b"mdtacom.example.speed" in found[1]
    result = tmp_path / f"result.{suffix}"
    report = upscale(source, result)
    assert [stream.index for stream in report.left] == [1]
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    beside = bin_path(result).read_bytes()
    assert found[1] in beside and all(b"sample %d of the track" % number in beside for number in range(4))
    with av.open(str(result)) as container:
        assert len(container.streams) == 1


@pytest.mark.parametrize(
    ("clip", "entry"), [(Clip(frames=8, sound=("aac",)), b"apac"), (Clip(frames=8, subtitles=("mov_text",)), b"stpp")]
)
def test_what_ffmpeg_cannot_decode_lies_beside_with_its_description(clip: Clip, entry: bytes, tmp_path: Path) -> None:
    """Spatial sound of phones, and subtitles in XML."""
    source, result = make_clip(tmp_path / "source.mp4", clip), tmp_path / "result.mp4"
    content = source.read_bytes().replace(b"esds", b"dapa")
    begin = content.rindex(b"mp4a" if clip.sound else b"tx3g")
    source.write_bytes(content[:begin] + entry + content[begin + 4 :])
    (found,) = contents(source).items()
    assert found[0] == "moov/trak[1]/mdia/minf/stbl/stsd" and entry in found[1]
    assert [stream.index for stream in upscale(source, result).left] == [1]
    assert verify(source, result).ok and found[1] in bin_path(result).read_bytes()


def test_a_gopro_track_stays_in_mov(tmp_path: Path) -> None:
    source = with_gopro_track(tmp_path / "source.mov")
    assert contents(source) == {}
    result = tmp_path / "result.mov"
    assert not upscale(source, result).left
    assert len(probe(result).streams) == 2 and verify(source, result).ok


def test_references_between_tracks_lie_beside(tmp_path: Path) -> None:
    """Of a track that describes another; those of chapters and timecode are made anew."""
    tags = {"timecode": "01:02:03:04"}
    source = make_clip(tmp_path / "source.mov", Clip(frames=8, sound=("aac",), chapters=2, tags=tags))
    assert b"tref" in source.read_bytes() and contents(source) == {}
    reference = box(b"tref", box(b"cdsc", struct.pack(">I", 1)))
    grow(source, (b"trak", b"moov"), reference)
    assert list(contents(source).values()) == [reference]
    result = tmp_path / "result.mov"
    upscale(source, result)
    assert verify(source, result).ok and bin_path(result).read_bytes() == reference


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_pictures_of_chapters_lie_beside(suffix: str, tmp_path: Path) -> None:
    photographs = Clip(codec="mjpeg", pix_fmt="yuvj420p", frames=3, width=32, height=32)
    film, pictures = make_clip(tmp_path / "film.mov", Clip(frames=8)), make_clip(tmp_path / "pictures.mov", photographs)
    source = join_streams(tmp_path / f"source.{suffix}", film, pictures)
    grow(source, (b"trak", b"moov"), box(b"tref", box(b"chap", struct.pack(">I", 2))))
    result = tmp_path / f"result.{suffix}"
    assert [stream.index for stream in upscale(source, result).left] == [1]
    assert verify(source, result).ok


def test_ambisonic_sound_lies_beside_as_described(tmp_path: Path) -> None:
    order = struct.pack(">BBIBBI4I", 0, 0, 1, 0, 0, 4, 0, 1, 2, 3)
    source = make_clip(tmp_path / "source.mp4", Clip(frames=8, sound=("aac",)))
    assert contents(source) == {}
    grow(source, (b"mp4a", *IN_TRACK), box(b"SA3D", order))
    (found,) = contents(source).items()
    assert found[0] == "moov/trak[1]/mdia/minf/stbl/stsd" and order in found[1]
    assert probe(source).streams[1].codec == "aac"


def test_the_reel_of_a_timecode_lies_beside(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mov", Clip(frames=8, tags={"timecode": "01:02:03:04"}))
    assert contents(source) == {}
    grow(source, (b"tmcd", *IN_TRACK), box(b"name", struct.pack(">HH", 8, 0) + b"REEL_007"))
    (found,) = contents(source).items()
    assert found[0] == "moov/trak[1]/mdia/minf/stbl/stsd" and found[1].endswith(b"REEL_007")
    result = tmp_path / "result.mov"
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    with av.open(str(result)) as container:
        assert any(stream.metadata.get("timecode") == "01:02:03:04" for stream in container.streams)


def test_an_extended_language_lies_beside(tmp_path: Path) -> None:
    """Which English it is (ISO/IEC 14496-12, 8.4.6): FFmpeg knows three letters."""
    source = make_clip(tmp_path / "source.mp4", Clip(frames=8))
    source = grow(source, (b"mdia", b"trak", b"moov"), box(b"elng", b"\0\0\0\0en-GB\0"))
    assert list(contents(source)) == ["moov/trak[0]/mdia/elng"]
    result = tmp_path / "result.mp4"
    upscale(source, result)
    assert b"en-GB" in bin_path(result).read_bytes() and verify(source, result).ok
