"""The loop of a folder job: segments of many videos in flight together, each video planned and finished by tasks."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import LocalRayletDiedError, RayError

from jobs import tasks
from jobs.failures import Failure, explain
from jobs.lease import Leases
from jobs.metrics import Metrics
from jobs.records import VideoRecord
from jobs.state import JobState
from jobs.tasks import Finished, Prepared
from jobs.travel import Travel
from jobs.view import View
from vidsr.errors import VidsrError
from vidsr.graph.pool import Event, SegmentPool
from vidsr.graph.segments import Segment
from vidsr.graph.session import Session
from vidsr.graph.stages import UpscalerSpec
from vidsr.graph.upscalers import Head, ray_ended
from vidsr.settings import UpscaleSettings

ATTEMPTS = 2
CRASHES_TO_QUARANTINE = 3
PLANNED_AHEAD = 2
TICK = 0.1
ASK_AGAIN_SECONDS = 5.0


@dataclass
class Video:
    """A video on its way through the job.

    Attributes:
        name: its name below the input folder.
        travel: how its source and segments reach the tasks.
        record: what is written down of it.
        overwrite: whether a result that is there may be replaced.
        keep: whether one that is just what would be made is taken.
        order: its place among the job's videos.
        decode: whether its frames are counted by decoding them, since it was found damaged.
        tried: how often this run began it.

    Of this try:
        prepared: its plan; None until it is there.
        waiting: how many of its segments are planned and wait.
        flying: how many are being computed.
        computed: frames of those that were finished.
        begun: when each segment in flight was, by its number, on the monotonic clock.
        failure: why it cannot become whole; what is in flight is waited for.
    """

    name: str
    travel: Travel
    record: VideoRecord
    overwrite: bool
    keep: bool = True
    order: int = 0
    decode: bool = False
    tried: int = 0
    prepared: Prepared | None = None
    waiting: int = 0
    flying: int = 0
    computed: int = 0
    begun: dict[int, float] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def disk_bytes(self) -> int:
        """Room that it needs while it is worked on, known or guessed from its source."""
        return self.prepared.plan.disk_bytes if self.prepared else 8 * self.travel.entry.size + (16 << 20)


class Schedule:
    """Does all videos that it is given, one bad one never stopping the others.

    Args:
        videos: to do, in the order in which they are begun.
        settings: what to make.
        session: where the work runs.
        state: the records.
        leases: who does what, so that another job on the same output does not do the same.
        view: who watches.
        stop: once set, segments in flight are finished and no more are begun.

    Attributes:
        computed_frames: how many this run computed.
        retries: attempts beyond each video's first.
        finals: records of the videos that became final.
    """

    def __init__(
        self,
        videos: list[Video],
        settings: UpscaleSettings,
        session: Session,
        state: JobState,
        leases: Leases,
        view: View,
        stop: threading.Event,
    ) -> None:
        self.computed_frames = self.retries = 0
        self.finals: list[VideoRecord] = []
        self._settings, self._session, self._state = settings, session, state
        self._leases, self._view, self._stop = leases, view, stop
        session.start()
        self._gpu = session.uses_gpus(settings.device)
        self._pool, self._head = SegmentPool(session), Head()
        self._metrics = Metrics()
        self._queue = deque(videos)
        self._elsewhere: deque[tuple[float, Video]] = deque()
        self._tasks: dict[Any, tuple[Video, Callable[[Video, Any], None]]] = {}
        self._open: dict[str, Video] = {}
        self._segments: list[tuple[Segment, Video]] = []
        self._loaded: UpscalerSpec | None = None
        for number, video in enumerate(videos):
            video.order = number

    def run(self) -> bool:
        """Work until nothing is left, or until what was begun is finished after a stop.

        Returns:
            Whether everything is final.
        """
        try:
            while self._tasks or self._pool or self._begin():
                self._feed()
                self._listen()
                self._begin()
                self._show()
        finally:  # where Ray is lost, and of a second Ctrl-C, too
            for video in self._open.values():
                if self._leases.holds(video.name):  # else another job does it now
                    self._state.write(video.name, replace(video.record, state="pending"))
        return not (self._queue or self._elsewhere or self._open)

    def _show(self) -> None:
        waiting = len(self._queue) + len(self._elsewhere)
        self._view.now([video.name for video in self._open.values()])
        self._metrics.queue(waiting, len(self._segments), len(self._pool))

    # Beginning

    def _begin(self) -> bool:
        """Begin videos while there is room; whether there is anything to wait for."""
        if self._stop.is_set():
            self._segments.clear()
            self._pool.give_up()
            return bool(self._tasks or self._pool)
        self._ask_again()
        while self._queue and self._has_room():
            self._lease(self._queue.popleft())
        if self._elsewhere and not (self._tasks or self._pool):
            self._stop.wait(TICK)
        return bool(self._tasks or self._pool or self._segments or self._queue or self._elsewhere)

    def _ask_again(self) -> None:
        while self._elsewhere and self._elsewhere[0][0] <= time.monotonic():
            self._queue.append(self._elsewhere.popleft()[1])

    def _has_room(self) -> bool:
        ahead = PLANNED_AHEAD * self._session.parallel_segments if self._loaded else PLANNED_AHEAD
        if len(self._segments) >= ahead or len(self._open) >= 2 * ahead:
            return False
        folder = self._queue[0].travel.output.folder
        if folder is None or not self._open:
            return True  # a video that is alone is judged by `prepare`
        promised = sum(video.disk_bytes for video in self._open.values())
        return bool(promised + self._queue[0].disk_bytes < shutil.disk_usage(folder).free)

    def _lease(self, video: Video) -> None:
        if not self._leases.acquire(video.name):
            self._elsewhere.append((time.monotonic() + ASK_AGAIN_SECONDS, video))
            return
        record = self._state.read(video.name)
        record = record and record.at_places_of(video.record)
        if record is not None and record.key == video.record.key and record.final and record != video.record:
            self._leases.release(video.name)  # another job was quicker
            self._end(video, record)
            return
        self._prepare(video)

    def _prepare(self, video: Video) -> None:
        video.tried += 1
        video.failure, video.prepared, video.waiting, video.computed = None, None, 0, 0
        record = video.record
        video.record = replace(
            record, state="running", attempts=record.attempts + 1, started=time.time(), finished=None,
            error_class="", error_message="",
        )  # fmt: skip
        self._state.write(video.name, video.record)
        self._open[video.name] = video
        task = tasks.prepare.remote(video.travel, self._settings, video.overwrite, video.keep, self._gpu, video.decode)
        self._tasks[task] = (video, self._prepared)

    def _prepared(self, video: Video, prepared: Prepared) -> None:
        video.prepared = prepared
        plan = prepared.plan
        self._metrics.stage("prepare", prepared.seconds)
        for sentence in prepared.sentences:
            self._view.say(sentence)
        video.record = replace(video.record, frames=plan.frames, seconds=float(plan.info.duration or 0))
        video.waiting = len(prepared.missing)
        for segment in prepared.missing:
            self._segments.append((segment, video))
        self._finish_if_whole(video)

    # Segments

    def _feed(self) -> None:
        """Give the pool segments, longest first, of videos whose model the upscalers hold."""
        while self._segments and not self._stop.is_set():
            wanted = self._pick()
            if wanted is None or not self._pool.has_room:
                return
            self._segments.remove(wanted)
            segment, video = wanted
            video.waiting -= 1
            if video.failure or video.prepared is None:
                continue
            video.flying += 1
            video.begun[segment.number] = time.monotonic()
            self._pool.submit(replace(video.prepared.plan.job(segment), transfer=video.prepared.travel))

    def _pick(self) -> tuple[Segment, Video] | None:
        """The longest segment for the loaded upscalers; once they are idle, for others."""
        fitting = [each for each in self._segments if _spec(each[-1]) == self._loaded]
        if fitting:
            return min(fitting, key=lambda each: (-each[0].frames, each[1].order, each[0].number))
        if self._pool:
            return None
        chosen = self._segments[0]
        prepared = chosen[-1].prepared
        if prepared is not None:
            self._loaded = prepared.plan.upscaler
            self._session.load(self._loaded)
        return chosen

    def _listen(self) -> None:
        """Wait a moment for news of segments and tasks, and act on them."""
        self._head.answers()  # upscalers look for themselves; a video may have only its other tasks left
        if self._loaded is not None and (self._pool or not self._tasks):
            for event in self._pool.wait(TICK):
                self._heed(event)
            if sentence := self._pool.waits_for():
                self._view.say(sentence)
        if self._tasks:
            ready, _ = ray.wait(list(self._tasks), num_returns=1, timeout=0 if self._pool else TICK)
            for task in ready:
                self._take(task)

    def _heed(self, event: Event) -> None:
        video = next(v for v in self._open.values() if v.prepared and v.prepared.plan.info.path == event.job.info.path)
        segment = event.job.segment
        self._view.advance(event.frames)
        if event.finished:
            video.computed += segment.frames
            self.computed_frames += segment.frames
            self._metrics.frames(segment.frames)
        if event.error is not None:
            video.failure = video.failure or explain(event.error, event.crashed)
        if event.finished or event.error is not None:
            video.flying -= 1
            self._metrics.stage("segment", time.monotonic() - video.begun.pop(segment.number))
            self._finish_if_whole(video)

    # Ending

    def _finish_if_whole(self, video: Video) -> None:
        if video.flying:
            return
        if video.failure:
            self._fail(video, video.failure)
        elif not video.waiting and video.prepared is not None:
            prepared = video.prepared
            task = tasks.finish.remote(
                prepared.travel, prepared.plan, video.computed, video.record.started, prepared.made
            )
            self._tasks[task] = (video, self._finished)

    def _take(self, task: Any) -> None:
        video, then = self._tasks.pop(task)
        try:
            result = ray.get(task)
        except LocalRayletDiedError as error:
            raise ray_ended() from error
        except (RayError, OSError) as error:
            self._fail(video, explain(error))
            return
        then(video, result)

    def _finished(self, video: Video, finished: Finished) -> None:
        for note in (*finished.notes, *finished.salvaged):
            self._view.say(f"{video.name}: {note}")
        self._metrics.stage("finish", finished.seconds)
        good = replace(
            video.record,
            state="salvaged" if finished.salvaged else "done",
            finished=time.time(),
            result_bytes=finished.result_bytes,
            salvaged=finished.salvaged,
            thumbnails=finished.thumbnails,
        )
        self._settle(video, good)

    def _fail(self, video: Video, failure: Failure) -> None:
        """Try again what another try may cure; write down what it may not."""
        self._segments = [each for each in self._segments if each[-1] is not video]
        crashes, message = video.record.crashes + failure.crashes, video.travel.with_name(failure.message)
        video.record = replace(video.record, crashes=crashes, error_class=failure.kind, error_message=message)
        quarantined = crashes >= CRASHES_TO_QUARANTINE
        if failure.damaged and not video.decode:
            self._view.say(f"{video.name} is damaged ({message}); salvaging what can be decoded")
            video.decode = True
        elif quarantined or not failure.passing or video.tried >= ATTEMPTS:
            ended = replace(video.record, state="quarantined" if quarantined else "failed", finished=time.time())
            if quarantined:
                remedy = f"it took workers down {crashes} times; delete {self._state.place(video.name)} to try it again"
                ended = replace(ended, error_message=f"{message}; {remedy}")
            self._settle(video, ended)
            return
        self.retries += 1
        self._metrics.retry()
        video.overwrite = video.overwrite or video.prepared is not None  # what is there now is this job's
        self._prepare(video)

    def _settle(self, video: Video, record: VideoRecord) -> None:
        if self._leases.holds(video.name):
            self._state.write(video.name, record)
        else:  # another job took it over, and writes its own record
            theirs = self._state.read(video.name)
            if theirs is not None and theirs.final and theirs.key == record.key:
                record = theirs.at_places_of(record)
                if record.good and video.prepared:
                    with suppress(OSError, VidsrError):  # the result is there, whatever is left beside it
                        tasks.clear(video.prepared.travel, video.prepared.plan)
        self._leases.release(video.name)
        self._end(video, record)

    def _end(self, video: Video, record: VideoRecord) -> None:
        self._open.pop(video.name, None)
        self.finals.append(record)
        self._metrics.final(record.state)
        self._view.end_video(record)


def _spec(video: Video) -> UpscalerSpec | None:
    return video.prepared.plan.upscaler if video.prepared else None
