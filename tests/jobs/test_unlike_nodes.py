"""Videos of an object store whose tasks find nothing of each other on their node, as on a cluster of many."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from jobs import tasks
from jobs.cache import NodeCache
from jobs.folder import FolderOptions, run_folder
from jobs.state import JobSummary
from jobs.storage import open_place
from jobs.tasks import Finished, Prepared, finish_video, prepare_video
from jobs.travel import Travel
from jobs.view import LineFolderView
from tests.jobs.conftest import S3Server
from tests.media.clips import Clip, make_clip
from vidsr.errors import Interrupted
from vidsr.graph.session import Session
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, UpscaleSettings

pytestmark = pytest.mark.timeout(900)  # a busy machine starts Ray's processes slowly

CLIP = Clip(frames=30, options={"g": "10", "bf": "2", "x264-params": "repeat-headers=1"})


@pytest.fixture(scope="module")
def session(s3: S3Server) -> Iterator[Session]:
    with Session(ClusterSettings()) as running:
        yield running


def leave_nothing(travel: Travel) -> None:
    for folder in (travel.cache.folder, travel.result_path.parent):
        shutil.rmtree(folder, ignore_errors=True)


def prepared_elsewhere(travel: Travel, *words: Any) -> Prepared:
    prepared = prepare_video(travel, *words)
    leave_nothing(travel)
    return prepared


def finished_elsewhere(travel: Travel, *words: Any) -> Finished:
    leave_nothing(travel)
    return finish_video(travel, *words)


class Stops(LineFolderView):
    """Stops a job after its first frames."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(Console(file=io.StringIO()))
        self._event = stop

    def advance(self, frames: int) -> None:
        self._event.set()


def run(bucket: str, model: Path, session: Session, tmp_path: Path, stops: bool = False) -> JobSummary:
    options = FolderOptions(cache=NodeCache(tmp_path / "cache", 1 << 30))
    settings = UpscaleSettings(model=str(model), device="cpu", segment_seconds=0.1)
    stop = threading.Event()
    view = Stops(stop) if stops else LineFolderView(Console(file=io.StringIO()))
    return run_folder(f"{bucket}/card", f"{bucket}/out", settings, session, options, view, stop)


@pytest.fixture
def unfinished(bucket: str, tmp_path: Path) -> str:
    """A bucket with a recording without its index, in card/."""
    content = make_clip(tmp_path / "clip.mp4", CLIP).read_bytes()
    open_place(f"{bucket}/card").write("clip.mp4", content[: content.rindex(b"moov") - 4])
    return bucket


def test_every_node_has_what_one_recovered(
    session: Session, unfinished: str, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "prepare", ray.remote(**tasks.ON_ANY_NODE)(prepared_elsewhere))
    monkeypatch.setattr(tasks, "finish", ray.remote(**tasks.ON_ANY_NODE)(finished_elsewhere))
    summary = run(unfinished, nearest, session, tmp_path)
    assert (summary.salvaged, summary.computed_frames, summary.failures) == (1, 30, {})
    out = open_place(f"{unfinished}/out")
    out.download("clip.mp4", tmp_path / "large.mp4")
    assert probe(tmp_path / "large.mp4").frames == 30
    left = {entry.name for entry in out.files()}
    assert not [name for name in left if "recovered" in name or "/segments/" in name], left


def test_another_node_goes_on_with_what_one_recovered(
    session: Session, unfinished: str, tmp_path: Path, nearest: Path
) -> None:
    with pytest.raises(Interrupted):
        run(unfinished, nearest, session, tmp_path, stops=True)
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache-work")
    summary = run(unfinished, nearest, session, tmp_path)
    assert summary.salvaged == 1
    assert 0 < summary.computed_frames < 30
