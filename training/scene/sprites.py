"""Flat things that face the camera: trees, lamp posts, road signs, number plates."""

from __future__ import annotations

from math import ceil, cos, floor, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.scene.camera import HAZE, Camera, transmittance


class Sprite:
    """A picture with transparency that is `width` x `height` metres large."""

    _MARGIN = 4  # transparent texels around each level, so that edges are filtered

    def __init__(self, image: Image.Image, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._levels: list[Image.Image] = []
        level = image.convert("RGBA")
        while min(level.size) >= 2 and len(self._levels) < 9:
            framed = Image.new("RGBA", (level.width + 2 * self._MARGIN, level.height + 2 * self._MARGIN))
            framed.paste(level, (self._MARGIN, self._MARGIN))
            self._levels.append(framed.convert("RGBa"))  # premultiplied, as filtering needs
            half = (max(1, level.width // 2), max(1, level.height // 2))
            level = level.resize(half, Image.Resampling.BOX)

    def draw(self, canvas: Image.Image, camera: Camera, x: float, y: float, z: float) -> None:
        """Draw it with the middle of its lower edge at (x, y, z), antialiased, at its exact place."""
        left, top = camera.project(x - self.width / 2, y + self.height, z)
        right, bottom = camera.project(x + self.width / 2, y, z)
        area = (
            max(0, floor(left)),
            max(0, floor(top)),
            min(canvas.width, ceil(right)),
            min(canvas.height, ceil(bottom)),
        )
        if area[0] >= area[2] or area[1] >= area[3] or right - left < 0.5:
            return
        shrink = (self._levels[0].width - 2 * self._MARGIN) / (right - left)
        level = self._levels[min(len(self._levels) - 1, max(0, floor(np.log2(max(shrink, 1)))))]
        scale_x = (level.width - 2 * self._MARGIN) / (right - left)
        scale_y = (level.height - 2 * self._MARGIN) / (bottom - top)
        box = (
            max(0.0, self._MARGIN + (area[0] - left) * scale_x),
            max(0.0, self._MARGIN + (area[1] - top) * scale_y),
            min(float(level.width), self._MARGIN + (area[2] - left) * scale_x),
            min(float(level.height), self._MARGIN + (area[3] - top) * scale_y),
        )
        size = (area[2] - area[0], area[3] - area[1])
        piece = level.resize(size, Image.Resampling.BICUBIC, box=box).convert("RGBA")
        canvas.paste(hazed(piece, z), area[:2], piece)


def hazed(image: Image.Image, z: float) -> Image.Image:
    """The colours of an RGBA picture as they look from z metres away."""
    clear = float(transmittance(z))
    levels = np.arange(256)
    curves = [np.rint(levels * clear + haze * (1 - clear)) for haze in HAZE]
    return image.point([int(v) for curve in (*curves, levels) for v in curve])


def tree(rng: np.random.Generator, pixels: int) -> Sprite:
    """A broad-leaved tree, 6.5 m wide and 8.5 m high, with `pixels` columns."""
    width, height = pixels, round(pixels * 8.5 / 6.5)
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    trunk = (70, 56, 44, 255)
    draw.polygon(
        [
            (0.46 * width, height),
            (0.48 * width, height / 2),
            (0.53 * width, height / 2),
            (0.55 * width, height),
        ],
        trunk,
    )
    for _ in range(9):
        end = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.15, 0.5) * height)
        draw.line([(0.505 * width, rng.uniform(0.5, 0.75) * height), end], trunk, max(1, width // 60))
    clumps = [(rng.uniform(0.24, 0.76), rng.uniform(0.16, 0.58), rng.uniform(0.1, 0.2)) for _ in range(22)]
    clumps.sort(key=lambda c: -c[2])
    leaf = max(1.0, width / 150)
    for order in range(14):
        for cx, cy, radius in clumps:
            for _ in range(max(8, int(34 * radius / 0.15))):
                angle, far = rng.uniform(0, 2 * pi), radius * np.sqrt(rng.random())
                x, y = (cx + far * cos(angle)) * width, (cy + 0.8 * far * sin(angle)) * height
                light = 0.55 + 0.35 * order / 14 - 0.5 * (sin(angle) * far / radius) * 0.6 + rng.normal(0, 0.12)
                colour = np.clip(np.array([84, 122, 48]) * light, 8, 235).astype(int)
                size = leaf * rng.uniform(0.7, 1.8)
                draw.ellipse((x - size, y - size * 0.7, x + size, y + size * 0.7), (*map(int, colour), 255))
    return Sprite(image, 6.5, 8.5)


def lamp_post(pixels: int) -> Sprite:
    """A street lamp, 7 m high, whose arm reaches over the road; `pixels` rows."""
    width, height = round(pixels * 2.2 / 7), pixels
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    steel = (78, 84, 88, 255)
    thick = max(1, height // 70)
    draw.rectangle((0.85 * width, 0.08 * height, 0.85 * width + thick, height), steel)
    draw.rectangle((0.83 * width, 0.88 * height, 0.87 * width + thick, height), steel)
    draw.line([(0.86 * width, 0.09 * height), (0.2 * width, 0.05 * height)], steel, max(1, thick * 2 // 3))
    draw.rounded_rectangle((0.05 * width, 0.035 * height, 0.4 * width, 0.06 * height), thick, (188, 192, 196, 255))
    return Sprite(image, 2.2, 7.0)


def road_sign(kind: str, pixels: int) -> Sprite:
    """A sign on a post, 0.9 m wide and 3 m high: "50" and other limits, "!" a warning, else a street's name."""
    width, height = pixels, round(pixels * 3 / 0.9)
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0.47 * width, 0.2 * height, 0.53 * width, height), (140, 144, 148, 255))
    middle, radius = width / 2, 0.36 * width
    if kind == "!":
        corners = [(middle, 0.02 * width), (0.95 * width, 0.86 * width), (0.05 * width, 0.86 * width)]
        draw.polygon(corners, (190, 24, 30, 255))
        inner = [(middle, 0.2 * width), (0.8 * width, 0.77 * width), (0.2 * width, 0.77 * width)]
        draw.polygon(inner, (248, 248, 244, 255))
        font = ImageFont.load_default(size=0.5 * width)
        draw.text((middle, 0.54 * width), "!", (20, 20, 20), font, "mm", stroke_width=width // 60)
    elif kind.isdigit():
        ring = (middle - radius, 0.06 * width, middle + radius, 0.06 * width + 2 * radius)
        draw.ellipse(ring, (198, 22, 30, 255))
        rim = 0.18 * radius
        draw.ellipse((ring[0] + rim, ring[1] + rim, ring[2] - rim, ring[3] - rim), (250, 250, 246, 255))
        font = ImageFont.load_default(size=0.42 * width)
        draw.text((middle, 0.06 * width + radius), kind, (20, 20, 22), font, "mm", stroke_width=width // 80)
    else:
        draw.rectangle((0.0, 0.1 * width, width - 1, 0.42 * width), (24, 62, 140, 255), "white", width // 40)
        font = ImageFont.load_default(size=0.17 * width)
        draw.text((middle, 0.26 * width), kind, "white", font, "mm")
    return Sprite(image, 0.9, 3.0)
