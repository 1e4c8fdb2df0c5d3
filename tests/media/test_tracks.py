"""Tracks of MP4 and MOV are called what they are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, join_streams, make_clip
from tests.media.pipeline import upscale
from vidsr.media.join import Part, join
from vidsr.media.probe import probe
from vidsr.settings import EncodeSettings


@pytest.mark.parametrize(("preset", "code"), [("proxy", "apco"), (None, "apch")])
def test_prores_is_called_by_its_profile(preset: str | None, code: str, tmp_path: Path) -> None:
    """FFmpeg's muxer would call all of it HQ."""
    source = make_clip(tmp_path / "clip.mov", Clip(codec="prores_ks", pix_fmt="yuv422p10le", frames=2))
    result, joined = tmp_path / "result.mov", tmp_path / "joined.mov"
    upscale(source, result, settings=EncodeSettings(preset=preset))
    join([Part(result, Fraction(n)) for n in range(2)], joined)
    assert [probe(path).codec_tag for path in (result, joined)] == [code] * 2


@pytest.mark.parametrize("code", ["hvc1", "hev1"])
def test_copied_hevc_keeps_its_code(code: str, tmp_path: Path) -> None:
    """Apple's players take no hev1."""
    rear = make_clip(tmp_path / "rear.mp4", Clip(codec="libx265", frames=4))
    source = join_streams(tmp_path / "clip.mp4", make_clip(tmp_path / "front.mp4", Clip(frames=4)), rear)
    source.write_bytes(source.read_bytes().replace(b"hev1", code.encode()))
    upscale(source, tmp_path / "result.mp4")
    with av.open(str(tmp_path / "result.mp4")) as container:
        assert container.streams.video[1].codec_context.codec_tag == code


def test_joined_hevc_keeps_its_code(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(codec="libx265", frames=4))
    source.write_bytes(source.read_bytes().replace(b"hev1", b"hvc1"))
    join([Part(source, Fraction(n)) for n in range(2)], tmp_path / "joined.mp4")
    assert probe(tmp_path / "joined.mp4").codec_tag == "hvc1"
