"""The inputs of one `vidsr upscale`: videos, pictures and folders, one after another on one session."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isnan
from os.path import isdir, splitext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from jobs.cache import NodeCache
from jobs.find import Selection, read_list, result_suffix
from jobs.folder import FolderOptions, default_cache, places, run_folder
from jobs.storage import Place
from jobs.view import make_view
from vidsr.console import make_progress
from vidsr.errors import (
    InputEmpty,
    InputError,
    InputUnreadable,
    Interrupted,
    OutputExists,
    OutputUnwritable,
    SegmentFailed,
    SettingsError,
    VerifyFailed,
)
from vidsr.graph.prepare import VideoPlan, prepare
from vidsr.graph.run import made_before, upscale_video
from vidsr.graph.session import Session
from vidsr.paths import by_name, check_name, check_source, default_result, is_image
from vidsr.settings import ClusterSettings, UpscaleSettings
from vidsr.signing import Credentials, media_type, open_signer, sign_folder, sign_result


def folder_options(values: dict[str, Any], overwrite: bool) -> FolderOptions:
    """FolderOptions from the values of the command's options for folders."""
    listed = values["list_file"]
    if isnan(values["cache_gb"]):  # which click takes for one within any range
        raise SettingsError("--cache-gb nan makes no sense; give a number")
    selection = Selection(values["patterns"], read_list(listed) if listed else None, values["limit"])
    cache = NodeCache(default_cache(), int(values["cache_gb"] * 1e9))
    return FolderOptions(selection, overwrite, values["retry_failed"], values["join"], cache)


def upscale_inputs(
    inputs: list[Path | str],
    out: Path | str | None,
    settings: UpscaleSettings,
    cluster: ClusterSettings,
    options: FolderOptions,
    credentials: Credentials | None,
    dry_run: bool,
    stop: threading.Event,
) -> list[dict[str, Any]]:
    """Do all inputs and return one report for each.

    Of several, one that cannot be done does not stop the others: its report holds `failures`.

    Raises:
        VidsrError: of what is wrong with the command, or with the only input; results before it are kept.
    """
    if credentials:
        with open_signer(credentials):  # what is wrong is said before the work
            pass
    if isinstance(out, Path) and out.suffix and not isdir(out) and len(inputs) > 1:
        raise SettingsError(f"{len(inputs)} inputs cannot all become {out}; give a folder with -o")
    _refuse_missing(inputs)
    _refuse_odd_names(inputs, out)
    _refuse_without_folder(inputs, options)
    _refuse_shared_results(inputs, out, settings)
    reports = []
    with Session(cluster, settings.device) as session:
        for source in inputs:
            session.last_video = source is inputs[-1]
            if stop.is_set():
                raise Interrupted("stopped; what is finished is kept, run the same command to go on")
            try:
                if isinstance(source, str) or isdir(source):
                    place = _place(source, out, len(inputs))
                    done = _upscale_folder(source, place, settings, options, credentials, dry_run, session, stop)
                else:
                    assert not isinstance(out, str)  # which was refused
                    alone, anew = len(inputs) == 1, options.overwrite
                    done = _upscale_file(source, out, settings, anew, credentials, dry_run, session, stop, alone)
            except (InputError, OutputExists, SegmentFailed, VerifyFailed) as error:
                if len(inputs) == 1:
                    raise
                click.echo(f"vidsr: {error.message}", err=True)
                done = {"source": str(source), "failures": {str(source): f"{type(error).__name__}: {error.message}"}}
            reports.append(done)
    return reports


def _refuse_missing(inputs: list[Path | str]) -> None:
    """Say before any work that an input does not exist: most likely its name is wrong.

    Raises:
        InputMissing: of the first such.
    """
    for source in inputs:
        if isinstance(source, Path):
            with suppress(InputEmpty, InputUnreadable):  # of one file, which stops no other
                check_source(source)


def _refuse_odd_names(inputs: list[Path | str], out: Path | str | None) -> None:
    """Say before any work that Ray would not start with a command of such names, nor in such a folder or none.

    Raises:
        InputUnreadable, OutputUnwritable, SettingsError: by what has the name.
    """
    for source in inputs:
        check_name(source, InputUnreadable)
    if out is not None:
        check_name(out, OutputUnwritable, "give another with -o")
    try:
        check_name(Path.cwd(), SettingsError, "rename it, or run the command in another folder")
    except FileNotFoundError as error:
        raise SettingsError("the folder that the command runs in is gone; run it in another") from error


def _refuse_without_folder(inputs: list[Path | str], options: FolderOptions) -> None:
    """Refuse options of folders where no input is one: whoever gave them expects something else than will happen.

    Raises:
        SettingsError: with the options.
    """
    if any(isinstance(source, str) or isdir(source) for source in inputs):
        return
    selection = options.selection
    given = {
        "--pattern": bool(selection.patterns), "--list": selection.names is not None,
        "--limit": selection.limit is not None, "--retry-failed": options.retry_failed, "--join": options.join,
    }  # fmt: skip
    if vain := [name for name, is_given in given.items() if is_given]:
        raise SettingsError(
            f"{inputs[0]} is no folder, and only folders take {' and '.join(vain)}; leave that out, or name its folder"
        )


def _upscale_file(
    source: Path,
    out: Path | None,
    settings: UpscaleSettings,
    overwrite: bool,
    credentials: Credentials | None,
    dry_run: bool,
    session: Session,
    stop: threading.Event,
    alone: bool,
) -> dict[str, Any]:
    """The report of one video or picture, which may be the only input."""
    check_source(source)
    if is_image(source):
        if credentials:
            raise SettingsError(f"{source}: only videos are signed; leave --c2pa out")
        from vidsr.image import upscale_image

        report = upscale_image(source, out, settings, overwrite, dry_run)
        if not dry_run:
            progress = make_progress()
            for note in report["notes"]:
                progress.say(f"{source.name}: {note}")
            progress.say(f"{report['result']} ({report['width']}x{report['height']}, {report['seconds']:.1f} s)")
        return report
    if dry_run:
        from vidsr.estimate import estimate

        with _look(source, out, settings, overwrite, session.uses_gpus(settings.device)) as plan:
            if credentials:
                media_type(plan.result)
            return estimate(plan)
    try:
        return _upscale(source, out, settings, overwrite, credentials, session, stop)
    except OutputExists:
        made = _made_before(source, out, settings, session.uses_gpus(settings.device), credentials, alone)
        if made is None:
            raise
        return made


def _made_before(
    source: Path, out: Path | None, settings: UpscaleSettings, gpu: bool, credentials: Credentials | None, alone: bool
) -> dict[str, Any] | None:
    """The report of a result that the same command made before, by its record, and that is as it was then.

    Of a source that is alone only if that command was killed after the rename: its segments are still there then, or
    the result is not signed yet.
    """
    with _look(source, out, settings, True, gpu) as plan:
        killed = plan.ledger.folder.exists()
        record = made_before(plan) if killed or credentials or not alone else None
        if record is None:
            return None
        unsigned = credentials is not None and not record.signature
        if alone and not (killed or unsigned):
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


def _refuse_shared_results(inputs: list[Path | str], out: Path | str | None, settings: UpscaleSettings) -> None:
    """Refuse inputs whose results would replace each other, or another input.

    Raises:
        SettingsError: a result has the name of another or of an input.
    """
    results = [_result(source, out, settings, len(inputs)) for source in inputs]
    _refuse_twins(inputs, results)
    stems = Counter(splitext(result)[0] for result in results)
    for number, source in enumerate(inputs):
        shared = stems[splitext(results[number])[0]] > 1
        if shared and _may_become_matroska(source, settings) and not isinstance(out, str):
            # one that cannot be read has no result
            with suppress(InputError), _look(Path(source), out, settings, True) as plan:
                results[number] = _whole_name(plan.result)
    _refuse_twins(inputs, results)


def _refuse_twins(inputs: list[Path | str], results: list[str]) -> None:
    made: dict[str, Path | str] = {}
    given = {_whole_name(source): source for source in inputs if isinstance(source, Path)}
    for source, result in zip(inputs, results, strict=True):
        if given.get(result, source) != source:
            raise SettingsError(f"{source} would become {result}, which is an input too; leave that out, or use -o")
        if result in made:
            raise SettingsError(
                f"{made[result]} and {source} would both become {result}; do one at a time, each with its own -o"
            )
        made[result] = source


def _result(source: Path | str, out: Path | str | None, settings: UpscaleSettings, inputs: int) -> str:
    """The result of one of so many inputs, as far as names tell."""
    if isinstance(source, str) or isdir(source):
        return places(source, _place(source, out, inputs), settings)[1].url
    if isinstance(out, str):
        raise SettingsError(f"{source} is one file and {out} a URL; give its folder with --pattern")
    suffix = source.suffix if is_image(source) else result_suffix(source.name, settings.encode.container)
    return _whole_name(default_result(source, out, settings, suffix))


def _whole_name(result: Path) -> str:
    return str(result.parent.resolve() / result.name)


def _may_become_matroska(source: Path | str, settings: UpscaleSettings) -> bool:
    """Whether it depends on a video's content which container its result has."""
    is_file = isinstance(source, Path) and not isdir(source) and not is_image(source)
    return is_file and settings.encode.container == "auto"


def _place(folder: Path | str, out: Path | str | None, inputs: int) -> Path | str | None:
    """Where the results of a folder go that is one of so many inputs."""
    return f"{out}/{by_name(Path(folder)).name}" if out is not None and inputs > 1 else out


@contextmanager
def _look(
    source: Path, out: Path | None, settings: UpscaleSettings, overwrite: bool, gpu: bool = False
) -> Iterator[VideoPlan]:
    """A video's plan, to be looked at: nothing of it stays. Its names do not depend on the GPU."""
    with TemporaryDirectory() as scratch:
        yield prepare(source, out, settings, overwrite, gpu, scratch=Path(scratch))


def _upscale_folder(
    folder: Path | str,
    out: Path | str | None,
    settings: UpscaleSettings,
    options: FolderOptions,
    credentials: Credentials | None,
    dry_run: bool,
    session: Session,
    stop: threading.Event,
) -> dict[str, Any]:
    if dry_run:
        from jobs.dryrun import estimate_folder

        return estimate_folder(folder, out, settings, options, session.uses_gpus(settings.device))
    signed = _folder_to_sign(places(folder, out, settings)[1]) if credentials else None
    report = run_folder(folder, out, settings, session, options, make_view(), stop).as_json()
    if credentials and signed:
        sign_folder(signed, credentials)
    return report


def _folder_to_sign(results: Place) -> Path:
    if results.folder is None:
        raise SettingsError(f"{results.url}: only files are signed; fetch them and use `vidsr evidence sign`")
    return results.folder


def _upscale(
    source: Path,
    out: Path | None,
    settings: UpscaleSettings,
    overwrite: bool,
    credentials: Credentials | None,
    session: Session,
    stop: threading.Event,
) -> dict[str, Any]:
    if credentials:
        with _look(source, out, settings, True) as plan:
            media_type(plan.result)
    progress = make_progress()
    try:
        outcome = upscale_video(source, out, settings, overwrite, session, progress, stop)
        for note in (*outcome.plan.info.notes, *outcome.mux.not_carried, *outcome.salvaged):
            progress.say(f"{source.name}: {note}")
        for path in outcome.mux.beside:
            progress.say(f"{source.name}: carried beside the result in {path.name}")
        if credentials:
            progress.say(f"{outcome.plan.result}: {sign_result(outcome.plan.result, credentials).signature}")
        progress.say(f"{outcome.plan.result} ({outcome.plan.frames} frames, {outcome.seconds:.1f} s)")
    finally:
        progress.stop()
    return outcome.as_json()
