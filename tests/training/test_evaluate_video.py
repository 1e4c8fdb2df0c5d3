from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from training.evaluate_video import Footage, code_clip, evaluate, main, measure, middle, parse_crfs
from training.footage import Planes, PlaneWriter, frame_rate, read_planes, resize
from training.measure.metrics import Lpips
from training.measure.steadiness import SeamScore, StillScore, score_seams, score_still
from training.measure.video_report import (
    ClipResult,
    as_json,
    mean_gains,
    plot,
    score_table,
    steadiness_table,
    text_table,
)
from training.scene.drive import DriveSpec, overlay_text, read_labels, write_drive
from vidsr.errors import InputMissing, SettingsError, UnsupportedSize
from vidsr.media.probe import probe

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
    return measure(coded, folder / "large.mp4", 2, no_lpips)[0]


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
    assert score.overlay_flicker is not None
    assert 0 < score.overlay_flicker < 30
    assert 0.01 < by_bicubic.bits_per_pixel < 3


def test_bits_per_pixel_are_those_of_the_pictures(drive: Footage, tmp_path: Path) -> None:
    coded = code_clip(drive, 2, 45, tmp_path / "coded.mp4")
    with av.open(str(coded.path)) as container:
        size = sum(packet.size for packet in container.demux(video=0))
    assert coded.bits_per_pixel == pytest.approx(8 * size / (3 * 160 * 96))
    assert size < 0.8 * coded.path.stat().st_size  # the rest is the container's


def test_that_chroma_lies_in_the_middle_is_said_and_changes_no_sample(drive: Footage, tmp_path: Path) -> None:
    coded = code_clip(drive, 2, 23, tmp_path / "coded.mp4")
    assert probe(coded.path).colour.chroma_location == 2
    small = [resize(planes, 160, 96) for planes in drive.frames(2)]
    with PlaneWriter(tmp_path / "left.mp4", (160, 96), Fraction(10), {"crf": "23", "preset": "medium"}) as writer:
        for planes in small:
            writer.write(planes)
    for one, other in zip(read_planes(coded.path), read_planes(tmp_path / "left.mp4"), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_coarser_coding_is_worse(drive: Footage, no_lpips: Lpips, by_bicubic: ClipResult, tmp_path: Path) -> None:
    coded = code_clip(drive, 2, 45, tmp_path / "coded.mp4")
    with PlaneWriter(tmp_path / "large.mp4", (320, 192), frame_rate(coded.path), {"qp": "0"}) as writer:
        for planes in read_planes(coded.path):
            writer.write(resize(planes, 320, 192))
    worse, _ = measure(coded, tmp_path / "large.mp4", 2, no_lpips)
    assert worse.bits_per_pixel < by_bicubic.bits_per_pixel
    assert worse.scores["bicubic"].psnr_y < by_bicubic.scores["bicubic"].psnr_y - 1


def test_reports_hold_what_was_measured(by_bicubic: ClipResult, tmp_path: Path) -> None:
    results = [by_bicubic]
    assert mean_gains(results) == {23: 0.0}
    assert score_table(results).row_count == 2
    table = text_table(results)
    assert table is not None
    assert table.row_count % 3 == 0
    stills, seams = [StillScore("drive", 23, 0.1, 0.2, 0.9, 0)], [SeamScore("drive", 23, 3, 0)]
    assert steadiness_table(stills, seams).row_count == 1
    values = json.loads(json.dumps(as_json(results, stills, seams, {"scale": 2})))
    assert values["stills"][0]["change_at_rest"] == values["seams"][0]["difference"] == 0
    assert values["clips"][0]["scores"]["vidsr"]["psnr_y"] == pytest.approx(by_bicubic.scores["vidsr"].psnr_y)
    plot(results, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.slow
def test_the_real_command_is_measured(drive: Footage, nearest: Path, no_lpips: Lpips, tmp_path: Path) -> None:
    found = evaluate([drive], 2, [18, 33], str(nearest), ["--stabilise-detail", "off"], no_lpips, tmp_path)
    assert [r.crf for r in found.clips] == [18, 33]
    assert -4 < found.clips[0].gain() < -0.1  # repeated pixels are worse than bicubic
    assert [tile.label.rsplit(": ")[-1] for tile in found.rows[0]] == ["bicubic", "vidsr", "truth"]
    for name in ("crf18", "crf33", "still"):
        small = next(read_planes(tmp_path / f"000-truth-{name}.mp4"))
        large = next(read_planes(tmp_path / "whole" / f"000-truth-{name}_2x.mkv"))
        for ours, plain in zip(large[1:], resize(small, 320, 192)[1:], strict=True):
            assert np.abs(ours.astype(int) - plain).max() <= 1  # chroma is bicubic's, and lies where that does
    (still,), (seam,) = found.stills, found.seams
    assert still.crf == seam.crf == 33
    assert still.result_change == pytest.approx(still.source_change)  # each pixel is shown four times
    assert still.source_change > 0
    assert 0 < still.at_rest < 1
    assert still.change_at_rest == 0
    assert seam.segments == 2
    assert seam.difference == 0


def write_grey(path: Path, frames: list[Planes]) -> Path:
    """Planes as lossless video."""
    height, width = frames[0][0].shape
    with PlaneWriter(path, (width, height), Fraction(10), {"qp": "0"}) as writer:
        for planes in frames:
            writer.write(planes)
    return path


def grey(width: int, height: int, **dots: tuple[int, int]) -> Planes:
    """Grey planes with a white luma sample at each of the dots (x, y)."""
    luma = np.full((height, width), 90, np.uint8)
    for x, y in dots.values():
        luma[y, x] = 235
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return luma, chroma, chroma.copy()


def test_movement_in_a_still_scene_is_found(tmp_path: Path) -> None:
    small = write_grey(tmp_path / "small.mkv", [grey(64, 64), grey(64, 64, moved=(20, 20)), grey(64, 64)])
    quiet = [grey(128, 128), grey(128, 128, moved=(40, 40)), grey(128, 128)]
    near = [grey(128, 128), grey(128, 128, moved=(40 + 2 * 8 + 1, 40)), grey(128, 128)]
    far = [grey(128, 128), grey(128, 128, moved=(40 + 2 * 9, 40)), grey(128, 128)]
    scores = [
        score_still("clip", 23, small, write_grey(tmp_path / f"{n}.mkv", frames), 2, halo=8)
        for n, frames in enumerate((quiet, near, far))
    ]
    assert [score.change_at_rest for score in scores] == [0, 0, 145]  # only beyond the network's halo is it at rest
    assert all(score.at_rest == pytest.approx(1 - 17**2 / 64**2) for score in scores)
    assert scores[0].source_change == pytest.approx(145 / 64**2)
    assert scores[0].result_change == pytest.approx(145 / 128**2)


def test_seams_are_found(tmp_path: Path) -> None:
    whole = write_grey(tmp_path / "whole.mkv", [grey(64, 64)] * 3)
    parts = write_grey(tmp_path / "parts.mkv", [grey(64, 64), grey(64, 64), grey(64, 64, seam=(63, 0))])
    assert score_seams("clip", 23, whole, parts, 2).difference == 145
    assert score_seams("clip", 23, whole, whole, 2).difference == 0


def test_the_middle_is_measured(drive: Footage) -> None:
    assert [middle(drive.path, frames) for frames in (1, 2, 3, 9)] == [1, 0, 0, 0]


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
