"""The Python API: one function that does what `vidsr upscale` does with a video."""

from __future__ import annotations

import threading
from pathlib import Path

from vidsr.errors import SettingsError
from vidsr.graph.finish import Outcome
from vidsr.graph.progress import Progress, Silent
from vidsr.graph.run import upscale_video
from vidsr.graph.session import Session
from vidsr.paths import output_path
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings, asked_scale, stabilising

# Who comes while another's Ray runs would work on it, and that one's end would end the whole process.
_TURN = threading.Lock()


def upscale(
    source: str | Path,
    result: str | Path | None = None,
    *,
    scale: int | None = None,
    height: int | None = UpscaleSettings.height,
    model: str | Path = UpscaleSettings.model,
    device: str = UpscaleSettings.device,
    backend: str = UpscaleSettings.backend,
    hwaccel: str = UpscaleSettings.hwaccel,
    fidelity: float = UpscaleSettings.fidelity,
    stabilise_detail: float | str | None = UpscaleSettings.stabilise_detail,
    codec: str = EncodeSettings.codec,
    crf: int | None = EncodeSettings.crf,
    preset: str | None = EncodeSettings.preset,
    container: str = EncodeSettings.container,
    start: float | None = UpscaleSettings.start,
    end: float | None = UpscaleSettings.end,
    segment_seconds: float = UpscaleSettings.segment_seconds,
    deinterlace: str = UpscaleSettings.deinterlace,
    fill_gaps: bool = UpscaleSettings.fill_gaps,
    gpx: bool = UpscaleSettings.gpx,
    address: str | None = ClusterSettings.address,
    actors: int | None = ClusterSettings.actors,
    actor_cpus: int | None = ClusterSettings.actor_cpus,
    encoder_cpus: float = ClusterSettings.encoder_cpus,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Make a video larger: `vidsr.upscale("drive.mp4", scale=2)` writes `drive_2x.mp4` beside it.

    The arguments are the command's options. Threads may call it: they take turns, because a process has one Ray.

    Args:
        source: a video file.
        result: its name or folder; None is beside the source.
        scale: 2 or 4; None is 2, or with a height what reaches it.
        height: exact height of the result as it is shown, in pixels, instead of a scale.
        model: a bundled model's name, a weights file, or "auto".
        device: auto, cpu, cuda or cuda:N.
        backend: auto, torch or openvino; only auto takes int8.
        hwaccel: "nvdec" decodes on GPUs that give the same samples, "off" never does.
        fidelity: 1 is truest on average, 0 is sharpest (adversarial weights).
        stabilise_detail: weight of the frame before in each enlarged frame, to 0.5; "off" is 0, and None "auto".
        codec: an FFmpeg encoder's name, or "auto" for one of the source's family.
        crf: constant rate factor, 0 (best) to 63; None takes a visually transparent one.
        preset: the encoder's preset; None takes a fast one.
        container: auto, same, mkv, mp4 or mov; "auto" keeps the source's where it can carry every stream.
        start, end: range of the source, in seconds from its first frame.
        segment_seconds: least length of the parts that are distributed, retried and resumed, 0.1 to 3600.
        deinterlace: "auto" deinterlaces what is flagged interlaced, "off" never does.
        fill_gaps: repeat a frame where damage lost some.
        gpx: also write the GPS track as GPX.
        address: HOST:PORT of a Ray cluster's head, or "auto" on one of its machines; None starts a Ray on this machine.
        actors: how many upscalers; None is one per GPU or machine.
        actor_cpus: CPUs of a cluster for each upscaler on CPUs; None is those of its smallest machine.
        encoder_cpus: CPUs that each encoder reserves where upscalers have GPUs.
        overwrite: whether a result that is there may be replaced.
        progress: who watches; None is nobody.

    Raises:
        VidsrError: of the class of whatever is wrong; the tree is in vidsr.errors.
    """
    if "://" in str(result):
        raise SettingsError(f"{source} is one file and {result} a URL; name a file or folder")
    weight = stabilising(stabilise_detail) if isinstance(stabilise_detail, str) else stabilise_detail
    settings = UpscaleSettings(
        scale=asked_scale(scale, height), height=height, model=str(model), device=device, backend=backend,
        hwaccel=hwaccel, fidelity=fidelity,
        encode=EncodeSettings(codec=codec, crf=crf, preset=preset, container=container),
        start=start, end=end, segment_seconds=segment_seconds, stabilise_detail=weight,
        deinterlace=deinterlace, fill_gaps=fill_gaps, gpx=gpx,
    )  # fmt: skip
    cluster = ClusterSettings(address=address, actors=actors, actor_cpus=actor_cpus, encoder_cpus=encoder_cpus)
    with _TURN, Session(cluster, device) as session:
        session.last_video = True
        return upscale_video(
            Path(source), None if result is None else output_path(result), settings, overwrite,
            session, progress or Silent(), threading.Event(),
        )  # fmt: skip
