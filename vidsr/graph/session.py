"""A Ray to work on, and the upscalers in it."""

from __future__ import annotations

import threading

import ray

from vidsr.errors import NO_GPU, DeviceError, SettingsError
from vidsr.graph.connect import connect, gpus_here, shut_down
from vidsr.graph.stages import TASK_CPUS, UpscalerSpec, warm_up
from vidsr.graph.upscalers import Upscalers, cluster_gpus, takes_gpus
from vidsr.settings import ClusterSettings

# Segments in flight for each upscaler: none shall wait for an encoder's end, nor for batches that lie in another's
# queue. A GPU is faster than an encoder on a few cores, so it gets several, as many as the cores beside it can work on:
# each is steadied by one thread, while its encoder uses half a core more.
SEGMENTS_PER_CPU_UPSCALER, SEGMENTS_PER_GPU = 2, 4
CPUS_PER_SEGMENT = 1.5


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
        if own and not gpus_here():
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
        connect(self._cluster.address, self._device)
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
            self._ending = threading.Thread(target=shut_down)
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
            if self._owns_ray and not self._cluster.address:
                warm_up()
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
        return takes_gpus(device, gpus_here())

    def _release(self) -> None:
        if self._upscalers is not None:
            self._upscalers.close()
            self._upscalers = None
