"""What a video's run will be: everything is checked and planned before work starts."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from os.path import isdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vidsr.errors import DiskTooSmall, InputMissing, NotAVideo, SettingsError
from vidsr.graph.choose import choose
from vidsr.graph.ledger import Ledger, key_digest, run_key
from vidsr.graph.segments import FrameRange, Segment, choose_range, cut
from vidsr.graph.stages import SegmentJob, UpscalerSpec
from vidsr.media.beside.sidefiles import check_side_files_free
from vidsr.media.decode import check_one_picture
from vidsr.media.probe import VideoInfo
from vidsr.media.recover import probe_or_recover
from vidsr.media.salvage import assess, fill_gaps
from vidsr.model.ranges import INT8, choose_ranges
from vidsr.model.registry import ModelFile
from vidsr.paths import check_result, check_source, default_result, nearest_existing, temporary_folder
from vidsr.settings import UpscaleSettings

# FFmpeg's names of files that hold one picture, by the name that the command takes each for a picture.
PICTURES = {
    "jpeg_pipe": ".jpg", "png_pipe": ".png", "webp_pipe": ".webp", "tiff_pipe": ".tif", "bmp_pipe": ".bmp",
    "ico": ".ico",
}  # fmt: skip


@dataclass(frozen=True)
class VideoPlan:
    """A video that is ready to be computed.

    Attributes:
        source: the file that was given.
        info: the source as it is read: `source`, or what was recovered of it.
        result: the final name.
        settings: with scale, codec and model chosen.
        model: the weights.
        partner: the adversarially trained weights that `--fidelity` below 1 mixes in, or None.
        backend: what computes, as asked for, or "openvino int8" where `auto` takes that.
        gpu: whether the upscalers run on GPUs.
        width, height: of the result.
        span: which frames.
        segments: all of them.
        ledger: of this run.
        damage: what the source does not give, as sentences; empty where it gives all.
        output_bytes: estimated size of the result.
        disk_bytes: estimated room needed while working.
        overwrite: whether a result that is there may be replaced.
    """

    source: Path
    info: VideoInfo
    result: Path
    settings: UpscaleSettings
    model: ModelFile
    partner: ModelFile | None
    backend: str
    gpu: bool
    width: int
    height: int
    span: FrameRange
    segments: tuple[Segment, ...]
    ledger: Ledger
    damage: tuple[str, ...]
    output_bytes: int
    disk_bytes: int
    overwrite: bool

    @property
    def frames(self) -> int:
        """Frames of the result."""
        return self.span.stop - self.span.first

    @property
    def outline(self) -> dict[str, Any]:
        """What every report of it begins with."""
        return {
            "source": str(self.source), "result": str(self.result), "frames": self.frames,
            "width": self.width, "height": self.height,
        }  # fmt: skip

    @cached_property
    def key(self) -> dict[str, Any]:
        """Everything that the finished segments depend on."""
        weights = [file.sha256 for file in (self.model, self.partner) if file]
        return run_key(self.info, self.settings, weights, f"{self.backend} on {'GPUs' if self.gpu else 'CPUs'}")

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """What the record of the result says that was asked for, in JSON values."""
        used: dict[str, str] = {"backend": self.backend}
        if self.partner:
            used["partner"] = f"{self.partner.name} {self.partner.sha256}"
        return dict(json.loads(json.dumps(asdict(self.settings) | used)))

    @property
    def upscaler(self) -> UpscalerSpec:
        """What the upscalers must hold."""
        settings = self.settings
        return UpscalerSpec(
            str(self.model.path.absolute()),
            self.model.config.scale,
            settings.device,
            settings.backend,
            settings.fidelity,
        )

    def job(self, segment: Segment) -> SegmentJob:
        """What a segment's tasks need."""
        return SegmentJob(
            # A Ray that was started elsewhere has workers with another current folder.
            info=replace(self.info, path=self.info.path.absolute()),
            segment=segment,
            folder=self.ledger.folder.absolute(),
            key=key_digest(self.key),
            width=self.width,
            height=self.height,
            scale=self.model.config.scale,
            encode=self.settings.encode,
            deinterlace=self.info.interlaced and self.settings.deinterlace == "auto",
            stabilise=self.settings.stabilise_detail or 0.0,
            nvdec=self.gpu and self.settings.hwaccel == "nvdec",
            shares_cores=not self.gpu,
        )


def prepare(
    source: Path,
    out: Path | None,
    settings: UpscaleSettings,
    overwrite: bool,
    gpu: bool,
    decode: bool = False,
    scratch: Path | None = None,
) -> VideoPlan:
    """Check everything that can be checked before work starts, and plan it.

    Args:
        source: a video file.
        out: the result's name or folder; None is beside the source.
        settings: what to make.
        overwrite: whether a result that is there may be replaced.
        gpu: whether the upscalers will run on GPUs; decides what `auto` takes.
        decode: count the frames by decoding them all, for a source whose packets promised more than there is.
        scratch: for a plan that is only looked at: a folder for recovered frames. Nothing is written elsewhere.

    Raises:
        VidsrError: of the class of whatever is wrong.
    """
    check_source(source)
    if isdir(source):
        raise InputMissing(f"{source} is a folder; name a video in it, or give it to the command `vidsr upscale`")
    if settings.gpx and importlib.util.find_spec("gpxpy") is None:
        raise SettingsError("--gpx needs gpxpy; run `pip install gpxpy`")
    stand_in = default_result(source, out, settings)
    check_result(source, stand_in, overwrite, make=scratch is None)
    recovered = (scratch or stand_in.parent) / f".{stand_in.name}.recovered.mp4"
    info, damage = _open_source(source, recovered, settings, decode)
    if info.container in PICTURES and info.frames == 1:
        raise NotAVideo(
            f"{source} is a picture, not a video; give it to the command `vidsr upscale` under a name that ends in "
            f"{PICTURES[info.container]}"
        )
    chosen = choose(source, out, info, settings, gpu)
    settings, model, result = chosen.settings, chosen.model, chosen.result
    info = replace(info, notes=(*info.notes, *chosen.notes))
    check_result(source, result, overwrite, make=scratch is None)
    ledger = Ledger(result.with_name(f".{result.name}.vidsr"))
    if not overwrite and not ledger.folder.exists():
        check_side_files_free(source, result)
    span = choose_range(info, settings)
    check_one_picture(info, span.first, span.stop)
    share = (span.stop - span.first) / len(info.table)
    output = int(info.size_bytes * share * (chosen.width * chosen.height) / (info.width * info.height))
    int8 = not gpu and choose_ranges(model.ranges, settings.backend, settings.fidelity)
    plan = VideoPlan(
        source=source,
        info=info,
        result=result,
        settings=settings,
        model=model,
        partner=chosen.partner,
        backend=INT8 if int8 else settings.backend,
        gpu=gpu,
        width=chosen.width,
        height=chosen.height,
        span=span,
        segments=cut(info, span, settings.segment_seconds),
        ledger=ledger,
        damage=damage,
        output_bytes=output,
        disk_bytes=2 * output + (16 << 20),
        overwrite=overwrite,
    )
    _check_disk(plan)
    return plan


@contextmanager
def preview(
    source: Path, out: Path | None, settings: UpscaleSettings, overwrite: bool, gpu: bool = False
) -> Iterator[VideoPlan]:
    """A video's plan as `prepare` makes it, to be looked at: nothing of it stays. No name in it depends on the GPU."""
    with TemporaryDirectory(dir=temporary_folder()) as scratch:
        yield prepare(source, out, settings, overwrite, gpu, scratch=Path(scratch))


def _open_source(
    source: Path, recovered: Path, settings: UpscaleSettings, decode: bool
) -> tuple[VideoInfo, tuple[str, ...]]:
    """The source as it is read, or as `recovered` holds it if it must be, and what it does not give."""
    info, said = probe_or_recover(source, recovered, decode)
    damage = (*said, *assess(info))
    if said:
        info = replace(info, mtime_ns=source.stat().st_mtime_ns)  # a run that recovers it once more goes on
    return (fill_gaps(info) if settings.fill_gaps else info), damage


def _check_disk(plan: VideoPlan) -> None:
    done = sum(path.stat().st_size for path in plan.ledger.folder.glob("*.mkv")) if plan.ledger.folder.exists() else 0
    free = shutil.disk_usage(nearest_existing(plan.result.parent)).free
    needed = plan.disk_bytes - done
    if needed > free:
        raise DiskTooSmall(
            f"{plan.result.parent} has {free / 1e6:,.0f} MB free and {plan.info.path.name} needs about "
            f"{needed / 1e6:,.0f} MB; free some, or use -o for another disk"
        )
