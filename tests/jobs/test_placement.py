"""On which machines of a cluster the parts of a segment run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants

from tests.jobs.conftest import RunningCluster
from tests.media.clips import Clip, make_clip
from vidsr.graph.plan import Ledger, Segment
from vidsr.graph.prepare import prepare
from vidsr.graph.session import SegmentPool, Session
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings

pytestmark = pytest.mark.timeout(900)  # a busy machine starts Ray's processes slowly


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


@pytest.fixture
def session(cluster: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # else loopback is taken for a public address
    return Session(ClusterSettings(address=cluster.address))


def test_a_segment_is_decoded_where_it_is_encoded(session: Session, nearest: Path, tmp_path: Path) -> None:
    """So frames do not cross the network on their way to the encoder's node, and the head decodes nothing."""
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=48, options={"g": "6"}))
    settings = UpscaleSettings(
        model=str(nearest), device="cpu", segment_seconds=0.2, encode=EncodeSettings(codec="ffv1", container="mkv")
    )
    plan = prepare(source, None, settings, overwrite=False, gpu=False)
    assert len(plan.segments) == 8
    with session:
        session.load(plan.upscaler)
        pool = SegmentPool(session)
        waiting = [replace(plan.job(s), transfer=NotesNodes(tmp_path / f"{s.number}")) for s in plan.segments]
        while waiting or pool:
            while waiting and pool.has_room:
                pool.submit(waiting.pop())
            assert [event.error for event in pool.wait(0.1) if event.error] == []
        with_cpus = {node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")}
    placed = [[(tmp_path / f"{s.number}" / task).read_text() for task in ("decode", "encode")] for s in plan.segments]
    assert {encoded for _, encoded in placed} <= with_cpus
    assert all(decoded == encoded for decoded, encoded in placed), placed
