"""The inputs of one `vidsr upscale`: videos, pictures and folders, one after another on one session."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import click

from jobs.folder import places, run_folder
from jobs.storage import Place
from jobs.view import make_view
from vidsr.console import counted, make_progress
from vidsr.errors import (
    EncoderError,
    InputError,
    Interrupted,
    OutputExists,
    OutputIsInput,
    OutputUnwritable,
    SegmentFailed,
    SettingsError,
    VerifyFailed,
)
from vidsr.graph.run import made_before, upscale_video
from vidsr.graph.session import Session
from vidsr.paths import check_source, is_image
from vidsr.request import Request, is_folder
from vidsr.signing import media_type, sign_folder, sign_result


def upscale_inputs(request: Request, stop: threading.Event) -> list[dict[str, Any]]:
    """Do all inputs and return one report for each.

    Of several, one that cannot be done does not stop the others: its report holds `failures`.

    Args:
        request: what to do.
        stop: once set, segments in flight are finished and no more are begun.

    Raises:
        VidsrError: of what is wrong with the command, or with the only input; results before it are kept.
    """
    request.check()
    with Session(request.cluster, request.settings.device) as session:
        return Batch(request, session, stop).run()


# What may be wrong with one input and not with the next; all else ends the command.
OF_ONE_INPUT = (
    InputError, SettingsError, OutputExists, OutputIsInput, OutputUnwritable, EncoderError, SegmentFailed, VerifyFailed
)  # fmt: skip


class Batch:
    """A request that is being done on a session."""

    def __init__(self, request: Request, session: Session, stop: threading.Event) -> None:
        """Nothing is done yet; arguments as `upscale_inputs`."""
        self._request, self._session, self._stop = request, session, stop
        self._settings, self._credentials = request.settings, request.credentials

    def run(self) -> list[dict[str, Any]]:
        """Do what `upscale_inputs` says."""
        request, reports = self._request, []
        for source in request.inputs:
            self._session.last_video = source is request.inputs[-1]
            if self._stop.is_set():
                raise Interrupted("stopped; what is finished is kept, run the same command to go on")
            try:
                done = self._folder(source) if is_folder(source) else self._file(Path(source))
            except OF_ONE_INPUT as error:
                if request.is_single:
                    raise
                click.echo(f"vidsr: {error.message}", err=True)
                done = {"source": str(source), "failures": {str(source): f"{type(error).__name__}: {error.message}"}}
            reports.append(done)
        return reports

    @property
    def _gpu(self) -> bool:
        """Whether upscalers compute on GPUs; asked for only where that matters, since a cluster is connected to."""
        return self._session.uses_gpus(self._settings.device)

    def _folder(self, folder: Path | str) -> dict[str, Any]:
        out, options = self._request.out_of_folder(folder), self._request.options
        if self._request.dry_run:
            from jobs.dryrun import estimate_folder

            return estimate_folder(folder, out, self._settings, options, self._gpu)
        signed = _folder_to_sign(places(folder, out, self._settings)[1]) if self._credentials else None
        report = run_folder(folder, out, self._settings, self._session, options, make_view(), self._stop).as_json()
        if self._credentials and signed:
            sign_folder(signed, self._credentials)
        return report

    def _file(self, source: Path) -> dict[str, Any]:
        check_source(source)
        if is_image(source):
            return self._picture(source)
        if self._request.dry_run:
            return self._estimate(source)
        try:
            return self._video(source)
        except OutputExists:
            made = self._made_before(source)
            if made is None:
                raise
            return made

    def _picture(self, source: Path) -> dict[str, Any]:
        if self._credentials:
            raise SettingsError(f"{source}: only videos are signed; leave --c2pa out")
        from vidsr.image import upscale_image

        out, overwrite, dry_run = self._request.out_of_files, self._request.options.overwrite, self._request.dry_run
        report = upscale_image(source, out, self._settings, overwrite, dry_run)
        if not dry_run:
            progress = make_progress()
            for note in report["notes"]:
                progress.say(f"{source.name}: {note}")
            progress.say(f"{report['result']} ({report['width']}x{report['height']}, {report['seconds']:.1f} s)")
        return report

    def _estimate(self, source: Path) -> dict[str, Any]:
        from vidsr.estimate import estimate

        with self._request.preview(source, self._request.options.overwrite, self._gpu) as plan:
            if self._credentials:
                media_type(plan.result)
            return estimate(plan)

    def _video(self, source: Path) -> dict[str, Any]:
        if self._credentials:
            with self._request.preview(source) as plan:
                media_type(plan.result)
        out, overwrite = self._request.out_of_files, self._request.options.overwrite
        progress = make_progress()
        try:
            outcome = upscale_video(source, out, self._settings, overwrite, self._session, progress, self._stop)
            for note in (*outcome.plan.info.notes, *outcome.mux.not_carried, *outcome.salvaged):
                progress.say(f"{source.name}: {note}")
            for path in outcome.mux.beside:
                progress.say(f"{source.name}: carried beside the result in {path.name}")
            if self._credentials:
                signature = sign_result(outcome.plan.result, self._credentials).signature
                progress.say(f"{outcome.plan.result}: {signature}")
            progress.say(f"{outcome.plan.result} ({counted(outcome.plan.frames, 'frame')}, {outcome.seconds:.1f} s)")
        finally:
            progress.stop()
        return outcome.as_json()

    def _made_before(self, source: Path) -> dict[str, Any] | None:
        """The report of a result that the same command made before, by its record, and that is as it was then.

        Of a single input only if that command was killed after the rename: its segments are still there then, or the
        result is not signed yet.
        """
        credentials, single = self._credentials, self._request.is_single
        with self._request.preview(source, gpu=self._gpu) as plan:
            killed = plan.ledger.folder.exists()
            record = made_before(plan) if killed or credentials or not single else None
            if record is None:
                return None
            unsigned = credentials is not None and not record.signature
            if single and not (killed or unsigned):
                return None
            if killed:
                with plan.ledger.held(plan.result):
                    plan.ledger.remove()
            if credentials and unsigned:
                sign_result(plan.result, credentials)
            click.echo(f"{plan.result} is there from an earlier run", err=True)
            return {
                "source": str(source), "result": str(plan.result), "frames": record.frames.total, "computed_frames": 0,
                "verified": record.verified, "salvaged": list(record.salvaged),
            }  # fmt: skip


def _folder_to_sign(results: Place) -> Path:
    if results.folder is None:
        raise SettingsError(f"{results.url}: only files are signed; fetch them and use `vidsr evidence sign`")
    return results.folder
