"""The Python API takes what the command takes."""

import inspect
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import vidsr
from vidsr import api
from vidsr.errors import SettingsError
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings

GIVEN: dict[str, Any] = {
    "scale": 4, "height": None, "model": "fast", "device": "cpu", "backend": "torch", "hwaccel": "nvdec",
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
    vidsr.upscale("drive.mp4", height=1080)
    assert upscale_video.call_args.args[2] == UpscaleSettings(scale=None, height=1080)
    with pytest.raises(SettingsError, match="--scale and --height cannot both be given"):
        vidsr.upscale("drive.mp4", scale=4, height=1080)
    for word, weight in (("auto", None), ("off", 0.0), ("0.2", 0.2)):  # as the command has it
        vidsr.upscale("drive.mp4", stabilise_detail=word)
        assert upscale_video.call_args.args[2].stabilise_detail == weight
    vidsr.upscale("drive.mp4")
    assert upscale_video.call_args.args[2] == UpscaleSettings()
    assert session.call_args.args[0] == ClusterSettings()


def test_weights_may_be_a_path_and_results_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    upscale_video = Mock()
    monkeypatch.setattr(api, "upscale_video", upscale_video)
    monkeypatch.setattr(api, "Session", Mock(return_value=nullcontext(Mock())))
    vidsr.upscale(Path("drive.mp4"), Path("large"), model=Path("own.safetensors"))
    assert upscale_video.call_args.args[2].model == "own.safetensors"  # settings go into JSON
    with pytest.raises(SettingsError, match=r"drive\.mp4 is one file and s3://bucket/large\.mp4 a URL"):
        vidsr.upscale("drive.mp4", "s3://bucket/large.mp4")


def test_type_checkers_of_users_read_its_types() -> None:
    package = Path(vidsr.__file__).parent
    project = tomllib.loads((package.parent / "pyproject.toml").read_text())
    assert (package / "py.typed").is_file() and "py.typed" in project["tool"]["setuptools"]["package-data"]["vidsr"]
    files = {"source": vidsr.upscale, "path": vidsr.probe, "result": vidsr.verify}
    assert {inspect.signature(function).parameters[name].annotation for name, function in files.items()} == {
        "str | Path"
    }


def test_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has one Ray; what the first had started would be taken away from the second."""
    inside = threading.Semaphore()
    together: list[bool] = []

    def upscale_video(*_: object) -> None:
        together.append(not inside.acquire(blocking=False))
        time.sleep(0.05)
        inside.release()

    monkeypatch.setattr(api, "upscale_video", upscale_video)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(vidsr.upscale, ("a.mp4", "b.mp4", "c.mp4")))
    assert together == [False] * 3
