"""A cluster of several nodes and an S3 server, both on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class RunningCluster:
    """A cluster that tests/jobs/cluster_host.py holds."""

    process: subprocess.Popen[str]
    address: str

    def kill_node(self) -> None:
        """End one node's processes at once, as a power cut would."""
        self._say("kill")

    def add_node(self) -> None:
        """Bring another node."""
        self._say("add")

    def _say(self, command: str) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "done"


def start_cluster(nodes: int) -> RunningCluster:
    words = [sys.executable, "-m", "tests.jobs.cluster_host", str(nodes)]
    process = subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = process.stdout.readline().strip()
    assert address, "the cluster did not start"
    return RunningCluster(process, address)


def stop_cluster(cluster: RunningCluster) -> None:
    assert cluster.process.stdin
    cluster.process.stdin.close()
    cluster.process.wait(60)


@pytest.fixture(scope="session")
def cluster(s3: S3Server) -> Iterator[RunningCluster]:
    """A head without CPUs and two nodes, which know the S3 server."""
    running = start_cluster(2)
    yield running
    stop_cluster(running)


@dataclass
class S3Server:
    """A real S3 server on loopback.

    Attributes:
        url: its endpoint.
        fail_every: answer every so manieth request with 500; 0 is none.
        failed: how many requests were answered so.
        denied: answer every request with 403.
    """

    url: str = ""
    fail_every: int = 0
    requests: int = 0
    failed: int = 0
    denied: bool = False

    def wrap(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        lock = threading.Lock()

        def failing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            with lock:
                self.requests += 1
                fail = self.fail_every and self.requests % self.fail_every == 0
                self.failed += bool(fail)
            if not (fail or self.denied):
                return app(environ, start_response)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status = "403 Forbidden" if self.denied else "500 Internal Server Error"
            start_response(status, [("Content-Type", "application/xml")])
            if environ["REQUEST_METHOD"] == "HEAD":
                return []
            code = b"AccessDenied" if self.denied else b"InternalError"
            return [b"<Error><Code>%s</Code><Message>%s of the store</Message></Error>" % (code, code)]

        return failing


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    state = S3Server()
    app = state.wrap(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    access = {
        "AWS_ENDPOINT_URL": state.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in access}
    os.environ.update(access)
    yield state
    server.shutdown()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """A new bucket's URL."""
    import s3fs

    s3.fail_every, s3.denied = 0, False
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"
