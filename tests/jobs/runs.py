"""Runs of the command on a folder, as processes, and what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np

from jobs.records import VideoRecord
from tests.media.clips import Clip, make_clip

SEGMENT_SECONDS = 0.4
# How a process reaches the tests' cluster.
LOOPBACK = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def make_card(folder: Path, clips: int, frames: int = 24) -> Path:
    """A folder of clips of different lengths, each with its own name below one of two folders."""
    for number in range(clips):
        path = folder / f"day{number % 2}" / f"clip{number:02}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(path, Clip(width=64, height=48, frames=frames + number, options={"g": "12"}, sound=("aac",)))
    return folder


def start(
    folder: Path | str, output: Path | str, model: Path, *words: object, program: str = "vidsr"
) -> subprocess.Popen[str]:
    """Begin `vidsr upscale FOLDER` with a lossless codec."""
    command = [sys.executable, "-m", program, "upscale", folder, "-o", output, "--model", model, "--device", "cpu",
               "--codec", "ffv1", "--container", "mkv", "--segment-seconds", SEGMENT_SECONDS,
               "--stabilise-detail", "off", "--json", *words]  # fmt: skip
    quiet = {**os.environ, **LOOPBACK} if "--address" in words else dict(os.environ)
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet
    )


def end(process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    """Wait for the end and return the report."""
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == code, err
    report: dict[str, Any] = json.loads(out)
    return report


def records(output: Path) -> dict[str, VideoRecord]:
    """All records below an output root by the video's name."""
    folder = output / ".vidsr" / "videos"
    return {
        path.relative_to(folder).as_posix()[: -len(".json")]: VideoRecord.from_json(path.read_text())
        for path in folder.rglob("*.json")
    }


def luma(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Luma of all frames: (N, height, width)."""
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            frames.append(np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width].copy())
    return np.stack(frames)


def assert_is_enlarged(source: Path, result: Path) -> None:
    """Hold every frame of a lossless result against its source with pixels repeated."""
    expected = luma(source).repeat(2, 1).repeat(2, 2)
    assert np.array_equal(luma(result), expected), result
