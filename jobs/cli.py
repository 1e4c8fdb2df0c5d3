"""`vidsr submit` and `vidsr jobs`. Ray is imported by the commands that need it."""

from __future__ import annotations

import sys
from os.path import isabs, isfile
from pathlib import Path
from typing import Any

import click

from vidsr.as_json import json_option, print_json
from vidsr.errors import SettingsError

ADDRESS = click.option(
    "--address", envvar="RAY_API_SERVER_ADDRESS", default="http://127.0.0.1:8265", show_default=True, show_envvar=True,
    help="The cluster's dashboard. With RAY_AUTH_MODE=token the token of RAY_AUTH_TOKEN is sent.",
)  # fmt: skip
JOB = click.argument("job")


@click.command(context_settings={"ignore_unknown_options": True})
@ADDRESS
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True,
              help="Upscalers, each with a GPU of its own; 0 computes on CPUs.")  # fmt: skip
@click.option("--cpus", type=click.FloatRange(0), default=1.0, show_default=True,
              help="CPUs that each segment's encoder reserves where upscalers have GPUs.")  # fmt: skip
@click.option("--image-has-vidsr", is_flag=True, help="The cluster's image holds vidsr; send nothing along.")
@click.option("--follow", is_flag=True, help="Follow its log and exit with its exit code. Ctrl-C detaches.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FOLDER -o OUT [UPSCALE OPTIONS]")
def submit(
    address: str, gpus: int, cpus: float, image_has_vidsr: bool, follow: bool, arguments: tuple[str, ...]
) -> None:
    """Make a folder of videos larger on a Ray cluster.

    FOLDER and OUT are paths that every node sees, or URLs for which every node has the library: s3:// (s3fs), gs://
    (gcsfs), az:// (adlfs); the image has s3fs alone. The other options are those of `vidsr upscale`. Submit the same
    job again to go on after a failure.
    """
    from jobs.submit import Submission, connect
    from jobs.submit import submit as submit_job
    from vidsr.cli import picture_settings, upscale
    from vidsr.settings import ClusterSettings

    with upscale.make_context("vidsr submit", list(arguments)) as context:
        given = context.params
        picture_settings(dict(given))  # what is wrong is said here, not in a log
        if gpus and given["actors"] is not None:
            raise SettingsError("--gpus and --actors both say how many upscalers there are; leave one of them out")
        ClusterSettings("auto", gpus or given["actors"], given["actor_cpus"], cpus)
        _refuse_own_files(given)
        if given["c2pa"]:
            raise SettingsError("--c2pa would send your key to the cluster; use `vidsr evidence sign` on the results")
    client = connect(address)
    job = submit_job(client, Submission(arguments, gpus, cpus, image_has_vidsr))
    click.echo(job)
    if follow:
        sys.exit(_follow(address, job))


def _refuse_own_files(params: dict[str, Any]) -> None:
    """Nothing travels but the code; a whole path may be one that every node sees."""
    for place in (*params["inputs"], params["output"]):
        if isinstance(place, Path) and not isabs(place):
            raise SettingsError(
                f"{place} is taken from this machine's folder; give the whole path that every node sees"
            )
    for option, name in (("--model", params["model"]), ("--list", params["list_file"])):
        if name is not None and not isabs(name) and isfile(name):
            raise SettingsError(
                f"{option} {name} is a file of this machine; put it where every node sees it, and give its whole path"
            )


def _follow(address: str, job: str) -> int:
    from jobs.submit import connect
    from jobs.submit import follow as follow_job

    try:
        return follow_job(connect(address), job, lambda text: click.echo(text, nl=False, err=True))
    except KeyboardInterrupt:
        click.echo(f"\ndetached; the job goes on. `vidsr jobs logs --follow {job}` shows it again", err=True)
        return 0


@click.group()
def jobs() -> None:
    """Manage the jobs of a Ray cluster."""


@jobs.command("list")
@ADDRESS
@json_option("array")
def list_(address: str, as_json: bool) -> None:
    """List the jobs of vidsr, the newest first."""
    from jobs.submit import connect, list_jobs

    found = [
        {"job": job.submission_id, "status": job.status.value, "started": (job.start_time or 0) / 1000,
         "command": job.entrypoint}
        for job in list_jobs(connect(address))
    ]  # fmt: skip
    if as_json:
        print_json(found)
        return
    for job in found:
        click.echo(f"{job['job']}  {job['status']}  {job['command']}")


@jobs.command()
@ADDRESS
@JOB
def status(address: str, job: str) -> None:
    """Print the state of a job. Exits with 0 while it runs, then with its exit code: 130 if it was stopped."""
    from jobs.submit import connect, details, exit_code

    found = details(connect(address), job)
    click.echo(f"{found.status.value}: {found.message or ''}")
    sys.exit(exit_code(found) if found.status.is_terminal() else 0)


@jobs.command()
@ADDRESS
@click.option(
    "--follow", is_flag=True, help="Follow it until the job ends; exit with the job's exit code. Ctrl-C detaches."
)
@JOB
def logs(address: str, follow: bool, job: str) -> None:
    """Print the log of a job."""
    from jobs.submit import connect
    from jobs.submit import logs as read_logs

    if follow:
        sys.exit(_follow(address, job))
    click.echo(read_logs(connect(address), job), nl=False)


@jobs.command()
@ADDRESS
@JOB
def stop(address: str, job: str) -> None:
    """End a job; what is finished is kept."""
    from jobs.submit import connect
    from jobs.submit import stop as stop_job

    click.echo("stopping" if stop_job(connect(address), job) else "it had ended already")


@jobs.command()
@click.argument("output")
def report(output: str) -> None:
    """Write OUTPUT/report.html: totals, throughput, failures and every video of the job that writes there."""
    from jobs.report import write_report
    from jobs.storage import open_place

    click.echo(write_report(open_place(output)))
