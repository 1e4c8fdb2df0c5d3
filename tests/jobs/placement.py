"""Segments of a video on a cluster, and on which nodes they were decoded and encoded.

`python -m tests.jobs.placement ADDRESS VIDEO MODEL` prints a JSON object: `placed`, the nodes of decode and encode task
of each segment, and `machines`, the nodes that have CPUs.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from vidsr.graph.ledger import Ledger
from vidsr.graph.pool import SegmentPool
from vidsr.graph.prepare import prepare
from vidsr.graph.segments import Segment
from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings


@dataclass(frozen=True)
class NotesNodes:
    """A Transfer that writes down where the decode and the encode task of a segment run."""

    folder: Path

    def source(self) -> AbstractContextManager[object]:
        self._note("decode")
        return nullcontext()

    def deliver(self, ledger: Ledger, segment: Segment) -> None:
        self._note("encode")

    def _note(self, task: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / task).write_text(ray.get_runtime_context().get_node_id())


def main() -> None:
    address, video, model = sys.argv[1:]
    settings = UpscaleSettings(
        model=model, device="cpu", segment_seconds=0.2, encode=EncodeSettings(codec="ffv1", container="mkv")
    )
    plan = prepare(Path(video), None, settings, overwrite=False, gpu=False)
    notes = [Path(video).with_name(str(segment.number)) for segment in plan.segments]
    with Session(ClusterSettings(address)) as session:
        session.load(plan.upscaler)
        pool = SegmentPool(session)
        waiting = [replace(plan.job(s), transfer=NotesNodes(n)) for s, n in zip(plan.segments, notes, strict=True)]
        while waiting or pool:
            while waiting and pool.has_room:
                pool.submit(waiting.pop())
            assert [event.error for event in pool.wait(0.1) if event.error] == []
        machines = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]
    placed = [[(note / task).read_text() for task in ("decode", "encode")] for note in notes]
    sys.stdout.write(json.dumps({"placed": placed, "machines": machines}))


if __name__ == "__main__":
    main()
