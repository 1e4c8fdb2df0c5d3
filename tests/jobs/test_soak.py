"""Longer runs: thirty clips against a single machine, and five hundred for what is left behind."""

from __future__ import annotations

import io
import shutil
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from ray._private import state
from rich.console import Console

from jobs.folder import FolderOptions, run_folder
from jobs.records import VideoRecord
from jobs.view import LineFolderView
from tests.jobs import runs
from tests.jobs.conftest import start_cluster, stop_cluster
from tests.media.clips import Clip, make_clip
from vidsr.errors import SomeFailed
from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings, UpscaleSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


def test_thirty_clips_and_a_lost_node_equal_a_single_machine(tmp_path: Path, nearest: Path) -> None:
    card, out, alone = runs.make_card(tmp_path / "card", 28), tmp_path / "out", tmp_path / "alone"
    for name in ("empty.mp4", "text.mp4"):
        (card / name).write_text("no video" if name == "text.mp4" else "")
    cluster = start_cluster(3)
    try:
        job = runs.start(card, out, nearest, "--address", cluster.address, "--codec", "libx264")
        while len(list(out.rglob("*.mkv"))) < 4:
            assert job.poll() is None, job.communicate()
        cluster.kill_node()
        report = runs.end(job, SomeFailed.exit_code)
    finally:
        stop_cluster(cluster)
    assert (report["done"], report["failed"]) == (28, 2)
    assert sorted(r.error_class for r in runs.records(out).values() if r.error_class) == ["InputEmpty", "NotAVideo"]
    runs.end(runs.start(card, alone, nearest, "--codec", "libx264"), SomeFailed.exit_code)
    for result in out.rglob("*.mkv"):
        assert np.array_equal(runs.luma(result), runs.luma(alone / result.relative_to(out))), result


class Scales(LineFolderView):
    """Weighs this process after each video."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.megabytes: list[float] = []

    def end_video(self, record: VideoRecord) -> None:
        super().end_video(record)
        self.megabytes.append(psutil.Process().memory_info().rss / 1e6)


def test_five_hundred_clips_leave_nothing(tmp_path: Path, nearest: Path) -> None:
    card, scales = tmp_path / "card", Scales()
    card.mkdir()
    first = make_clip(tmp_path / "clip.mp4", Clip(width=64, height=48, frames=6))
    for number in range(500):
        shutil.copy(first, card / f"{number:03}.mp4")
    with Session(ClusterSettings()) as session:
        settings = UpscaleSettings(model=str(nearest), device="cpu")
        summary = run_folder(card, None, settings, session, FolderOptions(), scales, threading.Event())
        alive = [actor for actor in state.actors().values() if actor["State"] == "ALIVE"]
        assert len(alive) == 1
        used = ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]
        assert used < 1e6
    assert (summary.done, summary.failed) == (500, 0)
    assert scales.megabytes[-1] - scales.megabytes[100] < 30
    left = [path for path in (tmp_path / "card_2x").rglob("*") if path.suffix == ".part" or path.name.startswith(".0")]
    assert not left
