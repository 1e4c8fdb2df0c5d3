"""The end of a video: its segments are joined, held against the source, recorded, and the result gets its name."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from os.path import exists
from pathlib import Path
from typing import Any

from vidsr.errors import OutputExists, VerifyFailed
from vidsr.evidence import FrameCounts, ModelDigest, enhanced_note, write_record
from vidsr.graph.ledger import content_sample
from vidsr.graph.prepare import VideoPlan
from vidsr.graph.progress import Progress
from vidsr.media.beside.gps import gpx_track
from vidsr.media.beside.write import carry_beside, place_beside
from vidsr.media.mux import MuxReport, mux
from vidsr.media.proof.verify import VerifyReport, verify
from vidsr.media.recover import remove_recovered
from vidsr.paths import sync, write_whole


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
            **plan.outline,
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
    result, folder = plan.result, plan.ledger.folder
    model = ModelDigest(plan.model.name, plan.model.sha256)
    joined, staged = folder / f"joined{result.suffix}", folder / result.name
    progress.stage("joining")
    report = _join(plan, joined, staged, enhanced_note(model, plan.height / plan.info.height))
    progress.stage("verifying")
    proof = _prove(plan, joined, staged)
    if exists(result) and not plan.overwrite:
        raise OutputExists(f"{result} appeared during the run; move it away and run again, or use --overwrite")
    lost = (*report.not_carried, *proof.changes)
    report = replace(report, beside=place_beside(report.beside, plan.source, result), not_carried=lost)
    outcome = Outcome(plan, time.time() - started, computed, report, proof, plan.damage)
    write_record(
        plan.source,
        result,
        model=model,
        settings=plan.recorded_settings,
        frames=FrameCounts(plan.frames, computed, plan.frames - computed, _filled(plan)),
        checks=proof.checks,
        started=started,
        finished=time.time(),
        salvaged=plan.damage,
        made=joined,
        name=name,
    )
    sync(joined)  # the name must not outlive a power loss alone, and the segments end now
    joined.replace(result)
    plan.ledger.remove()
    if plan.info.path != plan.source:
        remove_recovered(plan.info.path)
    progress.stage("done")
    return outcome


def _join(plan: VideoPlan, joined: Path, staged: Path, note: str) -> MuxReport:
    """Write the joined file, and what is to lie beside the result under the name `staged`; `beside` says what."""
    info, span = plan.info, plan.span
    paths = [plan.ledger.path(segment) for segment in plan.segments]
    report = mux(info, paths, joined, span.first, span.stop, note)
    beside = carry_beside(info.path, staged, report.left, joined, plan.source, info.timecode_at(span.first))
    if not plan.settings.gpx:
        return replace(report, beside=beside)
    track = _write_gpx(plan, staged)
    if track is None:
        not_carried = (*report.not_carried, "no GPS track in it can be read as GPX")
        return replace(report, beside=beside, not_carried=not_carried)
    return replace(report, beside=(*beside, track))


def _prove(plan: VideoPlan, joined: Path, staged: Path) -> VerifyReport:
    """Hold what `_join` wrote against the source, and the source against what was read of it before.

    Raises:
        VerifyFailed: either differs.
    """
    info, span = plan.info, plan.span
    proof = verify(
        info.path, joined, (plan.width, plan.height), span.first, span.stop,
        beside=staged, filled=bool(info.shows), original=plan.source, decode=bool(info.sequential),
    )  # fmt: skip
    if content_sample(info.path) != plan.key["source"]["sample"]:
        raise VerifyFailed(f"{plan.source} changed during the run; run the same command again")
    if not proof.ok:
        wrong = "; ".join(f"{check.name}: {check.detail}" for check in proof.checks if not check.ok)
        raise VerifyFailed(
            f"{plan.result} was not written, the joined file differs from its source ({wrong}); "
            f"remove {plan.ledger.folder} to start over"
        )
    return proof


def _write_gpx(plan: VideoPlan, result: Path) -> Path | None:
    """Write the source's GPS track as RESULT.gpx; None where it has none that can be read."""
    track = gpx_track(plan.info.path, plan.source)
    return None if track is None else write_whole(result.with_name(f"{result.name}.gpx"), track.encode())


def _filled(plan: VideoPlan) -> int:
    """How many frames of the result repeat the one before, because damage had lost theirs."""
    shows = plan.info.shows[plan.span.first : plan.span.stop]
    return len(shows) - len(set(shows))
