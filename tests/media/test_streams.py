"""Streams beside the picture: what they are marked as and come with, when they are decoded, which are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from vidsr.media.container import codec_tag
from vidsr.media.mux import MuxReport
from vidsr.media.probe import probe
from vidsr.media.verify import verify


def faults(source: Path, result: Path) -> dict[str, str]:
    return {check.name: check.detail for check in verify(source, result).checks if not check.ok}


def prove(source: Path, result: Path) -> MuxReport:
    report = upscale(source, result)
    assert not faults(source, result)
    return report


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
