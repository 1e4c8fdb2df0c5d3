from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.records import STATES, VideoRecord
from jobs.state import JobState, JobSummary, settings_digest, wanted
from jobs.storage import FolderPlace
from vidsr.errors import SettingsError
from vidsr.settings import UpscaleSettings

RECORD = VideoRecord(
    source="s3://in/a.mp4",
    result="s3://out/a.mp4",
    state="failed",
    frames=30,
    seconds=1.0,
    attempts=3,
    error_class="NotAVideo",
    error_message="a.mp4: no moov",
    started=1.5,
    finished=2.5,
    salvaged=("a frame is lost",),
    thumbnails=("a.jpg", "b.jpg"),
)


def test_a_record_comes_back_as_it_was() -> None:
    assert VideoRecord.from_json(RECORD.to_json()) == RECORD


def test_a_newer_versions_field_is_left_out() -> None:
    text = json.dumps({"source": "a", "result": "b", "mood": "good"})
    assert VideoRecord.from_json(text) == VideoRecord("a", "b")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": "a", "result": "b", "state": "lost"}'])
def test_what_is_no_record_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError, match="record"):
        VideoRecord.from_json(text)


def test_states() -> None:
    good = {s for s in STATES if VideoRecord("a", "b", s).good}
    final = {s for s in STATES if VideoRecord("a", "b", s).final}
    assert good == {"done", "salvaged"}
    assert final == {"done", "salvaged", "failed", "quarantined"}


def test_other_weights_under_the_same_name_are_another_model(tmp_path: Path) -> None:
    weights = tmp_path / "own.safetensors"
    weights.write_bytes(b"first")
    settings = UpscaleSettings(model=str(weights))
    state, before = JobState(FolderPlace(str(tmp_path))), settings_digest(settings)
    state.write_summary(JobSummary("in", "out", settings=wanted(settings)))
    state.refuse_other_settings(settings, overwrite=False)
    weights.write_bytes(b"trained on")
    assert settings_digest(settings) != before
    with pytest.raises(SettingsError, match="another model"):
        state.refuse_other_settings(settings, overwrite=False)
