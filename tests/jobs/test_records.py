from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.records import STATES, VideoRecord, read_record, write_record
from vidsr.errors import SettingsError

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
    thumbnails=("a.jpg", "b.jpg"),
)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.json"
    write_record(RECORD, path)
    assert read_record(path) == RECORD
    assert [p.name for p in path.parent.iterdir()] == ["a.json"], "nothing but the record is left"


def test_a_newer_versions_field_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"source": "a", "result": "b", "mood": "good"}))
    assert read_record(path) == VideoRecord("a", "b")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": "a", "result": "b", "state": "lost"}'])
def test_what_is_no_record_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"a\.json"):
        read_record(path)


def test_states() -> None:
    good = {s for s in STATES if VideoRecord("a", "b", s).good}
    final = {s for s in STATES if VideoRecord("a", "b", s).final}
    assert good == {"done", "salvaged"}
    assert final == {"done", "salvaged", "failed", "quarantined"}
