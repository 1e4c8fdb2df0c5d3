"""The still of `vidsr compare --png`: both pictures whole, and below them the places with most detail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PANEL = 960  # pixels: width of each whole picture
CROPS = 3
CROP_ENLARGED = 2  # crops are shown at this many screen pixels per pixel of the result
GAP = 16
BACKGROUND, INK, FAINT = (24, 26, 30), (236, 238, 242), (150, 156, 166)

Box = tuple[int, int, int, int]


def busiest_places(picture: Image.Image, width: int, height: int, count: int) -> list[Box]:
    """The places with the strongest edges that do not overlap.

    Args:
        picture: RGB.
        width: of each place, in pixels.
        height: of each place, in pixels.
        count: how many; fewer where the picture has no room for more.

    Returns:
        (left, top, right, bottom) per place, from the left to the right.
    """
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    strength = np.zeros_like(grey)
    strength[:, 1:] += np.abs(np.diff(grey, axis=1))
    strength[1:] += np.abs(np.diff(grey, axis=0))
    width, height = min(width, grey.shape[1]), min(height, grey.shape[0])
    columns, rows = grey.shape[1] // width, grey.shape[0] // height
    sums = {
        (x, y): float(strength[y * height : (y + 1) * height, x * width : (x + 1) * width].sum())
        for x in range(columns)
        for y in range(rows)
    }
    best = sorted(sums, key=lambda place: -sums[place])[:count]
    return [(x * width, y * height, (x + 1) * width, (y + 1) * height) for x, y in sorted(best)]


def compose(before: Image.Image, after: Image.Image, captions: Sequence[str]) -> Image.Image:
    """The still.

    Args:
        before: the enlarged source, RGB.
        after: the result, RGB, of the same size.
        captions: the source's, the result's, and a line for the foot.
    """
    panel = (PANEL, round(PANEL * after.height / after.width))
    crop_width = (PANEL - (CROPS - 1) * GAP) // CROPS
    crop_height = crop_width * 3 // 4
    boxes = busiest_places(after, crop_width // CROP_ENLARGED, crop_height // CROP_ENLARGED, CROPS)
    line = 44
    sheet = Image.new("RGB", (2 * PANEL + 3 * GAP, 2 * GAP + 2 * line + panel[1] + GAP + crop_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for side, (picture, caption) in enumerate(((before, captions[0]), (after, captions[1]))):
        left = GAP + side * (PANEL + GAP)
        font = ImageFont.load_default(22)
        while font.getlength(caption) > PANEL:  # its end says most: number, suffix, size
            caption = f"...{caption[4:]}"
        draw.text((left, GAP + 4), caption, font=font, fill=INK)
        sheet.paste(_with_boxes(picture, panel, boxes), (left, GAP + line))
        for number, box in enumerate(boxes):
            crop = picture.crop(box).resize((crop_width, crop_height), Image.Resampling.NEAREST)
            sheet.paste(crop, (left + number * (crop_width + GAP), 2 * GAP + line + panel[1]))
    draw.text((GAP, sheet.height - line + 6), captions[2], font=ImageFont.load_default(18), fill=FAINT)
    return sheet


def _with_boxes(picture: Image.Image, size: tuple[int, int], boxes: Sequence[Box]) -> Image.Image:
    """The whole picture at a size, with the crops marked."""
    small = picture.resize(size, Image.Resampling.BICUBIC)
    factor = size[0] / picture.width
    draw = ImageDraw.Draw(small)
    for box in boxes:
        draw.rectangle([round(edge * factor) for edge in box], outline=(255, 196, 0), width=2)
    return small
