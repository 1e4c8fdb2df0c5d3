"""What becomes of videos that take workers down, and of a stopped job. In this process, with a Ray of its own."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from jobs import tasks
from jobs.cache import NodeCache
from jobs.folder import FolderOptions, run_folder
from jobs.state import JobSummary
from jobs.tasks import Prepared, prepare_video
from jobs.travel import Travel
from jobs.view import LineFolderView
from tests.jobs import runs
from vidsr.errors import Interrupted
from vidsr.graph.session import Session
from vidsr.graph.stages import TRIES
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings

pytestmark = pytest.mark.timeout(1500)  # a busy machine starts a cluster's processes slowly


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its processes wait behind everything else
    with Session(ClusterSettings()) as running:
        yield running
    monkeypatch.undo()


class Watch(LineFolderView):
    """Stops a job after some frames."""

    def __init__(self, stop: threading.Event, after: int) -> None:
        self.text = io.StringIO()
        super().__init__(Console(file=self.text, width=200))
        self._stop_event, self._left = stop, after

    def advance(self, frames: int) -> None:
        super().advance(frames)
        self._left -= frames
        if self._left <= 0:
            self._stop_event.set()


def run(card: Path, model: Path, session: Session, after: int = 10**6, **options: Any) -> JobSummary:
    stop = threading.Event()
    settings = UpscaleSettings(
        model=str(model), device="cpu", encode=EncodeSettings(codec="ffv1", container="mkv"), segment_seconds=0.4
    )
    cache = NodeCache(card.parent / "cache", 1 << 30)
    return run_folder(card, None, settings, session, FolderOptions(cache=cache, **options), Watch(stop, after), stop)


def poisoned(travel: Travel, *words: Any) -> Prepared:
    """What a decoder does that crashes: the process is gone."""
    if "poison" in travel.entry.name:
        os._exit(1)
    return prepare_video(travel, *words)


def test_a_video_that_kills_workers_is_quarantined(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = runs.make_card(tmp_path / "card", 2, frames=12)
    (card / "poison.mp4").write_bytes((card / "day0" / "clip00.mp4").read_bytes())
    monkeypatch.setattr(tasks, "prepare", ray.remote(max_retries=TRIES - 1, num_cpus=0.01)(poisoned))
    summary = run(card, nearest, session)
    assert (summary.done, summary.quarantined, summary.failed) == (2, 1, 0)
    record = runs.records(tmp_path / "card_2x")["poison.mp4"]
    assert (record.state, record.crashes, record.error_class) == ("quarantined", TRIES, "WorkerCrashedError")
    again = run(card, nearest, session, retry_failed=True)
    assert (again.earlier, again.quarantined, again.computed_frames) == (2, 1, 0)
    assert runs.records(tmp_path / "card_2x")["poison.mp4"].attempts == 1, "it was not begun again"


def test_a_stopped_job_goes_on(session: Session, tmp_path: Path, nearest: Path) -> None:
    card = runs.make_card(tmp_path / "card", 2, frames=60)
    with pytest.raises(Interrupted):
        run(card, nearest, session, after=12)
    out = tmp_path / "card_2x"
    kept = 12 * len(list(out.rglob(".*.vidsr/0*.json")))
    assert 0 < kept < 121
    assert {r.state for r in runs.records(out).values()} <= {"pending", "done"}
    assert not list((out / ".vidsr" / "leases").rglob("*.json"))
    summary = run(card, nearest, session)
    assert (summary.done, summary.computed_frames) == (2, 121 - kept)
    (card / "day0" / "clip00.mp4").write_bytes((card / "day1" / "clip01.mp4").read_bytes())
    replaced = run(card, nearest, session)
    assert (replaced.earlier, replaced.computed_frames) == (1, 61)
    runs.assert_is_enlarged(card / "day0" / "clip00.mp4", out / "day0" / "clip00.mkv")


def test_room_on_disk_bounds_what_is_begun(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one video at a time, all are done, one after the other."""
    import shutil

    card = runs.make_card(tmp_path / "card", 3, frames=12)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20 << 20))
    most = 0

    class Counting(Watch):
        def now(self, working: list[str], waiting: int) -> None:
            nonlocal most
            most = max(most, len(working))

    stop = threading.Event()
    settings = replace(UpscaleSettings(model=str(nearest), device="cpu"), segment_seconds=0.4)
    run_folder(card, None, settings, session, FolderOptions(), Counting(stop, 10**6), stop)
    assert most == 1
    assert {r.state for r in runs.records(tmp_path / "card_2x").values()} == {"done"}
