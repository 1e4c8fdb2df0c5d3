"""A Ray to work on, the upscalers in it, and the segments in flight."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray._private import ray_constants
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
from ray.exceptions import RayError, RayTaskError

from vidsr.errors import ClusterError, DeviceError, SegmentFailed, VidsrError
from vidsr.graph.stages import TRIES, SegmentJob, UpscalerActor, encode
from vidsr.settings import ClusterSettings

OBJECT_STORE_BYTES = 1 << 30


@dataclass(frozen=True)
class UpscalerSpec:
    """What every upscaler of a session holds.

    Attributes:
        model: weights file.
        scale: of the model.
        device: auto, cpu, cuda or cuda:N.
        backend: auto, torch or openvino.
        fidelity: share of the model's own weights against its adversarial partner's.
    """

    model: str
    scale: int
    device: str
    backend: str
    fidelity: float = 1.0


class Session:
    """Connects to Ray, or starts one for this run, and holds the upscalers. A context manager.

    A local Ray has no dashboard, listens on loopback only and dies with this process.
    """

    def __init__(self, cluster: ClusterSettings) -> None:
        self._cluster = cluster
        self._loaded: UpscalerSpec | None = None
        self._upscalers: list[Any] = []
        self._owns_ray = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Connect to Ray or start it.

        Raises:
            ClusterError: it cannot be reached or started.
        """
        if ray.is_initialized():
            return
        try:
            _init_ray(self._cluster.address)
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"the Ray cluster at {self._cluster.address}" if self._cluster.address else "a local Ray"
            raise ClusterError(f"cannot reach {where}: {_first_line(error)}; see `vidsr doctor`") from error
        self._owns_ray = True

    def close(self) -> None:
        """Release the upscalers, and Ray if this session started or joined it."""
        self._release()
        if self._owns_ray:
            ray.shutdown()
            self._owns_ray = False

    def load(self, spec: UpscalerSpec) -> None:
        """Say which upscalers are wanted; those of another kind are released."""
        if spec != self._loaded:
            self._release()
            self._loaded = spec

    @property
    def upscalers(self) -> Sequence[Any]:
        """The actors' handles, made at the first call.

        Raises:
            DeviceError: a GPU was asked for and the cluster has none.
        """
        if not self._upscalers:
            self.start()
            if self._loaded is None:
                raise RuntimeError("load a model before asking for upscalers")
            self._upscalers = self._make_upscalers(self._loaded)
        return self._upscalers

    @property
    def parallel_segments(self) -> int:
        """How many segments to keep in flight: one more than upscalers, so that none waits for an encoder's end."""
        return len(self.upscalers) + 1

    def work(self) -> list[dict[str, Any]]:
        """What each upscaler says of its backend and of the tiles it computed and reused."""
        return list(ray.get([u.describe.remote() for u in self._upscalers]))

    def _release(self) -> None:
        for upscaler in self._upscalers:
            ray.kill(upscaler)
        self._upscalers = []

    def _make_upscalers(self, spec: UpscalerSpec) -> list[Any]:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = resources.get("GPU", 0)
        use_gpu = spec.device.startswith("cuda") or (spec.device == "auto" and gpus > 0)
        if use_gpu and not gpus:
            raise DeviceError("no CUDA GPU can be used here; use --device cpu, and see `vidsr doctor`")
        if use_gpu:
            count = self._cluster.actors or max(int(gpus / self._cluster.gpus_per_actor), 1)
            options: dict[str, Any] = {"num_gpus": self._cluster.gpus_per_actor, "num_cpus": 1}
            threads = None
        else:
            nodes = [
                node
                for node in ray.nodes()  # type: ignore[no-untyped-call]
                if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
            ]
            count = self._cluster.actors or len(nodes)
            smallest = min(node["Resources"]["CPU"] for node in nodes)
            threads = max(int(smallest * len(nodes) // count), 1)
            # Decoders and encoders are not counted, so an upscaler may have all cores of its machine.
            options = {"num_cpus": min(threads, smallest), "scheduling_strategy": "SPREAD"}
        device = spec.device if use_gpu else "cpu"
        make = UpscalerActor.options(max_restarts=-1, max_task_retries=TRIES, **options)
        return [make.remote(spec.model, spec.scale, device, spec.backend, threads, spec.fidelity) for _ in range(count)]


def _init_ray(address: str | None) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    if address:
        ray.init(address=address, **quiet)
        return
    # Ray's ports run anyone's code. Without this, `127.0.0.1` is replaced by the machine's public address.
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    store = min(OBJECT_STORE_BYTES, psutil.virtual_memory().available // 4)
    ray.init(address="local", include_dashboard=False, object_store_memory=store, **quiet)


@dataclass(frozen=True)
class Event:
    """News of a segment in flight.

    Attributes:
        job: which segment.
        frames: finished since the last event.
        finished: whether the segment is whole now.
        error: why it failed for good, after Ray's retries.
    """

    job: SegmentJob
    frames: int = 0
    finished: bool = False
    error: VidsrError | None = None


class SegmentPool:
    """Segments in flight, of one video or of many. Ray schedules and retries them; this only waits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._running: dict[Any, SegmentJob] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def has_room(self) -> bool:
        """Whether another segment should be submitted now."""
        return len(self._running) < self._session.parallel_segments

    def submit(self, job: SegmentJob) -> None:
        """Start a segment."""
        task = encode.options(num_cpus=0, num_returns="streaming", retry_exceptions=[OSError, RayError])
        self._running[task.remote(job, self._session.upscalers)] = job

    def wait(self, seconds: float) -> list[Event]:
        """The news that arrive within some seconds; at once when there are some."""
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds, fetch_local=False)
        return [self._advance(generator) for generator in ready]

    def _advance(self, generator: Any) -> Event:
        job = self._running[generator]
        try:
            return Event(job, frames=ray.get(next(generator)))
        except StopIteration:
            del self._running[generator]
            return Event(job, finished=True)
        except (RayError, VidsrError) as error:
            del self._running[generator]
            return Event(job, error=_explain(job, error))


def _explain(job: SegmentJob, error: BaseException) -> VidsrError:
    cause = error.cause if isinstance(error, RayTaskError) else error
    while isinstance(cause, RayTaskError):
        cause = cause.cause
    if isinstance(cause, VidsrError):
        return cause
    segment = job.segment
    return SegmentFailed(
        f"{job.info.path}: frames {segment.first} to {segment.stop - 1} failed {TRIES} times "
        f"({type(cause).__name__}: {_first_line(cause)}); what is finished is kept, run the command again"
    )


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def sees_gpu(device: str) -> bool:
    """Whether `--device` means a GPU on this machine, by what the driver's tools say, without loading torch."""
    if device != "auto":
        return device.startswith("cuda")
    return bool(NvidiaGPUAcceleratorManager.get_current_node_num_accelerators())
