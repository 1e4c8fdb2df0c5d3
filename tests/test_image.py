"""Pictures that are damaged, and icons."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import Base

from tests.fuzzing import flip_bits, truncate
from vidsr.errors import NotAVideo, OutputUnwritable, SettingsError, UnsupportedSize, VidsrError
from vidsr.image import upscale_image
from vidsr.settings import UpscaleSettings

CASES = 250


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_damaged_pictures_are_refused_or_read(kind: str, tmp_path: Path, nearest: Path) -> None:
    told = Image.Exif()
    told[Base.Make], told[Base.Orientation] = "ACME", 6
    whole = io.BytesIO()
    Image.radial_gradient("L").resize((40, 24)).convert("RGB").save(whole, kind, exif=told, comment="a comment")
    path, rng, refused = tmp_path / f"a.{kind.lower()}", random.Random(kind), 0
    for _ in range(CASES):
        content = bytearray(whole.getvalue())
        rng.choice((flip_bits, truncate))(content, rng)
        path.write_bytes(content)
        settings = UpscaleSettings(model=str(nearest), device="cpu", height=rng.choice((None, 48)))
        try:
            upscale_image(path, None, settings, overwrite=True)
        except VidsrError:
            refused += 1
    assert 0 < refused < CASES


@pytest.mark.parametrize("size", [(48, 48), (32, 24)])
def test_an_icon_has_the_size_that_is_said(size: tuple[int, int], tmp_path: Path, nearest: Path) -> None:
    """Pillow writes icons in sizes of its own unless told another."""
    path, settings = tmp_path / "a.ico", UpscaleSettings(model=str(nearest), device="cpu")
    Image.radial_gradient("L").resize(size).convert("RGB").save(path, sizes=[size, (16, 12)])
    report = upscale_image(path, None, settings, overwrite=False)
    with Image.open(report["result"]) as result:
        assert result.size == (report["width"], report["height"]) == (2 * size[0], 2 * size[1])
    assert report["notes"] == ["it is an icon of 2 sizes; the largest is enlarged, and the others left out"]


def test_icons_that_cannot_be_are_refused(tmp_path: Path, nearest: Path) -> None:
    path, settings = tmp_path / "a.png", UpscaleSettings(model=str(nearest), device="cpu")
    Image.radial_gradient("L").save(path)
    with pytest.raises(UnsupportedSize, match="ICO has at most 256 pixels a side, not 512x512"):
        upscale_image(path, tmp_path / "a.ico", settings, overwrite=False, dry_run=True)
    with pytest.raises(OutputUnwritable, match=r"no pictures are written as \.icns"):
        upscale_image(path, tmp_path / "a.icns", settings, overwrite=False, dry_run=True)


def test_a_picture_too_small_is_known_at_once(tmp_path: Path, nearest: Path) -> None:
    path, settings = tmp_path / "a.png", UpscaleSettings(model=str(nearest), device="cpu")
    Image.new("L", (1, 9)).save(path)
    with pytest.raises(UnsupportedSize, match=r"a\.png is 1x9; at least 2x2 pixels are needed"):
        upscale_image(path, None, settings, overwrite=False, dry_run=True)


def test_a_picture_may_become_avif(tmp_path: Path, nearest: Path) -> None:
    told = Image.Exif()
    told[Base.Orientation] = 6
    Image.new("RGB", (20, 12), "red").save(tmp_path / "a.jpg", exif=told)
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    upscale_image(tmp_path / "a.jpg", tmp_path / "a.avif", settings, overwrite=False)
    with Image.open(tmp_path / "a.avif") as result:
        assert (result.format, result.size, result.getexif()[Base.Orientation]) == ("AVIF", (40, 24), 6)


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".jp2", ".ppm", ".tga"])
def test_what_a_format_cannot_say_is_refused_or_told(suffix: str, tmp_path: Path, nearest: Path) -> None:
    """A photograph taken upright would lie on its side, and what is transparent be seen."""
    told, settings = Image.Exif(), UpscaleSettings(model=str(nearest), device="cpu")
    told[Base.Make], result = "ACME", tmp_path / f"b{suffix}"
    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", exif=told, icc_profile=b"a profile")
    notes = upscale_image(tmp_path / "a.jpg", result, settings, overwrite=False, dry_run=True)["notes"]
    assert [note.partition(" ")[2] for note in notes] == [
        "has no place for its EXIF", "has no place for its colour profile",
    ]  # fmt: skip
    told[Base.Orientation] = 0  # some cameras and editors write it where they do not know
    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", exif=told)
    assert upscale_image(tmp_path / "a.jpg", result, settings, overwrite=False, dry_run=True)["width"] == 40
    told[Base.Orientation] = 6
    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", exif=told)
    with pytest.raises(SettingsError, match=r"is shown turned, which .* cannot say; use -o NAME\.png"):
        upscale_image(tmp_path / "a.jpg", result, settings, overwrite=False, dry_run=True)
    if suffix in (".bmp", ".gif", ".ppm"):
        Image.new("RGBA", (20, 12)).save(tmp_path / "a.png")
        with pytest.raises(SettingsError, match=r"has transparency, which .* cannot keep; use -o NAME\.png"):
            upscale_image(tmp_path / "a.png", result, settings, overwrite=False, dry_run=True)


@pytest.mark.parametrize(
    ("content", "why"), [(b"no picture", "of no known format"), (None, "image file is truncated.*")]
)
def test_a_picture_that_cannot_be_read_says_why(content: bytes | None, why: str, tmp_path: Path, nearest: Path) -> None:
    path, whole = tmp_path / "a.png", io.BytesIO()
    Image.radial_gradient("L").save(whole, "BMP")
    path.write_bytes(content or whole.getvalue()[:3000])
    with pytest.raises(NotAVideo, match=rf"a\.png is not a picture that can be read \({why}\); copy it again"):
        upscale_image(path, None, UpscaleSettings(model=str(nearest), device="cpu"), overwrite=False)
