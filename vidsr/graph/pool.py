"""The segments in flight, and which of their errors are the machines' and not theirs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    RayError,
    WorkerCrashedError,
)

from vidsr.errors import SegmentFailed, VidsrError, first_line
from vidsr.graph.session import Session
from vidsr.graph.stages import TRIES, SegmentJob, encode, root_cause
from vidsr.graph.upscalers import identity, ray_ended
from vidsr.paths import is_full, write_error

UPSCALERS_PER_SEGMENT = 8
# What NVIDIA's drivers allowed at one time, for years, on a machine with cards for home users.
NVENC_SESSIONS = 3
# A process of ours died, and its machine did not: the video that it had may be the reason.
CRASHES = (WorkerCrashedError, ActorDiedError, ActorUnavailableError)
# Ray takes a machine for lost that did not answer five times; if its address is silent, that takes more than a minute.
# Until then its upscalers are thought to be there, and all tries of a segment may fail in the meantime.
NOTICE_SECONDS = 90.0
# A segment that takes its machines down is not begun again for ever.
LOST_MACHINES = 3


@dataclass(frozen=True)
class Event:
    """News of a segment in flight.

    Attributes:
        job: which segment.
        frames: finished since the last event.
        finished: whether the segment is whole now.
        error: why it failed for good, after Ray's retries.
        crashed: whether the error is that a worker process died on every one of them.
    """

    job: SegmentJob
    frames: int = 0
    finished: bool = False
    error: VidsrError | None = None
    crashed: bool = False


@dataclass
class _Flight:
    """A segment's task, the names of the upscalers it was given, and whether it was called back to get others.

    `finished` counts its frames, `told` those that events have told of: one that begins again counts once.
    `machines` are those that were there when it began, and `lost` is how often it failed while one was lost.
    """

    job: SegmentJob
    upscalers: frozenset[str]
    machines: frozenset[str]
    told: int
    lost: int
    finished: int = 0
    called_back: bool = False


@dataclass(frozen=True)
class _Doubt:
    """An error that a machine may have caused that is lost, as will be known at a time."""

    flight: _Flight
    event: Event
    until: float


class SegmentPool:
    """Segments in flight, of one video or of many. Ray schedules and retries them; this only waits.

    A segment that was given an upscaler whose machine is lost is called back and begun again with those that are left,
    and so is one that failed while a machine was lost.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._running: dict[Any, _Flight] = {}
        self._doubts: list[_Doubt] = []
        self._again: list[_Flight] = []
        self._submitted = 0

    def __len__(self) -> int:
        return len(self._running) + len(self._doubts) + len(self._again)

    @property
    def has_room(self) -> bool:
        """Whether another segment should be submitted now."""
        self._session.upscalers.look()
        most = self._session.parallel_segments
        if any(flight.job.encode.codec.endswith("_nvenc") for flight in self._running.values()):
            most = min(most, NVENC_SESSIONS * len(self._session.upscalers.machines))
        return bool(self._session.upscalers.handles) and len(self) < most

    def submit(self, job: SegmentJob) -> None:
        """Start a segment."""
        self._start(job, told=0, lost=0)

    def give_up(self) -> list[SegmentJob]:
        """Drop the segments that are to begin again, or may be; returns them."""
        dropped = [*(doubt.flight for doubt in self._doubts), *self._again]
        self._doubts, self._again = [], []
        return [flight.job for flight in dropped]

    def _start(self, job: SegmentJob, told: int, lost: int) -> None:
        upscalers = self._some_upscalers()
        task = encode.options(
            num_cpus=self._session.encoder_cpus,
            num_returns="streaming",
            retry_exceptions=[OSError, RayError],
            scheduling_strategy="SPREAD",  # Ray would keep tasks that reserve nothing on the driver's machine
        )
        flight = _Flight(job, frozenset(map(identity, upscalers)), self._session.upscalers.machines, told, lost)
        self._running[task.remote(job, upscalers)] = flight

    def _some_upscalers(self) -> Sequence[Any]:
        """At most UPSCALERS_PER_SEGMENT, as a segment's batches in flight grow with their number.

        Each segment begins with another one: many have fewer batches than there are upscalers.
        """
        handles = self._session.upscalers.handles
        begin = self._submitted % len(handles)
        self._submitted += 1
        return [*handles[begin:], *handles[:begin]][:UPSCALERS_PER_SEGMENT]

    def waits_for(self) -> str:
        """A sentence, once, where upscalers are waited for that nothing in the cluster can hold; else nothing."""
        return self._session.upscalers.waits_for()

    def wait(self, seconds: float) -> list[Event]:
        """The news that arrive within some seconds; at once when there are some.

        Raises:
            ClusterError: Ray ended on this machine.
        """
        self._session.upscalers.look()
        self._call_back()
        certain = self._judge()
        self._begin_again()
        if certain:
            return certain
        if not self._running:
            time.sleep(seconds)  # the upscalers are starting, or a machine may be lost
            return []
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds, fetch_local=False)
        return [event for event in map(self._advance, ready) if event is not None]

    def _call_back(self) -> None:
        upscalers = self._session.upscalers
        if not upscalers.alive:
            return  # there are no others to give
        for generator, flight in self._running.items():
            if not flight.called_back and not flight.upscalers <= upscalers.usable:
                flight.called_back = True
                ray.cancel(generator)

    def _judge(self) -> list[Event]:
        """The errors that no lost machine explains, once it would be known. The other segments are begun again."""
        certain, doubts = [], []
        for doubt in self._doubts:
            if doubt.flight.lost < LOST_MACHINES and not doubt.flight.machines <= self._session.upscalers.machines:
                doubt.flight.lost += 1
                self._again.append(doubt.flight)
            elif doubt.until <= time.monotonic():
                certain.append(doubt.event)
            else:
                doubts.append(doubt)
        self._doubts = doubts
        return certain

    def _begin_again(self) -> None:
        if self._again and self._session.upscalers.handles:
            for flight in self._again:
                self._start(flight.job, flight.told, flight.lost)
            self._again = []

    def _advance(self, generator: Any) -> Event | None:
        flight = self._running[generator]
        try:
            flight.finished += ray.get(next(generator))
            fresh = max(flight.finished - flight.told, 0)
            flight.told += fresh
            return Event(flight.job, frames=fresh)
        except StopIteration:
            del self._running[generator]
            if flight.called_back and flight.finished < flight.job.segment.frames:
                self._again.append(flight)  # Ray can end what it cancels without an error
                return None
            return Event(flight.job, finished=True)
        except LocalRayletDiedError as error:
            raise ray_ended() from error
        except (RayError, VidsrError) as error:
            del self._running[generator]
            return self._failed(flight, root_cause(error))

    def _failed(self, flight: _Flight, cause: BaseException | None) -> Event | None:
        if flight.called_back:
            self._again.append(flight)
            return None
        event = Event(flight.job, error=_explain(flight.job, cause), crashed=isinstance(cause, CRASHES))
        if isinstance(cause, RayError) and len(flight.machines) > 1:
            self._doubts.append(_Doubt(flight, event, time.monotonic() + NOTICE_SECONDS))
            return None
        return event


def _explain(job: SegmentJob, cause: BaseException | None) -> VidsrError:
    if isinstance(cause, VidsrError):
        return cause
    if isinstance(cause, OSError) and is_full(cause):
        return write_error(job.folder, cause)
    segment = job.segment
    failed = f"{job.info.path}: frames {segment.first} to {segment.stop - 1} failed {TRIES} times"
    if isinstance(cause, CRASHES):
        return SegmentFailed(
            f"{failed}: a process that computed them died, most often because memory ran out; close other programs "
            "and run the command again, what is finished is kept"
        )
    return SegmentFailed(
        f"{failed} ({type(cause).__name__}: {first_line(cause)}); what is finished is kept, run the command again"
    )
