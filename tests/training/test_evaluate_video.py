from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from training.evaluate_video import Footage, code_clip, evaluate, main, measure, parse_crfs
from training.footage import PlaneWriter, frame_rate, read_planes, resize
from training.metrics import Lpips
from training.synthetic_drive import DriveSpec, overlay_text, read_labels, write_drive
from training.video_report import ClipResult, as_json, mean_gains, plot, score_table, text_table
from vidsr.errors import InputMissing, SettingsError, UnsupportedSize

SPEC = DriveSpec(seconds=0.3, width=320, height=192, rate=10)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    files = write_drive(tmp_path_factory.mktemp("drive"), SPEC)
    return Footage(files.truth, 0, SPEC.frames, read_labels(files.labels))


@pytest.fixture(scope="module")
def no_lpips() -> Lpips:
    network = Lpips.__new__(Lpips)
    network.reason, network.published, network._network = "not asked for", False, None
    return network


@pytest.fixture(scope="module")
def by_bicubic(drive: Footage, no_lpips: Lpips, tmp_path_factory: pytest.TempPathFactory) -> ClipResult:
    """A result that is bicubic's own: every figure relative to bicubic is known."""
    folder = tmp_path_factory.mktemp("bicubic")
    coded = code_clip(drive, 2, 23, folder / "coded.mp4")
    with PlaneWriter(folder / "large.mp4", (320, 192), frame_rate(coded.path), {"qp": "0"}) as writer:
        for planes in read_planes(coded.path):
            writer.write(resize(planes, 320, 192))
    return measure(coded, folder / "large.mp4", 2, no_lpips)


def test_bicubic_equals_bicubic(by_bicubic: ClipResult) -> None:
    assert by_bicubic.frames == 3
    assert by_bicubic.scores["vidsr"] == by_bicubic.scores["bicubic"]
    assert by_bicubic.gain() == 0
    assert by_bicubic.ratio("warping") == 1
    assert by_bicubic.scores["vidsr"].colour_shift == 0
    assert by_bicubic.gain("lanczos") != 0


def test_figures_are_sensible(by_bicubic: ClipResult) -> None:
    score = by_bicubic.scores["bicubic"]
    assert 18 < score.psnr_y < 40
    assert 0.4 < score.ssim_y < 1
    assert 0 < score.ciede2000 < 5
    assert score.lpips is None
    assert score.overlay is not None
    assert score.overlay.total == 3 * len(overlay_text(0.0).replace(" ", ""))
    assert 0.01 < by_bicubic.bits_per_pixel < 3


def test_coarser_coding_is_worse(drive: Footage, no_lpips: Lpips, by_bicubic: ClipResult, tmp_path: Path) -> None:
    coded = code_clip(drive, 2, 45, tmp_path / "coded.mp4")
    with PlaneWriter(tmp_path / "large.mp4", (320, 192), frame_rate(coded.path), {"qp": "0"}) as writer:
        for planes in read_planes(coded.path):
            writer.write(resize(planes, 320, 192))
    worse = measure(coded, tmp_path / "large.mp4", 2, no_lpips)
    assert worse.bits_per_pixel < by_bicubic.bits_per_pixel
    assert worse.scores["bicubic"].psnr_y < by_bicubic.scores["bicubic"].psnr_y - 1


def test_reports_hold_what_was_measured(by_bicubic: ClipResult, tmp_path: Path) -> None:
    results = [by_bicubic]
    assert mean_gains(results) == {23: 0.0}
    assert score_table(results).row_count == 2
    table = text_table(results)
    assert table is not None
    assert table.row_count % 3 == 0
    values = json.loads(json.dumps(as_json(results, {"scale": 2})))
    assert values["clips"][0]["scores"]["vidsr"]["psnr_y"] == pytest.approx(by_bicubic.scores["vidsr"].psnr_y)
    plot(results, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_the_real_command_is_measured(drive: Footage, nearest: Path, no_lpips: Lpips, tmp_path: Path) -> None:
    options = ["--model", str(nearest)]
    results, rows = evaluate([drive], 2, [18], options, no_lpips, tmp_path)
    assert [r.crf for r in results] == [18]
    assert -4 < results[0].gain() < -0.1  # repeated pixels are worse than bicubic
    assert [tile.label.rsplit(": ")[-1] for tile in rows[0]] == ["bicubic", "vidsr", "truth"]


def test_crfs_are_sorted_and_checked() -> None:
    assert parse_crfs("28, 18,28") == [18, 28]
    for wrong in ("", "a", "60", "18,-1"):
        with pytest.raises(SettingsError, match="18,23,28"):
            parse_crfs(wrong)


def test_what_cannot_be_measured_is_named(tmp_path: Path, drive: Footage) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert isinstance(CliRunner().invoke(main, out).exception, SettingsError)
    assert isinstance(CliRunner().invoke(main, [str(tmp_path / "none.mp4"), *out]).exception, InputMissing)
    late = Footage(drive.path, 99, 1)
    with pytest.raises(UnsupportedSize, match="frame 99"):
        code_clip(late, 2, 23, tmp_path / "coded.mp4")
