"""A folder of videos: find them, do what is not done yet, and say what became of each.

`vidsr upscale FOLDER` calls `run_folder`; `vidsr submit` runs the same command on a cluster.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from jobs.cache import NodeCache
from jobs.find import Selection, find_videos, fingerprint, longest_first, result_names
from jobs.lease import SECONDS, Leases
from jobs.records import VideoRecord
from jobs.schedule import Schedule, Video, View
from jobs.state import READERS, JobState, JobSummary, settings_digest, wanted
from jobs.storage import Entry, Place, open_place
from jobs.travel import Travel
from vidsr.errors import ClusterError, Interrupted, OutputExists, VidsrError
from vidsr.estimate import estimate
from vidsr.graph.run import prepare
from vidsr.graph.session import Session, sees_gpu
from vidsr.media.encoders import check_encoder
from vidsr.model.registry import find_model
from vidsr.settings import UpscaleSettings


def default_cache() -> Path:
    """A folder for copies of sources that every node may have, one for each user."""
    return Path(tempfile.gettempdir()) / f"vidsr-{os.getuid()}" / "sources"


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is gone through.

    Attributes:
        selection: which of its files.
        overwrite: whether results that are there may be replaced.
        retry_failed: whether videos that failed in an earlier run are tried again.
        join: whether consecutive clips of a camera are also joined.
        cache: copies of sources of an object store on each node.
        lease_seconds: after this time without news of a job, another one may take its videos.
    """

    selection: Selection = field(default_factory=Selection)
    overwrite: bool = False
    retry_failed: bool = False
    join: bool = False
    cache: NodeCache = field(default_factory=lambda: NodeCache(default_cache(), 50 << 30))
    lease_seconds: float = SECONDS


def default_output(folder: str, settings: UpscaleSettings) -> str:
    """`card` becomes `card_2x` beside it."""
    size = f"{settings.height}p" if settings.height else f"{settings.scale}x"
    return f"{folder.rstrip('/')}_{size}"


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
        Interrupted: stopped before the end.
        ClusterError: Ray cannot be reached, or was lost on the way.
    """
    inputs = open_place(folder)
    results = open_place(output if output is not None else default_output(inputs.url, settings))
    settings = _check_settings(settings)
    entries = longest_first(find_videos(inputs, results, options.selection))
    state = JobState(results)
    state.refuse_other_settings(settings, options.overwrite)
    summary = JobSummary(inputs.url, results.url, videos=len(entries), started=time.time(), settings=wanted(settings))
    records = _records(inputs, results, entries, state, settings)
    videos = _videos_to_do(inputs, results, entries, records, settings, options, summary)
    state.write_summary(summary)
    view.begin(len(entries), summary.videos - len(videos), sum(video.travel.entry.size for video in videos))
    try:
        whole = _work(videos, settings, session, state, results, options, view, stop, summary)
    finally:
        view.stop()
    if not whole:
        raise Interrupted("stopped; finished videos and segments are kept, run the same command to go on")
    return summary


def estimate_folder(
    folder: str | Path, output: str | Path | None, settings: UpscaleSettings, options: FolderOptions
) -> dict[str, Any]:
    """What a folder would cost, for `--dry-run`: every video is probed, the model is tried on the first.

    Raises:
        NoVideos: the folder has none.
    """
    inputs = open_place(folder)
    results = open_place(output if output is not None else default_output(inputs.url, settings))
    entries = find_videos(inputs, results, options.selection)
    first: dict[str, Any] | None = None
    report: dict[str, Any] = {
        "input": inputs.url, "output": results.url, "videos": len(entries), "frames": 0, "seconds": 0.0,
        "output_bytes": 0, "unreadable": {},
    }  # fmt: skip
    pixels = 0
    with tempfile.TemporaryDirectory() as nowhere:
        for entry in entries:
            travel = Travel(inputs, entry, results, entry.name, options.cache)
            try:
                with travel.source() as path:
                    plan = prepare(path, Path(nowhere), settings, True, sees_gpu(settings.device))
                    first = first or {**estimate(plan), "pixels": plan.info.width * plan.info.height}
            except VidsrError as error:
                report["unreadable"][entry.name] = error.message
                continue
            report["frames"] += plan.frames
            report["seconds"] += float(plan.info.duration or 0)
            report["output_bytes"] += plan.output_bytes
            pixels += plan.frames * plan.info.width * plan.info.height
    if first is not None:
        rate = first["model_frames_per_second"]
        report["model"], report["model_seconds"] = first["model"], round(pixels / first["pixels"] / rate, 1)
    return report


def _work(
    videos: list[Video],
    settings: UpscaleSettings,
    session: Session,
    state: JobState,
    results: Place,
    options: FolderOptions,
    view: View,
    stop: threading.Event,
    summary: JobSummary,
) -> bool:
    whole = True
    try:
        if videos:
            with Leases(results, options.lease_seconds) as leases:
                schedule = Schedule(videos, settings, session, state, leases, view, stop)
                whole = schedule.run()
                summary.computed_frames, summary.retries = schedule.tally.computed_frames, schedule.tally.retries
            for record in schedule.tally.finals:
                summary.count(record)
    except RayError as error:
        raise ClusterError(f"the Ray cluster was lost ({error}); run the same command to go on") from error
    finally:
        summary.state = "finished" if whole else "interrupted"
        summary.finished = time.time()
        state.write_summary(summary)
    return whole


def _check_settings(settings: UpscaleSettings) -> UpscaleSettings:
    """Say once, before anything begins, what is wrong for every video. A weights file gets its whole path."""
    if settings.model != "auto" and settings.scale is not None:
        find_model(settings.model, settings.scale)
    if settings.encode.codec != "auto":
        check_encoder(settings.encode.codec)
    weights = Path(settings.model)
    return replace(settings, model=str(weights.absolute())) if weights.is_file() else settings


def _records(
    inputs: Place, results: Place, entries: list[Entry], state: JobState, settings: UpscaleSettings
) -> dict[str, VideoRecord]:
    """The record of every video as it begins: of an earlier run if source and settings are the same, else a new one."""
    old = state.read_all(entry.name for entry in entries)
    names = result_names((entry.name for entry in entries), settings)
    digest = settings_digest(settings)
    with ThreadPoolExecutor(READERS) as readers:
        prints = list(readers.map(lambda entry: fingerprint(inputs, entry), entries))
    found = {}
    for entry, print_ in zip(entries, prints, strict=True):
        key = f"{print_}-{digest}"
        earlier = old.get(entry.name)
        new = VideoRecord(inputs.url_of(entry.name), results.url_of(names[entry.name]), key=key)
        new = replace(new, source_bytes=entry.size)
        found[entry.name] = earlier if earlier is not None and earlier.key == key else new
    return found


def _videos_to_do(
    inputs: Place,
    results: Place,
    entries: Iterable[Entry],
    records: dict[str, VideoRecord],
    settings: UpscaleSettings,
    options: FolderOptions,
    summary: JobSummary,
) -> list[Video]:
    names = result_names(records, settings)
    there = {entry.name for entry in results.files()} if any(r.good for r in records.values()) else set()
    videos = []
    for entry in entries:
        record, result = records[entry.name], names[entry.name]
        wanted_again = (record.good and result not in there) or (record.state == "failed" and options.retry_failed)
        if record.final and not wanted_again:
            summary.count(record)
            summary.earlier += record.good
            continue
        # What an earlier attempt of this job left may be replaced; what somebody else put there may not.
        ours = record.attempts > 0 and record.error_class != OutputExists.__name__
        travel = Travel(inputs, entry, results, result, options.cache)
        videos.append(Video(entry.name, travel, record, options.overwrite or ours))
    return videos
