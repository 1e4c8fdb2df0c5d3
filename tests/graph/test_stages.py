"""How the processes of one machine share its cores."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from tests.media.clips import Clip, make_clip
from vidsr.graph.prepare import prepare
from vidsr.graph.run import Silent, run
from vidsr.graph.session import Session
from vidsr.graph.stages import ENCODER_NICENESS
from vidsr.settings import ClusterSettings, UpscaleSettings

pytestmark = pytest.mark.skipif(not hasattr(os, "setpriority"), reason="this system's processes have no niceness")


class Watcher(Silent):
    """Notes the niceness of all threads of Ray's workers whenever frames are finished."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = defaultdict(set)

    def advance(self, frames: int) -> None:
        for process in psutil.Process().children(recursive=True):
            title = process.cmdline()[0] if process.cmdline() else ""
            if title.startswith("ray::"):
                self.seen[title] |= {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads()}


def test_encoders_let_an_upscaler_on_the_same_cores_go_first(tmp_path: Path, nearest: Path) -> None:
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=120))
    plan = prepare(source, None, UpscaleSettings(model=str(nearest), device="cpu"), overwrite=False, gpu=False)
    watcher = Watcher()
    with Session(ClusterSettings()) as session:
        assert run(plan, session, watcher, threading.Event()).verify.ok
    encoders = set().union(*(found for title, found in watcher.seen.items() if "encode_segment" in title))
    upscalers = set().union(*(found for title, found in watcher.seen.items() if "Upscaler" in title))
    assert max(encoders) == ENCODER_NICENESS and max(upscalers) < ENCODER_NICENESS, watcher.seen


@pytest.mark.parametrize("gpu", [False, True])
def test_encoders_stand_back_only_for_upscalers_on_their_own_cores(gpu: bool, tmp_path: Path, nearest: Path) -> None:
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=4))
    plan = prepare(source, None, UpscaleSettings(model=str(nearest)), overwrite=False, gpu=gpu)
    assert plan.job(plan.segments[0]).shares_cores == (not gpu)
