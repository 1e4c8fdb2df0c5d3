"""What a job's nodes do for one video beside its segments: plan it before, join and verify it after.

Both run as Ray tasks: they need the file and not the driver, and a file that crashes FFmpeg takes a worker down
instead of the job.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from os.path import exists
from pathlib import Path
from typing import Any

import ray

from jobs.storage import STATE_FOLDER, short_name
from jobs.travel import Travel
from vidsr.errors import OutputExists, VidsrError
from vidsr.evidence import EvidenceRecord, iso_time, record_path
from vidsr.graph.finish import finish as join_and_verify
from vidsr.graph.prepare import VideoPlan
from vidsr.graph.prepare import prepare as prepare_plan
from vidsr.graph.progress import Silent
from vidsr.graph.run import made_before, open_ledger, starting_over
from vidsr.graph.segments import Segment
from vidsr.graph.stages import TASK_CPUS, TRIES
from vidsr.media.comparison.compare import thumbnail_pair
from vidsr.media.recover import remove_recovered
from vidsr.settings import UpscaleSettings

THUMBNAILS = f"{STATE_FOLDER}/thumbnails"


@dataclass(frozen=True)
class Prepared:
    """A video that can be computed.

    Attributes:
        plan: of vidsr.graph.prepare.
        travel: how its source and segments come to the tasks.
        missing: segments that no earlier run finished.
        sentences: what the user should know.
        seconds: what planning took.
        made: whether an earlier run made the result already.
    """

    plan: VideoPlan
    travel: Travel
    missing: tuple[Segment, ...]
    sentences: tuple[str, ...]
    seconds: float
    made: bool = False


@dataclass(frozen=True)
class Finished:
    """A video that has its result.

    Attributes:
        result_bytes: of the result.
        notes: what was put beside the result or not carried, as sentences.
        salvaged: what the damaged source did not give, as sentences.
        thumbnails: files of one frame below the output root, source then result.
        seconds: what joining and verifying took.
    """

    result_bytes: int
    notes: tuple[str, ...]
    salvaged: tuple[str, ...]
    thumbnails: tuple[str, ...]
    seconds: float


class _Sentences(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        """See Progress."""
        self.said.append(sentence)


def prepare_video(
    travel: Travel, settings: UpscaleSettings, overwrite: bool, keep: bool, gpu: bool, decode: bool
) -> Prepared:
    """Check and plan a video, and see which segments an earlier run left.

    Args:
        travel: how the source comes here.
        settings: what to make.
        overwrite: whether a result that is there may be replaced.
        keep: whether one that is just what would be made is taken, be it that no record of a job tells of it.
        gpu: whether the upscalers run on GPUs.
        decode: count the frames by decoding them, for a damaged source.

    Raises:
        VidsrError: of the class of whatever is wrong.
    """
    started = time.monotonic()
    shared = travel.output.folder is not None
    refusal = OutputExists(f"{travel.output.url_of(travel.result)} exists; use --overwrite, or -o for another place")
    there = exists(travel.result_path) if shared else travel.output.entry(travel.result) is not None
    refused = there and not overwrite
    if refused and not (shared and keep):
        raise refusal
    with travel.source() as source:
        plan = prepare_plan(source, travel.result_path, settings, overwrite or refused or not shared, gpu, decode)
        if shared and keep and made_before(plan):
            found = f"{travel.result} is there from an earlier run"
            return Prepared(plan, travel, (), (found,), time.monotonic() - started, made=True)
        if refused:
            if plan.info.path != source:
                remove_recovered(plan.info.path)
            raise refusal
        if shared:
            progress = _Sentences()
            with plan.ledger.held(plan.result):
                missing = open_ledger(plan, Silent() if decode else progress)  # else its own first try would be news
            return Prepared(plan, travel, tuple(missing), tuple(progress.said), time.monotonic() - started)
        if plan.info.path != source:
            travel = travel.share_recovered(plan.info.path)
    with travel.source() as path:
        plan = replace(plan, info=replace(plan.info, path=path))
        missing, changed = travel.open_ledger(plan.key, plan.segments)
    said = (starting_over(travel.result, changed),) if changed and not decode else ()
    return Prepared(plan, travel, tuple(missing), said, time.monotonic() - started)


def finish_video(travel: Travel, plan: VideoPlan, computed: int, begun: float, made: bool = False) -> Finished:
    """Join a video's segments, verify the result and put it in its place; once, however often Ray tries.

    Args:
        travel: how source and segments come here.
        plan: of the video.
        computed: frames that were computed since `begun`.
        begun: when the video was begun, in seconds since 1970.
        made: whether `prepare` found that an earlier run made it.

    Raises:
        VerifyFailed: the result is not the same file, only larger.
        OutputUnwritable: another run makes the same result.
    """
    started = time.monotonic()
    record = _made_before(travel, plan, begun, made)
    if record is not None:
        clear(travel, plan)
        names = _thumbnail_names(travel)
        there = names if all(map(travel.output.entry, names)) else ()
        return Finished(record.result.bytes, plan.info.notes, record.salvaged, there, time.monotonic() - started)
    with travel.files() as source, plan.ledger.held(plan.result):
        travel.collect(plan.ledger, plan.segments)
        outcome = join_and_verify(plan, computed, begun, Silent(), travel.far_name)
        size = plan.result.stat().st_size
        thumbnails = _thumbnails(travel, source)
        travel.publish()
    beside = [f"carried beside the result in {Path(path).name}" for path in outcome.mux.beside]
    notes = (*plan.info.notes, *outcome.mux.not_carried, *beside)
    return Finished(size, notes, outcome.salvaged, thumbnails, time.monotonic() - started)


def _made_before(travel: Travel, plan: VideoPlan, begun: float, made: bool) -> EvidenceRecord | None:
    """The record of the result that is in its place already, if it is.

    A run that was killed before it noted so made it, or a try of this task that was lost. In an object store only the
    latter is seen: what is there is not read again.
    """
    if travel.output.folder is not None:
        record = made_before(plan)
        return record if record and (made or record.started == iso_time(begun)) else None
    content = travel.output.read(str(record_path(Path(travel.result))))
    try:
        record = EvidenceRecord.from_json((content or b"").decode())
    except ValueError:
        return None
    if record.started != iso_time(begun):
        return None  # of an older result
    return record if travel.lacks_segments(plan.segments) else None


def clear(travel: Travel, plan: VideoPlan) -> None:
    """Remove what a try left of a video whose result is there by another."""
    if travel.output.folder is None:
        travel.clear()
        return
    with plan.ledger.held(plan.result):
        plan.ledger.remove()
    if plan.info.path != plan.source:
        remove_recovered(plan.info.path)


def _thumbnails(travel: Travel, source: Path) -> tuple[str, ...]:
    """Write one frame of source and result for the report; names below the output root."""
    names = _thumbnail_names(travel)
    try:
        for name, picture in zip(names, thumbnail_pair(source, travel.result_path), strict=True):
            travel.output.write(name, picture)
    except (VidsrError, OSError):
        return ()  # a report without a picture is better than a video without a result
    return names


def _thumbnail_names(travel: Travel) -> tuple[str, ...]:
    return tuple(f"{THUMBNAILS}/{short_name(travel.result)}.{side}.jpg" for side in ("source", "result"))


# Options of tasks that any node may do, once more where a store or a disk failed.
ON_ANY_NODE: dict[str, Any] = {
    "max_retries": TRIES - 1, "retry_exceptions": [OSError], "num_cpus": TASK_CPUS, "scheduling_strategy": "SPREAD"
}  # fmt: skip
prepare: Any = ray.remote(**ON_ANY_NODE)(prepare_video)
finish: Any = ray.remote(**ON_ANY_NODE)(finish_video)
