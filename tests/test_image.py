"""Pictures that are damaged."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import Base

from tests.fuzzing import flip_bits, truncate
from vidsr.errors import VidsrError
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
