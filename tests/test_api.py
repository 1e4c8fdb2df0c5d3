"""The Python API takes what the command takes."""

import inspect
from contextlib import nullcontext
from dataclasses import asdict, fields
from typing import Any
from unittest.mock import Mock

import pytest

import vidsr
from vidsr import api
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings

GIVEN: dict[str, Any] = {
    "scale": 4, "height": 1080, "model": "fast", "device": "cpu", "backend": "torch", "hwaccel": "nvdec",
    "fidelity": 0.5, "stabilise_detail": 0.1, "codec": "ffv1", "crf": 20, "preset": "slow", "container": "mkv",
    "start": 1.0, "end": 2.0, "segment_seconds": 5.0, "deinterlace": "off", "fill_gaps": True, "gpx": True,
    "address": "head:6379", "actors": 3, "actor_cpus": 2, "encoder_cpus": 1.0,
}  # fmt: skip


def test_every_setting_has_an_argument_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {field.name for kind in (UpscaleSettings, EncodeSettings, ClusterSettings) for field in fields(kind)}
    arguments = inspect.signature(vidsr.upscale).parameters
    assert set(GIVEN) == settings - {"encode"} == set(arguments) - {"source", "result", "overwrite", "progress"}
    upscale_video, session = Mock(), Mock(return_value=nullcontext(Mock()))
    monkeypatch.setattr(api, "upscale_video", upscale_video)
    monkeypatch.setattr(api, "Session", session)
    vidsr.upscale("drive.mp4", **GIVEN)
    made = asdict(upscale_video.call_args.args[2])
    assert made | made.pop("encode") | asdict(session.call_args.args[0]) == GIVEN
    vidsr.upscale("drive.mp4")
    assert upscale_video.call_args.args[2] == UpscaleSettings()
    assert session.call_args.args[0] == ClusterSettings()
