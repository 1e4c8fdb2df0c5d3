"""`--join`: the finished clips of each camera behind one another, as Ray tasks beside one another."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.exceptions import RayError

from jobs.cache import NodeCache
from jobs.channels import Clip, Recording, recordings
from jobs.failures import explain
from jobs.find import JOINED
from jobs.storage import Entry, Place, read_json
from jobs.tasks import ON_ANY_NODE
from jobs.view import View
from vidsr.errors import OutputExists
from vidsr.media.join import Part, begin_of, join, shape_of
from vidsr.media.probe import probe
from vidsr.media.tags import folded

AT_ONCE = 8


@dataclass(frozen=True)
class Results:
    """The finished results of a job, on any node."""

    output: Place
    cache: NodeCache

    def paths(self, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """Results as files of this node."""
        if self.output.folder is not None:
            return nullcontext([self.output.folder / name for name in names])
        return self.cache.hold_all([(self.output, self.output.entry(name) or Entry(name, 0, 0)) for name in names])


def joined_name(recording: Recording) -> str:
    """`drive/a.mp4` and those behind it become `drive/a_joined.mp4`."""
    first = PurePosixPath(recording.clips[0].name)
    return str(first.with_name(f"{first.stem}_joined{first.suffix}"))


def describe_clip(results: Results, name: str) -> Clip:
    """What the order of clips depends on."""
    with results.paths([name]) as (path,):
        info = probe(path)
    length = info.table.time(info.frames) - begin_of(info)
    return Clip(name, _seconds(folded(info.tags).get("creation_time", "")), length, shape_of(info))


def _seconds(text: str) -> Fraction | None:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    seconds = Fraction(moment.timestamp())
    return seconds if seconds > 0 else None  # cameras without a clock say 1904 or 1970


def join_recording(results: Results, recording: Recording) -> tuple[str, ...]:
    """Join a recording's clips unless that was done already; returns what could not be carried.

    Raises:
        OutputExists: something else has the joined video's name.
        VidsrError: as `join` says.
    """
    target, output = joined_name(recording), results.output
    place = f"{JOINED}/{target}.json"
    note, earlier = _note(output, recording), read_json(output, place)
    if output.entry(target):
        if earlier == note:
            return ()
        if earlier is None:
            raise OutputExists(f"{output.url_of(target)} exists and is no join; move it away")
    output.write(place, json.dumps({"parts": None}).encode())  # what appears there is ours
    try:
        left = _join_to(target, results, recording)
    except Exception:
        if earlier is None:  # what others put there then is theirs
            output.delete(place)
        raise
    output.write(place, json.dumps(note).encode())
    return left


def _join_to(target: str, results: Results, recording: Recording) -> tuple[str, ...]:
    with results.paths([clip.name for clip in recording.clips]) as paths, TemporaryDirectory() as folder:
        parts = [Part(path, offset) for path, offset in zip(paths, recording.offsets, strict=True)]
        if results.output.folder is not None:
            return join(parts, results.output.folder / target)
        made = Path(folder, PurePosixPath(target).name)
        left = join(parts, made)
        results.output.upload(made, target)
        return left


def _note(output: Place, recording: Recording) -> dict[str, Any]:
    """What a joined file was made of."""
    parts = []
    for clip, offset in zip(recording.clips, recording.offsets, strict=True):
        entry = output.entry(clip.name)
        parts.append([clip.name, str(offset), entry.size if entry else 0, entry.mtime_ns if entry else 0])
    return {"parts": parts}


_describe: Any = ray.remote(**ON_ANY_NODE)(describe_clip)
_join: Any = ray.remote(**ON_ANY_NODE)(join_recording)


def join_results(
    results: Results, names: Iterable[str], view: View, stop: threading.Event
) -> tuple[list[str], dict[str, str]]:
    """Join what belongs together of these results. Ray must be there.

    Args:
        results: of the job.
        names: of its finished videos.
        view: who watches.
        stop: once set, what is being joined is finished and no more is begun.

    Returns:
        the names of the joined videos, and why others could not be joined.
    """
    failures: dict[str, str] = {}
    clips = [clip for _, clip in _run(((name, _describe, (results, name)) for name in names), failures, stop)]
    found = [recording for recording in recordings(clips) if len(recording.clips) > 1]
    made = []
    for name, left in _run(((joined_name(r), _join, (results, r)) for r in found), failures, stop):
        made.append(name)
        view.say(f"{name}: joined")
        for sentence in left:
            view.say(f"{name}: {sentence}")
    for name, why in failures.items():
        view.say(f"{name}: not joined, {why}")
    return sorted(made), failures


def _run(
    work: Iterable[tuple[str, Any, tuple[Any, ...]]], failures: dict[str, str], stop: threading.Event
) -> Iterator[tuple[str, Any]]:
    """Run tasks, AT_ONCE at a time, and give the name and result of each that succeeds."""
    waiting = list(reversed(list(work)))
    running: dict[Any, str] = {}
    while running or (waiting and not stop.is_set()):
        while waiting and len(running) < AT_ONCE and not stop.is_set():
            name, task, words = waiting.pop()
            running[task.remote(*words)] = name
        ready, _ = ray.wait(list(running), num_returns=1)
        for reference in ready:
            name = running.pop(reference)
            try:
                yield name, ray.get(reference)
            except RayError as error:
                failure = explain(error)
                failures[name] = f"{failure.kind}: {failure.message}"
