"""Segments in flight whose upscalers, machines or sources are lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray.exceptions import ActorUnavailableError

from tests.media.clips import Clip, make_clip
from vidsr.errors import InputMissing, Interrupted, SegmentFailed
from vidsr.graph import pool as pools
from vidsr.graph.plan import Segment
from vidsr.graph.pool import SegmentPool
from vidsr.graph.run import Silent, compute
from vidsr.graph.session import Session
from vidsr.graph.stages import SegmentJob, SharedFiles
from vidsr.graph.upscalers import identity
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, EncodeSettings

UPSCALER = SimpleNamespace(_actor_id=SimpleNamespace(hex=str))
JOB = cast(
    "SegmentJob", SimpleNamespace(segment=SimpleNamespace(first=0, stop=12, frames=12), info=SimpleNamespace(path=""))
)


def a_pool(**known: Any) -> tuple[SegmentPool, SimpleNamespace]:
    """A pool and what it is told of its upscalers."""
    usual = {"alive": 1, "handles": [UPSCALER], "usable": {""}, "machines": {"head"}}
    upscalers = SimpleNamespace(look=lambda: None, **{**usual, **known})
    return SegmentPool(
        cast("Session", SimpleNamespace(upscalers=upscalers, encoder_cpus=0, parallel_segments=4))
    ), upscalers


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


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(("codec", "expected"), [("libx264", 4), ("hevc_nvenc", 3)])
def test_encoders_of_gpus_are_not_more_than_their_drivers_allow(
    monkeypatch: pytest.MonkeyPatch, codec: str, expected: int
) -> None:
    def frames(job: object, upscalers: object) -> Iterator[int]:
        time.sleep(60)
        yield 12

    monkeypatch.setattr(pools, "encode", ray.remote(frames))
    pool, _ = a_pool()
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
