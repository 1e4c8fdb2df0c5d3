"""The inputs of one `vidsr upscale`: videos, pictures and folders, one after another on one session."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from vidsr.console import make_progress
from vidsr.errors import SettingsError
from vidsr.estimate import estimate
from vidsr.graph.run import prepare, upscale_video
from vidsr.graph.session import Session, sees_gpu
from vidsr.paths import check_source, is_image
from vidsr.settings import ClusterSettings, UpscaleSettings


def upscale_inputs(
    inputs: list[Path],
    out: Path | None,
    settings: UpscaleSettings,
    cluster: ClusterSettings,
    overwrite: bool,
    dry_run: bool,
    stop: threading.Event,
) -> list[dict[str, Any]]:
    """Do all inputs and return one report for each.

    Raises:
        VidsrError: of the first input that fails; results before it are kept.
    """
    if out is not None and out.suffix and not out.is_dir() and len(inputs) > 1:
        raise SettingsError(f"{len(inputs)} inputs cannot all become {out}; give a folder with -o")
    reports = []
    with Session(cluster) as session:
        for source in inputs:
            check_source(source)
            if is_image(source):
                from vidsr.image import upscale_image

                reports.append(upscale_image(source, out, settings, overwrite))
            elif dry_run:
                reports.append(estimate(prepare(source, out, settings, overwrite, sees_gpu(settings.device))))
            else:
                reports.append(_upscale(source, out, settings, overwrite, session, stop))
    return reports


def _upscale(
    source: Path, out: Path | None, settings: UpscaleSettings, overwrite: bool, session: Session, stop: threading.Event
) -> dict[str, Any]:
    progress = make_progress()
    try:
        outcome = upscale_video(source, out, settings, overwrite, session, progress, stop)
        for note in (*outcome.plan.info.notes, *outcome.mux.not_carried, *outcome.salvaged):
            progress.say(f"{source.name}: {note}")
        for path in outcome.mux.beside:
            progress.say(f"{source.name}: carried beside the result in {path.name}")
        progress.say(f"{outcome.plan.result} ({outcome.plan.frames} frames, {outcome.seconds:.1f} s)")
    finally:
        progress.stop()
    return outcome.as_json()
