"""Text in cells of one width, so that each character's place is known: number plates and burnt-in overlays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; pixel 0 covers 0 to 1

PLATE_SIZE = (0.52, 0.11)  # metres
PLATE_CELL = (0.0515, 0.08)  # metres of one character
PLATE_ALPHABET = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
OVERLAY_ALPHABET = "0123456789-:ACHKM/"
_PLATE_PIXELS = 1200  # of a plate's width as it is drawn


@dataclass(frozen=True)
class TextBox:
    """A text in one truth frame, and where each of its characters is.

    Attributes:
        kind: "plate" or "overlay".
        text: the characters, without those that are left blank.
        box: the whole text's box in truth pixels.
        cells: the box of each character of `text`.
    """

    kind: str
    text: str
    box: Box
    cells: tuple[Box, ...]

    def as_dict(self) -> dict[str, object]:
        """What json can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TextBox:
        """The inverse of `as_dict`."""
        left, top, right, bottom = values["box"]
        cells = tuple((a, b, c, d) for a, b, c, d in values["cells"])
        return cls(values["kind"], values["text"], (left, top, right, bottom), cells)


def draw_cells(
    image: Image.Image,
    text: str,
    left_top: tuple[float, float],
    cell: tuple[float, float],
    ink: str,
    stroke: int,
) -> tuple[Box, ...]:
    """Draw each character in the middle of its own cell; the boxes of those that are not blank."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=cell[1])
    boxes = []
    for number, character in enumerate(text):
        left = left_top[0] + number * cell[0]
        if character == " ":
            continue
        middle = (left + cell[0] / 2, left_top[1] + cell[1] * 0.86)
        if ink == "outlined":
            draw.text(middle, character, "white", font, "ms", stroke_width=stroke, stroke_fill="black")
        else:
            draw.text(middle, character, ink, font, "ms", stroke_width=stroke)
        boxes.append((left, left_top[1], left + cell[0], left_top[1] + cell[1]))
    return tuple(boxes)


@lru_cache(maxsize=128)
def plate(text: str) -> tuple[Image.Image, tuple[Box, ...]]:
    """A number plate as an RGB image, and its characters' boxes as fractions of its width and height."""
    pixels_per_metre = _PLATE_PIXELS / PLATE_SIZE[0]
    width, height = _PLATE_PIXELS, round(PLATE_SIZE[1] * pixels_per_metre)
    image = Image.new("RGB", (width, height), (236, 236, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, height - 1), outline=(24, 24, 26), width=10)
    draw.rectangle((10, 10, 0.085 * width, height - 11), fill=(22, 66, 150))
    cell = (PLATE_CELL[0] * pixels_per_metre, PLATE_CELL[1] * pixels_per_metre)
    start = ((width + 0.075 * width - len(text) * cell[0]) / 2, (height - cell[1]) / 2)
    boxes = draw_cells(image, text, start, cell, "#141416", stroke=5)
    return image, tuple((a / width, b / height, c / width, d / height) for a, b, c, d in boxes)


def overlay_cell(height: int) -> tuple[int, int]:
    """The width and height in pixels of an overlay character in a picture of `height` rows."""
    tall = max(7, round(height * 0.036))
    return max(4, round(tall * 0.62)), tall


def overlay_stroke(cell_height: int) -> int:
    """The width in pixels of the black outline of overlay characters."""
    return max(1, round(cell_height / 14))


def burn_overlay(image: Image.Image, text: str) -> TextBox:
    """Write `text`, white with a black outline, at the lower left of the picture, as dashcams do."""
    cell = overlay_cell(image.height)
    left, top = round(image.width * 0.02), image.height - round(cell[1] * 1.45)
    boxes = draw_cells(image, text, (left, top), cell, "outlined", stroke=overlay_stroke(cell[1]))
    box = (float(left), float(top), float(left + len(text) * cell[0]), float(top + cell[1]))
    return TextBox("overlay", text.replace(" ", ""), box, boxes)
