"""The fronts of a row of houses with windows, shops and their names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.scene.textures import Texture, fractal_noise

HOUSE_HEIGHT = 10.5  # metres
NAMES = ("BAKERY", "CAFE LUNA", "BOOKS & MAPS", "OPTICIAN", "HOTEL ADLER", "CYCLES", "FLOWERS", "PHARMACY")
_WALLS = ((172, 98, 78), (205, 190, 160), (188, 176, 168), (160, 120, 96), (214, 205, 190))
_Box = Callable[[float, float, float, float, tuple[int, int, int]], None]


def house_texture(rng: np.random.Generator, detail: float) -> Texture:
    """RGBA fronts of a row of houses, 84 m long and HOUSE_HEIGHT high, with gaps; U runs down from the top."""
    texel_v, texel_u = 0.02 * detail, 0.015 * detail
    length, height = round(84 / texel_v), round(HOUSE_HEIGHT / texel_u)
    image = Image.new("RGBA", (length, height))
    v = 0.0
    number = 0
    while v < 80:
        wide = min(float(rng.uniform(8, 13)), 84 - v)
        house = _house(rng, wide, texel_v, texel_u, NAMES[number % len(NAMES)])
        image.paste(house, (round(v / texel_v), height - house.height))
        v += wide + (float(rng.uniform(2, 3.5)) if number % 3 == 2 else 0.0)
        number += 1
    return Texture(np.ascontiguousarray(np.asarray(image).transpose(1, 0, 2)), (texel_v, texel_u))


def _house(rng: np.random.Generator, wide: float, texel_v: float, texel_u: float, name: str) -> Image.Image:
    tall = float(rng.choice([7.2, 8.6, 10.2]))
    width, height = round(wide / texel_v), round(tall / texel_u)
    wall = np.array(rng.choice(_WALLS), np.float32)
    shade = fractal_noise(rng, height, width, max(2, height // 4), 6)[:, :, None] * 9
    rows, columns = np.arange(height)[:, None] * texel_u, np.arange(width)[None, :] * texel_v
    if wall[0] - wall[2] > 50:  # brick
        course = np.floor(rows / 0.09)
        mortar = ((rows % 0.09) < 0.018) | (((columns + (course % 2) * 0.13) % 0.26) < 0.03)
        brick = 16 * np.sin(course * 127.1 + np.floor((columns + (course % 2) * 0.13) / 0.26) * 311.7)
        shade = shade + (brick + 34 * mortar)[:, :, None]
    image = Image.fromarray(np.clip(wall + shade, 0, 255).astype(np.uint8)).convert("RGBA")
    draw = ImageDraw.Draw(image)

    def box(x: float, y: float, w: float, h: float, fill: tuple[int, int, int]) -> None:
        """A rectangle in metres; y is measured up from the pavement to its lower edge."""
        draw.rectangle((x / texel_v, height - (y + h) / texel_u, (x + w) / texel_v, height - y / texel_u), (*fill, 255))

    for floor in range(1, int((tall - 0.6) // 2.9)):
        for i in range(count := int(wide // 2.1)):
            _window(rng, box, (i + 0.5) * wide / count - 0.55, 0.9 + 2.9 * floor)
    box(0, tall - 0.35, wide, 0.35, (92, 84, 80))
    box(0, tall - 0.55, wide, 0.1, (228, 222, 212))
    box(wide - 0.12, 0, 0.12, tall - 0.4, (96, 98, 100))
    _shop(rng, image, box, wide, height, (texel_v, texel_u), name)
    return image


def _window(rng: np.random.Generator, box: _Box, x: float, y: float) -> None:
    glass = int(rng.integers(40, 80))
    box(x - 0.09, y - 0.09, 1.28, 1.68, (226, 222, 214))
    box(x, y, 1.1, 1.5, (glass, glass + 12, glass + 24))
    box(x, y + 0.95, 1.1, 0.55, (glass + 60, glass + 76, glass + 96))  # the sky in the upper panes
    if rng.random() < 0.5:
        box(x, y, 0.22, 1.5, (210, 202, 190))
        box(x + 0.88, y, 0.22, 1.5, (210, 202, 190))
    box(x + 0.52, y, 0.06, 1.5, (232, 230, 224))
    box(x, y + 0.92, 1.1, 0.06, (232, 230, 224))
    box(x - 0.15, y - 0.15, 1.4, 0.08, (150, 144, 138))


def _shop(
    rng: np.random.Generator,
    image: Image.Image,
    box: _Box,
    wide: float,
    height: int,
    texel: tuple[float, float],
    name: str,
) -> None:
    paints = ((28, 60, 96), (120, 32, 36), (30, 84, 58), (62, 54, 70))
    colour = paints[int(rng.integers(len(paints)))]
    box(0, 0, wide, 0.45, (118, 112, 106))
    box(0.5, 2.75, wide - 1, 0.62, colour)
    for i in range(panes := int((wide - 2.6) // 1.8)):
        x = 0.6 + i * (wide - 2.6) / panes
        box(x, 0.55, (wide - 2.6) / panes - 0.12, 2.1, (52, 60, 66))
        for k in range(4):
            tone = [int(c) for c in rng.integers(90, 220, 3)]
            box(x + 0.1 + 0.36 * k, 0.6, 0.24, float(rng.uniform(0.3, 1.2)), (tone[0], tone[1], tone[2]))
        box(x, 2.15, (wide - 2.6) / panes - 0.12, 0.5, (120, 138, 156))
    box(wide - 1.7, 0.05, 1.0, 2.2, (74, 48, 36))
    box(wide - 1.55, 1.2, 0.7, 0.9, (96, 110, 120))
    size = (max(1, round((wide - 1.6) / texel[0])), max(1, round(0.5 / texel[1])))
    font = ImageFont.load_default(size=max(6, round(0.46 / texel[1])))
    sign = Image.new("L", (max(1, round(size[0] * texel[0] / texel[1])), size[1]))
    ImageDraw.Draw(sign).text((sign.width / 2, sign.height / 2), name, 255, font=font, anchor="mm")
    letters = sign.resize(size, Image.Resampling.BICUBIC)
    cream = Image.new("RGBA", size, (246, 238, 214, 255))
    image.paste(cream, (round(0.8 / texel[0]), height - round(3.31 / texel[1])), letters)
