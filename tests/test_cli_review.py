from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from rich.filesize import decimal

from tests.media.clips import Clip, make_clip
from tests.media.numbered import write_numbered
from vidsr.cli import main
from vidsr.errors import InputMissing, OutputUnwritable, SettingsError, VerifyFailed
from vidsr.evidence import Check, FrameCounts, ModelDigest, write_record


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    source = write_numbered(tmp_path / "drive.mp4", 96, 64)
    result = write_numbered(tmp_path / "drive_2x.mp4", 192, 128)
    write_record(
        source,
        result,
        model=ModelDigest("balanced-2x", "ab" * 32),
        settings={},
        frames=FrameCounts(40, 40),
        checks=(Check("frames", True, ""),),
        started=0,
        finished=1,
    )
    return source, result


def test_compare_writes_a_page_and_a_still(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page, png = tmp_path / "page.html", tmp_path / "still.png"
    arguments = ["compare", *map(str, pair), "-o", str(page), "--png", str(png), "--start", "0.4", "--end", "0.8"]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert '"start": 0.42' in page.read_text()
    with Image.open(png) as still:
        assert still.width > 1920


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "a.html", "--time", "1"), "only --png STILL.png takes --time; leave that out"),
        (("--png", "a.png", "--start", "0", "--end", "1"), "only -o PAGE.html takes --start and --end; leave that out"),
        (("--png", "a.png", "--max-seconds", "3"), "only -o PAGE.html takes --max-seconds; leave that out"),
        (("-o", "a.html", "--png", "./a.html"), "a.html cannot be both the page and the still"),
        (("-o", "a.html", "--end", "nan"), "--end nan makes no sense"),
    ],
)
def test_options_of_compare_that_make_no_sense(
    options: tuple[str, ...], said: str, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(main, ["compare", *map(str, pair), *options])
    assert outcome.exit_code == SettingsError.exit_code
    assert outcome.stderr.startswith(f"vidsr: {said}") and outcome.stderr.count("\n") == 1
    assert not (tmp_path / "a.html").exists() and not (tmp_path / "a.png").exists()


def test_compare_needs_something_to_write(pair: tuple[Path, Path]) -> None:
    outcome = CliRunner().invoke(main, ["compare", *map(str, pair)])
    assert outcome.exit_code == SettingsError.exit_code
    assert "--png" in outcome.output


def test_evidence_check_finds_a_changed_byte(pair: tuple[Path, Path]) -> None:
    source, result = pair
    outcome = CliRunner().invoke(main, ["evidence", "check", str(result)])
    assert outcome.exit_code == 0
    assert "unchanged" in outcome.output
    content = bytearray(source.read_bytes())
    content[100] ^= 1
    source.write_bytes(content)
    outcome = CliRunner().invoke(main, ["evidence", "check", str(result), "--json"])
    assert outcome.exit_code == VerifyFailed.exit_code
    found = json.loads(outcome.output)
    assert len(found["problems"]) == 1
    assert found["source_checked"].endswith("drive.mp4")


def test_evidence_check_without_a_record(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["evidence", "check", str(tmp_path / "gone.mp4")])
    assert outcome.exit_code == InputMissing.exit_code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("compare", "drive.mp4", "drive_2x.mp4", "-o"), OutputUnwritable.exit_code),
        (("compare", "drive.mp4", "drive_2x.mp4", "--png"), OutputUnwritable.exit_code),
        (("verify", "drive.mp4"), InputMissing.exit_code),
        (("evidence", "check"), InputMissing.exit_code),
    ],
)
@pytest.mark.parametrize("folder", [".", "", "/"])
def test_a_folder_in_the_place_of_a_file(
    pair: tuple[Path, Path], words: tuple[str, ...], code: int, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pair[0].parent)
    outcome = CliRunner().invoke(main, [*words, folder])
    assert outcome.exit_code == code, outcome.exception
    assert "is a folder" in outcome.output


def test_probe_tells_small_sizes_and_single_frames(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", Clip(frames=1))
    shown = " ".join(CliRunner().invoke(main, ["probe", str(clip)]).output.split())
    assert f", {decimal(clip.stat().st_size)} picture" in shown
    assert ", 1 frame, " in shown
