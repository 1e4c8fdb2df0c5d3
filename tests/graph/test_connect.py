"""What a process connects to, and which GPU a Ray of its own has, without one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
import ray
from ray._private import services
from ray._raylet import AuthenticationTokenLoader

from vidsr.errors import ClusterError, DeviceError
from vidsr.graph.connect import _knock, visible_gpu
from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cuda:0", None, "0"), ("cuda:3", None, "3"), ("cuda:1", "2,5", "5"), ("cuda:0", "GPU-ab", "GPU-ab")],
)
def test_a_local_ray_sees_the_named_gpu_alone(device: str, visible: str | None, expected: str) -> None:
    assert visible_gpu(device, visible) == expected


def test_a_gpu_that_is_not_visible_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no cuda:2; CUDA_VISIBLE_DEVICES shows 2"):
        visible_gpu("cuda:2", "0,1")


def ports_for_others() -> list[str]:
    """What this process and those that it started listen on and other machines can reach."""
    me = psutil.Process()
    found = [c for process in (me, *me.children(recursive=True)) for c in process.net_connections("inet")]
    heard = [str(c.laddr.ip).removeprefix("::ffff:") for c in found if c.status == psutil.CONN_LISTEN]
    assert len(heard) > 2
    return [address for address in heard if not ip_address(address).is_loopback]


def test_a_local_ray_starts_where_another_was_and_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "that of a Ray which this process had before")
    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    assert loader.has_token(ignore_auth_mode=True)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    called: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: called.append(number))  # as services have one
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    session = Session(ClusterSettings(), "cuda:1")
    try:
        session.start()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64  # else Ray keeps one in the home folder
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        assert ports_for_others() == []
        daemons = psutil.Process().children()
        assert daemons and os.getpgrp() not in {os.getpgid(daemon.pid) for daemon in daemons}
        session.close()
        assert not ray.is_initialized()
        os.kill(os.getpid(), signal.SIGTERM)  # would end this process if the handler were Python's alone
        assert called == [signal.SIGTERM]
    finally:
        session.close()
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("kind", ["é", "file"])
def test_a_local_ray_starts_whatever_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Ray takes TMPDIR as it is, where its sockets' names must be short and ASCII."""
    (tmp_path / "file").touch()
    with tempfile.TemporaryDirectory(prefix="é", dir="/tmp") as odd:
        monkeypatch.setenv("TMPDIR", {"é": odd, "file": str(tmp_path / "file")}[kind])
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        session = Session(ClusterSettings())
        try:
            session.start()
        finally:
            session.close()


def test_a_folder_that_ray_cannot_use_is_said_with_what_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where /tmp/ray is somebody else's."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file"))
    with pytest.raises(ClusterError, match=r"file/ray.*; set RAY_TMPDIR to a folder that you may write into"):
        Session(ClusterSettings()).start()
    assert not ray.is_initialized()


def test_workers_import_nothing_from_the_folder_that_the_command_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module there would take the place of one that Ray, torch or vidsr need."""
    (tmp_path / "random.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    session = Session(ClusterSettings())
    try:
        session.start()
        folders = ray.get(ray.remote(lambda: sys.path).remote(), timeout=60)
    finally:
        session.close()
    assert str(tmp_path) not in folders


@pytest.mark.parametrize(("port", "why"), [(1, "refused"), (10**20, "too large")])
def test_an_address_at_which_nobody_listens_is_said_at_once(port: int, why: str) -> None:
    with pytest.raises(ClusterError, match=rf"nobody answers at 127\.0\.0\.1:{port} .*{why}.*--address"):
        Session(ClusterSettings(address=f"127.0.0.1:{port}")).start()
    assert not ray.is_initialized()


def test_who_listens_is_found_and_rays_own_words_are_left_to_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _knock(f"[127.0.0.1]:{server.getsockname()[1]}")  # as addresses of IPv6 are written
    _knock("local")


def test_auto_waits_for_no_cluster_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for the Ray of another program on this machine, which listens elsewhere than where Ray looks for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: {gone})
    with pytest.raises(ClusterError, match=r"nobody answers at .*; check --address"):
        _knock("auto")
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    _knock("auto")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_auto_with_an_address_for_other_commands_of_ray_is_said(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Whoever had set RAY_ADDRESS for `ray job submit` got a traceback."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=rf"RAY_ADDRESS.* no HOST:PORT \(.*{address}\); unset it"):
        _knock("auto")
