"""Connecting to the Ray of a cluster, or starting one on this machine for this process alone."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # missing in its stub
from ray.job_config import JobConfig

from vidsr.environment import environment
from vidsr.errors import ClusterError, DeviceError, Interrupted, first_line
from vidsr.machine import free_memory, usable_cores
from vidsr.paths import temporary_folder

# Of a local Ray, whose frames in flight grow with the cores; memory that is not used is not taken.
OBJECT_STORE_BYTES, OBJECT_STORE_BYTES_PER_CPU = 1 << 30, 1 << 27
IDLE_MILLISECONDS = 30_000
# Of memory that a worker has freed, the most that it keeps.
KEPT_BYTES = 1 << 30
# Of a local Ray's processes: what users do goes first, and encoders can still be a good deal nicer.
WORKER_NICENESS = "5"
KNOCK_SECONDS = 10.0
# Ray's sockets lie deep below it, and the system takes 107 bytes for the whole path.
LONGEST_TEMP = 38
VISIBLE = "CUDA_VISIBLE_DEVICES"


def connect(address: str | None, device: str) -> None:
    """Connect this process to a Ray.

    Args:
        address: of a cluster's head; None starts a Ray that has no dashboard, listens on loopback only and dies with
            this process.
        device: cuda:N shows a Ray that is started here that GPU alone.

    Raises:
        ClusterError: it cannot be reached or started.
        DeviceError: there is no such GPU.
        Interrupted: the process was asked to end meanwhile.
    """
    named = device.startswith("cuda:")
    shown = environment(VISIBLE, visible_gpu(device, os.environ.get(VISIBLE))) if named else nullcontext()
    if address:
        _knock(address)
    try:
        with _own_signals(), shown:
            _init_ray(address)
    except SystemExit as error:  # Ray's own answer to SIGTERM
        raise Interrupted("stopped while Ray was starting; run the same command again") from error
    except Exception as error:  # a start that times out on a busy machine raises a bare one
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        its_files = isinstance(error, OSError) and error.filename  # as where /tmp/ray is somebody else's
        remedy = "set RAY_TMPDIR to a folder that you may write into" if its_files else "see `vidsr doctor`"
        raise ClusterError(f"cannot reach {where}: {first_line(error)}; {remedy}") from error


def shut_down() -> None:
    """Leave Ray, or end the one that was started here; from any thread.

    Ray's library then gives SIGTERM back to the system, which would end the process, behind the back of Python, whose
    handler is to stay.
    """
    python = ctypes.pythonapi
    python.PyOS_getsig.restype = python.PyOS_setsig.restype = ctypes.c_void_p
    python.PyOS_setsig.argtypes = [ctypes.c_int, ctypes.c_void_p]
    before = python.PyOS_getsig(signal.SIGTERM)
    try:
        ray.shutdown()
    finally:
        python.PyOS_setsig(signal.SIGTERM, before)


def _knock(address: str) -> None:
    """See whether anyone listens at a HOST:PORT, for which Ray itself would wait for minutes.

    So it would for what "auto" finds: a cluster that was killed, or the Ray of another program that is for that alone.
    """
    if address == "auto":
        try:
            address = services.canonicalize_bootstrap_address(address) or address
        except ConnectionError:
            pass  # there is none, which Ray says at once
        except ValueError as error:  # as `ray job submit` takes it: http://HOST:8265
            raise ClusterError(
                f"RAY_ADDRESS, which --address auto takes, is no HOST:PORT ({first_line(error)}); unset it, or give "
                "--address HOST:PORT"
            ) from error
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # "local" is a word of Ray's
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"nobody answers at {address} ({first_line(error)}); check --address, and that the cluster's head runs"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the process's signals over a start of Ray, which takes SIGTERM over, with which clusters ask a job to end.

    Workers must not inherit an ignored SIGINT (scripts start `command &` so): Ray calls their tasks back by it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where signals cannot be set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    if before[signal.SIGINT] == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _OwnGroup(services.ConsolePopen):
    """Starts Ray's daemons in process groups of their own.

    `timeout`, shells and supervisors send SIGTERM to a command's whole group; daemons that end before the command has
    said farewell to them leave it waiting for a minute, and end it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, process_group=0)


class _OwnImports(JobConfig):
    """Workers import from no folder that this process does not import from.

    Ray adds the current one, so that a `random.py` or `torch.py` beside somebody's videos would be run.
    """

    def _serialize(self) -> str:
        own = {os.path.abspath(folder) for folder in sys.path}
        self._py_driver_sys_path = [folder for folder in self._py_driver_sys_path if folder in own]
        return super()._serialize()


def _say_shortly(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Log what Ray says of processes that died and tasks that it tries again; it would print pages, and to stdout."""
    for message in data["lines"]:
        brief = re.split(r" (?:Error|To troubleshoot)\b", first_line(message))[0]
        logging.getLogger(__name__).warning("Ray: %s", brief)


def _init_ray(address: str | None) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_worker.print_to_stdstream = _say_shortly
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Upscalers share their cores with encoders; threads that wait spinning would take the cores from them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # glibc would give the memory of each batch back to the system and fetch it again for the next.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(KEPT_BYTES))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(KEPT_BYTES))
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # each decoder's threads would begin heaps of their own
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    services.ConsolePopen = _OwnGroup  # type: ignore[misc]
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    quiet["job_config"] = _OwnImports()
    if address:
        ray.init(address=address, **quiet)
        return
    os.environ.setdefault("RAY_worker_niceness", WORKER_NICENESS)
    # Ray's ports run anyone's code. Without this, `127.0.0.1` is replaced by the machine's public address.
    ray_constants.ENABLE_RAY_CLUSTER = False
    # Otherwise Ray keeps a token in the home folder, which service accounts cannot write.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    AuthenticationTokenLoader.instance().reset_cache()  # it may hold that of a Ray that this process had before
    temp = str(temporary_folder())  # unlike TMPDIR, which Ray would take, it is there and can be written
    os.environ.setdefault("RAY_TMPDIR", temp if temp.isascii() and len(temp) <= LONGEST_TEMP else "/tmp")
    cores = usable_cores()  # Ray knows no affinity, and of the limits of containers not all
    wanted = max(OBJECT_STORE_BYTES, OBJECT_STORE_BYTES_PER_CPU * cores)
    store = min(wanted, free_memory() // 4)
    config = {
        # Ray ends processes that were idle for a second once there are more than cores; starting one takes that long.
        "idle_worker_killing_time_threshold_ms": IDLE_MILLISECONDS,
        # Histories of tasks and metrics are for the dashboard, which a local Ray does not have.
        "task_events_report_interval_ms": 0,
        "enable_metrics_collection": False,
    }
    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        object_store_memory=store,
        _system_config=config,
        **quiet,
    )


def visible_gpu(device: str, visible: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for cuda:N alone, where it is `visible` now.

    Raises:
        DeviceError: there is no such GPU among those.
    """
    number = int(device.partition(":")[2])
    if visible is None:
        return str(number)
    names = [name for name in visible.split(",") if name]
    if number >= len(names):
        raise DeviceError(f"there is no {device}; CUDA_VISIBLE_DEVICES shows {len(names)} GPU(s)")
    return names[number]


def gpus_here() -> int:
    """How many GPUs of this machine a Ray that is started here would have, by what the driver says, without torch."""
    visible = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    found = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    return found if visible is None else min(found, len(visible))
