"""The Jobs API of a real `ray start --head` on loopback, with token authentication."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from aiohttp import web
from click.testing import CliRunner

from jobs.submit import Submission, connect, follow
from tests.jobs import runs
from tests.jobs.conftest import REPOSITORY
from vidsr.cli import main
from vidsr.errors import ClusterError, SettingsError, SomeFailed


@dataclass
class Head:
    address: str
    metrics: str
    environment: dict[str, str]

    def vidsr(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vidsr", *map(str, words)]
        env = {**self.environment, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=600, env=env)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    # Each port is asked for: a head that an earlier test killed leaves agents which hold Ray's default ones a while.
    names = ("port", "ray-client-server-port", "dashboard-port", "dashboard-agent-listen-port", "metrics-export-port")
    ports = {name: free_port() for name in names}
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [
        "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
        "--include-dashboard=true", "--num-cpus=2", "--object-store-memory=100000000", "--disable-usage-stats",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("head") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    running = Head(
        f"http://127.0.0.1:{ports['dashboard-port']}",
        f"http://127.0.0.1:{ports['metrics-export-port']}/metrics",
        {**environment, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard-port']}"},
    )
    limit = time.monotonic() + 400
    while running.vidsr("jobs", "list").returncode:
        assert process.poll() is None and time.monotonic() < limit, log.read_text()
        time.sleep(1)
    yield running
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_folder_from_submit_to_report(head: Head, tmp_path: Path, nearest: Path) -> None:
    card, out = runs.make_card(tmp_path / "card", 1, frames=12), tmp_path / "out"
    (card / "broken.mp4").write_text("no video")
    words = [card, "-o", out, "--model", nearest, "--codec", "ffv1", "--container", "mkv", "--stabilise-detail", "off"]
    done = head.vidsr("submit", "--follow", *words)
    assert done.returncode == SomeFailed.exit_code, done.stderr
    runs.assert_is_enlarged(card / "day0" / "clip00.mp4", out / "day0" / "clip00.mkv")
    job = done.stdout.strip()
    assert "clip00.mkv: done, 12 frames" in done.stderr
    assert "clip00.mkv: done, 12 frames" in head.vidsr("jobs", "logs", job).stdout
    assert job in {each["job"] for each in json.loads(head.vidsr("jobs", "list", "--json").stdout)}
    status = head.vidsr("jobs", "status", job)
    assert status.stdout.startswith("FAILED") and status.returncode == SomeFailed.exit_code
    page = head.vidsr("jobs", "report", out).stdout.strip()
    assert "clip00" in Path(page).read_text()
    scraped = urllib.request.urlopen(head.metrics, timeout=10).read().decode()
    for name in ("frames_total", "videos_total", "stage_seconds_bucket"):  # gauges go with the job
        assert f"ray_vidsr_{name}" in scraped


def test_without_the_token_nobody_gets_in(head: Head) -> None:
    refused = head.vidsr("jobs", "list", RAY_AUTH_TOKEN="wrong" * 8)
    assert refused.returncode == ClusterError.exit_code
    assert "RAY_AUTH_TOKEN" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_wrong_options_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vidsr", "submit", "--address", "http://127.0.0.1:9", "/card"]
    for wrong in (["--scale", "3"], ["--no-such-option"], ["--crf", "99"]):
        assert subprocess.run([*command, *wrong], capture_output=True).returncode == 2
    assert subprocess.run(command, capture_output=True).returncode == ClusterError.exit_code


@pytest.mark.parametrize("words", [["--actors", "0"], ["--actor-cpus", "2000"], ["--cpus", "nan"], ["--gpus", "9999"]])
def test_what_no_cluster_has_is_refused_before_anything_is_sent(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["submit", "--address", "http://127.0.0.1:9", "/card", *words])
    assert done.exit_code == SettingsError.exit_code and "out of range" in done.stderr


def test_two_numbers_of_upscalers_are_refused() -> None:
    words = ["submit", "--address", "http://127.0.0.1:9", "--gpus", "8", "/card", "--actors", "2"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == SettingsError.exit_code and "--gpus and --actors" in done.stderr


def test_what_is_submitted() -> None:
    on_gpus = Submission(("in put", "-o", "s3://b/out"), gpus=4, cpus=2, image_has_vidsr=True)
    assert on_gpus.entrypoint == (
        "python -m vidsr upscale --address auto --device cuda --actors 4 --encoder-cpus 2 'in put' -o s3://b/out"
    )
    assert on_gpus.runtime_env == {}
    sent = [Path(path).name for path in Submission(("in",)).runtime_env["py_modules"]]
    assert sent == ["vidsr", "jobs"]


class Unsteady:
    """A Jobs API behind a proxy that answers every question with 502 the first time."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.tailed = threading.Event()
        app = web.Application(middlewares=[self.refuse_first])
        app.router.add_get("/api/version", self.version)
        app.router.add_get("/api/jobs/{job}", self.details)
        app.router.add_get("/api/jobs/{job}/logs", self.logs)
        app.router.add_get("/api/jobs/{job}/logs/tail", self.tail)
        self.runner = web.AppRunner(app)

    async def start(self) -> str:
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    @web.middleware
    async def refuse_first(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        if request.path in self.refused or request.path == "/api/version":
            return await handler(request)
        self.refused.append(request.path)
        raise web.HTTPBadGateway

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": ray.__version__, "ray_commit": ray.__commit__})

    async def details(self, request: web.Request) -> web.Response:
        if request.match_info["job"] != "job":
            raise web.HTTPNotFound
        status = "SUCCEEDED" if self.tailed.is_set() else "RUNNING"
        return web.json_response({"type": "SUBMISSION", "submission_id": "job", "entrypoint": "", "status": status})

    async def logs(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": "one\ntwo\n"})

    async def tail(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("one\n")
        self.tailed.set()
        return socket


@pytest.fixture
def unsteady(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Unsteady, str]]:
    monkeypatch.setattr("jobs.submit.AGAIN_SECONDS", 0.01)
    server, loop = Unsteady(), asyncio.new_event_loop()
    address = loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server, address
    asyncio.run_coroutine_threadsafe(server.runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_following_outlasts_a_proxys_errors(unsteady: tuple[Unsteady, str]) -> None:
    server, address = unsteady
    said: list[str] = []
    assert follow(connect(address), "job", said.append) == 0
    assert "".join(said) == "one\ntwo\n"
    assert sorted(server.refused) == ["/api/jobs/job", "/api/jobs/job/logs", "/api/jobs/job/logs/tail"]


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_the_address_that_is_given_is_asked(
    unsteady: tuple[Unsteady, str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Ray prefers its environment, so jobs went to another cluster; without http:// it waited for 40 seconds."""
    monkeypatch.setenv(variable, other := "http://127.0.0.1:9")
    for address in (unsteady[1], unsteady[1].removeprefix("http://")):
        assert connect(address).get_address() == unsteady[1]
    assert os.environ[variable] == other
    with pytest.raises(ClusterError, match=r"no Jobs API answers at http://127\.0\.0\.1:9 "):
        connect("127.0.0.1:9")


def test_a_job_that_is_not_there_is_said_at_once(unsteady: tuple[Unsteady, str]) -> None:
    with pytest.raises(ClusterError, match="404"):
        follow(connect(unsteady[1]), "other", print)


def test_a_list_beside_the_command_is_not_on_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("a.mp4")
    command = [sys.executable, "-m", "vidsr", "submit", "--address", "http://127.0.0.1:9", "/card"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for option in ("--list", "--model"):
        refused, far = (
            subprocess.run([*command, option, name], capture_output=True, text=True, cwd=tmp_path, env=environment)
            for name in ("own", str(tmp_path / "own"))
        )
        assert refused.returncode == SettingsError.exit_code
        assert f"{option} own is a file of this machine" in refused.stderr
        assert far.returncode == ClusterError.exit_code, "every node may see a whole path"


@pytest.mark.parametrize("words", [["card", "-o", "/out"], ["/card", "-o", "out"], [".", "-o", "s3://bucket/out"]])
def test_a_folder_of_this_machine_is_not_on_the_cluster(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["submit", "--address", "http://127.0.0.1:9", *words])
    assert done.exit_code == SettingsError.exit_code
    assert "give the whole path that every node sees" in done.stderr
