"""How the processes of one machine share its cores."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from tests.media.clips import Clip, make_clip
from vidsr.frames import FrameBatch, PixelLayout
from vidsr.graph import stages
from vidsr.graph.ledger import Ledger
from vidsr.graph.pool import SegmentPool
from vidsr.graph.prepare import VideoPlan, prepare
from vidsr.graph.progress import Silent
from vidsr.graph.run import compute, run
from vidsr.graph.segments import Segment
from vidsr.graph.session import Session
from vidsr.graph.stages import (
    DECODER_ENVIRONMENT,
    DECODING,
    ENCODER_NICENESS,
    ENCODING,
    UpscalerSpec,
    decode,
    decode_segment,
    encode_segment,
)
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.probe import probe
from vidsr.settings import ClusterSettings, UpscaleSettings

pytestmark = pytest.mark.skipif(not hasattr(os, "setpriority"), reason="this system's processes have no niceness")


class Watcher(Silent):
    """Notes the niceness of all threads of Ray's workers whenever frames are finished."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = defaultdict(set)

    def advance(self, frames: int) -> None:
        for title, process in workers():
            self.seen[title] |= {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads()}


def workers() -> list[tuple[str, psutil.Process]]:
    """Ray's processes that run tasks and actors, and what they say of themselves."""
    titles = [((process.cmdline() or [""])[0], process) for process in psutil.Process().children(recursive=True)]
    return [(title, process) for title, process in titles if title.startswith("ray::")]


@ray.remote(num_cpus=0.01)
def number_of_a_process() -> int:
    time.sleep(0.3)
    return os.getpid()


def planned(folder: Path, model: Path, frames: int, gpu: bool = False) -> VideoPlan:
    source = make_clip(folder / "drive.mp4", Clip(frames=frames))
    return prepare(source, None, UpscaleSettings(model=str(model), device="cpu"), overwrite=False, gpu=gpu)


def bytes_stored() -> float:
    """What lies in the object store, as Ray last reported it."""
    name = "object_store_memory"
    return float(ray.cluster_resources()[name] - ray.available_resources().get(name, 0))


def test_segments_leave_nothing_in_the_object_store(tmp_path: Path, nearest: Path, session: Session) -> None:
    """Not even their frame tables, which are hundreds of kilobytes of a long video."""
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=200, width=320, height=180, options={"g": "50"}))
    settings = UpscaleSettings(model=str(nearest), device="cpu", segment_seconds=2)
    plan = prepare(source, None, settings, overwrite=False, gpu=False)
    plan = replace(plan, info=replace(plan.info, notes=("a long video" * 50_000,)))
    session.load(plan.upscaler)
    compute(SegmentPool(session), [plan.job(s) for s in plan.segments], Silent(), threading.Event())
    assert len(plan.segments) == 4
    deadline = time.monotonic() + 20
    while bytes_stored() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert bytes_stored() == 0


def test_encoders_let_an_upscaler_on_the_same_cores_go_first(tmp_path: Path, nearest: Path, session: Session) -> None:
    plan = planned(tmp_path, nearest, frames=120)
    watcher = Watcher()
    assert run(plan, session, watcher, threading.Event()).verify.ok
    encoders = set().union(*(found for title, found in watcher.seen.items() if "encode_segment" in title))
    upscalers = set().union(*(found for title, found in watcher.seen.items() if "Upscaler" in title))
    assert max(encoders) == ENCODER_NICENESS and max(upscalers) < ENCODER_NICENESS, watcher.seen


@pytest.mark.usefixtures("session")
def test_decoders_have_processes_of_their_own(tmp_path: Path, nearest: Path) -> None:
    plan = planned(tmp_path, nearest, frames=60)
    others = set(ray.get([number_of_a_process.remote() for _ in range(4)]))
    frames = decode.options(num_cpus=0, num_returns="streaming", _generator_backpressure_num_objects=1).remote(
        plan.job(plan.segments[0])
    )
    next(frames)  # and then it waits, for no more are taken
    decoders = {process.pid for title, process in workers() if "decode_segment" in title}
    assert decoders and not decoders & others


def test_processes_for_a_first_segment_are_ready_before_it(nearest: Path) -> None:
    """Decoder and encoder have started and imported what they need while the upscaler loaded its model."""

    @ray.remote(num_cpus=0)
    def known() -> set[str]:
        time.sleep(0.3)  # so that the next one is another process's
        return set(sys.modules)

    with Session(ClusterSettings()) as session:
        session.load(UpscalerSpec(str(nearest), 2, "cpu", "torch"))
        assert session.upscalers
        for environment, names in ({}, ENCODING), (DECODER_ENVIRONMENT, DECODING):
            each, deadline = known.options(runtime_env=environment), time.monotonic() + 60
            while not any(set(names) <= found for found in ray.get([each.remote() for _ in range(4)])):
                assert time.monotonic() < deadline, names


@pytest.mark.parametrize("gpu", [False, True])
def test_encoders_stand_back_only_for_upscalers_on_their_own_cores(gpu: bool, tmp_path: Path, nearest: Path) -> None:
    plan = planned(tmp_path, nearest, frames=4, gpu=gpu)
    assert plan.job(plan.segments[0]).shares_cores == (not gpu)


@pytest.mark.parametrize(
    ("size", "depth", "frames"),
    [((320, 180), 8, 8), ((1920, 1080), 8, 4), ((1920, 1080), 10, 2), ((3840, 2160), 8, 1), ((7680, 4320), 10, 1)],
)
def test_a_batch_has_as_many_frames_as_memory_allows(
    size: tuple[int, int], depth: int, frames: int, tmp_path: Path, nearest: Path
) -> None:
    plan = planned(tmp_path, nearest, frames=4)
    job = replace(plan.job(plan.segments[0]), width=size[0], height=size[1])
    assert replace(job, info=replace(job.info, layout=PixelLayout(depth))).batch_frames == frames


@pytest.mark.parametrize(
    ("first", "stop", "stabilise", "needed"),
    [(0, 12, 0.5, (0, 12)), (0, 4, 0.5, (0, 5)), (4, 8, 0.5, (3, 9)), (8, 12, 0.5, (7, 12)), (4, 8, 0.0, (4, 8))],
)
def test_to_be_stabilised_a_segment_needs_the_frames_beside_it(
    first: int, stop: int, stabilise: float, needed: tuple[int, int], tmp_path: Path, nearest: Path
) -> None:
    plan = planned(tmp_path, nearest, frames=12)
    job = replace(plan.job(plan.segments[0]), segment=Segment(0, first, stop), stabilise=stabilise)
    assert job.needed == needed
    assert sum(len(batch) for batch in decode_segment(job)) == needed[1] - needed[0]
    assert job.size is None
    assert replace(job, height=job.height - 2).size == (job.width, job.height - 2)


def test_a_batch_is_encoded_while_the_next_one_is_made(
    tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path, nearest, frames=12)
    job = plan.job(plan.segments[0])
    large = make_clip(tmp_path / "large.mp4", Clip(frames=12, width=job.width, height=job.height))
    batches = list(decode_range(probe(large), 0, 12, 4))
    asked = threading.Event()
    encoded = SegmentEncoder.write

    def finished(*_: object) -> Iterator[FrameBatch]:
        yield batches[0]
        asked.set()
        yield from batches[1:]

    def write(encoder: SegmentEncoder, batch: FrameBatch) -> None:
        assert asked.wait(30), "the next batch is not asked for before this one is encoded"
        encoded(encoder, batch)

    monkeypatch.setattr(stages, "_finished", finished)
    monkeypatch.setattr(SegmentEncoder, "write", write)
    ledger = Ledger(job.folder, job.key)
    told = [
        (frames, ledger.is_finished(job.segment)) for frames in encode_segment(replace(job, shares_cores=False), [])
    ]
    assert told == [(4, False), (4, False), (4, True)]
    assert len(probe(ledger.path(job.segment)).table) == 12


def test_fields_become_whole_pictures_unless_that_is_off(tmp_path: Path, nearest: Path) -> None:
    interlaced = {"flags": "+ildct+ilme", "x264-params": "interlaced=1"}
    source = make_clip(tmp_path / "fields.mp4", Clip(frames=6, options=interlaced))
    made = []
    for word in ("auto", "off"):
        settings = UpscaleSettings(model=str(nearest), device="cpu", stabilise_detail=0.0, deinterlace=word)
        plan = prepare(source, None, settings, overwrite=False, gpu=False)
        assert any("one of its two fields" in note for note in plan.info.notes) == (word == "auto")
        (batch,) = decode_segment(plan.job(plan.segments[0]))
        (wanted,) = decode_range(plan.info, 0, 6, 8, deinterlace=word == "auto")
        np.testing.assert_array_equal(batch.planes[0], wanted.planes[0])
        made.append(batch.planes[0])
    assert (made[0] != made[1]).any()
