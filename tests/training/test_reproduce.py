from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from training.backbones import Backbone
from training.compare_losses import RECIPES, Recipe, compare
from training.compare_losses import main as compare_command
from training.fit.presets import preset
from training.measure.metrics import Lpips
from training.pairs.split import link_photos, split_photos
from training.reproduce import PAPER, Figures, Run, findings, main, measure, table
from vidsr.errors import NoPicture, OutputExists, OutputUnwritable, SettingsError

SMALL = (
    "generator.blocks=1", "generator.channels=4", "batch=2", "patch=16", "steps=4",
    "stages.1.discriminator.channels=2", "stages.1.discriminator.hidden=4",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "training.measure.metrics.ALEXNET", Backbone("alexnet", "https://nowhere.invalid/a-00000000.pth")
    )


def picture(seed: int, h: int = 280, w: int = 300) -> Image.Image:
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (h // 8, w // 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC)


@pytest.fixture
def ade20k(tmp_path: Path) -> Path:
    """ADEChallengeData2016 in small: photographs and class masks of both parts."""
    root = tmp_path / "ADEChallengeData2016"
    for part, count in (("training", 4), ("validation", 2)):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for number in range(count):
            name = f"ADE_{part[:3]}_{number:08d}"
            picture(number).save(root / "images" / part / f"{name}.jpg")
            mask = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 12, np.ones((94, 75), np.uint8))
            Image.fromarray(mask).save(root / "annotations" / part / f"{name}.png")
    return root


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        picture(number).save(folder / f"{number:02d}.png")
    return folder


def test_links_replace_links_and_nothing_else(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "mine", 3)
    linked = link_photos(sorted(photos.iterdir()), tmp_path / "run")
    assert len(list(link_photos(sorted(photos.iterdir())[:2], linked).iterdir())) == 2
    with pytest.raises(OutputExists, match="mine holds files"):
        link_photos(sorted(photos.iterdir()), photos)
    assert len([p for p in photos.iterdir() if p.is_file() and not p.is_symlink()]) == 3


def test_the_official_validation_part_is_the_test_part(ade20k: Path) -> None:
    split = split_photos(ade20k, 100)
    assert split.official
    assert [p.name for p in split.test] == ["ADE_val_00000000.jpg", "ADE_val_00000001.jpg"]
    assert {p.parent.name for p in split.train} == {"training"}
    assert [p.name for p in split.masks] == ["ADE_val_00000000.png", "ADE_val_00000001.png"]
    assert len(split_photos(ade20k, 1).test) == len(split_photos(ade20k, 1).masks) == 1


def test_masks_beside_their_photographs_are_found(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "ADE20K_2021", 3)
    picture(9).save(folder / "02_seg.png")
    split = split_photos(folder, 9)
    assert [p.name for p in split.test] == ["02.png"]
    assert [p.name for p in split.masks] == ["02_seg.png"]


def test_without_a_validation_part_every_tenth_is_tested_and_not_trained_on(tmp_path: Path) -> None:
    split = split_photos(photographs(tmp_path / "p", 21), 100)
    assert [p.name for p in split.test] == ["05.png", "15.png"]
    assert len(split.train) == 19
    assert not set(split.train) & set(split.test)
    assert not split.masks
    capped = split_photos(tmp_path / "p", 1)
    assert capped.train == split.train  # a lower limit frees no picture for training
    with pytest.raises(NoPicture, match="one photograph only"):
        split_photos(photographs(tmp_path / "one", 1), 5)


def test_links_lead_to_the_photographs(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 3)
    photos = sorted(folder.iterdir())
    linked = link_photos(photos, tmp_path / "links")
    assert [p.read_bytes() for p in sorted(linked.iterdir())] == [p.read_bytes() for p in photos]
    assert len(list(link_photos(photos[:1], tmp_path / "links").iterdir())) == 1


def test_protocols_of_a_perfect_and_of_a_spoilt_enlargement() -> None:
    photo = np.asarray(picture(3, 256, 256))
    mask = np.full((256, 256, 3), 7, np.uint8)
    perfect = measure(lambda small: photo, 2, [photo], [], Lpips())
    assert perfect.ssim == pytest.approx(1)
    assert perfect.with_masks is None
    noise = np.random.default_rng(0).normal(0, 20, photo.shape)
    spoilt = (photo + noise).clip(0, 255).astype(np.uint8)
    worse = measure(lambda small: spoilt if small.max() > 7 else mask, 2, [photo], [mask], Lpips())
    assert worse.ssim < worse.doubled < 1  # twice the range hides errors
    assert worse.with_masks == pytest.approx((worse.ssim + 1) / 2)
    assert worse.lpips is None


def figures(*strict: float) -> Figures:
    return Figures(strict, (), 0.9, 0.9, 30.0, None)


def test_only_what_the_figures_show_is_claimed() -> None:
    content, bicubic = figures(0.82, 0.84), figures(0.85, 0.85)
    runs = {name: Run(preset(name), 7, figures(0.8, 0.8), content, bicubic) for _, name, _, _ in PAPER}
    runs["paper-modified-2x"] = Run(preset("paper-modified-2x"), 7, figures(0.95, 0.79), content, bicubic)
    text = "\n".join(findings(runs))
    assert "2x: M is above OP in strict SSIM (0.870 and 0.800; on 1 of 2 photographs it is)" in text
    assert "4x: M is not above OP" in text
    assert "OP is below it, M above." in text
    assert "LPIPS" not in text
    assert "masks" not in text
    lines = table(runs)
    assert "| SSIM, the paper's | 0.864 | 0.872 | 0.871 | 0.942 |" in lines
    assert "| SSIM, strict | 0.800 | 0.800 | 0.800 | 0.870 |" in lines
    assert "| SSIM, strict, before the adversarial stage | 0.830 | 0.830 | 0.830 | 0.830 |" in lines
    assert "| LPIPS | not available | not available | not available | not available |" in lines


@pytest.mark.slow
def test_four_models_are_trained_and_the_table_written(ade20k: Path, tmp_path: Path) -> None:
    out = tmp_path / "table1.md"
    arguments = ["--data", str(ade20k), "--run", str(tmp_path / "runs"), "--out", str(out), "--device", "cpu"]
    for change in SMALL:
        arguments += ["--set", change]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    text = out.read_text()
    assert "Budget: 4 steps for each model, on cpu" in text
    assert "paper-original-4x 4 of 200000" in text
    assert "Changed from the presets: generator.blocks=1, " in text
    assert "4 photographs to train on" in text
    assert "2 photographs, ADE20K's validation part; 2 masks" in text
    assert "which is not the ADE20K set" not in text
    assert str(tmp_path) not in text
    row = next(line for line in text.splitlines() if line.startswith("| SSIM, photographs and masks |"))
    assert all(-1 < float(cell) <= 1 for cell in row.split("|")[2:6])
    again = CliRunner().invoke(main, arguments, catch_exceptions=False)  # finished runs are taken as they are
    assert again.exit_code == 0
    assert out.read_text() == text


def test_a_bad_place_is_refused_before_training(tmp_path: Path) -> None:
    error = CliRunner().invoke(main, ["--data", str(tmp_path), "--out", str(tmp_path / "no" / "table1.md")]).exception
    assert isinstance(error, OutputUnwritable)


def test_losses_are_compared_under_one_budget(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 12)
    small = ("generator.blocks=1", "generator.channels=4", "batch=2", "patch=24", "steps=6")
    recipes = [Recipe("L1", {"l1": 1.0}), Recipe("SSIM", {"ssim": 1.0}), Recipe("LPIPS", {"lpips": 1.0})]
    rows, notes = compare(recipes, folder, tmp_path / "runs", None, small, 100, "cpu", Lpips())
    assert list(rows) == ["bicubic", "L1", "SSIM"]
    assert rows["L1"].psnr_y != rows["SSIM"].psnr_y
    assert notes.keys() == {"LPIPS"}
    assert "cannot be fetched" in notes["LPIPS"]


def test_the_command_prints_every_recipe(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 3)
    arguments = ["--data", str(folder), "--run", str(tmp_path / "runs"), "--device", "cpu", "--test", "1"]
    for change in ("generator.blocks=1", "generator.channels=4", "batch=2", "patch=24", "steps=2"):
        arguments += ["--set", change]
    result = CliRunner().invoke(compare_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    for recipe in RECIPES:
        assert recipe.name in result.output
    assert "not available" in result.output


def test_an_unknown_field_is_an_error(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "p", 3)
    with pytest.raises(SettingsError, match="blokcs"):
        compare(RECIPES, folder, tmp_path / "runs", None, ("generator.blokcs=1",), 1, "cpu", Lpips())
