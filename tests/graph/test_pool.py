"""Segments in flight whose upscalers, machines or sources are lost."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray.exceptions import ActorUnavailableError, LocalRayletDiedError, RayTaskError

from tests.media.clips import Clip, make_clip
from vidsr.errors import ClusterError, DiskTooSmall, InputMissing, Interrupted, SegmentFailed
from vidsr.graph import pool as pools
from vidsr.graph.pool import SegmentPool
from vidsr.graph.progress import Silent
from vidsr.graph.run import compute
from vidsr.graph.segments import Segment
from vidsr.graph.session import Session
from vidsr.graph.stages import SegmentJob, SharedFiles
from vidsr.graph.upscalers import identity
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, EncodeSettings

UPSCALER = SimpleNamespace(_actor_id=SimpleNamespace(hex=str))
JOB = cast(
    "SegmentJob",
    SimpleNamespace(
        segment=SimpleNamespace(first=0, stop=12, frames=12),
        info=SimpleNamespace(path=""),
        encode=EncodeSettings(),
        folder=Path("ledger"),
    ),
)


def a_pool(**known: Any) -> tuple[SegmentPool, SimpleNamespace]:
    """A pool and what it is told of its upscalers."""
    usual = {"alive": 1, "handles": [UPSCALER], "usable": {""}, "machines": {"head"}, "waits_for": str}
    upscalers = SimpleNamespace(look=lambda: None, **{**usual, **known})
    return SegmentPool(
        cast("Session", SimpleNamespace(upscalers=upscalers, encoder_cpus=0, parallel_segments=4))
    ), upscalers


class Tasks:
    """Ray, as far as a pool uses it: each task that is begun gives the next of some lists, errors among them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *given: list[int | BaseException]) -> None:
        self.given = list(given)
        self.upscalers: list[list[Any]] = []
        self.cancelled: list[Any] = []
        options = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._begin))
        monkeypatch.setattr(pools, "encode", options)
        fake = SimpleNamespace(wait=lambda tasks, **_: (tasks[:1], []), get=self._get, cancel=self.cancelled.append)
        monkeypatch.setattr(pools, "ray", fake)
        self.now = 1000.0
        clock = SimpleNamespace(sleep=lambda _: None, monotonic=lambda: self.now)
        monkeypatch.setattr(pools, "time", clock)

    def _begin(self, job: object, upscalers: list[Any]) -> Iterator[int | BaseException]:
        self.upscalers.append(upscalers)
        return iter(self.given[len(self.upscalers) - 1])

    @staticmethod
    def _get(value: int | BaseException) -> int:
        if isinstance(value, BaseException):
            raise value
        return value


AWAY = ActorUnavailableError("cannot be reached", None)


def test_segments_begin_with_different_upscalers_and_have_few(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(monkeypatch, [], [], [])
    handles = [SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda n=n: str(n)), n=n) for n in range(10)]
    pool, _ = a_pool(handles=handles)
    for _ in range(3):
        pool.submit(JOB)
    assert [[each.n for each in some] for some in tasks.upscalers] == [
        [(first + k) % 10 for k in range(8)] for first in range(3)
    ]


def test_a_segment_that_takes_machines_down_fails_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "NOTICE_SECONDS", 0.0)
    tasks = Tasks(monkeypatch, *([[4, AWAY]] * 4))
    pool, upscalers = a_pool(machines={"a", "b", "c", "d", "e"})
    pool.submit(JOB)
    events = []
    while pool:
        begun = len(tasks.upscalers)
        events += pool.wait(0)
        if pool and pool._doubts and len(upscalers.machines) > 1 and begun == len(tasks.upscalers):
            upscalers.machines = set(sorted(upscalers.machines)[1:])
    assert len(tasks.upscalers) == 1 + pools.LOST_MACHINES
    assert [type(event.error) for event in events if event.error] == [SegmentFailed]
    assert sum(event.frames for event in events) == 4


def test_an_error_waits_for_news_of_machines_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(monkeypatch, [AWAY], [AWAY])
    pool, upscalers = a_pool(machines={"head", "node"})
    pool.submit(JOB)
    for _ in range(3):
        tasks.now += pools.NOTICE_SECONDS / 4
        assert pool.wait(0) == [] and len(pool) == 1
    tasks.now += pools.NOTICE_SECONDS
    (event,) = pool.wait(0)
    assert event.crashed and not pool
    upscalers.machines = {"head"}
    pool.submit(JOB)
    (event,) = pool.wait(0)
    assert event.crashed and not pool, "of the only machine nobody has to wait for news"


def test_a_segment_waits_while_no_upscaler_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called back once there are others, once, and begins again also where it ends without an error."""
    tasks = Tasks(monkeypatch, [4, 4], [12])
    pool, upscalers = a_pool()
    pool.submit(JOB)
    upscalers.alive, upscalers.handles, upscalers.usable = 0, [], set()
    assert [event.frames for event in pool.wait(0)] == [4] and not tasks.cancelled and not pool.has_room
    upscalers.alive = 1
    assert [event.frames for event in pool.wait(0)] == [4] and len(tasks.cancelled) == 1
    assert pool.wait(0) == [] and pool.wait(0) == [] and len(pool) == 1 and len(tasks.upscalers) == 1
    upscalers.handles, upscalers.usable = [UPSCALER], {""}
    assert pool.has_room
    assert [event.frames for event in pool.wait(0)] == [4]
    assert [event.finished for event in pool.wait(0)] == [True] and len(tasks.cancelled) == 1


def test_a_segment_that_was_called_back_too_late_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(monkeypatch, [12])
    pool, upscalers = a_pool()
    pool.submit(JOB)
    upscalers.usable = set()
    assert [event.frames for event in pool.wait(0)] == [12] and len(tasks.cancelled) == 1
    assert [event.finished for event in pool.wait(0)] == [True] and not pool


def test_a_ray_that_ended_is_no_fault_of_a_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    Tasks(monkeypatch, [4, LocalRayletDiedError()])
    pool, _ = a_pool()
    pool.submit(JOB)
    pool.wait(0)
    with pytest.raises(ClusterError, match="Ray's processes on this machine ended"):
        pool.wait(0)


def test_a_full_disk_of_a_segment_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    Tasks(monkeypatch, [RayTaskError("encode", "", full)])
    pool, _ = a_pool()
    pool.submit(JOB)
    (event,) = pool.wait(0)
    assert isinstance(event.error, DiskTooSmall) and "ledger" in event.error.message


class Watcher(Silent):
    """Counts frames, and stops a run at the first."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop, self.frames = stop, 0

    def advance(self, frames: int) -> None:
        self.frames += frames
        self.stop.set()


def test_the_first_failure_is_the_reason_and_nothing_more_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (RayTaskError("encode", "", SegmentFailed(f"the {word} reason")) for word in ("first", "second"))
    tasks = Tasks(monkeypatch, [first], [12], [second], [12], [12], [12])
    pool, _ = a_pool()
    with pytest.raises(SegmentFailed, match="the first reason"):
        compute(pool, [JOB] * 6, Silent(), threading.Event())
    assert len(tasks.upscalers) == 4 and not pool


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_stopped_run_finishes_what_is_in_flight(monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    tasks = Tasks(monkeypatch, *([[4, 8]] * 5))
    (pool, _), watcher = a_pool(), Watcher(threading.Event())
    with pytest.raises(Interrupted) if waiting else nullcontext():
        compute(pool, [JOB] * (4 + waiting), watcher, watcher.stop)
    assert (len(tasks.upscalers), watcher.frames) == (4, 48)


@pytest.fixture
def local() -> Iterator[Session]:
    with Session(ClusterSettings()) as running:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `command &` has it
        try:
            running.start()
            yield running
        finally:
            signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("local")
def test_a_segment_that_begins_again_tells_of_its_frames_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = tmp_path / "begun"

    def frames(job: object, upscalers: object) -> Iterator[int]:
        again = begun.exists()
        begun.touch()
        yield 4
        yield 4
        while not again:
            time.sleep(0.1)
        yield 4

    monkeypatch.setattr(pools, "encode", ray.remote(frames))
    pool, upscalers = a_pool()
    pool.submit(JOB)
    told, lost = 0, False
    while pool:
        events = pool.wait(1)
        assert not any(event.error for event in events), events
        told += sum(event.frames for event in events)
        # Once, the node of its upscaler is lost.
        upscalers.usable = set() if told == 8 and upscalers.usable and not lost else {""}
        lost = lost or not upscalers.usable
    assert told == 12


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("lost", [True, False], ids=["machine-lost", "all-there"])
def test_an_upscaler_that_is_away_is_the_videos_fault_unless_a_machine_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Ray learns late of a lost machine: by then, all tries of a segment may have failed."""
    begun = tmp_path / "begun"

    def frames(job: object, upscalers: object) -> Iterator[int]:
        yield 4
        if not begun.exists():
            begun.touch()
            raise ActorUnavailableError("cannot be reached", None)
        yield 8

    monkeypatch.setattr(pools, "encode", ray.remote(max_retries=0)(frames))
    monkeypatch.setattr(pools, "NOTICE_SECONDS", 2.0)
    pool, upscalers = a_pool(machines={"head", "node"})
    pool.submit(JOB)
    events = []
    while pool:
        events += pool.wait(0.1)
        if lost and begun.exists():
            upscalers.machines = {"head"}
    errors = [(type(event.error), event.crashed) for event in events if event.error]
    assert errors == ([] if lost else [(SegmentFailed, True)])
    assert lost or "memory ran out" in str(next(event.error for event in events if event.error))
    assert sum(event.frames for event in events) == (12 if lost else 4)


@pytest.mark.usefixtures("local")
def test_a_stopped_run_does_not_wait_for_news_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def frames(job: object, upscalers: object) -> Iterator[int]:
        yield 4
        raise ActorUnavailableError("cannot be reached", None)

    class Stops(Silent):
        def advance(self, frames: int) -> None:
            stop.set()

    monkeypatch.setattr(pools, "encode", ray.remote(max_retries=0)(frames))
    pool, _ = a_pool(machines={"head", "node"})
    with pytest.raises(Interrupted, match="run the same command to go on"):
        compute(pool, [JOB], Stops(), stop)
    assert not pool


@pytest.mark.parametrize(
    ("codec", "machines", "expected"), [("libx264", "a", 4), ("hevc_nvenc", "a", 3), ("hevc_nvenc", "ab", 4)]
)
def test_encoders_of_gpus_are_not_more_than_their_drivers_allow(
    monkeypatch: pytest.MonkeyPatch, codec: str, machines: str, expected: int
) -> None:
    Tasks(monkeypatch, *([[12]] * 5))
    pool, _ = a_pool(machines=set(machines))
    while pool.has_room:
        pool.submit(cast("SegmentJob", SimpleNamespace(encode=EncodeSettings(codec=codec), info=JOB.info)))
    assert len(pool) == expected


@dataclass(frozen=True)
class Gone(SharedFiles):
    """The files of a source that is gone; counts who asks for it."""

    asked: Path

    def source(self) -> AbstractContextManager[object]:
        with self.asked.open("a") as file:
            file.write("x")
        raise InputMissing("drive.mp4 is gone")


class Idle:
    def upscale(self, batch: object, *_: object) -> object:
        return batch


@pytest.mark.parametrize("stabilise", [0.0, 0.5])
def test_what_a_decoder_says_on_purpose_is_not_tried_again(tmp_path: Path, stabilise: float) -> None:
    info, asked = probe(make_clip(tmp_path / "drive.mp4", Clip(frames=6))), tmp_path / "asked"
    job = SegmentJob(
        info, Segment(0, 0, 6), tmp_path / "ledger", "key", info.width, info.height, 1, EncodeSettings(codec="ffv1"),
        deinterlace=False, stabilise=stabilise, transfer=Gone(asked),
    )  # fmt: skip
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    try:
        upscaler: Any = ray.remote(num_cpus=0)(Idle).remote()
        pool, _ = a_pool(handles=[upscaler], usable={identity(upscaler)})
        pool.submit(job)
        errors = [event.error for _ in iter(lambda: len(pool), 0) for event in pool.wait(1)]
    finally:
        ray.shutdown()
    assert [(type(error), str(error)) for error in errors] == [(InputMissing, "drive.mp4 is gone")]
    assert asked.read_text() == "x"
    assert list((tmp_path / "ledger").iterdir()) == []
