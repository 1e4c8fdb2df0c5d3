"""The report of a folder job: one self-contained page with totals, throughput, failures and every video."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from jobs.lease import SECONDS, Leases
from jobs.records import STATES, VideoRecord
from jobs.state import READERS, RECORDS, SUMMARY, JobState
from jobs.storage import Place, read_json, stays_below
from vidsr.errors import InputMissing
from vidsr.page import fill_page
from vidsr.paths import own_files

REPORT = "report.html"
_NEEDED = {"input", "output", "state", "started", "finished", "settings", "videos"}  # of job.json
MOST_PICTURES = 300  # thumbnail pairs on the page; 40,000 would be a page of 800 MB
BINS = 90  # of the curve of throughput


def write_report(output: Place) -> str:
    """Write OUTPUT/report.html from what a job left there; it may still be running.

    Returns:
        The page's path or URL.

    Raises:
        InputMissing: no job has written there, or its job.json is not whole.
        OutputUnwritable, DiskTooSmall: what is there cannot be read, or the page not be written.
    """
    with own_files(output.url):
        summary = read_json(output, SUMMARY)
        if summary is None or _NEEDED - summary.keys():
            raise InputMissing(f"{output.url} holds no job; name the output folder of one")
        suffix = ".json"
        names = (entry.name for entry in output.files(RECORDS) if entry.name.endswith(suffix))
        found = JobState(output).read_all([name[len(RECORDS) + 1 : -len(suffix)] for name in names])
        records = [found[name] for name in sorted(found)]
        now = time.time()
        begun = now - summary["started"] > SECONDS  # a job holds leases once it has a Ray
        if summary["state"] == "running" and begun and not Leases(output).anywhere():
            summary, records = _as_killed(summary, records)
        page = report_page(summary, records, output.read, now)
        output.write(REPORT, page.encode())
        return output.url_of(REPORT)


def _as_killed(summary: dict[str, Any], records: Sequence[VideoRecord]) -> tuple[dict[str, Any], list[VideoRecord]]:
    """What a job would have written that could not say its end; as far as is known, that is when it last wrote."""
    last = max([summary["started"], *(time for each in records for time in (each.started, each.finished) if time)])
    ended = [replace(each, state="pending") if each.state == "running" else each for each in records]
    return {**summary, "state": "interrupted", "finished": last}, ended


def report_page(
    summary: Mapping[str, Any],
    records: Sequence[VideoRecord],
    read: Callable[[str], bytes | None],
    now: float,
) -> str:
    """The page.

    Args:
        summary: job.json.
        records: of all videos, in the order of the list.
        read: gives the content of a thumbnail's file, None where it is gone.
        now: seconds since 1970 UTC; the end of a job that is still running.
    """
    began, ended = float(summary["started"]), float(summary["finished"] or now)
    data = {
        "input": summary["input"],
        "output": summary["output"],
        "state": summary["state"],
        "started": began,
        "ended": ended,
        "written": now,
        "settings": dict(summary["settings"]),
        "totals": totals(records, int(summary["videos"]), began, ended),
        "throughput": throughput(records, began, ended),
        "videos": [_row(record, str(summary["input"])) for record in records],
        "pictures": _pictures(records, read),
    }
    text = json.dumps(data, separators=(",", ":"))
    return fill_page("jobs", "report.html", f"Report of {summary['input']}", text)


def totals(records: Sequence[VideoRecord], videos: int, began: float, ended: float) -> dict[str, Any]:
    """Numbers over all videos.

    Args:
        records: of the videos that were begun.
        videos: how many there are; those without a record are pending.
        began, ended: of this run. Its `rate` is frames per second, None before its first result.
    """
    states = {state: sum(record.state == state for record in records) for state in STATES}
    states["pending"] += max(0, videos - len(records))
    good = [record for record in records if record.good]
    fresh = sum(record.frames for record in good if (record.finished or 0) >= began)
    return {
        "states": states,
        "videos": max(videos, len(records)),
        "frames": sum(record.frames for record in good),
        "seconds": round(sum(record.seconds for record in good), 3),
        "source_bytes": sum(record.source_bytes for record in good),
        "result_bytes": sum(record.result_bytes for record in good),
        "attempts": sum(record.attempts for record in records),
        "rate": round(fresh / (ended - began), 3) if fresh and ended > began else None,
    }


def throughput(records: Sequence[VideoRecord], began: float, ended: float) -> list[float]:
    """Frames per second in each of BINS equal parts of the run.

    A video's frames are spread evenly over the time from the start to the end of its last attempt, because records
    say no more.
    """
    if ended <= began:
        return []
    width = (ended - began) / BINS
    bins = [0.0] * BINS
    for record in records:
        if not record.good or record.started is None or record.finished is None or record.finished < began:
            continue
        first, last = record.started, max(record.finished, record.started + 1e-6)
        for number in range(max(0, int((first - began) / width)), min(BINS - 1, int((last - began) / width)) + 1):
            left = began + number * width
            overlap = min(last, left + width) - max(first, left)
            bins[number] += record.frames * max(0.0, overlap) / (last - first)
    return [round(frames / width, 3) for frames in bins]


def _row(record: VideoRecord, root: str) -> list[Any]:
    """One video as a short list, in the order that the page's script expects."""
    took = (record.finished - record.started) if record.started and record.finished else None
    name = record.source.removeprefix(root).lstrip("/")
    return [
        name,
        record.state,
        record.frames,
        round(record.seconds, 3),
        record.source_bytes,
        record.result_bytes,
        None if took is None else round(took, 3),
        record.attempts,
        "; ".join(record.salvaged) if record.good else record.reason,
    ]


def _pictures(records: Sequence[VideoRecord], read: Callable[[str], bytes | None]) -> dict[int, list[str]]:
    """Thumbnails (source, result) as data URIs by the video's number, of the first MOST_PICTURES that have both."""
    wanted = [
        number
        for number, record in enumerate(records)
        if len(record.thumbnails) == 2 and all(map(stays_below, record.thumbnails))
    ][:MOST_PICTURES]
    with ThreadPoolExecutor(READERS) as readers:
        pairs = readers.map(lambda number: [read(name) for name in records[number].thumbnails], wanted)
        return {
            number: [f"data:image/jpeg;base64,{base64.b64encode(jpeg or b'').decode('ascii')}" for jpeg in pair]
            for number, pair in zip(wanted, pairs, strict=True)
            if None not in pair
        }
