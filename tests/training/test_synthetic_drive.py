from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from training.footage import Planes, read_planes, resize, rgb_to_planes
from training.scene.drive import (
    DriveFiles,
    DriveSpec,
    TruthFrame,
    engine_sound,
    overlay_text,
    read_labels,
    render,
    write_drive,
)
from training.scene.lettering import plate
from training.synthetic_drive import main
from vidsr.errors import SettingsError

SPEC = DriveSpec(seconds=0.4, width=480, height=272, rate=15, seed=3)


@pytest.fixture(scope="module")
def frames() -> list[TruthFrame]:
    return list(render(SPEC))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DriveFiles:
    return write_drive(tmp_path_factory.mktemp("drive"), SPEC, scale=2)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def test_the_same_seed_gives_the_same_pictures_and_another_one_does_not(frames: list[TruthFrame]) -> None:
    again = next(render(SPEC))
    other = next(render(DriveSpec(seconds=0.4, width=480, height=272, rate=15, seed=4)))
    assert np.array_equal(frames[0].picture, again.picture)
    assert again.texts == frames[0].texts
    assert not np.array_equal(frames[0].picture, other.picture)


def test_the_road_moves_and_the_own_bonnet_does_not(frames: list[TruthFrame]) -> None:
    first, last = frames[0].picture.astype(int), frames[-1].picture.astype(int)
    bonnet = slice(262, 272), slice(230, 250)
    road = slice(200, 240), slice(150, 330)
    assert np.array_equal(first[bonnet], last[bonnet])
    assert np.abs(first[road] - last[road]).mean() > 3


def test_the_picture_has_fine_detail_that_half_the_size_cannot_hold(frames: list[TruthFrame]) -> None:
    planes = rgb_to_planes(frames[0].picture)
    back = resize(resize(planes, 240, 136), 480, 272)
    assert 18 < psnr(planes[0], back[0]) < 34


def test_the_plate_is_where_the_label_says(frames: list[TruthFrame]) -> None:
    label = next(text for text in frames[2].texts if text.kind == "plate")
    picture = Image.fromarray(frames[2].picture).convert("L")
    drawn = plate(f"{label.text[:2]} {label.text[2:]}")[0].convert("L").resize((52, 11))

    def likeness(dx: float, dy: float) -> float:
        left, top, right, bottom = label.box
        box = (left + dx, top + dy, right + dx, bottom + dy)
        seen = picture.resize((52, 11), Image.Resampling.BICUBIC, box=box)
        return float(np.corrcoef(np.asarray(seen, float).ravel(), np.asarray(drawn, float).ravel())[0, 1])

    assert likeness(0, 0) > 0.6
    assert likeness(0, 0) > 0.15 + max(likeness(dx, dy) for dx, dy in ((2, 0), (-2, 0), (0, 1.5), (0, -1.5)))
    assert len(label.text) == len(label.cells) == 7


def test_the_overlay_is_burnt_in_where_the_label_says(frames: list[TruthFrame]) -> None:
    label = next(text for text in frames[0].texts if text.kind == "overlay")
    assert label.text == overlay_text(0.0).replace(" ", "")
    for left, top, right, bottom in label.cells:
        cell = frames[0].picture[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert cell.max() > 170
        assert cell.min() < 40


def test_the_clock_goes_on() -> None:
    assert overlay_text(0.0).startswith("2031-05-14 08:12:58")
    assert overlay_text(2.5).startswith("2031-05-14 08:13:00")


def test_the_truth_is_lossless(frames: list[TruthFrame], files: DriveFiles) -> None:
    stored = list(read_planes(files.truth))
    assert len(stored) == SPEC.frames == len(frames)
    for frame, planes in zip(frames, stored, strict=True):
        for rendered, read in zip(rgb_to_planes(frame.picture), planes, strict=True):
            assert np.array_equal(rendered, read)


def test_the_clip_is_the_reduced_truth_with_camera_faults(files: DriveFiles) -> None:
    truth, clip = list(read_planes(files.truth)), list(read_planes(files.clip))
    assert len(clip) == len(truth)
    assert clip[0][0].shape == (136, 240)
    for whole, small in zip(truth, clip, strict=True):
        reduced: Planes = resize(whole, 240, 136)
        assert 28 < psnr(reduced[0], small[0]) < 45
        assert psnr(reduced[1], small[1]) > 32  # a wrong matrix or order of planes would be far off


def test_the_clip_has_sound_and_colour_tags(files: DriveFiles) -> None:
    with av.open(str(files.clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.colorspace, video.codec_context.color_range) == (1, 1)
        assert audio.codec_context.name == "aac"
        samples = np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio)])
    assert abs(len(samples) / 48000 - 0.4) < 0.05
    assert samples.std() > 0.02
    with av.open(str(files.truth)) as container:
        assert not container.streams.audio


def test_the_engine_turns_at_its_firing_rate() -> None:
    sound = engine_sound(2.0, seed=1)
    spectrum = np.abs(np.fft.rfft(sound))
    loudest = np.argmax(spectrum[:600]) / 2.0
    assert 20 < loudest < 80
    assert np.abs(sound).max() <= 1


def test_labels_can_be_read_back(frames: list[TruthFrame], files: DriveFiles) -> None:
    assert read_labels(files.labels) == [frame.texts for frame in frames]


def test_nothing_half_written_is_left(files: DriveFiles) -> None:
    assert sorted(p.name for p in files.truth.parent.iterdir()) == ["dashcam.mp4", "labels.json", "truth.mp4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--width", "322"], "multiple of 4"),
        (["--scale", "3"], "1/3"),
        (["--seconds", "0"], "other seconds"),
        (["--seconds", "nan"], "other seconds"),
        (["--seconds", "inf"], "other seconds"),
        (["--width", "8"], "64x36"),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, SettingsError)
    assert said in result.exception.message
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_quarter_size_clip(tmp_path: Path) -> None:
    options = ["--seconds", "0.1", "--width", "320", "--height", "184", "--scale", "4"]
    result = CliRunner().invoke(main, [str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    assert next(read_planes(tmp_path / "dashcam.mp4"))[0].shape == (46, 80)
