"""Tasks of one video on nodes that find nothing of each other, and on nodes that are lost. In this process's Ray."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import ray
from rich.console import Console

from jobs import tasks
from jobs.cache import NodeCache
from jobs.folder import FolderOptions, run_folder
from jobs.state import JobState, JobSummary
from jobs.storage import open_place
from jobs.tasks import Finished, Prepared, finish_video, prepare_video
from jobs.travel import Travel
from jobs.view import LineFolderView
from tests.jobs import runs
from tests.jobs.conftest import S3Server
from tests.media.clips import Clip, make_clip
from vidsr.errors import Interrupted, OutputUnwritable
from vidsr.evidence import check_record
from vidsr.graph.ledger import Ledger
from vidsr.graph.session import Session
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, UpscaleSettings

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


def run(
    root: str | Path, model: Path, session: Session, tmp_path: Path, stops: bool = False, log: io.StringIO | None = None
) -> JobSummary:
    options = FolderOptions(cache=NodeCache(tmp_path / "cache", 1 << 30))
    settings = UpscaleSettings(model=str(model), device="cpu", segment_seconds=0.1, gpx=log is not None)
    stop = threading.Event()
    view = Stops(stop) if stops else LineFolderView(Console(file=log or io.StringIO()))
    return run_folder(f"{root}/card", f"{root}/out", settings, session, options, view, stop)


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


def lost_before_the_end(travel: Travel, *words: Any) -> Finished:
    """The node is lost when the result has its name and the ledger is still there; another one finishes it."""
    if _first_time(travel):
        with patch.object(Ledger, "remove", lambda ledger: os._exit(1)):
            finish_video(travel, *words)
    return finish_video(travel, *words)


def lost_at_the_end(travel: Travel, *words: Any) -> Finished:
    """The node is lost when all is done and before it can say so."""
    finished = finish_video(travel, *words)
    if _first_time(travel):
        os._exit(1)
    return finished


def _first_time(travel: Travel) -> bool:
    mark = travel.cache.folder.with_name("mark")
    first = not mark.exists()
    mark.touch()
    return first


@pytest.mark.parametrize("lost", [lost_before_the_end, lost_at_the_end])
def test_a_video_is_finished_once(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch, lost: Callable[..., Finished]
) -> None:
    (tmp_path / "card").mkdir()
    make_clip(tmp_path / "card" / "clip.mp4", CLIP)
    monkeypatch.setattr(tasks, "finish", ray.remote(**tasks.ON_ANY_NODE)(lost))
    summary = run(tmp_path, nearest, session, tmp_path)
    assert (tmp_path / "mark").exists()
    assert (summary.done, summary.retries, summary.failures) == (1, 0, {})
    assert check_record(tmp_path / "out" / "clip.mp4") == []
    assert not (tmp_path / "out" / ".clip.mp4.vidsr").exists()
    pictures = runs.records(tmp_path / "out")["clip.mp4"].thumbnails
    assert len(pictures) == (2 if lost is lost_at_the_end else 0)


def test_a_video_of_an_object_store_is_finished_once(
    session: Session, unfinished: str, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "finish", ray.remote(**tasks.ON_ANY_NODE)(lost_at_the_end))
    summary = run(unfinished, nearest, session, tmp_path)
    assert (tmp_path / "mark").exists()
    assert (summary.salvaged, summary.retries, summary.failures) == (1, 0, {})


def test_a_result_that_a_killed_job_did_not_note_is_taken_as_it_is(
    session: Session, tmp_path: Path, nearest: Path
) -> None:
    (tmp_path / "card").mkdir()
    make_clip(tmp_path / "card" / "clip.mp4", CLIP)
    out, result = tmp_path / "out", tmp_path / "out" / "clip.mp4"

    def killed() -> JobSummary:
        """The job was killed when the result had its name and its ledger was removed, and begins again."""
        state = JobState(open_place(out))
        state.write("clip.mp4", replace(runs.records(out)["clip.mp4"], state="running", result_bytes=0))
        return run(tmp_path, nearest, session, tmp_path)

    assert run(tmp_path, nearest, session, tmp_path).computed_frames == 30
    made = result.read_bytes()
    again = killed()
    assert (again.done, again.computed_frames, again.failures) == (1, 0, {})
    record = runs.records(out)["clip.mp4"]
    assert (record.state, record.frames, record.result_bytes) == ("done", 30, len(made))
    assert not (out / ".clip.mp4.vidsr").exists()
    result.write_bytes(made[:-1] + b"?")
    assert killed().computed_frames == 30
    assert check_record(result) == []


def test_two_runs_do_not_plan_or_finish_one_result_at_once(tmp_path: Path, nearest: Path) -> None:
    (tmp_path / "card").mkdir()
    make_clip(tmp_path / "card" / "clip.mp4", CLIP)
    card, out = open_place(tmp_path / "card"), open_place(tmp_path / "out")
    entry = card.entry("clip.mp4")
    assert entry is not None
    travel = Travel(card, entry, out, "clip.mp4", NodeCache(tmp_path / "cache", 1 << 30))
    words = (UpscaleSettings(model=str(nearest)), False, True, False, False)
    plan = prepare_video(travel, *words).plan
    with Ledger(tmp_path / "out" / ".clip.mp4.vidsr").held(tmp_path / "out" / "clip.mp4"):
        with pytest.raises(OutputUnwritable, match=r"clip\.mp4 is being made by another run"):
            prepare_video(travel, *words)
        with pytest.raises(OutputUnwritable, match=r"clip\.mp4 is being made by another run"):
            finish_video(travel, plan, 0, 0.0)
    assert prepare_video(travel, *words).missing == plan.segments


def without_pictures(travel: Travel, *words: Any) -> Finished:
    with patch.object(tasks, "thumbnail_pair", Mock(side_effect=OSError("the disk is full"))):
        return finish_video(travel, *words)


def test_a_result_without_thumbnails_is_a_result(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card").mkdir()
    make_clip(tmp_path / "card" / "clip.mp4", CLIP)
    monkeypatch.setattr(tasks, "finish", ray.remote(**tasks.ON_ANY_NODE)(without_pictures))
    assert run(tmp_path, nearest, session, tmp_path, log=(log := io.StringIO())).done == 1
    assert runs.records(tmp_path / "out")["clip.mp4"].thumbnails == ()
    assert "clip.mp4: no GPS track in it can be read as GPX\n" in log.getvalue()
