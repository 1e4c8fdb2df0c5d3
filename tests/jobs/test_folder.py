"""A folder on a cluster of several nodes, with what goes wrong there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.storage import open_place
from tests.jobs import runs
from tests.jobs.conftest import RunningCluster, S3Server
from tests.media.clips import Clip, make_clip
from vidsr.errors import SomeFailed
from vidsr.media.probe import probe

pytestmark = pytest.mark.timeout(1500)  # a busy machine starts a cluster's processes slowly


def wait_for(ready: Callable[[], bool], job: subprocess.Popen[str], seconds: float = 500) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < limit
        time.sleep(0.05)


def finished_segments(output: Path) -> int:
    return len(list(output.rglob(".*.vidsr/*.mkv")))


def test_a_broken_video_and_a_lost_node(cluster: RunningCluster, tmp_path: Path, nearest: Path) -> None:
    """Eight clips, one of them broken, on two nodes of which one is lost on the way: seven are done, exactly."""
    card, out = runs.make_card(tmp_path / "card", 7, frames=30), tmp_path / "out"
    (card / "broken.mp4").write_bytes((card / "day0" / "clip00.mp4").read_bytes()[:700])
    job = runs.start(card, out, nearest, "--address", cluster.address)
    wait_for(lambda: finished_segments(out) > 0, job)
    cluster.kill_node()
    report = runs.end(job, SomeFailed.exit_code)
    cluster.add_node()
    assert (report["videos"], report["done"], report["failed"]) == (8, 7, 1)
    assert list(report["failures"]) == [str(card / "broken.mp4")]
    found = runs.records(out)
    assert found["broken.mp4"].state == "failed" and found["broken.mp4"].error_class == "NotAVideo"
    for name, record in found.items():
        if record.good:
            runs.assert_is_enlarged(card / name, out / Path(name).with_suffix(".mkv"))
            assert all((out / thumbnail).exists() for thumbnail in record.thumbnails)
    assert not list(out.rglob(".*.vidsr")) and not list((out / ".vidsr" / "leases").rglob("*.json"))


def test_a_killed_job_goes_on_and_a_third_run_has_nothing_to_do(
    cluster: RunningCluster, tmp_path: Path, nearest: Path
) -> None:
    card, out = runs.make_card(tmp_path / "card", 2, frames=72), tmp_path / "out"
    (card / "broken.mp4").write_text("no video")
    job = runs.start(card, out, nearest, "--address", cluster.address)
    wait_for(lambda: finished_segments(out) >= 3, job)
    job.kill()
    job.communicate()
    time.sleep(2)  # the cluster ends what the job had begun
    kept = sum(12 for note in out.rglob(".*.vidsr/0*.json"))
    assert kept >= 24
    report = runs.end(runs.start(card, out, nearest, "--address", cluster.address), SomeFailed.exit_code)
    assert report["computed_frames"] == 72 + 73 - kept
    assert report["done"] == 2
    again = runs.end(runs.start(card, out, nearest, "--address", cluster.address), SomeFailed.exit_code)
    assert (again["earlier"], again["failed"], again["computed_frames"]) == (2, 1, 0)
    (card / "broken.mp4").unlink()
    runs.make_card(card, 1, frames=20)  # clip00 is another video now
    report = runs.end(runs.start(card, out, nearest, "--address", cluster.address, "--retry-failed"))
    assert (report["videos"], report["earlier"], report["computed_frames"]) == (2, 1, 20)
    runs.assert_is_enlarged(card / "day0" / "clip00.mp4", out / "day0" / "clip00.mkv")


def test_two_jobs_on_one_output_share_the_work(cluster: RunningCluster, tmp_path: Path, nearest: Path) -> None:
    card, out = runs.make_card(tmp_path / "card", 4), tmp_path / "out"
    jobs = [runs.start(card, out, nearest, "--address", cluster.address, "--actors", 1) for _ in range(2)]
    reports = [runs.end(job) for job in jobs]
    assert [r["done"] for r in reports] == [4, 4]
    assert sum(r["computed_frames"] for r in reports) == sum(24 + n for n in range(4))
    assert {r.attempts for r in runs.records(out).values()} == {1}


def test_from_and_to_an_object_store_that_fails_sometimes(
    cluster: RunningCluster, bucket: str, s3: S3Server, tmp_path: Path, nearest: Path
) -> None:
    card = runs.make_card(tmp_path / "card", 3)
    store = open_place(bucket)
    for path in card.rglob("*.mp4"):
        store.upload(path, f"card/{path.relative_to(card).as_posix()}")
    s3.fail_every, before = 7, s3.failed
    words = ("--address", cluster.address, "--actors", 2)
    report = runs.end(runs.start(f"{bucket}/card", f"{bucket}/out", nearest, *words))
    s3.fail_every = 0
    assert (report["done"], report["computed_frames"]) == (3, 24 + 25 + 26)
    assert s3.failed > before
    names = {e.name for e in store.files("out")}
    for path in card.rglob("*.mp4"):
        name = path.relative_to(card).with_suffix(".mkv").as_posix()
        store.download(f"out/{name}", tmp_path / name)
        runs.assert_is_enlarged(path, tmp_path / name)
        assert f"out/{name}.vidsr.json" in names
    assert not [name for name in names if "/segments/" in name or "/leases/" in name]
    assert runs.end(runs.start(f"{bucket}/card", f"{bucket}/out", nearest, *words))["earlier"] == 3


def test_one_machine_needs_no_cluster(tmp_path: Path, nearest: Path) -> None:
    card = runs.make_card(tmp_path / "card", 2, frames=12)
    report = runs.end(runs.start(card, tmp_path / "out", nearest))
    assert report["done"] == 2
    foreign = tmp_path / "other"
    (foreign / "day0").mkdir(parents=True)
    (foreign / "day0" / "clip00.mkv").write_text("mine")
    report = runs.end(runs.start(card, foreign, nearest), SomeFailed.exit_code)
    assert "OutputExists" in str(report["failures"])
    assert (foreign / "day0" / "clip00.mkv").read_text() == "mine"
    changed = runs.start(card, tmp_path / "out", nearest, "--crf", 3)
    assert changed.wait(60) == 2 and "--overwrite" in changed.communicate()[1]


def test_loop_recordings_are_joined(cluster: RunningCluster, tmp_path: Path, nearest: Path) -> None:
    card, out = tmp_path / "card", tmp_path / "out"
    card.mkdir()
    shape = Clip(width=64, height=48, frames=25, options={"g": "12"}, sound=("aac",))
    for name in ("NO20260101-120000-000001F", "NO20260101-120003-000002F", "NO20260101-120000-000001B"):
        make_clip(card / f"{name}.mp4", shape)
    words = ("--address", cluster.address, "--actors", 1, "--join")
    report = runs.end(runs.start(card, out, nearest, *words))
    assert report["joined"] == ["NO20260101-120000-000001F_joined.mkv"]
    joined = out / report["joined"][0]
    pair = [runs.luma(out / f"NO20260101-12000{n}-00000{k}F.mkv") for n, k in ((0, 1), (3, 2))]
    assert np.array_equal(runs.luma(joined), np.concatenate(pair))
    table = probe(joined).table
    assert float(table.time(25) - table.time(0)) == pytest.approx(3, abs=0.002), "two seconds are missing between them"
    before = joined.stat().st_mtime_ns
    assert runs.end(runs.start(card, out, nearest, *words))["joined"] == report["joined"]
    assert joined.stat().st_mtime_ns == before, "done once"
