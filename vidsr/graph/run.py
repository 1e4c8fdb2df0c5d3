"""One video from source to result: compute the segments that are missing, then finish it."""

from __future__ import annotations

import threading
import time
from os.path import exists
from pathlib import Path

from vidsr.errors import DamagedVideo, InputError, Interrupted, VidsrError
from vidsr.evidence import EvidenceRecord, check_record, read_record
from vidsr.graph.finish import Outcome, finish
from vidsr.graph.pool import SegmentPool
from vidsr.graph.prepare import VideoPlan, prepare
from vidsr.graph.progress import Progress, Silent
from vidsr.graph.segments import Segment
from vidsr.graph.session import Session
from vidsr.graph.stages import SegmentJob
from vidsr.paths import own_files
from vidsr.settings import UpscaleSettings


def upscale_video(
    source: Path,
    out: Path | None,
    settings: UpscaleSettings,
    overwrite: bool,
    session: Session,
    progress: Progress,
    stop: threading.Event,
) -> Outcome:
    """Prepare and run one video; if its packets promised frames that cannot be decoded, once more without those.

    Args:
        source, out, settings, overwrite: as `prepare`.
        session, progress, stop: as `run`.

    Raises:
        VidsrError: of the class of whatever is wrong.
    """
    session.check_device()
    gpu = session.uses_gpus(settings.device)
    with own_files(out or source.parent):
        plan = prepare(source, out, settings, overwrite, gpu)
        try:
            return run(plan, session, progress, stop)
        except DamagedVideo as damage:
            progress.say(f"{source.name} is damaged ({damage.message}); salvaging what can be decoded")
        plan = prepare(source, out, settings, overwrite, gpu, decode=True)
        return run(plan, session, progress, stop, again=True)


def run(plan: VideoPlan, session: Session, progress: Progress, stop: threading.Event, again: bool = False) -> Outcome:
    """Compute what is missing of a video, then finish it.

    Args:
        plan: of `prepare`.
        session: where the work runs.
        progress: who watches.
        stop: once set, segments in flight are finished and no more are begun.
        again: whether this command has tried another plan of the video: that it starts over is no news then.

    Raises:
        Interrupted: stopped before the end.
        OutputUnwritable: another run makes the same result.
        SegmentFailed: a segment failed on every try.
        VerifyFailed: the result is not the same file, only larger.
    """
    started = time.time()
    info = plan.info
    with plan.ledger.held(plan.result):
        progress.say(
            f"{plan.source.name}: {info.codec}, {info.bits_per_pixel:.2f} bits per pixel, enlarged by {plan.model.name}"
        )
        missing = open_ledger(plan, Silent() if again else progress)
        frames = sum(segment.frames for segment in missing)
        progress.begin(plan.source, plan.frames, plan.frames - frames)
        if missing:
            progress.stage("starting")
            session.load(plan.upscaler)
            pool = SegmentPool(session)
            queue = sorted(missing, key=lambda segment: (-segment.frames, segment.number))
            compute(pool, [plan.job(segment) for segment in queue], progress, stop)
            session.computed()
        return finish(plan, frames, started, progress)


def open_ledger(plan: VideoPlan, progress: Progress) -> list[Segment]:
    """Open a plan's ledger and return the segments that it does not have."""
    changed = plan.ledger.open(plan.key)
    if changed:
        progress.say(starting_over(plan.result.name, changed))
    missing = [segment for segment in plan.segments if not plan.ledger.is_finished(segment)]
    if len(missing) < len(plan.segments):
        done = len(plan.segments) - len(missing)
        progress.say(f"{plan.result.name}: {done} of {len(plan.segments)} segments are finished, going on")
    return missing


def made_before(plan: VideoPlan) -> EvidenceRecord | None:
    """The record of a result that is there and is what the plan would make, of this very source; None without one.

    The result is read once, and so is the source where it is still there, for their sha256.
    """
    try:
        record = read_record(plan.result)
    except InputError:
        return None
    alike = record.model.sha256 == plan.model.sha256 and record.settings == plan.recorded_settings
    if not alike or check_record(plan.result, plan.source if exists(plan.source) else None):
        return None
    return record


def starting_over(name: str, changed: str) -> str:
    """The sentence about a result whose finished segments are of no use any more."""
    return f"{name}: starting over, because {changed} changed since the earlier run"


def compute(pool: SegmentPool, jobs: list[SegmentJob], progress: Progress, stop: threading.Event) -> None:
    """Make segments.

    Args:
        pool: where they are in flight.
        jobs: in the order in which they are begun.
        progress, stop: as `run`.

    Raises:
        Interrupted: some were not made.
        VidsrError: why one failed.
    """
    jobs.reverse()
    failed: VidsrError | None = None
    while pool or (jobs and not stop.is_set() and not failed):
        while jobs and pool.has_room and not stop.is_set() and not failed:
            pool.submit(jobs.pop())
        for event in pool.wait(0.2):
            if event.frames:
                progress.stage("upscaling")
                progress.advance(event.frames)
            failed = failed or event.error
        if sentence := pool.waits_for():
            progress.say(sentence)
        if stop.is_set() or failed:
            jobs += pool.give_up()
    if failed:
        raise failed
    if stop.is_set() and jobs:
        raise Interrupted("stopped; finished segments are kept, run the same command to go on")
