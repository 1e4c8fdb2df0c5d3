"""What becomes of videos that take workers down, and of a stopped job. In this process, with a Ray of its own."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
import ray
from ray.exceptions import RayError
from rich.console import Console

from jobs import schedule, tasks
from jobs.cache import NodeCache
from jobs.failures import Failure
from jobs.folder import FolderOptions, run_folder
from jobs.records import VideoRecord
from jobs.report import write_report
from jobs.schedule import Schedule, Video
from jobs.state import JobSummary
from jobs.storage import FolderPlace, open_place
from jobs.tasks import Finished, Prepared, prepare_video
from jobs.travel import Travel
from jobs.view import LineFolderView
from tests.jobs import runs
from tests.media.clips import Clip, make_clip
from vidsr.errors import ClusterError, DiskTooSmall, Interrupted, SegmentFailed, SettingsError, SomeFailed
from vidsr.graph.ledger import Ledger
from vidsr.graph.pool import Event
from vidsr.graph.segments import Segment
from vidsr.graph.session import Session
from vidsr.graph.stages import TRIES, SegmentJob
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(ClusterSettings()) as running:
        yield running


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


def run(
    card: Path, model: Path, session: Session, after: int = 10**6, crf: int | None = None, **options: Any
) -> JobSummary:
    stop = threading.Event()
    encode = EncodeSettings(codec="ffv1", container="mkv", crf=crf)
    settings = UpscaleSettings(model=str(model), device="cpu", encode=encode, segment_seconds=0.4, stabilise_detail=0.0)
    cache = NodeCache(card.parent / "cache", 1 << 30)
    return run_folder(card, None, settings, session, FolderOptions(cache=cache, **options), Watch(stop, after), stop)


def poisoned(travel: Travel, *words: Any) -> Prepared:
    """What a decoder does that crashes: the process is gone."""
    if "poison" in travel.entry.name:
        os._exit(1)
    return prepare_video(travel, *words)


def a_schedule(monkeypatch: pytest.MonkeyPatch, *videos: Video) -> Any:
    """A schedule that nobody works for: what it would begin is noted."""
    monkeypatch.setattr(schedule, "SegmentPool", Mock(return_value=MagicMock(__bool__=lambda _: False)))
    monkeypatch.setattr(schedule, "Metrics", Mock())
    monkeypatch.setattr(tasks, "prepare", Mock(remote=Mock(side_effect=lambda *_: object())))
    monkeypatch.setattr(tasks, "finish", Mock(remote=Mock(side_effect=lambda *_: object())))
    state = Mock(read=Mock(return_value=None))
    session: Any = Mock(parallel_segments=4)
    return Schedule(list(videos), UpscaleSettings(), session, state, Mock(), Mock(), threading.Event())


def a_video(name: str = "a.mp4", spec: str = "fast", *lengths: int) -> Video:
    """A video, which is planned if its segments are given."""
    travel: Any = Mock(with_name=lambda message: message)
    video = Video(name, travel, VideoRecord(name, f"{name}.mkv", key="key"), overwrite=False)
    if lengths:
        info: Any = Mock(path=name)
        plan = Mock(upscaler=spec, info=info)
        plan.job = lambda part: SegmentJob(info, part, Path(), "", 2, 2, 2, EncodeSettings(), False, 0.0)
        video.prepared = Mock(plan=plan)
        video.waiting = len(lengths)
    return video


def segments(video: Video, *lengths: int) -> list[tuple[Segment, Video]]:
    return [(Segment(number, 0, length), video) for number, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("failure", "planned", "tries", "state"),
    [
        (Failure("SegmentFailed", "why", passing=True), False, [(False, False)] * 2, "failed"),
        (Failure("SegmentFailed", "why", passing=True), True, [(False, False), (True, False)], "failed"),
        (Failure("NotAVideo", "why"), False, [(False, False)], "failed"),
        (Failure("DamagedVideo", "why", damaged=True), False, [(False, False), (False, True)], "failed"),
        (Failure("WorkerCrashedError", "why", crashes=3, passing=True), False, [(False, False)], "quarantined"),
        (Failure("WorkerCrashedError", "why", crashes=2, passing=True), False, [(False, False)] * 2, "quarantined"),
    ],
)
def test_what_another_try_may_cure_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failure: Failure, planned: bool, tries: list[tuple[bool, bool]], state: str
) -> None:
    """Of each try, whether it replaces what is there, and whether it decodes to count the frames."""
    video = a_video()
    job = a_schedule(monkeypatch, video)
    job._prepare(video)
    for _ in tries:
        assert job._open
        video.prepared = Mock() if planned else None
        job._segments = segments(video, 12)
        job._fail(video, failure)
        assert not job._segments
    assert [(call.args[2], call.args[5]) for call in tasks.prepare.remote.call_args_list] == tries
    assert job.retries == len(tries) - 1
    (final,) = job.finals
    assert (final.state, final.error_class, final.error_message[:3]) == (state, failure.kind, "why")
    assert final.finished and final.attempts == len(tries) and final.crashes == failure.crashes * len(tries)
    assert job._state.write.call_args.args == ("a.mp4", final)
    job._leases.release.assert_called_once_with("a.mp4")


def test_what_another_job_took_over_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    video = a_video()
    job = a_schedule(monkeypatch, video)
    job._prepare(video)
    job._leases.holds.return_value = False
    job._fail(video, Failure("NotAVideo", "why"))
    assert [record.state for record in job.finals] == ["failed"]
    assert [call.args[1].state for call in job._state.write.call_args_list] == ["running"]
    job._prepare(video)
    theirs = replace(video.record, state="done")
    job._state.read.return_value = replace(theirs, source="/mnt/theirs/a.mp4", result="/mnt/theirs/a.mp4.mkv")
    job._fail(video, Failure("InputMissing", "its segments are gone"))
    assert job.finals[1:] == [theirs], "another machine may see the disk by another name"


def test_what_is_left_of_a_video_that_another_job_finished_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a laptop that slept, segments in flight made the folder anew which the other had removed."""
    ledger = Ledger(tmp_path / ".a.mp4.vidsr")
    ledger.folder.mkdir()
    (ledger.folder / "000005.mkv").write_bytes(b"in flight")
    video = a_video()
    job = a_schedule(monkeypatch, video)
    job._prepare(video)
    plan = Mock(ledger=ledger, result=tmp_path / "a.mp4", source=Path("a"), info=Mock(path=Path("a")))
    video.prepared = Mock(plan=plan)
    job._leases.holds.return_value = False
    job._state.read.return_value = replace(video.record, state="running")
    job._settle(video, replace(video.record, state="failed"))
    assert ledger.folder.exists(), "the other is at work"
    job._state.read.return_value = replace(video.record, state="done")
    job._settle(video, replace(video.record, state="failed"))
    assert not ledger.folder.exists()


def test_what_another_job_works_on_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(schedule, "time", Mock(monotonic=lambda: now, time=lambda: now))
    monkeypatch.setattr(schedule, "TICK", 0.0)
    job = a_schedule(monkeypatch, a_video())
    job._leases.acquire.return_value = False
    assert job._begin() and job._begin()
    assert job._leases.acquire.call_count == 1
    now += schedule.ASK_AGAIN_SECONDS
    assert job._begin() and job._leases.acquire.call_count == 2
    now += schedule.ASK_AGAIN_SECONDS
    job._leases.acquire.return_value = True
    done = VideoRecord("a.mp4", "a.mp4.mkv", key="key", state="done")
    job._state.read.return_value = done
    assert not job._begin(), "the other did it"
    assert job.finals == [done] and not tasks.prepare.remote.called and not job._state.write.called
    job._leases.release.assert_called_once_with("a.mp4")


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({}, {"state": "done", "key": "of other settings"}),
        ({}, {"state": "pending", "attempts": 1}),
        ({"state": "failed"}, {"state": "failed"}),  # by --retry-failed
    ],
)
def test_what_another_job_did_not_do_is_begun(
    monkeypatch: pytest.MonkeyPatch, mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    video = a_video()
    job = a_schedule(monkeypatch, video)
    job._state.read.return_value = replace(video.record, **theirs)
    video.record = replace(video.record, **mine)
    assert job._begin() and tasks.prepare.remote.call_count == 1 and not job.finals


def test_the_longest_segment_for_the_upscalers_that_are_there_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, other = a_video("a", "fast", 1, 1), a_video("b", "fast", 1), a_video("c", "quality", 1)
    job = a_schedule(monkeypatch, first, second, other)
    job._segments = [*segments(other, 99), *segments(second, 30), *segments(first, 10, 30)]
    job._loaded = "fast"
    picked = []
    for _ in range(3):
        each = job._pick()
        job._segments.remove(each)
        picked.append((each[1].name, each[0].frames))
    assert picked == [("a", 30), ("b", 30), ("a", 10)]
    job._pool = [1]
    assert job._pick() is None, "others wait for the end of those in flight"
    job._pool = []
    assert job._pick()[1] is other
    job._session.load.assert_called_once_with("quality")


def test_a_video_fails_once_its_segments_in_flight_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    video = a_video("a", "fast", 12, 12, 12, 12)
    job = a_schedule(monkeypatch, video)
    job._open["a"], job._loaded, video.tried = video, "fast", schedule.ATTEMPTS
    job._segments = segments(video, 12, 12, 12, 12)
    job._pool.submit = lambda _: setattr(job._pool, "has_room", video.flying < 3)
    job._feed()
    assert (video.flying, video.waiting, len(job._segments)) == (3, 1, 1)
    jobs: list[Any] = [Mock(segment=Segment(n, 0, 12), info=Mock(path="a")) for n in range(3)]
    for frames in (8, 4):
        job._heed(Event(jobs[0], frames=frames))
    assert sum(call.args[0] for call in job._view.advance.call_args_list) == 12
    job._heed(Event(jobs[1], error=SegmentFailed("the first reason"), crashed=True))
    job._heed(Event(jobs[2], error=SegmentFailed("the second reason")))
    job._pool.has_room = True
    job._feed()
    assert not job.finals and video.flying == 1, "nothing more of it is begun"
    job._heed(Event(jobs[0], finished=True))
    assert (video.computed, job.computed_frames) == (12, 12)
    (final,) = job.finals
    assert final.error_message.startswith("the first reason; ")
    assert (final.state, final.crashes) == ("quarantined", TRIES)
    assert not job._segments and not tasks.finish.remote.called


def test_a_video_is_finished_once_all_its_segments_are(monkeypatch: pytest.MonkeyPatch) -> None:
    video = a_video("a", "fast", 12, 12)
    job = a_schedule(monkeypatch, video)
    job._open["a"], job._loaded = video, "fast"
    job._segments = segments(video, 12, 12)
    job._pool.submit = lambda _: setattr(job._pool, "has_room", video.flying < 1)
    for number in range(2):
        assert not tasks.finish.remote.called
        job._pool.has_room = True
        job._feed()
        job._heed(Event(Mock(segment=Segment(number, 0, 12), info=Mock(path="a")), frames=12))
        assert not tasks.finish.remote.called
        job._heed(Event(Mock(segment=Segment(number, 0, 12), info=Mock(path="a")), finished=True))
    assert tasks.finish.remote.call_count == 1 and tasks.finish.remote.call_args.args[2] == 24
    finished = Finished(1000, ("GPS is beside it",), ("a frame is lost",), ("s.jpg", "r.jpg"), 1.0)
    job._finished(video, finished)
    (final,) = job.finals
    assert (final.state, final.result_bytes, final.thumbnails) == ("salvaged", 1000, ("s.jpg", "r.jpg"))
    assert final.salvaged == ("a frame is lost",)
    assert [call.args[0] for call in job._view.say.call_args_list] == ["a: GPS is beside it", "a: a frame is lost"]


def test_videos_are_planned_ahead_as_far_as_the_disk_and_the_upscalers_have_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting, open_ = (replace_travel(a_video(name), 1 << 20) for name in "ab")
    job = a_schedule(monkeypatch, waiting)
    free = 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Mock(free=free))
    assert job._has_room(), "a video that is alone is judged by itself"
    job._open["b"] = open_
    free = 2 * (24 << 20)  # eight times a source, and something for its begin
    assert not job._has_room()
    free += 1
    assert job._has_room()
    job._segments = segments(open_, 1)
    assert job._has_room()
    job._segments = segments(open_, *[1] * schedule.PLANNED_AHEAD)
    assert not job._has_room()
    job._loaded = "fast"
    assert job._has_room(), "there are upscalers for several"
    job._open = dict.fromkeys(range(4 * 2 * schedule.PLANNED_AHEAD), open_)
    free = 1 << 60
    assert not job._has_room()


def replace_travel(video: Video, size: int) -> Video:
    """The video, whose source has so many bytes."""
    video.travel = Mock(entry=Mock(size=size), output=Mock(folder=Path()))
    return video


def test_a_stop_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, waiting = a_video("a", "fast", 12), a_video("b")
    job = a_schedule(monkeypatch, waiting)
    job._segments = segments(begun, 12)
    job._stop.set()
    assert not job._begin() and not job._segments and not tasks.prepare.remote.called
    job._pool.give_up.assert_called_once()
    assert not job.run(), "something is left"


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
    assert f"down {TRIES} times; delete {tmp_path}/card_2x/.vidsr/videos/poison.mp4.json" in record.error_message
    again = run(card, nearest, session, retry_failed=True)
    assert (again.earlier, again.quarantined, again.computed_frames) == (2, 1, 0)
    assert runs.records(tmp_path / "card_2x")["poison.mp4"].attempts == 1, "it was not begun again"


def test_overwrite_makes_a_result_again_that_no_job_knows(session: Session, tmp_path: Path, nearest: Path) -> None:
    card = runs.make_card(tmp_path / "card", 1, frames=12)
    frames = run(card, nearest, session).computed_frames
    (record,) = (tmp_path / "card_2x").rglob("clip*.vidsr.json")
    before = record.read_text()
    shutil.rmtree(tmp_path / "card_2x" / ".vidsr")  # as if single commands had made it
    again = run(card, nearest, session, overwrite=True)
    assert (again.done, again.computed_frames) == (1, frames)
    assert record.read_text() != before


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


def test_where_ray_is_lost_nothing_is_said_to_be_running(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = runs.make_card(tmp_path / "card", 2, frames=6)
    monkeypatch.setattr(Watch, "now", Mock(side_effect=RayError("the head is gone")))
    with pytest.raises(ClusterError, match="the head is gone"):
        run(card, nearest, session)
    assert {record.state for record in runs.records(tmp_path / "card_2x").values()} == {"pending"}


def test_room_on_disk_bounds_what_is_begun(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one video at a time, all are done, one after the other."""
    card = runs.make_card(tmp_path / "card", 3, frames=12)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20 << 20))
    most = 0

    class Counting(Watch):
        def now(self, working: list[str]) -> None:
            nonlocal most
            most = max(most, len(working))

    stop = threading.Event()
    settings = replace(UpscaleSettings(model=str(nearest), device="cpu"), segment_seconds=0.4)
    run_folder(card, None, settings, session, FolderOptions(), Counting(stop, 10**6), stop)
    assert most == 1
    assert {r.state for r in runs.records(tmp_path / "card_2x").values()} == {"done"}


def test_what_others_made_and_what_other_settings_made(session: Session, tmp_path: Path, nearest: Path) -> None:
    card, out = runs.make_card(tmp_path / "card", 2, frames=12), tmp_path / "card_2x"
    for name in ("clip00_2x.mp4", "clip00_2x.mp4.vidsr.json"):
        (card / "day0" / name).write_text("a result and its record")
    (card / "day0" / "clip00.srt").write_text("a side file")
    (out / "day0").mkdir(parents=True)
    (out / "day0" / "clip00.mkv").write_text("mine")
    (card / "broken.mp4").write_text("no video")
    summary = run(card, nearest, session)
    assert (summary.done, summary.failed, summary.results_left_out, summary.other_files) == (1, 2, 1, 1)
    assert "OutputExists" in summary.failures[str(card / "day0" / "clip00.mp4")]
    assert run(card, nearest, session, retry_failed=True).failed == 2
    assert (out / "day0" / "clip00.mkv").read_text() == "mine"
    with pytest.raises(SettingsError, match="--overwrite"):
        run(card, nearest, session, crf=3)
    (card / "broken.mp4").write_bytes((card / "day1" / "clip01.mp4").read_bytes())
    summary = run(card, nearest, session, overwrite=True)
    assert (summary.done, summary.earlier, summary.computed_frames) == (3, 1, 12 + 13)


def test_a_disk_that_is_too_full_for_the_records_is_called_so(
    session: Session, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = runs.make_card(tmp_path / "card", 1, frames=6)
    monkeypatch.setattr(FolderPlace, "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DiskTooSmall, match=r"card cannot be written, the disk is full"):
        run(card, nearest, session)


def test_a_name_that_is_too_long_stops_no_other_video(session: Session, tmp_path: Path, nearest: Path) -> None:
    card, out = runs.make_card(tmp_path / "card", 1, frames=12), tmp_path / "card_2x"
    clip = (card / "day0" / "clip00.mp4").read_bytes()
    longest, too_long = (f"{'a' * number}.mp4" for number in (227, 251))
    for name in (longest, too_long):
        (card / name).write_bytes(clip)
    summary = run(card, nearest, session)
    assert (summary.done, summary.failed) == (2, 1)
    assert "OutputUnwritable" in summary.failures[str(card / too_long)]
    assert (out / longest).with_suffix(".mkv").exists()
    (record,) = (record for record in runs.records(out).values() if record.source == str(card / longest))
    assert all((out / name).exists() for name in record.thumbnails) and len(record.thumbnails) == 2
    again = run(card, nearest, session)
    assert (again.earlier, again.failed, again.computed_frames) == (2, 1, 0)
    assert too_long in Path(write_report(open_place(out))).read_text()


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A card with two consecutive clips of one camera and one of another."""
    card = tmp_path / "card"
    card.mkdir()
    shape = Clip(width=64, height=48, frames=25, options={"g": "12"}, sound=("aac",))
    for name in ("NO20260101-120000-000001F", "NO20260101-120003-000002F", "NO20260101-120000-000001B"):
        make_clip(card / f"{name}.mp4", shape)
    return card


def test_loop_recordings_are_joined(session: Session, loop: Path, nearest: Path) -> None:
    card, out = loop, loop.with_name("card_2x")
    summary = run(card, nearest, session, join=True)
    assert summary.joined == ["NO20260101-120000-000001F_joined.mkv"]
    joined = out / summary.joined[0]
    pair = [runs.luma(out / f"NO20260101-12000{n}-00000{k}F.mkv") for n, k in ((0, 1), (3, 2))]
    assert np.array_equal(runs.luma(joined), np.concatenate(pair))
    table = probe(joined).table
    assert float(table.time(25) - table.time(0)) == pytest.approx(3, abs=0.002), "two seconds are missing between them"
    before = joined.stat().st_mtime_ns
    (elsewhere := card.with_name("elsewhere")).mkdir()  # as another name of a disk
    card, out = (path.rename(elsewhere / path.name) for path in (card, out))
    again = run(card, nearest, session, join=True)
    assert (again.earlier, again.joined, again.join_failures) == (3, summary.joined, {})
    assert (out / joined.name).stat().st_mtime_ns == before, "done once"


def test_a_join_replaces_no_file_of_another(session: Session, loop: Path, nearest: Path) -> None:
    out, name = loop.with_name("card_2x"), "NO20260101-120000-000001F_joined.mkv"
    out.mkdir()
    (out / name).write_bytes(b"of the user")
    summary = run(loop, nearest, session, join=True)
    assert not summary.joined and list(summary.join_failures) == [name]
    assert "exists and is no join; move it away" in summary.join_failures[name]
    assert (out / name).read_bytes() == b"of the user"
    (out / name).unlink()
    assert run(loop, nearest, session, join=True).joined == [name]


def test_a_stopped_job_joins_nothing_more(session: Session, loop: Path, nearest: Path) -> None:
    with pytest.raises(Interrupted):
        run(loop, nearest, session, after=3 * 25, join=True)
    out = loop.with_name("card_2x")
    assert len(list(out.glob("*.mkv"))) == 3 and not list(out.glob("*_joined.mkv"))
    assert run(loop, nearest, session, join=True).joined == ["NO20260101-120000-000001F_joined.mkv"]


def test_what_cannot_be_joined_is_no_failed_video(loop: Path, nearest: Path) -> None:
    out = loop.with_name("out")
    name = "NO20260101-120000-000001F_joined.mkv"
    (out / name).mkdir(parents=True)
    job = runs.start(loop, out, nearest, "--join")
    said, error = job.communicate(timeout=600)
    assert job.returncode == SomeFailed.exit_code
    last = error.splitlines()[-1]
    assert name in last and "could not be joined" in last and "--retry-failed" not in last
    report = json.loads(said)
    assert (report["done"], report["failures"], list(report["join_failures"])) == (3, {}, [name])
    assert f"{name}: not joined, " in error


def test_what_all_wait_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_schedule(monkeypatch, a_video("a", "fast", 12))
    job._loaded = "fast"
    job._pool.wait, job._pool.waits_for = Mock(return_value=[]), Mock(side_effect=["waiting for a GPU", ""])
    job._listen()
    job._listen()
    assert [call.args[0] for call in job._view.say.call_args_list] == ["waiting for a GPU"]
