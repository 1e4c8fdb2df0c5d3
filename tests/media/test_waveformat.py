"""Sound that Matroska has no name of its own for, and what lies beside a result so that it can be decoded."""

from __future__ import annotations

import base64
import io
import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, join_streams, make_clip
from tests.media.pipeline import upscale
from vidsr.media.beside.index import bin_path, index_path
from vidsr.media.formats import choose_suffix, fits, silence
from vidsr.media.matroska import WAVE_ROOM, fill_rooms, make_room
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify
from vidsr.media.waveformat import wave_format

OF_MICROSOFT = [
    ("wmv", "wmv2", "wmav2"), ("wmv", "wmv2", "wmav1"), ("avi", "mpeg4", "adpcm_ms"), ("avi", "mpeg4", "adpcm_ima_wav"),
    ("avi", "mpeg4", "pcm_mulaw"), ("avi", "mpeg4", "pcm_alaw"),
]  # fmt: skip

BIT_DEPTH_16 = b"\x62\x64\x81\x10"


def heard(file: Path | io.BytesIO) -> bytes:
    """The decoded samples of a file's sound."""
    with av.open(file if isinstance(file, io.BytesIO) else str(file)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))


@pytest.mark.parametrize(("suffix", "codec", "sound"), OF_MICROSOFT, ids=[case[2] for case in OF_MICROSOFT])
def test_sound_of_avi_and_wmv_is_heard(suffix: str, codec: str, sound: str, tmp_path: Path) -> None:
    clip = Clip(codec=codec, sound=(sound, sound), sound_options={"b": "64k"})
    source = make_clip(tmp_path / f"source.{suffix}", clip)
    assert choose_suffix(probe(source), "auto", "libx264")[0] == ".mkv"
    result = tmp_path / "result.mkv"
    report = upscale(source, result)
    assert not report.not_carried and not index_path(result).exists()
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert heard(result) == heard(source) != b""
    with av.open(str(source)) as old, av.open(str(result)) as new:
        assert [wave_format(s) for s in new.streams.audio] == [wave_format(s) for s in old.streams.audio]
        assert all("title" not in {key.lower() for key in stream.metadata} for stream in new.streams)
        assert old.streams.audio[1].language == new.streams.audio[1].language


def test_a_header_of_sound_of_any_length_has_room(tmp_path: Path) -> None:
    """The track was begun with another codec; all else in the file stays where it was."""
    for more in (0, 1, *range(200, 400), 3000):
        content = (bytes(range(1, 251)) * 12)[:more]
        wave = struct.pack("<HHIIHHH", 2, 1, 48000, 24000, 1024, 4, more) + content
        path = with_room_for(tmp_path / f"{more}.mkv", wave)
        size = path.stat().st_size
        fill_rooms(path, Fraction(1))
        assert path.stat().st_size == size
        assert BIT_DEPTH_16 not in path.read_bytes(), "it is true of the stand-in only"
        with av.open(str(path)) as container:
            (stream,) = container.streams.audio
            assert stream.codec_context.name == "adpcm_ms" and stream.metadata["title"] == "Pilot"
            assert (stream.codec_context.extradata or b"") == content
            assert [bytes(packet) for packet in container.demux() if packet.size] == [bytes(1024)]


def with_room_for(path: Path, wave: bytes) -> Path:
    """A Matroska file of one packet of sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        stream.metadata["title"] = "Pilot"
        make_room(stream, WAVE_ROOM + base64.b64encode(wave).decode())
        packet = av.Packet(bytes(1024))
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        container.mux(packet)
    assert BIT_DEPTH_16 in path.read_bytes()
    return path


def test_mov_is_taken_where_matroska_has_no_place_for_the_sound(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.nut", Clip(codec="mpeg4", sound=("pcm_f32be",)))
    info = probe(source)
    suffix, why = choose_suffix(info, "auto", "libx264")
    assert suffix == ".mov" and "Matroska cannot hold audio stream 1" in why
    assert choose_suffix(info, "auto", "ffv1")[0] == ".mkv"
    result = tmp_path / "result.mov"
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert heard(result) == heard(source)
    assert silence(info, ".mov") == ""
    assert silence(info, ".mkv").startswith("the result has no sound: .mkv files cannot hold audio stream 1")
    mute = probe(make_clip(tmp_path / "mute.avi", Clip(codec="mpeg4", frames=2)))
    assert silence(mute, ".mkv") == ""


def with_channels(path: Path, layout: str, codec: str) -> Path:
    """A clip with uncompressed sound, of which AVI and Matroska say how many channels it has and not which."""
    with av.open(str(path.with_name("sound.mkv")), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout=layout)
        for number in range(20):
            packet = av.Packet(bytes([number]) * 60 * 48)
            packet.stream, packet.time_base = stream, Fraction(1, 48000)
            packet.pts = packet.dts = number * 960
            container.mux(packet)
    source = join_streams(path, make_clip(path.with_name("film.avi"), Clip(codec="mpeg4")), path.with_name("sound.mkv"))
    with av.open(str(source)) as container:
        (stream,) = container.streams.audio
        assert stream.layout.name == f"{stream.channels} channels"
    return source


@pytest.mark.parametrize(
    ("suffix", "codec", "layout"),
    [
        ("avi", "pcm_s16le", "stereo"),
        ("mkv", "pcm_s24le", "stereo"),
        ("mkv", "pcm_f32le", "stereo"),
        ("mkv", "pcm_s16le", "5.1"),
    ],
)
def test_channels_without_a_name_get_the_usual_ones_in_mp4(
    suffix: str, codec: str, layout: str, tmp_path: Path
) -> None:
    source, result = with_channels(tmp_path / f"source.{suffix}", layout, codec), tmp_path / "result.mp4"
    report = upscale(source, result)
    assert not report.not_carried
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert heard(result) == heard(source) != b""
    with av.open(str(result)) as container:
        assert container.streams.audio[0].layout.name == layout


def test_channels_without_a_usual_name_are_known_not_to_fit_mp4(tmp_path: Path) -> None:
    source, result = with_channels(tmp_path / "source.mkv", "9C", "pcm_s16le"), tmp_path / "result.mp4"
    info = probe(source)
    with av.open(str(source)) as container:
        sound = container.streams.audio[0]
        assert [fits(sound, info, suffix) for suffix in (".mp4", ".mov", ".mkv")] == [False, True, True]
    assert silence(info, ".mp4")
    report = upscale(source, result)
    assert [stream.kind for stream in report.left] == ["audio"]
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]


def test_sound_that_lies_beside_can_be_decoded(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.avi", Clip(codec="mpeg4", sound=("adpcm_ms",)))
    result = tmp_path / "result.mp4"
    upscale(source, result)
    index = json.loads(index_path(result).read_text())
    (stream,) = index["streams"]
    assert (stream["sample_rate"], stream["channels"], stream["sample_format"]) == (48000, 1, "s16")
    wave = base64.b64decode(stream["wave_format"])
    assert wave[18:] == base64.b64decode(stream["extradata"])
    samples = bin_path(result).read_bytes()[stream["offset"] :][: stream["length"]]
    chunks = b"WAVEfmt " + struct.pack("<I", len(wave)) + wave + b"data" + struct.pack("<I", len(samples)) + samples
    assert heard(io.BytesIO(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)) == heard(source)


def test_what_a_decoder_needs_is_checked(shared_data: Path, tmp_path: Path) -> None:
    """ASS beside an MP4: its header has the styles."""
    source = shared_data / "video" / "subtitles-ssa.mkv"
    result = tmp_path / "result.mp4"
    upscale(source, result)
    index = json.loads(index_path(result).read_text())
    (stream,) = (each for each in index["streams"] if each["codec"] in ("ass", "ssa"))
    assert b"Style:" in base64.b64decode(stream["extradata"])
    assert verify(source, result).ok
    del stream["extradata"]
    index_path(result).write_text(json.dumps(index))
    name = f"subtitle {stream['index']}"
    assert [check.name for check in verify(source, result).checks if not check.ok] == [name]
