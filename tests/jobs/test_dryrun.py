"""What a folder would cost, told without leaving anything behind."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.cache import NodeCache
from jobs.dryrun import estimate_folder
from jobs.find import Selection
from jobs.folder import FolderJob, FolderOptions
from jobs.records import VideoRecord
from jobs.state import JobState, JobSummary, wanted
from jobs.storage import open_place
from tests.media.clips import Clip, make_clip
from vidsr.errors import OutputUnwritable, SettingsError, UnknownModel
from vidsr.graph import prepare
from vidsr.settings import UpscaleSettings


@pytest.fixture
def card(tmp_path: Path) -> Path:
    (tmp_path / "card" / "day").mkdir(parents=True)
    make_clip(tmp_path / "card" / "a.mp4", Clip(frames=6))
    make_clip(tmp_path / "card" / "day" / "b.avi", Clip(frames=9))  # whose result is Matroska
    (tmp_path / "card" / "broken.mp4").write_bytes(b"no video")
    return tmp_path / "card"


def options(tmp_path: Path) -> FolderOptions:
    return FolderOptions(Selection(), False, False, False, NodeCache(tmp_path / "cache", 1 << 30))


def test_frames_and_bytes_are_counted_and_nothing_is_written(card: Path, tmp_path: Path, nearest: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report = estimate_folder(card, None, UpscaleSettings(model=str(nearest)), options(tmp_path), gpu=False)
    assert (report["videos"], report["frames"], list(report["unreadable"])) == (3, 15, ["broken.mp4"])
    assert report["seconds"] == pytest.approx(15 / 25) and report["output_bytes"] > 0
    assert report["model"]["name"] == nearest.stem and "model_seconds" in report
    assert sorted(tmp_path.rglob("*")) == before


def test_what_stops_the_command_stops_its_dry_run(card: Path, tmp_path: Path, nearest: Path) -> None:
    with pytest.raises(UnknownModel):
        estimate_folder(card, None, UpscaleSettings(model="no-such-model"), options(tmp_path), gpu=False)
    settings = UpscaleSettings(model=str(nearest))
    summary = JobSummary(str(card), str(tmp_path / "large"), settings=wanted(settings))
    JobState(open_place(tmp_path / "large")).write_summary(summary)
    with pytest.raises(SettingsError, match="another fill_gaps"):
        estimate_folder(card, tmp_path / "large", replace(settings, fill_gaps=True), options(tmp_path), gpu=False)


def test_an_output_that_cannot_be_made_is_refused(card: Path, tmp_path: Path, nearest: Path) -> None:
    settings = UpscaleSettings(model=str(nearest))
    with pytest.raises(OutputUnwritable, match=r"large cannot be made, .*a\.mp4 is a file; use -o"):
        estimate_folder(card, card / "a.mp4" / "large", settings, options(tmp_path), gpu=False)


def test_what_is_done_costs_nothing_more(card: Path, tmp_path: Path, nearest: Path) -> None:
    settings, output = UpscaleSettings(model=str(nearest)), tmp_path / "large"
    for video in FolderJob(card, output, settings, options(tmp_path)).videos_to_do():
        if video.name != "day/b.avi":
            state = "done" if video.name == "a.mp4" else "failed"
            JobState(open_place(output)).write(video.name, replace(video.record, state=state))
    (output / "a.mp4").touch()
    report = estimate_folder(card, output, settings, options(tmp_path), gpu=False)
    assert (report["videos"], report["done_before"], report["failed_before"], report["frames"]) == (3, 1, 1, 9)
    assert not report["unreadable"]


def test_what_would_be_refused_is_named(card: Path, tmp_path: Path, nearest: Path) -> None:
    """It was counted as failed before, and only the run itself said that it was not."""
    settings, output = UpscaleSettings(model=str(nearest)), tmp_path / "large"
    record = VideoRecord(str(tmp_path / "rear" / "a.mp4"), str(output / "a.mp4"), "done", key="of another")
    JobState(open_place(output)).write("a.mp4", record)
    (output / "a.mp4").touch()
    report = estimate_folder(card, output, settings, options(tmp_path), gpu=False)
    assert (report["failed_before"], report["frames"], list(report["refused"])) == (0, 9, [str(card / "a.mp4")])
    assert "was made of" in report["refused"][str(card / "a.mp4")]


def test_the_disk_of_the_results_has_to_hold_them(
    card: Path, tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    real = shutil.disk_usage
    monkeypatch.setattr(
        prepare.shutil,
        "disk_usage",
        lambda path: SimpleNamespace(free=1000) if Path(path).is_relative_to(full) else real(path),
    )
    settings = UpscaleSettings(model=str(nearest))
    assert len(estimate_folder(card, tmp_path / "large", settings, options(tmp_path), gpu=False)["unreadable"]) == 1
    refused = estimate_folder(card, full / "large", settings, options(tmp_path), gpu=False)["unreadable"]
    assert "MB free" in refused["a.mp4"] and "MB free" in refused["day/b.avi"]
