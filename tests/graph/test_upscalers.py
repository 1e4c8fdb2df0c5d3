from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import ray

from tests.graph.counting import Counting, frames_given
from tests.media.clips import Clip, make_clip
from vidsr.errors import ClusterError, DeviceError, Interrupted, SettingsError, UnknownModel
from vidsr.graph import upscalers
from vidsr.graph.pool import SegmentPool
from vidsr.graph.prepare import prepare
from vidsr.graph.run import compute
from vidsr.graph.session import Session
from vidsr.graph.stages import LoadedUpscaler, UpscalerSpec
from vidsr.graph.upscalers import identity
from vidsr.settings import ClusterSettings, UpscaleSettings


def test_what_keeps_upscalers_from_starting_is_said(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Looked at as often as can be, since for a moment Ray takes an actor whose constructor failed for alive.
    monkeypatch.setattr(upscalers, "START_SECONDS", 0.0)
    session.load(UpscalerSpec(str(tmp_path / "gone.safetensors"), 2, "cpu", "torch"))
    pool = SegmentPool(session)
    with pytest.raises(UnknownModel, match=r"gone\.safetensors"):  # noqa: PT012  (it takes a while until it is known)
        while not pool.has_room:
            pool.wait(0.001)


class Dying:
    """What an upscaler is that memory does not hold."""

    def __init__(self, *_: object) -> None:
        os._exit(1)


def test_upscalers_whose_processes_keep_ending_are_not_waited_for(
    session: Session, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscalers, "UpscalerActor", ray.remote(Dying))
    monkeypatch.setattr(upscalers, "STARTS", 2)
    session.load(UpscalerSpec(str(nearest), 2, "cpu", "auto", fidelity=0.5))
    pool, deadline = SegmentPool(session), time.monotonic() + 60
    with pytest.raises(DeviceError, match="ended 2 times"):  # noqa: PT012  (it takes a while until it is known)
        while not pool.has_room and time.monotonic() < deadline:
            pool.wait(0.1)


def test_a_lost_ray_is_no_missing_device(session: Session, nearest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.load(UpscalerSpec(str(nearest), 2, "cpu", "auto"))
    started = session.upscalers
    tables = {identity(member.handle): {"State": "DEAD", "NumRestarts": 0, "Pid": 0} for member in started._members}
    monkeypatch.setattr(upscalers, "START_SECONDS", 0.0)
    with monkeypatch.context() as lost:  # what Ray says once the raylet of its one machine was killed
        lost.setattr(ray, "nodes", lambda: [{"Alive": False}])
        lost.setattr(upscalers.state, "actors", lambda: tables)
        started.look()
        with pytest.raises(ClusterError, match="run the same command"):
            _ = started.handles


def test_a_gpu_that_is_nowhere(session: Session, nearest: Path) -> None:
    session.load(UpscalerSpec(str(nearest), 2, "cuda", "torch"))
    with pytest.raises(DeviceError, match="vidsr doctor"):
        _ = session.upscalers


def test_a_cluster_without_gpus_gets_some_if_it_is_told_how_many(session: Session, nearest: Path) -> None:
    session.start()
    spec, address = UpscalerSpec(str(nearest), 2, "cuda", "torch"), "127.0.0.1:1"
    with pytest.raises(DeviceError, match=rf"{address} has no GPU now.*--actors"):
        upscalers.Upscalers(spec, ClusterSettings(address))
    waiting = upscalers.Upscalers(spec, ClusterSettings(address, actors=1))
    assert waiting.on_gpus and not waiting.alive
    waiting.close()


def test_who_waits_for_a_gpu_that_no_machine_has_is_told_once(
    session: Session, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start()
    spec, said, stop = UpscalerSpec(str(nearest), 2, "cuda", "torch"), Mock(), threading.Event()
    session.load(spec)
    session._upscalers = upscalers.Upscalers(spec, ClusterSettings("127.0.0.1:1", actors=1))
    threading.Timer(0.4, stop.set).start()
    pool = SegmentPool(session)
    assert not pool.waits_for(), "one may join in a moment"
    monkeypatch.setattr(upscalers, "PLACE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        compute(pool, [Mock()], said, stop)
    (told,) = said.say.call_args_list
    assert "waiting for a GPU: no machine of the Ray cluster has one" in told.args[0]
    monkeypatch.setattr(session.upscalers, "_machines", [(2.0, 1.0)])
    assert not pool.waits_for()
    monkeypatch.setattr(session.upscalers, "_machines", [(2.0, 0.0)])
    assert pool.waits_for(), "it went again"


class Other:
    """Work of somebody else on the cluster."""


def test_who_waits_for_cpus_that_others_hold_is_told_so(
    session: Session, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start()
    spec = UpscalerSpec(str(nearest), 2, "cpu", "torch")
    session.load(replace(spec, fidelity=0.25))  # what a test before this one started makes room
    others: Any = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Other)  # type: ignore[no-untyped-call]
    other = others.remote()
    ray.get(other.__ray_ready__.remote(), timeout=60)
    waiting = upscalers.Upscalers(spec, ClusterSettings())
    assert not waiting.waits_for(), "they may end in a moment"
    monkeypatch.setattr(upscalers, "PLACE_SECONDS", 0.0)
    assert "waiting for CPUs: an upscaler reserves" in waiting.waits_for()
    assert not waiting.waits_for(), "once is enough"
    ray.kill(other)
    while not waiting.handles:
        waiting.look()
        assert not waiting.waits_for()
    waiting.close()


@pytest.mark.parametrize(
    ("machines", "actors", "each", "expected"),
    [
        ([2.0], None, None, (1, 2.0)),
        ([2.0, 64.0], None, None, (2, 2.0)),
        ([16.0], 8, None, (8, 2.0)),
        ([16.0, 16.0], 1, None, (1, 16.0)),
        ([], None, None, (1, 1.0)),
        ([2.0, 64.0, 40.0], None, 16, (6, 16)),
        ([16.0], 8, 14, (8, 14)),
        ([], 8, 14, (8, 14)),
        ([], None, 14, (1, 14)),
    ],
)
def test_what_upscalers_on_cpus_get(
    machines: list[float], actors: int | None, each: int | None, expected: tuple[int, float]
) -> None:
    cluster = ClusterSettings("127.0.0.1:1", actors, each)
    assert upscalers.on_cpus(machines, cluster) == expected


def test_an_upscaler_reserves_its_cpus_and_leaves_some_to_encoders(
    session: Session, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start()
    options = Mock(wraps=upscalers.UpscalerActor.options)
    monkeypatch.setattr(upscalers, "UpscalerActor", Mock(options=options))
    made = upscalers.Upscalers(UpscalerSpec(str(nearest), 2, "cpu", "torch"), ClusterSettings("127.0.0.1:1", 2, 12))
    made.close()
    assert [call.kwargs["num_cpus"] for call in options.call_args_list] == [9]


class Broken:
    """An Upscaler whose GPU answers no more in the first process that has it."""

    def __init__(self, mark: Path) -> None:
        self.works = mark.exists()
        mark.touch()

    def upscale(self, *_: object) -> int:
        if not self.works:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return os.getpid()


def test_a_gpu_that_answers_no_more_gets_another_process(session: Session, tmp_path: Path) -> None:
    class OnBroken(LoadedUpscaler):
        def __init__(self, mark: Path) -> None:
            self._upscaler = Broken(mark)  # type: ignore[assignment]

    session.start()
    actor = ray.remote(OnBroken).options(max_restarts=-1, max_task_retries=1).remote(tmp_path / "mark")
    first = ray.get(actor.__ray_ready__.remote())
    assert first
    assert ray.get(actor.upscale.remote(None, None, None), timeout=60) != os.getpid()


@pytest.mark.parametrize(("cluster", "said"), [({"actor_cpus": 4}, "--address"), ({"actor_cpus": 0}, "1 to 1024")])
def test_cpus_for_upscalers_that_cannot_be(cluster: dict[str, int], said: str) -> None:
    with pytest.raises(SettingsError, match=rf"--actor-cpus.*{said}"):
        ClusterSettings(**cluster)


def test_so_many_as_asked_for(session: Session, nearest: Path) -> None:
    session.load(UpscalerSpec(str(nearest), 2, "cpu", "torch"))
    pool = SegmentPool(session)
    assert not pool.has_room, "none has started yet"
    while session.upscalers.alive < 2:
        pool.wait(0.1)
        session.upscalers.look()
    assert pool.has_room
    assert len(session.upscalers.handles) == 2


def test_short_videos_share_the_upscalers(
    session: Session, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscalers, "UpscalerActor", ray.remote(Counting))
    session.load(UpscalerSpec(str(nearest), 2, "cpu", "auto"))  # not those of the tests before
    pool = SegmentPool(session)
    settings = UpscaleSettings(model=str(nearest), backend="torch")
    while session.upscalers.alive < 2:
        pool.wait(0.1)
    for name in ("a", "b"):
        source = make_clip(tmp_path / f"{name}.mp4", Clip(frames=4))
        plan = prepare(source, None, settings, overwrite=False, gpu=False)
        pool.submit(plan.job(plan.segments[0]))
    while pool:
        assert [event.error for event in pool.wait(0.1) if event.error] == []
    assert all(frames_given(session))
