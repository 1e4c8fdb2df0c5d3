"""A folder job on a Ray cluster through its Jobs API: submit, follow, look, stop.

The job runs `vidsr upscale` on the cluster. Ray does not repeat a job that died; submitting the same again goes on
where it stopped.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import ClientError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import jobs
import vidsr
from vidsr.environment import environment
from vidsr.errors import ClusterError, Interrupted, first_line

T = TypeVar("T")
AGAIN_SECONDS = 2.0
# What a head says that has just been started, and of a job that it does not know.
STARTING = "No available agent"
NO_SUCH_JOB = "status code 404"
# By which, and by RAY_ADDRESS, Ray replaces the address that it is given.
OVERRIDING = "RAY_API_SERVER_ADDRESS"
# How long it may take until a head answers.
START_SECONDS = 120.0


@dataclass(frozen=True)
class Submission:
    """A job that is to run.

    Attributes:
        arguments: of `vidsr upscale`: folder, output and options.
        gpus: upscalers, each with a GPU of its own; 0 computes on CPUs.
        cpus: CPUs that each segment's encoder reserves where upscalers have GPUs.
        image_has_vidsr: whether the cluster's image holds vidsr; else this one is sent along.
    """

    arguments: tuple[str, ...]
    gpus: int = 0
    cpus: float = 1.0
    image_has_vidsr: bool = False

    @property
    def entrypoint(self) -> str:
        """The command that the cluster runs."""
        where = ["--device", "cuda", "--actors", str(self.gpus)] if self.gpus else ["--device", "cpu"]
        cpus = ["--encoder-cpus", f"{self.cpus:g}"]
        return shlex.join(["python", "-m", "vidsr", "upscale", "--address", "auto", *where, *cpus, *self.arguments])

    @property
    def runtime_env(self) -> dict[str, Any]:
        """What Ray sends to the cluster beside the command."""
        if self.image_has_vidsr:
            return {}
        packages = [str(Path(str(module.__file__)).parent) for module in (vidsr, jobs)]
        return {"py_modules": packages, "excludes": ["**/__pycache__/**"]}


def connect(address: str) -> JobSubmissionClient:
    """The Jobs API of a cluster, as http://HEAD:8265. With RAY_AUTH_MODE=token, Ray's token is sent along.

    Raises:
        ClusterError: nobody answers there, or the token is missing or wrong.
    """
    if "://" not in address and address != "auto":  # Ray would take it for the port of its own protocol
        address = f"http://{address}"
    try:
        with environment(OVERRIDING, address):
            return JobSubmissionClient(address)
    except Exception as error:  # Ray raises what its HTTP library does, and bare RuntimeErrors
        raise _unreachable(address, error) from error


def submit(client: JobSubmissionClient, submission: Submission) -> str:
    """Begin a job and return its id.

    Raises:
        ClusterError: the cluster refuses it.
    """
    return str(_insist(lambda: _submit(client, submission), lambda said: STARTING in said))


def _submit(client: JobSubmissionClient, submission: Submission) -> Any:
    return _ask(
        client.submit_job,
        entrypoint=submission.entrypoint,
        runtime_env=submission.runtime_env,
        entrypoint_num_cpus=0,  # it only schedules, and a head node may have no CPUs for work
        metadata={"vidsr": vidsr.__version__},
    )


def list_jobs(client: JobSubmissionClient) -> list[JobDetails]:
    """The jobs of vidsr, the newest first."""
    found = [job for job in _ask(client.list_jobs) if "vidsr" in (job.metadata or {})]
    return sorted(found, key=lambda job: -(job.start_time or 0))


def details(client: JobSubmissionClient, job: str) -> JobDetails:
    """What Ray knows of a job.

    Raises:
        ClusterError: there is no such job.
    """
    found: JobDetails = _ask(client.get_job_info, job)
    return found


def logs(client: JobSubmissionClient, job: str) -> str:
    """All that a job said so far."""
    return str(_ask(client.get_job_logs, job))


def stop(client: JobSubmissionClient, job: str) -> bool:
    """Ask a job to end; False if it had ended already. What is finished is kept."""
    return bool(_ask(client.stop_job, job))


def follow(client: JobSubmissionClient, job: str, say: Callable[[str], None]) -> int:
    """Show what a job says until it ends; a broken connection is made again.

    Returns:
        The job's exit code.

    Raises:
        ClusterError: there is no such job, or nobody answers for START_SECONDS.
    """
    shown = 0
    while not (found := _insist(lambda: details(client, job), _may_pass)).status.is_terminal():
        shown = asyncio.run(_tail(client, job, say, shown))
        time.sleep(AGAIN_SECONDS)
    say(_insist(lambda: logs(client, job), _may_pass)[shown:])
    return exit_code(found)


def _may_pass(said: str) -> bool:
    """Whether an answer may be that of a tunnel, or of a proxy before a head that starts again."""
    return NO_SUCH_JOB not in said


async def _tail(client: JobSubmissionClient, job: str, say: Callable[[str], None], shown: int) -> int:
    """Show a job's log from a character on; returns how many were shown in all when the connection ends."""
    seen = 0
    try:
        async for text in client.tail_job_logs(job):
            seen += len(text)
            fresh = text[max(len(text) - (seen - shown), 0) :] if seen > shown else ""
            if fresh:
                say(fresh)
            shown = max(shown, seen)
    except (OSError, RuntimeError, ClientError):  # the last is of a proxy that answers in the head's place
        return shown
    return shown


def exit_code(job: JobDetails) -> int:
    """The exit code of a job that ended."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return Interrupted.exit_code
    return job.driver_exit_code or 1


def _insist(question: Callable[[], T], again: Callable[[str], bool]) -> T:
    """Ask again for START_SECONDS while `again` says that what is answered may pass."""
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            return question()
        except ClusterError as error:
            if not again(error.message) or time.monotonic() > limit:
                raise
            time.sleep(AGAIN_SECONDS)


def _ask(question: Callable[..., Any], *words: Any, **options: Any) -> Any:
    try:
        return question(*words, **options)
    except (RuntimeError, OSError, ValueError) as error:
        raise ClusterError(
            f"the cluster's Jobs API refuses: {first_line(error)}; `vidsr jobs list` shows its jobs"
        ) from error


def _unreachable(address: str, error: BaseException) -> ClusterError:
    return ClusterError(
        f"no Jobs API answers at {address} ({first_line(error)}); check the address, the tunnel to port 8265, and with "
        "RAY_AUTH_MODE=token the token in RAY_AUTH_TOKEN"
    )
