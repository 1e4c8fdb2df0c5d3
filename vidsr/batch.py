"""The inputs of one `vidsr upscale`: videos, pictures and folders, one after another on one session."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from vidsr.console import make_progress
from vidsr.errors import SettingsError
from vidsr.estimate import estimate
from vidsr.graph.run import VideoPlan, prepare, run
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
    with _Sessions(cluster) as sessions:
        for source in inputs:
            check_source(source)
            if is_image(source):
                from vidsr.image import upscale_image

                reports.append(upscale_image(source, out, settings, overwrite))
                continue
            plan = prepare(source, out, settings, overwrite, sees_gpu(settings.device))
            reports.append(estimate(plan) if dry_run else _run(plan, sessions.session(plan), stop))
    return reports


class _Sessions:
    """The session of the video before, kept while videos need the same model."""

    def __init__(self, cluster: ClusterSettings) -> None:
        self._cluster = cluster
        self._session: Session | None = None
        self._model = ""

    def __enter__(self) -> _Sessions:
        return self

    def __exit__(self, *error: object) -> None:
        if self._session is not None:
            self._session.close()

    def session(self, plan: VideoPlan) -> Session:
        """A session whose upscalers hold the plan's model."""
        if self._session is None or self._model != plan.model.sha256:
            if self._session is not None:
                self._session.close()
            self._session = plan.session(self._cluster)
            self._model = plan.model.sha256
        return self._session


def _run(plan: VideoPlan, session: Session, stop: threading.Event) -> dict[str, Any]:
    progress = make_progress()
    name = plan.info.path.name
    try:
        outcome = run(plan, session, progress, stop)
        for note in (*plan.info.notes, *outcome.mux.not_carried, *outcome.salvaged):
            progress.say(f"{name}: {note}")
        for path in outcome.mux.beside:
            progress.say(f"{name}: carried beside the result in {path.name}")
        progress.say(f"{plan.result} ({plan.frames} frames, {outcome.seconds:.1f} s)")
    finally:
        progress.stop()
    return outcome.as_json()
