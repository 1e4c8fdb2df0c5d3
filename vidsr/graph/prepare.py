"""What a video's run will be: everything is checked and chosen before work starts."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from os.path import isdir
from pathlib import Path
from typing import Any

import numpy as np

from vidsr.clean import LOSSLESS, is_clean, is_noisy
from vidsr.errors import DamagedVideo, DiskTooSmall, InputMissing, NotAVideo, SettingsError, UnsupportedSize
from vidsr.graph.plan import FrameRange, Ledger, Segment, choose_range, cut, key_digest, run_key
from vidsr.graph.stages import ENCODER_THREADS, SegmentJob
from vidsr.graph.upscalers import UpscalerSpec
from vidsr.media.decode import decode_range
from vidsr.media.encode import check_size
from vidsr.media.encoders import check_matrix, choose_codec, encoder_for, encoder_options, pix_fmt_for
from vidsr.media.formats import check_colour, check_container, choose_suffix, format_of, holds, silence
from vidsr.media.probe import VideoInfo
from vidsr.media.recover import probe_or_recover
from vidsr.media.salvage import assess, fill_gaps
from vidsr.media.sidefiles import check_side_files_free
from vidsr.model.ranges import INT8, choose_ranges
from vidsr.model.registry import ModelFile, choose_model, find_sharp, wanted_variant
from vidsr.paths import check_result, check_source, default_result, nearest_existing
from vidsr.settings import SCALES, X265_LEAST_WIDTH, UpscaleSettings, reach_height

LARGEST_SIDE = 16384
# Those that players guess.
MATRIX_NAMES = {1: "BT.709", 6: "BT.601"}
# What `--stabilise-detail auto` takes: it steadies every measured clip, and most of them gain PSNR (docs/training.md).
STABILISED = 0.33


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
    settings, model, (width, height), notes = _choose(source, out, info, settings, gpu)
    partner = find_sharp(model) if settings.fidelity < 1 else None
    result, why = _choose_result(source, out, settings, info)
    info = replace(info, notes=(*info.notes, *_colour_notes(info, height), *why, *notes))
    check_result(source, result, overwrite, make=scratch is None)
    ledger = Ledger(result.with_name(f".{result.name}.vidsr"))
    if not overwrite and not ledger.folder.exists():
        check_side_files_free(source, result)
    span = choose_range(info, settings)
    share = (span.stop - span.first) / len(info.table)
    output = int(info.size_bytes * share * (width * height) / (info.width * info.height))
    int8 = not gpu and choose_ranges(model.ranges, settings.backend, settings.fidelity, model.config.channels)
    plan = VideoPlan(
        source=source,
        info=info,
        result=result,
        settings=settings,
        model=model,
        partner=partner,
        backend=INT8 if int8 else settings.backend,
        gpu=gpu,
        width=width,
        height=height,
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


def _open_source(
    source: Path, recovered: Path, settings: UpscaleSettings, decode: bool
) -> tuple[VideoInfo, tuple[str, ...]]:
    """The source as it is read, or as `recovered` holds it if it must be, and what it does not give."""
    info, said = probe_or_recover(source, recovered, decode)
    damage = (*said, *assess(info))
    if said:
        info = replace(info, mtime_ns=source.stat().st_mtime_ns)  # a run that recovers it once more goes on
    return (fill_gaps(info) if settings.fill_gaps else info), damage


def _choose(
    source: Path, out: Path | None, info: VideoInfo, settings: UpscaleSettings, gpu: bool
) -> tuple[UpscaleSettings, ModelFile, tuple[int, int], tuple[str, ...]]:
    """The settings with everything chosen, the model, the result's width and height, and what is to be said of it."""
    scale, width, height = choose_size(info, settings)
    model = _choose_model(info, settings, scale, gpu)
    steadied = choose_stabilising(info, settings)
    settings, notes = _choose_codec(source, out, info, replace(settings, scale=scale, stabilise_detail=steadied), width)
    check_size(info, width, height, settings.encode)
    return settings, model, (width, height), notes


def _choose_result(
    source: Path, out: Path | None, settings: UpscaleSettings, info: VideoInfo
) -> tuple[Path, tuple[str, ...]]:
    """The result's name, and what is to be said of its container: why nobody's choice it is, that it has no sound."""
    suffix, why = choose_suffix(info, settings.encode.container, settings.encode.codec)
    result = default_result(source, out, settings, suffix)
    check_container(result.suffix, settings.encode.codec)
    check_colour(result.suffix, settings.encode.codec, info)
    if settings.encode.container != "auto" and format_of(result.suffix) != format_of(suffix):
        raise SettingsError(
            f"--container {settings.encode.container} makes {suffix} files and -o names {result}; "
            f"leave one of them out, or name {result.with_suffix(suffix)}"
        )
    said = (why if result.suffix == suffix else "", silence(info, result.suffix))
    return result, tuple(filter(None, said))


def _choose_model(info: VideoInfo, settings: UpscaleSettings, scale: int, gpu: bool) -> ModelFile:
    alone = len(info.table) > 1 and all(info.table.key)
    fine = settings.may_take_clean and is_clean(info.codec, info.bits_per_pixel, alone)
    clean = fine and not _holds_noise(info)
    return choose_model(settings.model, scale, gpu, info.width * info.height, wanted_variant(settings.fidelity, clean))


def _holds_noise(info: VideoInfo) -> bool:
    """Whether most of three key frames hold noise; what cannot be decoded is for the run to find out."""
    keys = [i for i in range(len(info.table)) if info.table.key[i]]
    looked_at = {0} if info.sequential or not keys else {keys[len(keys) * part // 4] for part in (1, 2, 3)}
    found = []
    for number in sorted(looked_at):
        try:
            batch = next(decode_range(info, number, number + 1, 1))
        except (DamagedVideo, NotAVideo):
            continue
        luma = batch.planes[0][0].astype(np.float32) / 2 ** (info.layout.depth - 8)
        found.append(is_noisy(luma[::2] if info.interlaced else luma, info.codec in LOSSLESS))
    return sum(found) > len(found) / 2


def _colour_notes(info: VideoInfo, height: int) -> tuple[str, ...]:
    """That players will guess another matrix for the result than for a source that does not say its own."""
    guessed = [info.colour.resolved_matrix(each) for each in (info.height, height)]
    if guessed[0] == guessed[1] or info.layout.grey:
        return ()
    before, after = (MATRIX_NAMES[matrix] for matrix in guessed)
    return (f"it does not say its colour matrix, and many players guess it by the height: {before} for the source and "
            f"{after} for the result, whose reds then look a little different; tell the player {before}",)  # fmt: skip


def _choose_codec(
    source: Path, out: Path | None, info: VideoInfo, settings: UpscaleSettings, width: int
) -> tuple[UpscaleSettings, tuple[str, ...]]:
    """The settings with an encoder, and what is to be said of it.

    Where `auto` takes a lossless one that the container cannot hold, and that is settled (`-o`, `--container`, a
    folder's results), it is the one for a source that is not lossless.
    """
    notes: tuple[str, ...] = ()
    codec = encoder_for(info, settings.encode)
    if settings.encode.codec == "auto" and codec in LOSSLESS:
        suffix, _ = choose_suffix(info, settings.encode.container, codec)
        suffix = default_result(source, out, settings, suffix).suffix
        if not holds(suffix, codec):
            lossless, codec = codec, choose_codec(info, lossless=False)
            loss = f"{suffix} files cannot hold {lossless} video, and {codec} loses a little"
            notes = (f"{loss}; --container mkv takes {lossless}",)
    if codec == "libx265" and width < X265_LEAST_WIDTH:
        raise UnsupportedSize(f"{info.path}: x265 cannot code {width} pixels a line; use --codec ffv1")
    pix_fmt_for(codec, info.layout, info.colour.full_range)
    check_matrix(codec, info)
    encoder_options(codec, settings.encode, info, ENCODER_THREADS)  # what it refuses is said before the work
    return replace(settings, encode=replace(settings.encode, codec=codec)), notes


def choose_stabilising(info: VideoInfo, settings: UpscaleSettings) -> float:
    """The weight of the frame before: what was asked for, else STABILISED; 0 if interlaced, which is not measured."""
    if settings.stabilise_detail is None:
        return 0.0 if info.interlaced else STABILISED
    return settings.stabilise_detail


def choose_size(info: VideoInfo, settings: UpscaleSettings) -> tuple[int, int, int]:
    """(scale of the model, width, height of the result).

    Raises:
        SettingsError: `--height` is not within 1x to 4x, or odd where two rows share their colour.
        UnsupportedSize: the source is too small, or the result too large for any encoder.
    """
    if min(info.width, info.height) < 2:
        raise UnsupportedSize(f"{info.path} is {info.width}x{info.height}; at least 2x2 pixels are needed")
    if settings.height is None:
        scale = settings.scale or SCALES[0]
        width, height = info.width * scale, info.height * scale
    else:
        turned = info.rotation % 180 == 90
        scale, width, height = reach_height(info.width, info.height, settings.height, turned, step=2)
        if width % (1 << info.layout.chroma_x) or height % (1 << info.layout.chroma_y):
            raise SettingsError(f"--height {settings.height} is odd, which {info.pix_fmt} cannot have; use an even one")
    if max(width, height) > LARGEST_SIDE:
        raise UnsupportedSize(
            f"{info.path}: the result would have {width}x{height} pixels, more than encoders take "
            f"({LARGEST_SIDE}); use a smaller --scale or --height"
        )
    return scale, width, height


def _check_disk(plan: VideoPlan) -> None:
    done = sum(path.stat().st_size for path in plan.ledger.folder.glob("*.mkv")) if plan.ledger.folder.exists() else 0
    free = shutil.disk_usage(nearest_existing(plan.result.parent)).free
    needed = plan.disk_bytes - done
    if needed > free:
        raise DiskTooSmall(
            f"{plan.result.parent} has {free / 1e6:,.0f} MB free and {plan.info.path.name} needs about "
            f"{needed / 1e6:,.0f} MB; free some, or use -o for another disk"
        )
