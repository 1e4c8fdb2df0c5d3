"""One video from source to result: compute its segments, join, verify, rename."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from os.path import exists
from pathlib import Path
from typing import Any, Protocol

from vidsr.errors import (
    DamagedVideo,
    InputError,
    Interrupted,
    OutputExists,
    VerifyFailed,
    VidsrError,
)
from vidsr.evidence import (
    EvidenceRecord,
    FrameCounts,
    ModelDigest,
    check_record,
    enhanced_note,
    read_record,
    write_record,
)
from vidsr.graph.plan import Segment, content_sample
from vidsr.graph.pool import SegmentPool
from vidsr.graph.prepare import VideoPlan, prepare
from vidsr.graph.session import Session
from vidsr.graph.stages import SegmentJob
from vidsr.media.gps import gpx_track
from vidsr.media.mux import MuxReport, mux
from vidsr.media.recover import remove_recovered
from vidsr.media.telemetry import carry_beside, place_beside
from vidsr.media.verify import VerifyReport, verify
from vidsr.paths import own_files, sync, write_whole
from vidsr.settings import UpscaleSettings


class Progress(Protocol):
    """Who watches a run."""

    def begin(self, source: Path, frames: int, done: int) -> None:
        """A video starts; `done` of its frames are finished already."""

    def advance(self, frames: int) -> None:
        """So many more frames are finished."""

    def stage(self, name: str) -> None:
        """What happens now: "starting", "upscaling", "joining", "verifying", "done"."""

    def say(self, sentence: str) -> None:
        """Something that the user should know."""


class Silent:
    """A Progress that shows nothing."""

    def begin(self, source: Path, frames: int, done: int) -> None:
        """See Progress."""

    def advance(self, frames: int) -> None:
        """See Progress."""

    def stage(self, name: str) -> None:
        """See Progress."""

    def say(self, sentence: str) -> None:
        """See Progress."""


@dataclass(frozen=True)
class Outcome:
    """What became of a video.

    Attributes:
        plan: what was done.
        seconds: wall time.
        computed_frames: frames computed by this run; the others were finished before.
        mux: where the source's other streams went.
        verify: the proof.
        salvaged: sentences about what the damaged source did not give; empty for a sound one.
    """

    plan: VideoPlan
    seconds: float
    computed_frames: int
    mux: MuxReport
    verify: VerifyReport
    salvaged: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The outcome as `--json` prints it."""
        plan = self.plan
        return {
            "source": str(plan.source),
            "result": str(plan.result),
            "frames": plan.frames,
            "width": plan.width,
            "height": plan.height,
            "model": {"name": plan.model.name, "sha256": plan.model.sha256},
            "codec": plan.settings.encode.codec,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.computed_frames / self.seconds, 3),
            "computed_frames": self.computed_frames,
            "segments": len(plan.segments),
            "carried": list(self.mux.carried),
            "beside": [str(path) for path in self.mux.beside],
            "not_carried": list(self.mux.not_carried),
            "notes": list(plan.info.notes),
            "verified": self.verify.ok,
            "checks": [asdict(check) for check in self.verify.checks],
            "salvaged": list(self.salvaged),
        }


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
    gpu = session.sees_gpu(settings.device)
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
        if stop.is_set() or failed:
            jobs += pool.give_up()
    if failed:
        raise failed
    if stop.is_set() and jobs:
        raise Interrupted("stopped; finished segments are kept, run the same command to go on")


def _write_gpx(plan: VideoPlan, result: Path) -> Path | None:
    """Write the source's GPS track as RESULT.gpx; None where it has none that can be read."""
    track = gpx_track(plan.info.path, plan.source)
    return None if track is None else write_whole(result.with_name(f"{result.name}.gpx"), track.encode())


def _filled(plan: VideoPlan) -> int:
    """How many frames of the result repeat the one before, because damage had lost theirs."""
    shows = plan.info.shows[plan.span.first : plan.span.stop]
    return len(shows) - len(set(shows))


def finish(plan: VideoPlan, computed: int, started: float, progress: Progress, name: str | None = None) -> Outcome:
    """Join a plan's finished segments, hold the result against the source, record it and give it its name.

    Everything is made in the ledger's folder first. The result gets its name last, so it never lacks its record, and a
    run that ends before goes on.

    Args:
        plan: all of whose segments are finished.
        computed: frames that this run computed.
        started: `time.time()` at the run's begin.
        progress: who watches.
        name: as `write_record`.

    Raises:
        VerifyFailed: the joined file is left in the ledger's folder for inspection; or the source changed meanwhile.
        OutputExists: another file took the result's name meanwhile.
    """
    info, result, span = plan.info, plan.result, plan.span
    model = ModelDigest(plan.model.name, plan.model.sha256)
    progress.stage("joining")
    joined = plan.ledger.folder / f"joined{result.suffix}"
    paths = [plan.ledger.path(segment) for segment in plan.segments]
    note = enhanced_note(model, plan.height / info.height)
    report = mux(info, paths, joined, span.first, span.stop, note)
    staged = plan.ledger.folder / result.name
    beside = carry_beside(info.path, staged, report.left, joined, plan.source, info.timecode_at(span.first))
    if plan.settings.gpx:
        track = _write_gpx(plan, staged)
        beside += (track,) if track else ()
        if track is None:
            report = replace(report, not_carried=(*report.not_carried, "no GPS track in it can be read as GPX"))
    progress.stage("verifying")
    proof = verify(
        info.path, joined, (plan.width, plan.height), span.first, span.stop,
        beside=staged, filled=bool(info.shows), original=plan.source, decode=bool(info.sequential),
    )  # fmt: skip
    if not proof.ok:
        wrong = "; ".join(f"{check.name}: {check.detail}" for check in proof.checks if not check.ok)
        raise VerifyFailed(
            f"{result} was not written, the joined file differs from its source ({wrong}); "
            f"remove {plan.ledger.folder} to start over"
        )
    if content_sample(info.path) != plan.key["source"]["sample"]:
        raise VerifyFailed(f"{plan.source} changed during the run; run the same command again")
    if exists(result) and not plan.overwrite:
        raise OutputExists(f"{result} appeared during the run; move it away and run again, or use --overwrite")
    lost = (*report.not_carried, *proof.changes)
    report = replace(report, beside=place_beside(beside, plan.source, result), not_carried=lost)
    salvaged = plan.damage.sentences if plan.damage else ()
    outcome = Outcome(plan, time.time() - started, computed, report, proof, salvaged)
    write_record(
        plan.source,
        result,
        model=model,
        settings=plan.recorded_settings,
        frames=FrameCounts(plan.frames, computed, plan.frames - computed, _filled(plan)),
        checks=proof.checks,
        started=started,
        finished=time.time(),
        salvaged=outcome.salvaged,
        made=joined,
        name=name,
    )
    sync(joined)  # the name must not outlive a power loss alone, and the segments end now
    joined.replace(result)
    plan.ledger.remove()
    if info.path != plan.source:
        remove_recovered(info.path)
    progress.stage("done")
    return outcome
