"""Can the texts of the synthetic drive be read? A template matcher, no general OCR.

It knows the font, the alphabet and the box of each character, and asks only which character the pixels show. That makes
it a reader with every advantage: what it cannot read nobody should claim to read, and where it is sure of a character
that is not there, the picture has invented one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.footage import Plane
from training.scene.lettering import OVERLAY_ALPHABET, PLATE_ALPHABET, Box, TextBox, draw_cells, overlay_stroke, plate

Patch = NDArray[np.float64]

LEAST_LIKENESS = 0.55  # correlation below which nothing is read
LEAST_LEAD = 0.04  # correlation that the best character must have over the second
_SIZE = (20, 32)  # of the patches that are compared


@dataclass(frozen=True)
class Legibility:
    """How many characters were read right, read as others (invented), and not read."""

    right: int = 0
    invented: int = 0
    unread: int = 0

    def __add__(self, other: Legibility) -> Legibility:
        return Legibility(self.right + other.right, self.invented + other.invented, self.unread + other.unread)

    @property
    def total(self) -> int:
        """All characters."""
        return self.right + self.invented + self.unread


def read_text(luma: Plane, text: TextBox) -> tuple[str | None, ...]:
    """What the matcher sees in each of the text's boxes; None where it is not sure."""
    return tuple(_read_cell(luma, cell, text.kind) for cell in text.cells)


def legibility(luma: Plane, texts: Iterable[TextBox]) -> Legibility:
    """Read all texts of one frame, (H, W) luma at the truth's size."""
    total = Legibility()
    for text in texts:
        for seen, true in zip(read_text(luma, text), text.text, strict=True):
            total += Legibility(right=seen == true, unread=seen is None, invented=seen not in (true, None))
    return total


def _read_cell(luma: Plane, cell: Box, kind: str) -> str | None:
    resized = Image.fromarray(luma).resize(_SIZE, Image.Resampling.BICUBIC, box=cell)
    patch = _standardised(np.asarray(resized, np.float64))
    templates = _templates(kind, round(cell[2] - cell[0]), round(cell[3] - cell[1]))
    scores = sorted(((float((patch * t).mean()), character) for character, t in templates.items()), reverse=True)
    (best, character), (second, _) = scores[:2]
    return character if best >= LEAST_LIKENESS and best - second >= LEAST_LEAD else None


def _standardised(patch: Patch) -> Patch:
    """Zero mean and unit deviation; a flat patch stays 0."""
    centred = patch - patch.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6))


@lru_cache(maxsize=256)
def _templates(kind: str, width: int, height: int) -> dict[str, Patch]:
    """Each character of the kind's alphabet as it looks when its cell is width x height pixels large."""
    alphabet = PLATE_ALPHABET if kind == "plate" else OVERLAY_ALPHABET
    templates = {}
    size = (max(3, width), max(4, height))
    for character in alphabet:
        coarse = _plate_glyph(character, size) if kind == "plate" else _overlay_glyph(character, size)
        fine = coarse.resize(_SIZE, Image.Resampling.BICUBIC)
        templates[character] = _standardised(np.asarray(fine, np.float64))
    return templates


def _plate_glyph(character: str, size: tuple[int, int]) -> Image.Image:
    image, boxes = plate(character)
    left, top, right, bottom = boxes[0]
    area = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    return image.convert("L").resize(size, Image.Resampling.BOX, box=area)


def _overlay_glyph(character: str, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, (70, 70, 70))  # about what lies behind: road and bonnet
    draw_cells(image, character, (0, 0), size, "outlined", stroke=overlay_stroke(size[1]))
    return image.convert("L")
