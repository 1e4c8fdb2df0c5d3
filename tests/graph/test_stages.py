"""How the tasks share a machine."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.media.clips import Clip, make_clip
from vidsr.graph.prepare import prepare
from vidsr.graph.stages import in_background
from vidsr.settings import UpscaleSettings

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="scheduling policies are Linux's")


def policy(wanted: bool) -> int:
    """That of a thread which one in the background starts."""
    with in_background(wanted), ThreadPoolExecutor(1) as threads:
        return threads.submit(os.sched_getscheduler, 0).result()


def test_an_encoders_threads_leave_the_cores_to_others() -> None:
    with ThreadPoolExecutor(1) as threads:  # who may not raise its priority stays in the background
        usual, back = (threads.submit(policy, wanted).result() for wanted in (False, True))
        after = threads.submit(os.sched_getscheduler, 0).result()
    assert usual == os.sched_getscheduler(0) and back == os.SCHED_IDLE
    assert after == usual or os.geteuid()


@pytest.mark.parametrize("gpu", [False, True])
def test_encoders_wait_only_for_upscalers_on_their_own_cores(gpu: bool, tmp_path: Path, nearest: Path) -> None:
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=4))
    plan = prepare(source, None, UpscaleSettings(model=str(nearest)), overwrite=False, gpu=gpu)
    assert plan.job(plan.segments[0]).shares_cores == (not gpu)
