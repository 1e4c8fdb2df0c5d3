"""Reading pictures of every mode, leaving masks out, and crops gathered by index."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.pictures import picture
from training.pairs.data import Pairs, clean_pair, find_photos, luma, planes, read_photo, read_photos, reduce
from vidsr.errors import InputMissing, InputUnreadable, NoPicture, SettingsError


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_masks_of_both_ade20k_layouts_are_left_out(tmp_path: Path) -> None:
    photos = [
        _touch(tmp_path / "ADEChallengeData2016/images/training/ADE_train_00000001.jpg"),
        _touch(tmp_path / "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869.jpg"),
        _touch(tmp_path / "outdoor/photo.png"),
    ]
    for mask in (
        "ADEChallengeData2016/annotations/training/ADE_train_00000001.png",
        "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869_seg.png",
        "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869_parts_1.png",
        "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869/instance_000_ADE_train_00016869.png",
        "outdoor/notes.txt",
    ):
        _touch(tmp_path / mask)
    assert find_photos(tmp_path) == sorted(photos)


def test_a_folder_without_photographs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoPicture, match="no photographs"):
        find_photos(tmp_path)
    with pytest.raises(InputMissing):
        find_photos(tmp_path / "nowhere")


def test_a_broken_picture_is_reported_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        read = [path.name for path, _ in read_photos(find_photos(tmp_path))]
    assert read == ["good.png"]
    assert "cut.png" in caplog.text
    with pytest.raises(InputUnreadable, match=r"cut\.png"):
        read_photo(tmp_path / "cut.png")
    with pytest.raises(NoPicture):
        list(read_photos([tmp_path / "cut.png"]))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = picture(1).mean(axis=2).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = (
            Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).convert("RGBA").convert(mode.replace("CMYK", "RGB"))
        )
        image = image.convert("CMYK") if mode == "CMYK" else image
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path)
    pixels = read_photo(path)
    assert pixels.shape == (288, 320, 3) and pixels.dtype == np.uint8
    tolerance = 128 if mode in ("1", "P") else 1  # two colours, and a fixed palette, are far from the original
    assert np.abs(pixels.astype(int) - grey[..., None]).mean() <= tolerance
    assert pixels.std() > 10


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (300, 300), colour) for colour in ("white", "black"))
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second])
    assert read_photo(tmp_path / "x.gif").min() == 255


def test_small_pictures_are_reflected_out(tmp_path: Path) -> None:
    small = picture(2)[:200, :90]
    Image.fromarray(small).save(tmp_path / "x.png")
    pixels = read_photo(tmp_path / "x.png")
    assert pixels.shape[0] == 256 and pixels.shape[1] >= 256
    assert np.array_equal(pixels[:200, :90], small)
    assert np.array_equal(pixels[0, 90:179], small[0, -2::-1][:89])


def test_luma_is_that_of_the_standard() -> None:
    white, black, green = ([255, 255, 255], [0, 0, 0], [0, 255, 0])
    values = luma(np.array([white, black, green], dtype=np.uint8))
    assert values == pytest.approx([235, 16, 16 + 219 * 0.587])
    assert luma(np.array([green]), "bt709") == pytest.approx([16 + 219 * 0.7152])


def test_a_clean_pair_is_reduced_in_rgb_and_then_made_luma() -> None:
    pixels = picture(3)[:263, :301]
    low, high = clean_pair(pixels, 4, "luma")
    assert low.shape == (1, 65, 75) and high.shape == (1, 260, 300)
    expected = np.rint(luma(reduce(pixels[:260, :300], 4)))
    assert np.array_equal(low[0], expected)
    assert clean_pair(pixels, 2, "rgb")[0].shape == (3, 131, 150)


def _pairs(colour: str = "luma") -> Pairs:
    """High is the low picture with every pixel doubled, so that a crop can be checked against its partner."""
    made = []
    for seed, (h, w) in enumerate([(40, 50), (64, 33)]):
        low = planes(picture(seed)[:h, :w], "luma" if colour == "luma" else "rgb")
        made.append((low, low.repeat(2, axis=1).repeat(2, axis=2)))
    return Pairs.of(made, 2)


@pytest.mark.parametrize("colour", ["luma", "rgb"])
def test_crops_of_a_pair_belong_together(colour: str) -> None:
    pairs = _pairs(colour)
    low, high = pairs.sample(64, 16, torch.Generator().manual_seed(1))
    assert low.shape == (64, pairs.depth, 16, 16) and low.dtype == torch.float32
    assert torch.equal(high, low.repeat_interleave(2, 2).repeat_interleave(2, 3))
    # Each crop, in one of its eight orientations, lies somewhere in one of the pictures, as they are or, of luma, as
    # the network sees video of limited range.
    windows = [pairs.picture(i)[0][0].unfold(1, 16, 1).unfold(2, 16, 1) for i in range(2)]

    def lies_in(windows: list[torch.Tensor], crop: torch.Tensor) -> bool:
        turned = [t.rot90(k, (1, 2)) for t in (crop, crop.flip(1)) for k in range(4)]
        return any(
            bool((w - t[:, None, None]).abs().flatten(3).amax(3).amax(0).min() < 1e-6) for w in windows for t in turned
        )

    limited = [w * (219 / 255) + 16 / 255 for w in windows]
    as_they_are = sum(lies_in(windows, crop) for crop in low)
    narrowed = sum(lies_in(limited, crop) for crop in low)
    assert as_they_are + narrowed == 64
    assert narrowed == 0 if colour == "rgb" else 32 < narrowed < 62


def test_all_eight_orientations_and_all_pictures_occur() -> None:
    ramp = (np.arange(32)[:, None] * 4 + np.arange(32)[None]).astype(np.uint8)[None].repeat(3, 0)  # RGB: as it is
    pairs = Pairs.of([(ramp, ramp.repeat(2, 1).repeat(2, 2))], 2)
    low, _ = pairs.sample(200, 8, torch.Generator().manual_seed(0))
    steps = {(round(float(c[0, 1, 0] - c[0, 0, 0]) * 255), round(float(c[0, 0, 1] - c[0, 0, 0]) * 255)) for c in low}
    assert len(steps) == 8


def test_parts_of_a_sample_make_the_whole() -> None:
    pairs = _pairs()
    whole = pairs.sample(6, 16, torch.Generator().manual_seed(5))
    parts = [pairs.sample(6, 16, torch.Generator().manual_seed(5), (k, 2)) for k in range(2)]
    for side in range(2):
        assert torch.equal(torch.stack([p[side] for p in parts], 1).flatten(0, 1), whole[side])


def test_a_patch_larger_than_a_picture_is_an_error() -> None:
    with pytest.raises(SettingsError, match="smallest picture has 33"):
        _pairs().sample(1, 34, torch.Generator())


def test_pairs_survive_a_file_and_other_files_are_refused(tmp_path: Path) -> None:
    pairs = _pairs()
    pairs.save(tmp_path / "pairs.safetensors")
    again = Pairs.load(tmp_path / "pairs.safetensors")
    assert (again.scale, again.depth, len(again)) == (2, 1, 2)
    assert all(torch.equal(a, b) for i in range(2) for a, b in zip(pairs.picture(i), again.picture(i), strict=True))
    (tmp_path / "other").write_bytes(b"no pairs")
    with pytest.raises(InputUnreadable, match="no file of pairs"):
        Pairs.load(tmp_path / "other")


def test_photographs_of_held_out_pairs_are_not_drawn(tmp_path: Path) -> None:
    """A photograph comes again in a bank, and each clip gives several pairs."""
    values = [3, 1, 1, 2, 4, 4, 2, 3, 3]
    flat = [(np.full((1, 8, 8), v, np.uint8), np.full((1, 16, 16), v, np.uint8)) for v in values]
    Pairs.of(flat, 2, values).save(tmp_path / "bank")
    pairs = Pairs.load(tmp_path / "bank")

    def shown(part: Pairs) -> list[int]:
        return [round(float(part.picture(i)[0].mean()) * 255) for i in range(len(part))]

    assert [shown(part) for part in pairs.split(2)] == [[1, 1, 2, 4, 4, 2], [3, 3]]
    assert [shown(part) for part in pairs.split(4)] == [[1, 1, 4, 4], [2, 2, 3, 3]]
    assert [shown(part) for part in pairs.split(100)] == [[1, 1], [3, 2, 4, 4, 2, 3, 3]]
    assert [shown(part) for part in Pairs.of(flat[:2], 2, [7, 7]).split(1)] == [[3, 1], [1]]
