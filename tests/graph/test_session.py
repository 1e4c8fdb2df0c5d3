"""Which GPU a session takes, without one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray

from tests.media.clips import Clip, make_clip
from vidsr.errors import ClusterError, DeviceError, InputMissing, SettingsError
from vidsr.graph import session
from vidsr.graph.plan import Segment
from vidsr.graph.session import SegmentPool, Session, visible_gpu
from vidsr.graph.stages import SegmentJob, SharedFiles
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, EncodeSettings


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cuda:0", None, "0"), ("cuda:3", None, "3"), ("cuda:1", "2,5", "5"), ("cuda:0", "GPU-ab", "GPU-ab")],
)
def test_a_local_ray_sees_the_named_gpu_alone(device: str, visible: str | None, expected: str) -> None:
    assert visible_gpu(device, visible) == expected


def test_a_gpu_that_is_not_visible_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no cuda:2; CUDA_VISIBLE_DEVICES shows 2"):
        visible_gpu("cuda:2", "0,1")


def test_a_cluster_does_not_take_the_number_of_a_gpu() -> None:
    with pytest.raises(SettingsError, match=r"cuda:1 names a GPU of one machine.*--device cuda"):
        Session(ClusterSettings(address="127.0.0.1:1"), "cuda:1").start()


def test_a_local_ray_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    session = Session(ClusterSettings(), "cuda:1")
    try:
        session.start()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"
    finally:
        session.close()


def test_an_address_at_which_nobody_listens_is_said_at_once() -> None:
    with pytest.raises(ClusterError, match=r"nobody answers at 127\.0\.0\.1:1 .*refused.*--address"):
        Session(ClusterSettings(address="127.0.0.1:1")).start()
    assert not ray.is_initialized()


def test_an_address_of_rays_client_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ray://head:10001 .*`vidsr submit`.*HOST:PORT"):
        ClusterSettings(address="ray://head:10001")


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

    upscaler = SimpleNamespace(_actor_id=SimpleNamespace(hex=str))
    upscalers = SimpleNamespace(look=lambda: None, alive=1, handles=[upscaler], usable={""})
    monkeypatch.setattr(session, "encode", ray.remote(frames))
    local, before = Session(ClusterSettings()), signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `command &` has it
    try:
        local.start()
        pool = SegmentPool(cast("Session", SimpleNamespace(upscalers=upscalers, encoder_cpus=0)))
        pool.submit(cast("SegmentJob", SimpleNamespace(segment=SimpleNamespace(frames=12))))
        told, lost = 0, False
        while pool:
            events = pool.wait(1)
            assert not any(event.error for event in events), events
            told += sum(event.frames for event in events)
            # Once, the node of its upscaler is lost.
            upscalers.usable = set() if told == 8 and upscalers.usable and not lost else {""}
            lost = lost or not upscalers.usable
        assert told == 12
    finally:
        local.close()
        signal.signal(signal.SIGINT, before)


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
        upscalers = SimpleNamespace(look=lambda: None, alive=1, handles=[upscaler], usable={session.identity(upscaler)})
        pool = SegmentPool(cast("Session", SimpleNamespace(upscalers=upscalers, encoder_cpus=0)))
        pool.submit(job)
        errors = [event.error for _ in iter(lambda: len(pool), 0) for event in pool.wait(1)]
    finally:
        ray.shutdown()
    assert [(type(error), str(error)) for error in errors] == [(InputMissing, "drive.mp4 is gone")]
    assert asked.read_text() == "x"
    assert list((tmp_path / "ledger").iterdir()) == []
