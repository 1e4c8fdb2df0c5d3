"""A Ray to work on, and the upscalers in it."""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # missing in its stub

from vidsr.environment import environment
from vidsr.errors import NO_GPU, ClusterError, DeviceError, Interrupted, SettingsError, first_line
from vidsr.graph.stages import TASK_CPUS
from vidsr.graph.upscalers import Upscalers, UpscalerSpec, cluster_gpus, takes_gpus
from vidsr.machine import free_memory, usable_cores
from vidsr.settings import ClusterSettings

# Of a local Ray, whose frames in flight grow with the cores; memory that is not used is not taken.
OBJECT_STORE_BYTES, OBJECT_STORE_BYTES_PER_CPU = 1 << 30, 1 << 27
IDLE_MILLISECONDS = 30_000
# Of memory that a worker has freed, the most that it keeps.
KEPT_BYTES = 1 << 30
# Segments in flight for each upscaler: none shall wait for an encoder's end, nor for batches that lie in another's
# queue. A GPU is faster than an encoder on a few cores, so it gets several, as many as the cores beside it can work on:
# each is steadied by one thread, while its encoder uses half a core more.
SEGMENTS_PER_CPU_UPSCALER, SEGMENTS_PER_GPU = 2, 4
CPUS_PER_SEGMENT = 1.5
# Of a local Ray's processes: what users do goes first, and encoders can still be a good deal nicer.
WORKER_NICENESS = "5"
KNOCK_SECONDS = 10.0
# Ray's sockets lie deep below it, and the system takes 107 bytes for the whole path.
LONGEST_TEMP = 38
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Session:
    """Connects to Ray, or starts one for this run, and holds the upscalers. A context manager.

    A local Ray has no dashboard, listens on loopback only and dies with this process.

    Attributes:
        last_video: whether no more videos follow the one in work.
    """

    def __init__(self, cluster: ClusterSettings, device: str = "auto") -> None:
        """Nothing starts yet.

        Args:
            cluster: where to connect to, and how much to reserve.
            device: of all upscalers; cuda:N shows a local Ray that GPU alone.
        """
        self._cluster, self._device = cluster, device
        self._loaded: UpscalerSpec | None = None
        self._upscalers: Upscalers | None = None
        self._owns_ray = False
        self._ending: threading.Thread | None = None
        self.last_video = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def check_device(self) -> None:
        """Say before anything is done that this machine has no GPU, where one of its own is asked for.

        Raises:
            DeviceError: it has none.
        """
        own = self._device.startswith("cuda") and not self._cluster.address and not ray.is_initialized()
        if own and not _gpus_here():
            raise DeviceError(NO_GPU)

    def start(self) -> None:
        """Connect to Ray or start it.

        Raises:
            ClusterError: it cannot be reached or started.
            SettingsError: the device is one GPU of one machine, and Ray is a cluster or runs already.
        """
        one = self._device.startswith("cuda:")
        if one and (self._cluster.address or (ray.is_initialized() and not self._owns_ray)):
            raise SettingsError(
                f"--device {self._device} names a GPU of one machine; Ray chooses here, use --device cuda"
            )
        if ray.is_initialized():
            return
        shown = environment(VISIBLE, visible_gpu(self._device, os.environ.get(VISIBLE))) if one else nullcontext()
        if self._cluster.address:
            _knock(self._cluster.address)
        try:
            with _own_signals(), shown:
                _init_ray(self._cluster.address)
        except SystemExit as error:  # Ray's own answer to SIGTERM
            raise Interrupted("stopped while Ray was starting; run the same command again") from error
        except Exception as error:  # a start that times out on a busy machine raises a bare one
            where = f"the Ray cluster at {self._cluster.address}" if self._cluster.address else "a local Ray"
            raise ClusterError(f"cannot reach {where}: {first_line(error)}; see `vidsr doctor`") from error
        self._owns_ray = True

    def close(self) -> None:
        """Release the upscalers, and Ray if this session started or joined it."""
        self._end()
        if self._ending:
            self._ending.join()

    def computed(self) -> None:
        """Say that all frames of a video are computed: after the last one, Ray ends beside what is left to do."""
        if self.last_video:
            self._end()

    def _end(self) -> None:
        self._release()
        if self._owns_ray:
            self._owns_ray = False
            self._ending = threading.Thread(target=ray.shutdown)
            self._ending.start()

    def load(self, spec: UpscalerSpec) -> None:
        """Say which upscalers are wanted; those of another kind are released."""
        if spec != self._loaded:
            self._release()
            self._loaded = spec

    @property
    def upscalers(self) -> Upscalers:
        """The actors, started at the first call.

        Raises:
            DeviceError: a GPU was asked for and the cluster has none.
        """
        if self._upscalers is None:
            self.start()
            if self._loaded is None:
                raise RuntimeError("load a model before asking for upscalers")
            self._upscalers = Upscalers(self._loaded, self._cluster)
        return self._upscalers

    @property
    def parallel_segments(self) -> int:
        """How many segments to keep in flight."""
        upscalers = self.upscalers
        if not upscalers.on_gpus:
            return SEGMENTS_PER_CPU_UPSCALER * len(upscalers.handles)
        # Never more than the CPUs that are there have room for: a cluster would grow for them without end.
        fitting = upscalers.room(max(self._cluster.encoder_cpus, CPUS_PER_SEGMENT))
        return max(SEGMENTS_PER_GPU * len(upscalers.handles), fitting)

    @property
    def encoder_cpus(self) -> float:
        """CPUs that each segment's encoder reserves. Beside upscalers on CPUs it shares theirs."""
        return max(self._cluster.encoder_cpus, TASK_CPUS) if self.upscalers.on_gpus else TASK_CPUS

    def uses_gpus(self, device: str) -> bool:
        """Whether upscalers of a `--device` will compute on GPUs, before there are any.

        By what Ray has, if it runs already or is a cluster, which is connected to; else by what this machine has, for
        then Ray may not be needed at all.
        """
        if self._cluster.address or ray.is_initialized():
            self.start()
            return takes_gpus(device, cluster_gpus())
        return takes_gpus(device, _gpus_here())

    def _release(self) -> None:
        if self._upscalers is not None:
            self._upscalers.close()
            self._upscalers = None


def _knock(address: str) -> None:
    """See whether anyone listens at a HOST:PORT, for which Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and "local" are words of Ray's
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
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    if address:
        ray.init(address=address, **quiet)
        return
    os.environ.setdefault("RAY_worker_niceness", WORKER_NICENESS)
    # Ray's ports run anyone's code. Without this, `127.0.0.1` is replaced by the machine's public address.
    ray_constants.ENABLE_RAY_CLUSTER = False
    # Otherwise Ray keeps a token in the home folder, which service accounts cannot write.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    AuthenticationTokenLoader.instance().reset_cache()  # it may hold that of a Ray that this process had before
    temp = tempfile.gettempdir()  # unlike TMPDIR, which Ray would take, it is there and can be written
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


def _gpus_here() -> int:
    """How many GPUs of this machine a Ray that is started here would have, by what the driver says, without torch."""
    visible = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    found = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    return found if visible is None else min(found, len(visible))
