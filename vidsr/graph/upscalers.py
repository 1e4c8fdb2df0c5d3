"""The upscaler actors of a session: one kind at a time, as many as the cluster can hold while it grows and shrinks."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray._private import state
from ray.exceptions import RayError

from vidsr import errors
from vidsr.errors import NO_GPU, ClusterError, DeviceError, VidsrError
from vidsr.graph.stages import TRIES, UpscalerActor, UpscalerSpec
from vidsr.settings import BATCHES_ON_A_GPU, ClusterSettings

LOOK_SECONDS = 2.0
START_SECONDS = 0.1
# An actor that is away for so long does not come back by itself: its node is lost.
LOST_SECONDS = 15.0
# A process that ended so often before it had loaded the model will not load it another time either.
STARTS = 5
# A cluster that has a place for upscalers shows it by then; without one, who waits is told for what.
PLACE_SECONDS = 10.0
# Ray ends a process whose head was silent for so long, without a word of ours.
SILENCE, SILENCE_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0


@dataclass
class _Member:
    handle: Any
    changed: float
    started: Any  # a reference to the answer that the actor's process gives once it has loaded the model
    answered: bool = False
    state: str = "PENDING"
    restarts: int = 0  # those by which it last worked
    keeps_ending: bool = False

    def take(self, found: str, restarts: int, now: float) -> None:
        """Take over the state in Ray's table, which also takes an actor for alive whose constructor just failed.

        Ray would restart for ever what memory does not hold, or a full disk or an unfit processor ends.
        """
        if found == "ALIVE" and not self.answered:
            found = "ALIVE" if self._answers() else "PENDING"
        self.keeps_ending = found not in ("ALIVE", "DEAD") and restarts - self.restarts >= STARTS
        if self.keeps_ending:
            found = "DEAD"
        elif found == "ALIVE":
            self.restarts = restarts
        if (found == "ALIVE") != (self.state == "ALIVE"):
            self.changed = now
        self.state = found

    def _answers(self) -> bool:
        if ray.wait([self.started], timeout=0, fetch_local=False)[0]:
            try:
                ray.get(self.started)
                self.answered = True
            except RayError:  # it ended, or will be started again
                self.started = self.handle.__ray_ready__.remote()
        return self.answered


class Head:
    """The process that knows all of a Ray. Without it, calls that ask for nodes or actors never return."""

    def __init__(self) -> None:
        """It answers, for all that is known."""
        self._asked = 0.0
        self._silent_since: float | None = None
        self._patience = float(os.environ.get(SILENCE) or SILENCE_SECONDS) / 2

    def answers(self) -> bool:
        """Whether it does. It is asked now and then.

        Raises:
            ClusterError: it has been silent for too long.
        """
        now = time.monotonic()
        if now - self._asked >= LOOK_SECONDS:
            self._asked = now
            address = ray.get_runtime_context().gcs_address
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), LOOK_SECONDS).close()
                self._silent_since = None
            except OSError as error:
                self._silent_since = self._silent_since or now
                if now - self._silent_since >= self._patience:
                    raise ClusterError(
                        f"Ray's head at {address} answers no more ({errors.first_line(error)}), most often because "
                        "memory ran out there; run the same command to go on, with a cluster once that is back"
                    ) from error
        return self._silent_since is None


class Upscalers:
    """Actors that all hold the same model.

    Without a number in the settings there is one for each GPU, or of a cluster without GPUs one for each machine or for
    each `actor_cpus` of it, and `look` follows the cluster. With a number there are so many; those without a place yet
    tell Ray's autoscaler what is missing.

    Attributes:
        on_gpus: whether they compute on GPUs.
        usable: names in Ray's tables of those that work or were away for less than LOST_SECONDS, at the last look.
        machines: names in Ray's tables of the cluster's machines, at the last look.
    """

    def __init__(self, spec: UpscalerSpec, cluster: ClusterSettings) -> None:
        """Start them.

        Raises:
            DeviceError: a GPU was asked for and the cluster neither has one nor may get one.
        """
        self._spec, self._cluster = spec, cluster
        self._members: list[_Member] = []
        self._looked, self._head = 0.0, Head()
        self._had_place, self._told = time.monotonic(), False
        self._placed, self._reserved = False, 0.0
        self.on_gpus = takes_gpus(spec.device, cluster_gpus())
        if spec.device.startswith("cuda") and not cluster_gpus():
            if not cluster.address:
                raise DeviceError(NO_GPU)
            if not cluster.actors:
                raise DeviceError(
                    f"the Ray cluster at {cluster.address} has no GPU now; use --actors N for one that grows, "
                    "or --device cpu"
                )
        self._look_at_machines()
        self._grow()
        self.usable = self._usable(time.monotonic())

    @property
    def handles(self) -> Sequence[Any]:
        """Those that work; none while all are starting.

        Raises:
            ClusterError: no machine is left; a local Ray's process was ended.
            VidsrError: none can start; of the class and message with which the first ended.
        """
        if self._members and all(member.state == "DEAD" for member in self._members):
            if not self.machines:
                raise ray_ended()
            first = self._members[0]
            raise _ends_at_start() if first.keeps_ending else _reason(first.handle)
        return [member.handle for member in self._members if member.state == "ALIVE"]

    @property
    def alive(self) -> int:
        """How many work."""
        return sum(member.state == "ALIVE" for member in self._members)

    def waits_for(self) -> str:
        """A sentence, once, where upscalers are waited for that nothing in the cluster can hold; else nothing."""
        lacking = self._lacking()
        if not lacking:
            self._had_place, self._told = time.monotonic(), False
        elif not self._told and time.monotonic() - self._had_place >= PLACE_SECONDS:
            self._told = True
            return lacking
        return ""

    def _lacking(self) -> str:
        """What upscalers have no place for, as a sentence; nothing where they have one."""
        if self.on_gpus and not any(gpus for _, gpus in self._machines):
            return (
                "waiting for a GPU: no machine of the Ray cluster has one; it goes on when one with GPUs joins, "
                "or stop it and compute on CPUs"
            )
        if self.on_gpus or self._placed:
            return ""
        free = state.available_resources_per_node().values()  # type: ignore[no-untyped-call]
        if any(each.get("CPU", 0.0) >= self._reserved for each in free):
            return ""
        return (
            f"waiting for CPUs: an upscaler reserves {self._reserved:g} of one machine, and no machine of the Ray "
            "cluster has so many free; it goes on when other work there ends or a machine joins, or stop it and use "
            "fewer --actor-cpus"
        )

    def room(self, cpus: float) -> int:
        """How many tasks of so many CPUs each have room beside upscalers on all GPUs, at the last look."""
        reserved = beside_gpus(self._machines)
        return sum(int((each - gpus * reserved) / cpus) for each, gpus in self._machines)

    def look(self) -> None:
        """See what became of each, and follow the cluster; not more often than needed."""
        now = time.monotonic()
        if now - self._looked < (LOOK_SECONDS if self.alive else START_SECONDS):
            return
        if not self._head.answers():
            return
        self._looked = now
        self._look_at_machines()  # first: upscalers that are seen on one are not on one that is known to be lost
        actors, unknown = state.actors(), {"State": "PENDING", "NumRestarts": 0, "Pid": 0}
        found = [actors.get(identity(member.handle), unknown) for member in self._members]
        self._placed = any(each["Pid"] for each in found)
        for member, each in zip(self._members, found, strict=True):
            member.take(each["State"], each["NumRestarts"], now)
        if self._cluster.actors is None:
            self._shrink(now)
        self._grow()
        self.usable = self._usable(now)

    def _look_at_machines(self) -> None:
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        self.machines = frozenset(node["NodeID"] for node in nodes)
        found = [node["Resources"] for node in nodes]
        self._machines = [(float(each.get("CPU", 0)), float(each.get("GPU", 0))) for each in found]
        self._cpus = [cpus for cpus, _ in self._machines if cpus >= 1]

    def _usable(self, now: float) -> frozenset[str]:
        return frozenset(
            identity(member.handle)
            for member in self._members
            if member.state == "ALIVE" or now - member.changed <= LOST_SECONDS
        )

    def close(self) -> None:
        """End them all."""
        for member in self._members:
            ray.kill(member.handle)
        self._members = []

    def _shrink(self, now: float) -> None:
        surplus = len(self._members) - self._wanted()
        for member in [m for m in self._members if m.state != "ALIVE" and now - m.changed > LOST_SECONDS][
            : max(surplus, 0)
        ]:
            ray.kill(member.handle)
            self._members.remove(member)

    def _wanted(self) -> int:
        if self.on_gpus:
            return self._cluster.actors or max(int(cluster_gpus()), 1)
        return on_cpus(self._cpus, self._cluster)[0]

    def _grow(self) -> None:
        missing = self._wanted() - len(self._members)
        if missing <= 0:
            return
        threads = None
        if self.on_gpus:
            cpus = beside_gpus(self._machines)
            options: dict[str, Any] = {"num_gpus": 1, "num_cpus": cpus, "max_concurrency": BATCHES_ON_A_GPU}
        else:
            share = on_cpus(self._cpus, self._cluster)[1]
            threads = max(int(share), 1)
            self._reserved = 0.75 * share
            options = {"num_cpus": self._reserved, "scheduling_strategy": "SPREAD"}
        # Ray shows each actor its own GPU alone.
        spec = replace(self._spec, device="cuda" if self.on_gpus else "cpu")
        make = UpscalerActor.options(max_restarts=-1, max_task_retries=TRIES, **options)
        now = time.monotonic()
        for _ in range(missing):
            handle = make.remote(spec, threads)
            self._members.append(_Member(handle, now, handle.__ray_ready__.remote()))


def ray_ended() -> ClusterError:
    """What is said where this machine's own part of Ray is gone, without which no task of any video can go on."""
    return ClusterError(
        "Ray's processes on this machine ended, most often because memory ran out; run the same command to go on"
    )


def _ends_at_start() -> DeviceError:
    return DeviceError(
        f"no upscaler can start: its process ended {STARTS} times, most often because memory or the disk for temporary "
        "files is full; close other programs, make room and run the same command to go on"
    )


def _reason(handle: Any) -> VidsrError:
    """The error with which an actor's creation ended; Ray tells it as text alone."""
    try:
        ray.get(handle.__ray_ready__.remote())
    except RayError as error:
        kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
        known = getattr(errors, kind.rpartition(".")[2], None)
        if isinstance(known, type) and issubclass(known, VidsrError):
            return known(message)
        return DeviceError(f"no upscaler can start ({kind}: {message}); see `vidsr doctor`")
    return DeviceError("the upscalers ended; run the same command to go on")


def identity(handle: Any) -> str:
    """An actor's name in Ray's tables."""
    return str(handle._actor_id.hex())


def cluster_gpus() -> float:
    """How many GPUs the cluster has now."""
    return float(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]


def takes_gpus(device: str, gpus: float) -> bool:
    """Whether a `--device` means GPUs where there are so many: as asked for, or because `auto` finds some."""
    return device.startswith("cuda") or (device == "auto" and gpus > 0)


def beside_gpus(machines: Sequence[tuple[float, float]]) -> float:
    """How many CPUs an upscaler on a GPU reserves: one, and never more than half of its share, for encoders need some.

    Args:
        machines: CPUs and GPUs of every machine.
    """
    return min([1.0, *(int(cpus / gpus * 5000) / 10_000 for cpus, gpus in machines if gpus)])  # Ray counts in 1/10000


def on_cpus(machines: Sequence[float], cluster: ClusterSettings) -> tuple[int, float]:
    """How many upscalers a cluster gets that compute on CPUs, and how many CPUs each of them may use.

    Decoders and encoders reserve next to nothing, so an upscaler may use all cores of its machine.

    Args:
        machines: the CPUs of every machine.
        cluster: what was asked for. Without `actor_cpus`, each gets its share of what the smallest machine has.
    """
    each = cluster.actor_cpus
    if each:
        return cluster.actors or max(sum(int(cpus // each) for cpus in machines), 1), each
    machines = machines or [1.0]
    wanted = cluster.actors or len(machines)
    return wanted, min(machines) * min(1.0, len(machines) / wanted)
