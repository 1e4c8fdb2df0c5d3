"""A folder of videos: find them, do what is not done yet, and say what became of each.

`vidsr upscale FOLDER` calls `run_folder`; `vidsr submit` runs the same command on a cluster.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from ray.exceptions import RayError

from jobs.cache import NodeCache
from jobs.find import Selection, find_videos, fingerprint, longest_first, result_names, without_time
from jobs.join import Results, join_results
from jobs.lease import Leases
from jobs.records import VideoRecord
from jobs.schedule import Schedule, Video
from jobs.state import READERS, JobState, JobSummary, settings_digest, wanted
from jobs.storage import Place, open_place
from jobs.travel import Travel
from jobs.view import View
from vidsr.errors import ClusterError, Interrupted, OutputExists, OutputIsInput, SettingsError
from vidsr.evidence import RECORD_SUFFIX
from vidsr.graph.session import Session
from vidsr.media.encoders import check_encoder
from vidsr.model.registry import find_model
from vidsr.paths import by_name, check_folder, own_files, size_label, temporary_folder
from vidsr.settings import CACHE_GB, UpscaleSettings


def default_cache() -> Path:
    """A folder for copies of sources that every node may have, one for each user."""
    return temporary_folder() / f"vidsr-{os.getuid()}" / "sources"


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is gone through.

    Attributes:
        selection: which of its files.
        overwrite: whether results that are there may be replaced.
        retry_failed: whether videos that failed in an earlier run are tried again.
        join: whether consecutive clips of a camera are also joined.
        cache: copies of sources of an object store on each node.
    """

    selection: Selection = field(default_factory=Selection)
    overwrite: bool = False
    retry_failed: bool = False
    join: bool = False
    cache: NodeCache = field(default_factory=lambda: NodeCache(default_cache(), int(CACHE_GB * 1e9)))


def run_folder(
    folder: str | Path,
    output: str | Path | None,
    settings: UpscaleSettings,
    session: Session,
    options: FolderOptions,
    view: View,
    stop: threading.Event,
) -> JobSummary:
    """Make all videos of a folder larger. Run it again, here or elsewhere, to go on.

    Args:
        folder: a path or a URL.
        output: root of the results, which mirrors the folder; None is beside it.
        settings: what to make.
        session: where the work runs.
        options: which videos, and what to do with what is there.
        view: who watches.
        stop: once set, segments in flight are finished and no more are begun.

    Raises:
        NoVideos: the folder has none.
        SettingsError: the output root holds results made with other settings.
        OutputIsInput: the results would go into the folder itself.
        Interrupted: stopped before the end.
        ClusterError: Ray cannot be reached, or was lost on the way.
        OutputUnwritable, DiskTooSmall: the job's own files cannot be read or written below the output root.
    """
    with own_files(output or folder):  # leases and records; what is wrong with one video's files is said of that video
        job = FolderJob(folder, output, settings, options)
        try:
            whole = job.run(session, view, stop)
        except RayError as error:
            raise ClusterError(f"the Ray cluster was lost ({error}); run the same command to go on") from error
        finally:
            view.stop()
    if not whole:
        raise Interrupted("stopped; finished videos and segments are kept, run the same command to go on")
    return job.summary


class FolderJob:
    """One run over a folder.

    Attributes:
        summary: what became of the videos so far.
        refused: sources of which nothing is made, since what is in the result's place is of another folder, and why.
    """

    def __init__(
        self, folder: str | Path, output: str | Path | None, settings: UpscaleSettings, options: FolderOptions
    ) -> None:
        """Find the videos; nothing is written yet. Raises what `run_folder` does."""
        self._inputs, self._results = places(folder, output, settings)
        if self._results.folder is not None:
            check_folder(self._results.folder, make=False)
        settings = _check_settings(settings)
        self._settings, self._options = settings, options
        self._found = find_videos(self._inputs, self._results, options.selection)
        self._entries = longest_first(self._found.videos)
        self._names = result_names((entry.name for entry in self._entries), settings)
        self._state = JobState(self._results)
        self._state.refuse_other_settings(settings, options.overwrite)
        self._good: list[str] = []
        self.refused: dict[str, str] = {}
        self.summary = JobSummary(self._inputs.url, self._results.url, started=time.time(), settings=wanted(settings))
        self.summary.videos = len(self._entries)
        self.summary.results_left_out, self.summary.other_files = self._found.results, self._found.others

    def run(self, session: Session, view: View, stop: threading.Event) -> bool:
        """Do what is not done; False if it was stopped before."""
        whole = False
        videos = self.videos_to_do()
        self._state.write_summary(self.summary)
        todo_bytes = sum(video.travel.entry.size for video in videos)
        view.begin(len(self._entries), self.summary.earlier, len(self.summary.failures), todo_bytes)
        for sentence in (*self._found.sentences, *(f"{source}: {why}" for source, why in self.refused.items())):
            view.say(sentence)
        try:
            with Leases(self._results) as leases:
                whole = not videos or self._work(videos, session, leases, view, stop)
                if whole and self._options.join:
                    whole = self._join(session, leases, view, stop)
        finally:
            self.summary.state = "finished" if whole else "interrupted"
            self.summary.finished = time.time()
            self._state.write_summary(self.summary)
        return whole

    def videos_to_do(self) -> list[Video]:
        """What an earlier run with the same settings did not do, or did of another source."""
        old = self._state.read_all(entry.name for entry in self._entries)
        there = {entry.name for entry in self._results.files()} if old else set()
        digest = settings_digest(self._settings)
        with ThreadPoolExecutor(READERS) as readers:
            prints = list(readers.map(lambda entry: fingerprint(self._inputs, entry), self._entries))
        videos = []
        for entry, print_ in zip(self._entries, prints, strict=True):
            name, key, earlier = self._names[entry.name], f"{print_}-{digest}", old.get(entry.name)
            source, result = self._inputs.url_of(entry.name), self._results.url_of(name)
            fresh = VideoRecord(source, result, key=key, source_bytes=entry.size)
            if earlier is not None and self._is_of_another(earlier, fresh) and name in there:
                self._refuse(fresh, earlier.source)
                continue
            earlier = earlier and earlier.at_places_of(fresh)
            if earlier is not None and earlier.key == key and self._stays(earlier, name in there):
                self._count(earlier)
                self.summary.earlier += earlier.good
                continue
            ours = earlier is not None and self._may_replace(earlier, f"{name}{RECORD_SUFFIX}" in there)
            if earlier is None or earlier.key != key:
                earlier = fresh
            travel = Travel(self._inputs, entry, self._results, name, self._options.cache)
            anew = self._options.overwrite
            videos.append(Video(entry.name, travel, earlier, anew or ours, keep=not anew))
        return videos

    def _is_of_another(self, earlier: VideoRecord, fresh: VideoRecord) -> bool:
        """Whether a result is that of another folder's video: two cards number their files alike. Its record stays.

        A copy, whose time is another, is none: `prepare` compares it whole.
        """
        differs = earlier.source != fresh.source and without_time(earlier.key) != without_time(fresh.key)
        return earlier.good and differs and not self._options.overwrite

    def _refuse(self, fresh: VideoRecord, other: str) -> None:
        why = f"{fresh.result} was made of {other}; use --overwrite, or -o for another place"
        self.refused[fresh.source] = why
        self._count(replace(fresh, state="failed", error_class=OutputExists.__name__, error_message=why))

    @staticmethod
    def _may_replace(record: VideoRecord, has_record: bool) -> bool:
        """Whether what is in the place of a result is this job's: an attempt that fails leaves there what was there.

        `has_record` says that an evidence record lies beside it, so that an older attempt made it.
        """
        if record.error_class == OutputExists.__name__:
            return False
        return record.attempts > 0 and (has_record or record.state not in ("failed", "quarantined"))

    def _stays(self, record: VideoRecord, there: bool) -> bool:
        """Whether this run leaves a video as it is."""
        if record.good:
            return there
        if record.error_class == OutputExists.__name__ and self._options.overwrite:
            return False
        return record.final and not (record.state == "failed" and self._options.retry_failed)

    def _count(self, record: VideoRecord) -> None:
        self.summary.count(record)
        if record.good:
            self._good.append(record.result)

    def _work(self, videos: list[Video], session: Session, leases: Leases, view: View, stop: threading.Event) -> bool:
        schedule = Schedule(videos, self._settings, session, self._state, leases, view, stop)
        try:
            return schedule.run()
        finally:
            self.summary.computed_frames, self.summary.retries = schedule.computed_frames, schedule.retries
            for record in schedule.finals:
                self._count(record)

    def _join(self, session: Session, leases: Leases, view: View, stop: threading.Event) -> bool:
        """Join the clips; False if it was stopped before."""
        if not leases.acquire("--join"):
            view.say("another job on this output joins the clips")
            return True
        session.start()
        root = self._results.url_of("")
        names = [result[len(root) :].lstrip("/") for result in self._good]
        results = Results(self._results, self._options.cache)
        self.summary.joined, self.summary.join_failures = join_results(results, names, view, stop)
        return not stop.is_set()


def places(folder: str | Path, output: str | Path | None, settings: UpscaleSettings) -> tuple[Place, Place]:
    """Where the videos are and where their results go.

    Raises:
        OutputIsInput: that is the same place.
        SettingsError: the videos are a whole bucket, and nothing says where results go.
    """
    inputs = open_place(by_name(folder) if isinstance(folder, Path) else folder)
    if output is None and inputs.folder is None and "/" not in inputs.url.partition("://")[2].rstrip("/"):
        raise SettingsError(f"{inputs.url} is a whole bucket, beside which is no place; say with -o where results go")
    if output is None:
        output = f"{inputs.url.rstrip('/')}_{size_label(settings)}"  # `card` becomes `card_2x` beside it
    results = open_place(output)
    if _whole(inputs) == _whole(results):
        raise OutputIsInput(f"{results.url} is the folder of the sources itself; give another folder with -o")
    return inputs, results


def _whole(place: Place) -> str:
    return str(place.folder.resolve()) if place.folder is not None else place.url


def _check_settings(settings: UpscaleSettings) -> UpscaleSettings:
    """Say once, before anything begins, what is wrong for every video. A weights file gets its whole path."""
    if settings.model != "auto" and settings.scale is not None:
        find_model(settings.model, settings.scale)
    if settings.encode.codec != "auto":
        check_encoder(settings.encode.codec)
    weights = Path(settings.model)
    return replace(settings, model=str(weights.absolute())) if weights.is_file() else settings
