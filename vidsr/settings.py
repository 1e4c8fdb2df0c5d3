"""Validated settings: every default and every range exists once, here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from vidsr.errors import SettingsError

SCALES = (2, 4)
CONTAINERS = ("auto", "same", "mkv", "mp4", "mov")
DEINTERLACE = ("auto", "off")
HWACCEL = ("off", "nvdec")
BACKENDS = ("auto", "torch", "openvino")
# Narrower frames corrupt x265's heap (seen up to 48 pixels).
X265_LEAST_WIDTH = 64
# The most weight that a frame may give the one before it: as much as it has itself.
MOST_STABILISED = 0.5
# Short enough that a killed run on a slow machine loses little; the cost of a cut is one key frame.
SEGMENT_SECONDS = 3.0
# One is computed while the other's frames come and go.
BATCHES_ON_A_GPU = 2
# Room on each node of a cluster for copies of sources from an object store.
CACHE_GB = 50.0


@dataclass(frozen=True)
class EncodeSettings:
    """How the result is coded.

    Attributes:
        codec: an FFmpeg encoder's name, or "auto": one of the source's family.
        crf: constant rate factor; None takes a visually transparent one for the codec.
        preset: the encoder's preset; None takes a fast one.
        container: "auto" keeps the source's where it can carry every stream, else Matroska; "same" keeps it always.
    """

    codec: str = "auto"
    crf: int | None = None
    preset: str | None = None
    container: str = "auto"

    def __post_init__(self) -> None:
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise SettingsError(f"--crf {self.crf} is out of range; use 0 (best) to 63")
        _one_of("--container", self.container, CONTAINERS)


@dataclass(frozen=True)
class UpscaleSettings:
    """What to make of a video.

    Attributes:
        scale: 2 or 4; None only until `height` has chosen it.
        height: exact height of the result as it is shown, in pixels, instead of a scale.
        model: a bundled model's name, a weights file, or "auto": by speed, and by how finely the source is
            coded and by its noise.
        device: auto, cpu, cuda or cuda:N.
        backend: auto, torch or openvino; only auto takes int8.
        hwaccel: "nvdec" decodes on GPUs where upscalers run on them and the samples are the same, "off" never does.
        fidelity: 1 is truest on average; towards 0 the adversarially trained weights take over, sharper and less true.
        encode: how the result is coded.
        start, end: range of the source to do, in seconds from its first frame; None is the whole.
        segment_seconds: least length of a segment, the unit of distribution, retry and resume.
        stabilise_detail: weight of the frame before in each enlarged frame, 0 (off) to 0.5; None only until `auto` is
            decided.
        deinterlace: "auto" deinterlaces what is flagged interlaced, "off" never does.
        fill_gaps: repeat a frame where damage lost some, instead of leaving a gap in time.
        gpx: also write the GPS track as GPX beside the result.
    """

    scale: int | None = 2
    height: int | None = None
    model: str = "auto"
    device: str = "auto"
    backend: str = "auto"
    hwaccel: str = "off"
    fidelity: float = 1.0
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    start: float | None = None
    end: float | None = None
    segment_seconds: float = SEGMENT_SECONDS
    stabilise_detail: float | None = None
    deinterlace: str = "auto"
    fill_gaps: bool = False
    gpx: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and self.scale not in SCALES:
            raise SettingsError(f"--scale {self.scale} is not possible; use 2 or 4")
        if self.height is not None and not 16 <= self.height <= 16384:
            raise SettingsError(f"--height {self.height} is out of range; use 16 to 16384")
        check_device(self.device)
        _one_of("--backend", self.backend, BACKENDS)
        check_fidelity(self.fidelity)
        if not 0 <= (self.stabilise_detail or 0) <= MOST_STABILISED:
            raise SettingsError(
                f"--stabilise-detail {self.stabilise_detail} is out of range; use 0 (off) to {MOST_STABILISED}"
            )
        if not 0 <= (self.start or 0) < (math.inf if self.end is None else self.end) or self.end == math.inf:
            raise SettingsError("--start and --end do not make a range; --end must lie after --start, both from 0")
        if not 0.1 <= self.segment_seconds <= 3600:
            raise SettingsError(f"--segment-seconds {self.segment_seconds} is out of range; use 0.1 to 3600")
        _one_of("--deinterlace", self.deinterlace, DEINTERLACE)
        _one_of("--hwaccel", self.hwaccel, HWACCEL)


@dataclass(frozen=True)
class ClusterSettings:
    """Where the work runs.

    Attributes:
        address: HOST:PORT of a Ray cluster's head, or "auto" on one of its machines; None starts a Ray on this machine
            for this run.
        actors: how many upscalers; None is one per GPU, or one per machine without GPUs.
        actor_cpus: CPUs of each upscaler without a GPU, of which it keeps a quarter for encoders; None is its share of
            the smallest machine.
        encoder_cpus: CPUs that each segment's encoder reserves where upscalers have GPUs; else it shares theirs.
    """

    address: str | None = None
    actors: int | None = None
    actor_cpus: int | None = None
    encoder_cpus: float = 0.0

    def __post_init__(self) -> None:
        if self.address and "://" in self.address:
            raise SettingsError(
                f"--address {self.address} is for Ray's client, which cannot carry frames; use `vidsr submit`, or "
                "HOST:PORT on a machine of the cluster"
            )
        if self.actors is not None and not 1 <= self.actors <= 4096:
            raise SettingsError(f"--actors {self.actors} is out of range; use 1 to 4096")
        if self.actor_cpus is not None and not 1 <= self.actor_cpus <= 1024:
            raise SettingsError(f"--actor-cpus {self.actor_cpus} is out of range; use 1 to 1024")
        if self.actor_cpus and not self.address:
            raise SettingsError("--actor-cpus is for the machines of a cluster; give its --address, or leave it out")
        if not 0 <= self.encoder_cpus <= 64:
            raise SettingsError(f"{self.encoder_cpus} CPUs for an encoder are out of range; use 0 to 64")


def check_device(name: str) -> None:
    """Refuse what is no `--device`.

    Raises:
        SettingsError: it is not.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise SettingsError(f"no device {name!r}; use auto, cpu, cuda or cuda:N")


def check_fidelity(value: float) -> None:
    """Refuse what is no `--fidelity`.

    Raises:
        SettingsError: it is not.
    """
    if not 0 <= value <= 1:
        raise SettingsError(f"--fidelity {value} is out of range; use 0 (sharpest) to 1 (truest)")


def stabilising(text: str) -> float | None:
    """The value of `--stabilise-detail`: None for auto, 0 for off, else the number.

    Raises:
        SettingsError: it is none of these.
    """
    try:
        return {"auto": None, "off": 0.0}[text] if text in ("auto", "off") else float(text)
    except ValueError:
        raise SettingsError(
            f"--stabilise-detail {text!r} is not possible; use auto, off or a number to {MOST_STABILISED}"
        ) from None


def asked_scale(scale: int | None, height: int | None) -> int | None:
    """The scale for settings: None where a height, which chooses it, is given, else 2 if none is.

    Raises:
        SettingsError: both are given.
    """
    if scale is not None and height is not None:
        raise SettingsError("--scale and --height cannot both be given; --height chooses the scale itself")
    return UpscaleSettings.scale if height is None and scale is None else scale


def reach_height(width: int, height: int, wanted: int, turned: bool = False, step: int = 1) -> tuple[int, int, int]:
    """(scale of the model, width, height) of a picture that is shown with `wanted` lines and keeps its shape.

    Args:
        width, height: as it is coded, in pixels.
        wanted: lines.
        turned: whether it is shown turned by a quarter, so that its width is its lines.
        step: of the other side, which is rounded.

    Raises:
        SettingsError: the lines are not within 1x to 4x.
    """
    across, down = (height, width) if turned else (width, height)
    if not down < wanted <= down * SCALES[-1]:
        raise SettingsError(
            f"--height {wanted} cannot be reached from {down} lines; use {down + 1} to {down * SCALES[-1]}"
        )
    scale = next(s for s in SCALES if down * s >= wanted)
    other = max(round(across * wanted / down / step) * step, step)
    return (scale, wanted, other) if turned else (scale, other, wanted)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{option} {value!r} is not possible; use one of {', '.join(allowed)}")
