"""One video from source to result: prepare, compute its segments, join, verify, rename."""

from __future__ import annotations

import importlib.util
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vidsr.clean import is_clean
from vidsr.errors import (
    DamagedVideo,
    DiskTooSmall,
    Interrupted,
    SettingsError,
    UnsupportedSize,
    VerifyFailed,
    VidsrError,
)
from vidsr.evidence import CheckOutcome, FrameCounts, ModelDigest, enhanced_note, write_record
from vidsr.graph.plan import FrameRange, Ledger, Segment, choose_range, cut, run_key
from vidsr.graph.session import SegmentPool, Session, sees_gpu
from vidsr.graph.stages import SegmentJob
from vidsr.graph.upscalers import UpscalerSpec
from vidsr.media.encoders import check_encoder, choose_codec
from vidsr.media.formats import check_container, choose_suffix
from vidsr.media.gps import gpx_track
from vidsr.media.mux import MuxReport, mux
from vidsr.media.probe import VideoInfo
from vidsr.media.recover import probe_or_recover, remove_recovered
from vidsr.media.salvage import Damage, assess, fill_gaps
from vidsr.media.telemetry import carry_beside
from vidsr.media.verify import VerifyReport, verify
from vidsr.model.ranges import INT8, choose_ranges
from vidsr.model.registry import ModelFile, choose_model, find_sharp
from vidsr.paths import check_result, check_source, default_result, write_whole
from vidsr.settings import SCALES, X265_LEAST_WIDTH, UpscaleSettings

LARGEST_SIDE = 16384
# What `--stabilise-detail auto` takes: it steadies every measured clip, and most of them gain PSNR (docs/training.md).
STABILISED = 0.25


class Progress(Protocol):
    """Who watches a run."""

    def begin(self, source: Path, frames: int, done: int) -> None:
        """A video starts; `done` of its frames are finished already."""

    def advance(self, frames: int) -> None:
        """So many more frames are finished."""

    def stage(self, name: str) -> None:
        """What happens now: "upscaling", "joining", "verifying"."""

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
class VideoPlan:
    """A video that is ready to be computed.

    Attributes:
        source: the file that was given.
        info: the source as it is read: `source`, or what was recovered of it.
        result: the final name.
        settings: with scale, codec and model chosen.
        model: the weights.
        backend: what computes, as asked for, or "openvino int8" where `auto` takes that.
        width, height: of the result.
        span: which frames.
        segments: all of them.
        ledger: of this run.
        damage: what the source does not give, or None.
        output_bytes: estimated size of the result.
        disk_bytes: estimated room needed while working.
    """

    source: Path
    info: VideoInfo
    result: Path
    settings: UpscaleSettings
    model: ModelFile
    backend: str
    width: int
    height: int
    span: FrameRange
    segments: tuple[Segment, ...]
    ledger: Ledger
    damage: Damage | None
    output_bytes: int
    disk_bytes: int

    @property
    def frames(self) -> int:
        """Frames of the result."""
        return self.span.stop - self.span.first

    @property
    def key(self) -> dict[str, Any]:
        """Everything that the finished segments depend on."""
        return run_key(self.info, self.settings, self.model.sha256, self.backend)

    @property
    def upscaler(self) -> UpscalerSpec:
        """What the upscalers must hold."""
        settings = self.settings
        return UpscalerSpec(
            str(self.model.path), self.model.config.scale, settings.device, settings.backend, settings.fidelity
        )

    def job(self, segment: Segment) -> SegmentJob:
        """What a segment's tasks need."""
        return SegmentJob(
            info=self.info,
            segment=segment,
            folder=self.ledger.folder,
            width=self.width,
            height=self.height,
            scale=self.model.config.scale,
            encode=self.settings.encode,
            deinterlace=self.info.interlaced and self.settings.deinterlace == "auto",
            stabilise=self.settings.stabilise_detail or 0.0,
        )


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
    salvaged: tuple[str, ...] = field(default=())

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
            "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in self.verify.checks],
            "salvaged": list(self.salvaged),
        }


def prepare(
    source: Path, out: Path | None, settings: UpscaleSettings, overwrite: bool, gpu: bool, decode: bool = False
) -> VideoPlan:
    """Check everything that can be checked before work starts, and plan it.

    Args:
        source: a video file.
        out: the result's name or folder; None is beside the source.
        settings: what to make.
        overwrite: whether a result that is there may be replaced.
        gpu: whether the upscalers will run on GPUs; decides what `auto` takes.
        decode: count the frames by decoding them all, for a source whose packets promised more than there is.

    Raises:
        VidsrError: of the class of whatever is wrong.
    """
    check_source(source)
    if settings.gpx and importlib.util.find_spec("gpxpy") is None:
        raise SettingsError("--gpx needs gpxpy; run `pip install vidsr[gpx]`")
    check_result(source, default_result(source, out, settings), overwrite)
    stand_in = default_result(source, out, settings)
    info, recovered = probe_or_recover(source, stand_in.with_name(f".{stand_in.name}.recovered.mp4"), decode)
    damage = assess(info)
    if recovered:
        damage = Damage(damage.gaps if damage else (), (*recovered, *(damage.sentences if damage else ())))
    if settings.fill_gaps:
        info = fill_gaps(info)
    scale, width, height = choose_size(info, settings)
    alone = len(info.table) > 1 and all(info.table.key)
    # Weights for clean pictures have no adversarial partner.
    clean = settings.fidelity == 1 and is_clean(info.codec, info.bits_per_pixel, alone)
    model = choose_model(settings.model, scale, gpu, info.width * info.height, clean)
    if settings.fidelity < 1:
        find_sharp(model)
    codec = check_encoder(settings.encode.codec if settings.encode.codec != "auto" else choose_codec(info))
    settings = replace(
        settings,
        scale=scale,
        encode=replace(settings.encode, codec=codec),
        stabilise_detail=choose_stabilising(info, settings),
    )
    if codec == "libx265" and width < X265_LEAST_WIDTH:
        raise UnsupportedSize(f"{source}: x265 cannot code {width} pixels a line; use --codec libx264 or ffv1")
    suffix, why = choose_suffix(info, settings.encode.container, codec)
    if why:
        info = replace(info, notes=(*info.notes, why))
    result = default_result(source, out, settings, suffix)
    check_container(result.suffix, codec)
    check_result(source, result, overwrite)
    span = choose_range(info, settings)
    segments = cut(info, span, settings.segment_seconds)
    share = (span.stop - span.first) / len(info.table)
    output = int(info.size_bytes * share * (width * height) / (info.width * info.height))
    ledger = Ledger(result.with_name(f".{result.name}.vidsr"))
    plan = VideoPlan(
        source,
        info,
        result,
        settings,
        model,
        settings.backend if gpu or not choose_ranges(model.ranges, settings.backend, settings.fidelity) else INT8,
        width,
        height,
        span,
        segments,
        ledger,
        damage,
        output,
        2 * output + (16 << 20),
    )
    _check_disk(plan)
    return plan


def choose_stabilising(info: VideoInfo, settings: UpscaleSettings) -> float:
    """The weight of the frame before: what was asked for, else STABILISED; 0 if interlaced, which is not measured."""
    if settings.stabilise_detail is None:
        return 0.0 if info.interlaced else STABILISED
    return settings.stabilise_detail


def choose_size(info: VideoInfo, settings: UpscaleSettings) -> tuple[int, int, int]:
    """(scale of the model, width, height of the result).

    Raises:
        SettingsError: `--height` is not within 1x to 4x.
        UnsupportedSize: the source is too small, or the result too large for any encoder.
    """
    if min(info.width, info.height) < 2:
        raise UnsupportedSize(f"{info.path} is {info.width}x{info.height}; at least 2x2 pixels are needed")
    if settings.height is None:
        scale = settings.scale or SCALES[0]
        width, height = info.width * scale, info.height * scale
    else:
        if not info.height < settings.height <= info.height * SCALES[-1]:
            raise SettingsError(
                f"--height {settings.height} cannot be reached from {info.height} lines; "
                f"use {info.height + 1} to {info.height * SCALES[-1]}"
            )
        scale = next(s for s in SCALES if info.height * s >= settings.height)
        height = settings.height
        width = max(round(info.width * height / info.height / 2) * 2, 2)
    if max(width, height) > LARGEST_SIDE:
        raise UnsupportedSize(
            f"{info.path}: the result would have {width}x{height} pixels, more than encoders take "
            f"({LARGEST_SIDE}); use a smaller --scale or --height"
        )
    return scale, width, height


def _check_disk(plan: VideoPlan) -> None:
    done = sum(path.stat().st_size for path in plan.ledger.folder.glob("*.mkv")) if plan.ledger.folder.exists() else 0
    free = shutil.disk_usage(plan.result.parent).free
    needed = plan.disk_bytes - done
    if needed > free:
        raise DiskTooSmall(
            f"{plan.result.parent} has {free / 1e9:.1f} GB free and {plan.info.path.name} needs about "
            f"{needed / 1e9:.1f} GB; free some, or use -o for another disk"
        )


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
    gpu = sees_gpu(settings.device)
    plan = prepare(source, out, settings, overwrite, gpu)
    try:
        return run(plan, session, progress, stop)
    except DamagedVideo as damage:
        progress.say(f"{source.name} is damaged ({damage.message}); salvaging what can be decoded")
    plan = prepare(source, out, settings, overwrite, gpu, decode=True)
    return run(plan, session, progress, stop)


def run(plan: VideoPlan, session: Session, progress: Progress, stop: threading.Event) -> Outcome:
    """Compute what is missing of a video, then finish it.

    Args:
        plan: of `prepare`.
        session: where the work runs.
        progress: who watches.
        stop: once set, segments in flight are finished and no more are begun.

    Raises:
        Interrupted: stopped before the end.
        SegmentFailed: a segment failed on every try.
        VerifyFailed: the result is not the same file, only larger.
    """
    started = time.time()
    info = plan.info
    progress.say(
        f"{plan.source.name}: {info.codec}, {info.bits_per_pixel:.2f} bits per pixel, enlarged by {plan.model.name}"
    )
    missing = open_ledger(plan, progress)
    frames = sum(segment.frames for segment in missing)
    progress.begin(plan.source, plan.frames, plan.frames - frames)
    if missing:
        progress.stage("starting")
        session.load(plan.upscaler)
        pool = SegmentPool(session)
        queue = sorted(missing, key=lambda segment: (-segment.frames, segment.number))
        _drain(pool, [plan.job(segment) for segment in queue], progress, stop)
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


def starting_over(name: str, changed: str) -> str:
    """The sentence about a result whose finished segments are of no use any more."""
    return f"{name}: starting over, because {changed} changed since the earlier run"


def _drain(pool: SegmentPool, jobs: list[SegmentJob], progress: Progress, stop: threading.Event) -> None:
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
    if failed:
        raise failed
    if stop.is_set() and jobs:
        raise Interrupted("stopped; finished segments are kept, run the same command to go on")


def _write_gpx(plan: VideoPlan, progress: Progress) -> tuple[Path, ...]:
    """Write the source's GPS track as RESULT.gpx; say so where it has none that can be read."""
    track = gpx_track(plan.info.path)
    if track is None:
        progress.say(f"{plan.info.path.name}: no GPS track in it can be read as GPX")
        return ()
    return (write_whole(plan.result.with_name(f"{plan.result.name}.gpx"), track.encode()),)


def _filled(plan: VideoPlan) -> int:
    """How many frames of the result repeat the one before, because damage had lost theirs."""
    shows = plan.info.shows[plan.span.first : plan.span.stop]
    return len(shows) - len(set(shows))


def finish(plan: VideoPlan, computed: int, started: float, progress: Progress) -> Outcome:
    """Join a plan's finished segments, hold the result against the source, record it and give it its name.

    Args:
        plan: all of whose segments are finished.
        computed: frames that this run computed.
        started: `time.time()` at the run's begin.
        progress: who watches.

    Raises:
        VerifyFailed: the joined file is left in the ledger's folder for inspection.
    """
    info, result, span = plan.info, plan.result, plan.span
    model = ModelDigest(plan.model.name, plan.model.sha256)
    progress.stage("joining")
    joined = plan.ledger.folder / f"joined{result.suffix}"
    paths = [plan.ledger.path(segment) for segment in plan.segments]
    note = enhanced_note(model, plan.height / info.height)
    report = mux(info, paths, joined, span.first, span.stop, note)
    beside = carry_beside(info.path, result, report.left, joined)
    if plan.settings.gpx:
        beside += _write_gpx(plan, progress)
    report = replace(report, beside=beside)
    progress.stage("verifying")
    proof = verify(info.path, joined, first=span.first, stop=span.stop, beside=result, filled=bool(info.shows))
    if not proof.ok:
        for path in report.beside:
            path.unlink(missing_ok=True)
        wrong = "; ".join(f"{check.name}: {check.detail}" for check in proof.checks if not check.ok)
        raise VerifyFailed(f"{result} was not written, the joined file differs from its source ({wrong})")
    joined.replace(result)
    salvaged = plan.damage.sentences if plan.damage else ()
    outcome = Outcome(plan, time.time() - started, computed, report, proof, salvaged)
    write_record(
        plan.source,
        result,
        model=model,
        settings=asdict(plan.settings) | {"backend": plan.backend},
        frames=FrameCounts(plan.frames, computed, plan.frames - computed, _filled(plan)),
        checks=[CheckOutcome(check.name, check.ok, check.detail) for check in proof.checks],
        started=started,
        finished=time.time(),
        salvaged=outcome.salvaged,
    )
    plan.ledger.remove()
    if info.path != plan.source:
        remove_recovered(info.path)
    progress.stage("done")
    return outcome
