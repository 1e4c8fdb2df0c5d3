"""The `vidsr` command: parse, build settings, call. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import fields
from functools import partial
from io import TextIOWrapper
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click
from click.core import ParameterSource

from jobs.cli import jobs, submit
from vidsr import __version__
from vidsr.as_json import json_option, print_json, print_json_error
from vidsr.errors import SALVAGED, Interrupted, SettingsError, SomeFailed, VidsrError
from vidsr.paths import output_path, write_error
from vidsr.settings import (
    CACHE_GB,
    CONTAINERS,
    DEINTERLACE,
    HWACCEL,
    SEGMENT_SECONDS,
    ClusterSettings,
    EncodeSettings,
    UpscaleSettings,
    asked_scale,
    stabilising,
)

if TYPE_CHECKING:
    from jobs.folder import FolderOptions

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(readable=False, path_type=Path)  # what may not be read is an error of its own, and no wrong usage
JSON = json_option()


class Command(click.Group):
    """The group; turns a VidsrError, Ctrl-C or an output that cannot be written into one line and its exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command of this process."""
        _fill_streams()
        if isinstance(sys.stdout, TextIOWrapper):  # names of files have letters that its encoding may lack
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **extra)
        except OSError as error:
            lost = next((stream for stream in (sys.stdout, sys.stderr) if not _takes_text(stream)), None)
            if lost is None:
                raise
            # Python writes at its end what is left in the buffer; failing, it would end with a code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), lost.fileno())
            failure = write_error(lost.name.strip("<>"), error)
            with suppress(OSError):
                click.echo(f"vidsr: {failure.message}", err=True)
            sys.exit(failure.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except VidsrError as error:
            if ctx.params.get("debug"):
                click.echo(traceback.format_exc(), err=True, nl=False)
            self._end(ctx, error)
        except KeyboardInterrupt:  # click would exit with 1
            click.echo(err=True)
            self._end(ctx, Interrupted("stopped at once; what was finished is kept"))

    def _end(self, ctx: click.Context, error: VidsrError) -> NoReturn:
        click.echo(f"vidsr: {error.message}", err=True)
        print_json_error(error)
        ctx.exit(error.exit_code)


def _fill_streams() -> None:
    """Open what was closed of stdin, stdout and stderr (`2>&-`): Ray needs them, and files would take their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open


def _takes_text(stream: TextIO) -> bool:
    """Whether a stream can be written: of an error that came of it, nothing else tells."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return False
    return True


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vidsr")
@click.option("--debug", is_flag=True, help="Show the traceback of an error as well.")
def main(debug: bool) -> None:
    """Enlarge videos: the same file, only larger.

    Every frame, timestamp, sound packet, subtitle and tag of the source is in the result, and a check proves it
    before the result gets its name.

    \b
      vidsr upscale drive.mp4 --scale 2         writes drive_2x.mp4
      vidsr upscale card/ -o large/ --scale 2   a folder
      vidsr doctor                              what this machine can do
    """


main.add_command(submit)
main.add_command(jobs)


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several click options as one decorator, in the order given."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


PICTURE_OPTIONS = options(
    click.option("--scale", type=int, default=None, help="2 or 4.  [default: 2]"),
    click.option("--height", type=int, default=None, help="Exact height as it is shown, instead of --scale."),
    click.option("--model", default="auto", show_default=True,
                 help="A bundled model (see `vidsr models`) or a file; auto goes by speed, bits per pixel and noise."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option("--backend", default="auto", show_default=True,
                 help="auto (on CPUs int8 where it pays), torch or openvino."),
    click.option("--hwaccel", type=click.Choice(HWACCEL), default="off", show_default=True,
                 help="nvdec decodes on the GPU where that gives the same samples; it does not report damage."),
    click.option("--fidelity", type=float, default=1.0, show_default=True,
                 help="1 is truest on average, 0 is sharpest (adversarial weights)."),
    click.option("--stabilise-detail", default="auto", show_default=True, metavar="auto|off|STRENGTH",
                 help="Against flicker: weight of the frame before, moved along the motion, 0 to 0.5."),
    click.option("--codec", default="auto", show_default=True, help="FFmpeg encoder; auto takes the source's family."),
    click.option("--crf", type=int, default=None, help="Constant rate factor: smaller is better, and a larger file."),
    click.option("--preset", default=None, help="The encoder's preset."),
    click.option("--container", type=click.Choice(CONTAINERS), default="auto", show_default=True,
                 help="auto keeps the source's where it can carry every stream."),
    click.option("--start", type=float, default=None, help="Where to start, in seconds after the first frame."),
    click.option("--end", type=float, default=None,
                 help="Where to stop, in seconds after the first frame; the frame there is left out."),
    click.option("--segment-seconds", type=float, default=SEGMENT_SECONDS, show_default=True,
                 help="Least length of the parts that are distributed, retried and resumed."),
    click.option("--deinterlace", type=click.Choice(DEINTERLACE), default="auto", show_default=True,
                 help="auto deinterlaces what is flagged interlaced."),
    click.option("--fill-gaps", is_flag=True, help="Repeat a frame where damage lost some."),
    click.option("--gpx", is_flag=True, help="Also write the GPS track as GPX."),
)  # fmt: skip


def picture_settings(values: dict[str, Any]) -> UpscaleSettings:
    """UpscaleSettings from the values of PICTURE_OPTIONS, which are removed from the dictionary."""
    values["scale"] = asked_scale(values["scale"], values["height"])
    values["stabilise_detail"] = stabilising(values["stabilise_detail"])
    values["encode"] = EncodeSettings(**_taken(EncodeSettings, values))
    return UpscaleSettings(**_taken(UpscaleSettings, values))


def _taken(settings: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a settings class's fields, which are options' names; they are removed from the dictionary."""
    return {field.name: values.pop(field.name) for field in fields(settings)}


def path_or_url(text: str) -> Path | str:
    """An input as it is named: a URL such as s3://bucket/folder stays text."""
    if not text:
        raise click.BadParameter("it is empty; name a file or folder (. is the current one)")
    return text if "://" in text else Path(text)


def output_or_url(text: str) -> Path | str:
    """An output as it is named, as `path_or_url`; with a slash at its end it is a folder."""
    place = path_or_url(text)
    return place if isinstance(place, str) else output_path(text)


FOLDER_OPTIONS = options(
    click.option("--pattern", "patterns", multiple=True,
                 help="Of a folder, only names that fit this shell pattern; may be repeated."),
    click.option("--list", "list_file", type=PATH, default=None,
                 help="Of a folder, only the names in this file, one a line."),
    click.option("--limit", type=click.IntRange(1), default=None, help="Of a folder, at most so many videos."),
    click.option("--retry-failed", is_flag=True, help="Of a folder, also what failed in an earlier run."),
    click.option("--join", is_flag=True, help="Of a folder, also join each camera's consecutive clips to one video."),
    click.option("--cache-gb", type=click.FloatRange(0, 1e6, min_open=True), default=CACHE_GB, show_default=True,
                 help="Room on each node for copies of sources from an object store."),
)  # fmt: skip


def folder_options(values: dict[str, Any], overwrite: bool) -> FolderOptions:
    """FolderOptions from the values of FOLDER_OPTIONS."""
    from jobs.cache import NodeCache
    from jobs.find import Selection, read_list
    from jobs.folder import FolderOptions, default_cache

    listed = values["list_file"]
    if isnan(values["cache_gb"]):  # which click takes for one within any range
        raise SettingsError("--cache-gb nan makes no sense; give a number")
    selection = Selection(values["patterns"], read_list(listed) if listed else None, values["limit"])
    cache = NodeCache(default_cache(), int(values["cache_gb"] * 1e9))
    return FolderOptions(selection, overwrite, values["retry_failed"], values["join"], cache)


C2PA = partial(
    click.option, "--c2pa", nargs=2, type=PATH, default=None, metavar="CERTIFICATES KEY",
    help="Sign results: PEM files of your certificate chain (your own first) and its private key.",
)  # fmt: skip


@main.command(context_settings=main.context_settings)  # `vidsr submit` parses with it outside the group
@click.argument("inputs", nargs=-1, required=True, type=path_or_url)
@click.option("-o", "--output", type=output_or_url, default=None, metavar="PATH_OR_URL",
              help="File or folder of the result.  [default: NAME_2x, with --height NAME_1080p, beside the source]"
              )  # fmt: skip
@PICTURE_OPTIONS
@FOLDER_OPTIONS
@click.option("--actors", type=int, default=None, help="Number of upscalers.  [default: one per GPU or machine]")
@click.option("--actor-cpus", type=int, default=None,
              help="CPUs of a cluster for each upscaler on CPUs.  [default: its smallest machine's]")  # fmt: skip
@click.option("--encoder-cpus", type=float, default=0.0, show_default=True,
              help="CPUs that each encoder reserves where upscalers have GPUs.")  # fmt: skip
@click.option(
    "--address", default=None, help="HOST:PORT of a Ray cluster's head, or auto on one of its machines; not ray://."
)
@click.option("--overwrite", is_flag=True, help="Replace a result that is there.")
@C2PA()
@click.option("--dry-run", is_flag=True, help="Check and estimate, do nothing.")
@JSON
def upscale(inputs: tuple[Path | str, ...], output: Path | str | None, **values: Any) -> None:
    """Make videos, pictures or folders of videos larger.

    Kill it at any time: the same command goes on where it stopped. One Ctrl-C lets the segments in flight finish.
    """
    from vidsr.batch import upscale_inputs
    from vidsr.request import Request
    from vidsr.signing import Credentials

    as_json = values.pop("as_json")
    cluster = ClusterSettings(**_taken(ClusterSettings, values))
    overwrite, dry_run = values.pop("overwrite"), values.pop("dry_run")
    signer = values.pop("c2pa")
    settings = picture_settings(values)
    credentials = Credentials(*signer) if signer else None
    request = Request(inputs, output, settings, cluster, folder_options(values, overwrite), credentials, dry_run)
    # Ray prints what it says about lost workers and nodes.
    with _stop_on_interrupt() as stop, redirect_stdout(sys.stderr):
        reports = upscale_inputs(request, stop)
    if as_json:
        print_json(reports[0] if len(reports) == 1 else reports)
    elif dry_run:
        from vidsr.describe import estimate_table

        for report in reports:
            _show(estimate_table(report), False)
    failed = [place for report in reports for place in report.get("failures", ())]
    quarantined = any(report.get("quarantined") for report in reports)
    if failed:
        raise SomeFailed(
            f"{len(failed)} of the videos failed, the first is {failed[0]}; the same command tries them again, "
            f"those of a folder with --retry-failed{', but none that is quarantined' if quarantined else ''}"
        )
    apart = [name for report in reports for name in report.get("join_failures", ())]
    if apart:
        raise SomeFailed(f"{len(apart)} could not be joined, the first is {apart[0]}; the same command tries again")
    if any(report.get("salvaged") for report in reports):
        sys.exit(SALVAGED)


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts at once."""
    from vidsr.console import stderr

    stop = threading.Event()

    def on_interrupt(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        # Above the bar, which would else be broken off and left behind.
        stderr.print("vidsr: finishing the segments in flight; Ctrl-C again stops now", soft_wrap=True)

    # SIGTERM is how clusters ask a job to end.
    before = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@main.command()
@click.argument("file", type=PATH)
@JSON
def probe(file: Path, as_json: bool) -> None:
    """Show what a video file is: streams, picture, colour, frame times."""
    from vidsr.describe import info_as_json, info_table
    from vidsr.media.probe import probe as probe_file

    info = probe_file(file)
    _show(info_as_json(info) if as_json else info_table(info), as_json)


@main.command()
@click.argument("source", type=PATH)
@click.argument("result", type=PATH)
@click.option("--start", type=float, default=None, help="As RESULT was made with.  [default: by its record]")
@click.option("--end", type=float, default=None, help="As RESULT was made with.  [default: by its record]")
@JSON
def verify(source: Path, result: Path, start: float | None, end: float | None, as_json: bool) -> None:
    """Prove that RESULT is SOURCE, or the part of it from --start to --end, only larger.

    Exits with 0 only if every check holds.
    """
    from vidsr.describe import report_as_json, report_table
    from vidsr.errors import VerifyFailed
    from vidsr.evidence import recorded_part
    from vidsr.graph.segments import choose_range
    from vidsr.media.probe import probe as probe_file
    from vidsr.media.proof.verify import verify as verify_files

    if start is None and end is None:
        start, end = recorded_part(result)
    part = start is not None or end is not None
    span = choose_range(probe_file(source), UpscaleSettings(start=start, end=end)) if part else None
    report = verify_files(source, result, first=span.first if span else 0, stop=span.stop if span else None)
    _show(report_as_json(report) if as_json else report_table(report), as_json)
    if not report.ok:
        sys.exit(VerifyFailed.exit_code)


@main.command()
@click.argument("source", type=PATH)
@click.argument("result", type=PATH)
@click.option("-o", "--output", type=PATH, default=None, help="HTML page to write.")
@click.option("--png", type=PATH, default=None, help="Still to write.")
@click.option("--time", type=float, default=0.0, show_default=True, help="Time of the still, in seconds.")
@click.option("--start", type=float, default=0.0, show_default=True, help="Where the page begins, in seconds.")
@click.option("--end", type=float, default=None, help="Where it ends, in seconds.")
@click.option("--max-seconds", type=float, default=10.0, show_default=True, help="Longest stretch that it shows.")
def compare(
    source: Path, result: Path, output: Path | None, png: Path | None,
    time: float, start: float, end: float | None, max_seconds: float,
) -> None:  # fmt: skip
    """Show SOURCE and RESULT side by side, on a page (-o) or in a picture (--png).

    The page needs no network and no other file: both videos in step with a divider, zoom, single frames, their
    difference, and how well each frame agrees with its source.
    """
    from vidsr.media.comparison.compare import write_page, write_still

    if output is None and png is None:
        raise SettingsError("nothing to write; give -o PAGE.html or --png STILL.png")
    if output is not None and png is not None and output.resolve() == png.resolve():
        raise SettingsError(f"{output} cannot be both the page and the still; give --png another name")
    if end is not None and isnan(end):  # of which min() would make no end
        raise SettingsError("--end nan makes no sense; give seconds from the first frame")
    _refuse_vain("-o PAGE.html", output, "start", "end", "max_seconds")
    _refuse_vain("--png STILL.png", png, "time")
    if output is not None:
        write_page(source, result, output, start, max_seconds if end is None else min(max_seconds, end - start))
    if png is not None:
        write_still(source, result, png, time)


def _refuse_vain(needed: str, given: Path | None, *names: str) -> None:
    """Refuse options of this command that mean nothing without another, which was not given."""
    source = click.get_current_context().get_parameter_source
    vain = [f"--{name.replace('_', '-')}" for name in names if source(name) is not ParameterSource.DEFAULT]
    if given is None and vain:
        raise SettingsError(f"only {needed} takes {' and '.join(vain)}; leave that out, or give {needed} too")


@main.group()
def evidence() -> None:
    """Check or sign a result by the record that lies beside it (RESULT.vidsr.json)."""


@evidence.command("check")
@click.argument("result", type=PATH)
@click.option("--source", type=PATH, default=None, help="The source, if it was moved.")
@JSON
def check_evidence(result: Path, source: Path | None, as_json: bool) -> None:
    """Compare RESULT, and its source if it is there, with the record. Exits with 0 only if nothing changed."""
    from vidsr.describe import evidence_table
    from vidsr.errors import VerifyFailed
    from vidsr.evidence import check_record, find_source, read_record

    problems, record = check_record(result, source), read_record(result)
    place = source or find_source(record, result)
    found = {"problems": problems, "source_checked": None if place is None else str(place)}
    _show(found if as_json else evidence_table(record, problems, place), as_json)
    if problems:
        sys.exit(VerifyFailed.exit_code)


@evidence.command("sign")
@click.argument("result", type=PATH)
@C2PA(required=True)
def sign_evidence(result: Path, c2pa: tuple[Path, Path]) -> None:
    """Put a signed C2PA manifest into RESULT and renew its record."""
    from vidsr.signing import Credentials, sign_result

    record = sign_result(result, Credentials(*c2pa))
    click.echo(f"{result}: {record.signature}")


@main.command()
@click.argument("model")
@click.option("--scale", type=click.Choice(("2", "4")), default="2", show_default=True, help="Of a bundled model.")
@click.option("-o", "--output", type=PATH, required=True, help="The ONNX file to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def export(model: str, scale: str, output: Path, overwrite: bool) -> None:
    """Write MODEL, a bundled one or a weights file, as ONNX for other programs."""
    from vidsr.model.export import export_onnx
    from vidsr.model.registry import find_model
    from vidsr.paths import check_result

    found = find_model(model, int(scale))
    check_result(found.path, output, overwrite)
    export_onnx(found, output)


@main.command()
@JSON
def models(as_json: bool) -> None:
    """List the bundled models."""
    from vidsr.describe import models_as_json, models_table

    _show(models_as_json() if as_json else models_table(), as_json)


@main.command()
@JSON
def doctor(as_json: bool) -> None:
    """Show what this machine can do, and what to do about what is missing."""
    from vidsr.doctor import examine, findings_table

    findings = examine()
    _show([vars(f) for f in findings] if as_json else findings_table(findings), as_json)


def _show(value: Any, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        from rich.console import Console

        Console(highlight=False, emoji=False).print(value)
