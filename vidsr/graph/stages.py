"""The tasks and the actor of the job graph: decode -> upscale -> encode.

A segment's encode task owns it and pulls: it starts the decode task, a streaming generator that waits when it is
ahead, sends each batch to an upscaler, keeps a few in flight and takes the results in order. Nothing is pushed at
anyone, so memory is flat for a video of any length.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vidsr.errors import VidsrError
from vidsr.frames import FrameBatch
from vidsr.graph.ledger import Ledger
from vidsr.graph.segments import Segment
from vidsr.media.probe import VideoInfo
from vidsr.settings import EncodeSettings

if TYPE_CHECKING:
    from vidsr.model.upscaler import Upscaler

TRIES = 3
# x264 and x265 code the same frames differently with another number of threads; fixed, every machine agrees.
ENCODER_THREADS = 4
DECODER_THREADS = 2
# Of encoders beside an upscaler on the same cores. Linux's idle priority would be lower, and stand still at times.
ENCODER_NICENESS = 19
# Ray lets a process work on any task that wants the same environment. Decoders have one of their own: they would take
# turns with encoders until each process held the memory that either needs, and have the encoders' niceness.
DECODER_ENVIRONMENT = {"env_vars": {"VIDSR_STAGE": "decode"}}
# What their tasks import when they begin.
ENCODING, DECODING = ("vidsr.media.encode", "vidsr.model.steady"), ("vidsr.media.decode",)
# What tasks reserve that share a machine with the upscalers: so little that there is always room, and yet something,
# so that a head node without CPUs gets none of them.
TASK_CPUS = 0.01
# Bytes of large frames that one batch may have.
BATCH_BYTES = 16 << 20


class Transfer(Protocol):
    """How a task gets the source and gives its segment away. Picklable."""

    def source(self) -> AbstractContextManager[object]:
        """Keeps the source's file on this node, at the path of its VideoInfo, while the context lasts."""

    def deliver(self, ledger: Ledger, segment: Segment) -> None:
        """Puts a finished segment where every node finds it."""


@dataclass(frozen=True)
class SharedFiles:
    """The Transfer of nodes that see the same files, or of a single machine: there is nothing to do."""

    def source(self) -> AbstractContextManager[object]:
        """See Transfer."""
        return nullcontext()

    def deliver(self, ledger: Ledger, segment: Segment) -> None:
        """See Transfer."""


@dataclass(frozen=True)
class SegmentJob:
    """All that the tasks of one segment need to know.

    Attributes:
        info: the source.
        segment: which frames.
        folder: the run's ledger.
        key: digest of the run's key.
        width, height: size of the result in pixels.
        scale: of the model.
        encode: with the codec that was chosen.
        deinterlace: whether to deinterlace.
        stabilise: weight of the frame before, or 0.
        nvdec: decode on a GPU where the machine that decodes has one.
        shares_cores: whether the upscalers compute on CPUs, so that encoders let them go first.
        transfer: how source and segments come and go.
    """

    info: VideoInfo
    segment: Segment
    folder: Path
    key: str
    width: int
    height: int
    scale: int
    encode: EncodeSettings
    deinterlace: bool
    stabilise: float
    nvdec: bool = False
    shares_cores: bool = False
    transfer: Transfer = SharedFiles()

    @property
    def size(self) -> tuple[int, int] | None:
        """The exact size to resize to, or None if scale alone gives it."""
        exact = (self.width, self.height)
        return None if exact == (self.info.width * self.scale, self.info.height * self.scale) else exact

    @property
    def needed(self) -> tuple[int, int]:
        """First and stop of the frames to decode: to be stabilised, a frame needs those before and after it."""
        more = 1 if self.stabilise else 0
        return max(self.segment.first - more, 0), min(self.segment.stop + more, len(self.info.table))

    @property
    def batch_frames(self) -> int:
        """Frames in a batch: few enough for BATCH_BYTES, at most 8."""
        bytes_each = self.width * self.height * (1 if self.info.layout.depth == 8 else 2) * 2
        return max(1, min(8, BATCH_BYTES // bytes_each))


@dataclass(frozen=True)
class UpscalerSpec:
    """What every upscaler of a session holds.

    Attributes:
        model: weights file.
        scale: of the model.
        device: auto, cpu, cuda or cuda:N; of the last, the session sees to the number.
        backend: auto, torch or openvino.
        fidelity: share of the model's own weights against its adversarial partner's.
    """

    model: str
    scale: int
    device: str
    backend: str
    fidelity: float = 1.0


class LoadedUpscaler:
    """Holds one generator on one device for the whole run."""

    def __init__(self, spec: UpscalerSpec, threads: int | None) -> None:
        from vidsr.model.upscaler import Upscaler

        self._upscaler: Upscaler = Upscaler(spec.model, spec.device, spec.scale, spec.backend, threads, spec.fidelity)

    def upscale(self, batch: FrameBatch, size: tuple[int, int] | None, source: Hashable) -> FrameBatch:
        """Enlarge a batch; `source` names what its frames follow each other in."""
        try:
            return self._upscaler.upscale(batch, size, source)
        except RuntimeError:
            if not self._upscaler.works:
                os._exit(1)  # Ray starts another process in its place, which has the GPU anew, and the task again
            raise


UpscalerActor: Any = ray.remote(LoadedUpscaler)


def decode_segment(job: SegmentJob) -> Iterator[FrameBatch]:
    """The segment's frames, and those beside it that it needs, in batches."""
    from vidsr.media.decode import decode_range

    with job.transfer.source():
        yield from decode_range(
            job.info, *job.needed, job.batch_frames, deinterlace=job.deinterlace,
            threads=DECODER_THREADS, nvdec=job.nvdec,
        )  # fmt: skip


# An encode task that is tried again begins its decoder anew. Of a streaming task that it may try again and another task
# began, Ray (2.60) would keep the arguments in the object store for ever: each segment's copy of the frame table.
decode: Any = ray.remote(max_retries=0, runtime_env=DECODER_ENVIRONMENT)(decode_segment)


def encode_segment(job: SegmentJob, upscalers: Sequence[Any]) -> Iterator[int]:
    """Make one segment: its encoded file and its note in the ledger.

    A batch is encoded beside the making of the next: where only one segment is in flight, the encoder and what steadies
    the detail would wait for each other.

    Yields:
        The number of frames given to the encoder since the last yield; the last ones once the segment is noted.
    """
    from vidsr.media.encode import SegmentEncoder

    ledger = Ledger(job.folder, job.key)
    ledger.folder.mkdir(parents=True, exist_ok=True)
    path = ledger.path(job.segment)
    if job.shares_cores:
        stand_back()
    encoder = SegmentEncoder(path, job.info, job.width, job.height, job.encode, threads=ENCODER_THREADS)
    left = job.segment.frames
    with _unwrapped(), encoder, ThreadPoolExecutor(1) as beside:
        writing: Future[None] | None = None
        for batch in _finished(job, upscalers):
            if writing:
                writing.result()
            writing = beside.submit(encoder.write, batch)
            if len(batch) < left:
                left -= len(batch)
                yield len(batch)
        if writing:
            writing.result()
        encoder.close()
    ledger.record(job.segment)
    job.transfer.deliver(ledger, job.segment)
    yield left  # one that is called back begins again unless all were told of


encode: Any = ray.remote(max_retries=TRIES - 1)(encode_segment)


def import_modules(names: Sequence[str]) -> None:
    """Import what later tasks of a process will need."""
    for name in names:
        importlib.import_module(name)


importing: Any = ray.remote(num_cpus=0, max_retries=0)(import_modules)


def warm_up() -> None:
    """Start a process for an encoder and one for its decoder on this machine, while its upscaler loads the model."""
    importing.remote(ENCODING)
    importing.options(runtime_env=DECODER_ENVIRONMENT).remote(DECODING)


def stand_back() -> None:
    """Let others go first on these cores; of this thread and those that it starts, for as long as they last.

    An upscaler computes on all cores and on one by turns. An encoder that took its share of the former would have
    nothing left to do when the latter leave it a core. The upscaler is never slowed down by this afterwards: Ray makes
    no actor of a process that has run tasks.
    """
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, ENCODER_NICENESS)


def root_cause(error: BaseException | None) -> BaseException | None:
    """What a task's error says once Ray's wrapping is removed."""
    while isinstance(error, RayTaskError):
        error = error.cause
    return error


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raises what another task says on purpose as it is: wrapped it is an error of Ray's, which Ray tries again."""
    try:
        yield
    except RayTaskError as error:
        cause = root_cause(error)
        if isinstance(cause, VidsrError):
            raise cause from None
        raise


def _finished(job: SegmentJob, upscalers: Sequence[Any]) -> Iterator[FrameBatch]:
    """The segment's frames as they are to be encoded."""
    enlarged = _enlarged(job, upscalers)
    if not job.stabilise:
        yield from (ray.get(large) for _, large in enlarged)
        return
    from vidsr.model.steady import stabilise

    for batch in stabilise(((ray.get(small), ray.get(large)) for small, large in enlarged), job.stabilise):
        yield batch.within(job.segment.first, job.segment.stop)


def _enlarged(job: SegmentJob, upscalers: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """References to decoded batches and the same batches enlarged, in order, a few of them in flight."""
    window = len(upscalers) + 1
    # Beside its encoder: Ray would keep what reserves nothing on the driver's machine, a head perhaps. And it reserves
    # nothing, for encoders may have all CPUs of their machine and would wait for it for ever.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    frames = decode.options(
        num_cpus=0, scheduling_strategy=here, num_returns="streaming", _generator_backpressure_num_objects=window
    ).remote(job)
    pending: deque[tuple[Any, Any]] = deque()
    for number, batch in enumerate(frames):
        upscaler = upscalers[number % len(upscalers)]
        large = upscaler.upscale.remote(batch, job.size, (job.info.path, job.segment.number))
        pending.append((batch, large))
        del batch, large
        if len(pending) > window:
            yield pending.popleft()
    while pending:
        yield pending.popleft()
