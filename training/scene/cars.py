"""Cars: a side profile drawn across the car's width, painted as polygons with supersampling."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, cos, floor, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from training.scene.camera import Camera
from training.scene.lettering import PLATE_SIZE, TextBox, plate
from training.scene.sprites import Sprite, hazed

Point = tuple[float, float, float]
Colour = tuple[int, int, int]

LENGTH, HALF_WIDTH, ROOF_HALF_WIDTH, BELT, ROOF = 4.4, 0.89, 0.62, 0.95, 1.48
# (metres from the rear, metres up, what the piece from here to the next point is)
_PROFILE = (
    (0.02, 0.28, "bumper"),
    (0.0, 0.55, "panel"),
    (0.08, BELT, "glass"),
    (0.62, 1.40, "roof"),
    (1.2, ROOF, "roof"),
    (2.3, 1.46, "glass"),
    (3.2, BELT, "paint"),
    (4.22, 0.76, "nose"),
    (LENGTH, 0.50, "bumper"),
    (LENGTH - 0.04, 0.26, "under"),
)
_GLASS, _RUBBER, _CHROME = (38, 46, 54), (20, 20, 22), (176, 180, 184)
_PLATE_HEIGHT = 0.60  # metres, the lower edge


@dataclass(frozen=True)
class Car:
    """A car whose end nearest to the camera is at (x, z); `oncoming` cars show their front."""

    x: float
    z: float
    colour: Colour
    oncoming: bool
    plate_text: str

    def draw(self, canvas: Image.Image, camera: Camera) -> TextBox | None:
        """Paint it; the plate's text and place, or None where the plate is not on the picture."""
        if self.z < 1.2:
            return None
        _Painter(canvas, camera, self).paint()
        image, cells = plate(self.plate_text)
        bottom = _PLATE_HEIGHT if not self.oncoming else 0.36
        depth = self.z - 0.03
        Sprite(image, *PLATE_SIZE).draw(canvas, camera, self.x, bottom, depth)
        left, top = camera.project(self.x - PLATE_SIZE[0] / 2, bottom + PLATE_SIZE[1], depth)
        right, low = camera.project(self.x + PLATE_SIZE[0] / 2, bottom, depth)
        if left < 0 or top < 0 or right > canvas.width or low > canvas.height:
            return None
        wide, tall = right - left, low - top
        boxes = tuple((left + a * wide, top + b * tall, left + c * wide, top + d * tall) for a, b, c, d in cells)
        return TextBox("plate", self.plate_text.replace(" ", ""), (left, top, right, low), boxes)


class _Painter:
    """Paints one car on a supersampled patch of the canvas."""

    def __init__(self, canvas: Image.Image, camera: Camera, car: Car) -> None:
        self._canvas, self._camera, self._car = canvas, camera, car
        left, top = camera.project(car.x - HALF_WIDTH - 0.15, ROOF + 0.1, car.z)
        right, bottom = camera.project(car.x + HALF_WIDTH + 0.15, -0.12, car.z)
        far = (camera.project(car.x + s * (HALF_WIDTH + 0.15), 0, car.z + LENGTH + 0.3)[0] for s in (-1, 1))
        columns = [left, right, *far]
        self._area = (
            max(0, floor(min(columns))),
            max(0, floor(top)),
            min(canvas.width, ceil(max(columns))),
            min(canvas.height, ceil(bottom) + 2),
        )
        size = max(1, self._area[2] - self._area[0]), max(1, self._area[3] - self._area[1])
        self._finer = 4 if max(size) < 500 else 3
        self._patch = Image.new("RGBA", (size[0] * self._finer, size[1] * self._finer))
        self._draw = ImageDraw.Draw(self._patch)

    def paint(self) -> None:
        """The shadow, the wheels, the body from far to near, its side, its details."""
        if self._area[0] >= self._area[2] or self._area[1] >= self._area[3]:
            return
        self._shadow()
        profile = self._turned_profile()
        side = -np.sign(self._car.x) if abs(self._car.x) > HALF_WIDTH else 0.0
        self._wheels(side)
        for first, second, kind in reversed(profile):
            self._piece(first, second, kind)
        if side:
            self._side(profile, float(side))
        self._lights()
        reduced = self._patch.reduce(self._finer)
        self._canvas.paste(hazed(reduced, self._car.z), self._area[:2], reduced)

    def _turned_profile(self) -> list[tuple[tuple[float, float], tuple[float, float], str]]:
        """The profile's pieces from the end that is near to the camera, as (z, y) pairs."""
        points = [((z, y), kind) for z, y, kind in _PROFILE]
        pieces = [(a[0], b[0], a[1]) for a, b in pairwise(points)]
        if not self._car.oncoming:
            return pieces
        return [((LENGTH - b[0], b[1]), (LENGTH - a[0], a[1]), kind) for a, b, kind in reversed(pieces)]

    def _half_width(self, y: float) -> float:
        above = np.clip((y - BELT) / (ROOF - BELT), 0, 1)
        return float(HALF_WIDTH + (ROOF_HALF_WIDTH - HALF_WIDTH) * above)

    def _on_patch(self, point: Point) -> tuple[float, float]:
        column, row = self._camera.project(point[0], point[1], max(0.4, point[2]))
        return (column - self._area[0]) * self._finer, (row - self._area[1]) * self._finer

    def _polygon(self, points: list[Point], fill: Colour, alpha: int = 255) -> None:
        self._draw.polygon([self._on_patch(p) for p in points], (*fill, alpha))

    def _face(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, depth: float = 0.0) -> None:
        """A rectangle on the near end of the car, in metres from its middle and from the road."""
        z = self._car.z + depth
        left, right = self._car.x + x0, self._car.x + x1
        self._polygon([(left, y0, z), (right, y0, z), (right, y1, z), (left, y1, z)], fill)

    def _shadow(self) -> None:
        x, z = self._car.x, self._car.z
        for grow, alpha in ((0.2, 30), (0.15, 60), (0.1, 95), (0.05, 135), (0.0, 180), (-0.06, 215)):
            half = HALF_WIDTH + grow
            ring = [(x - half, 0.0, z - grow), (x + half, 0.0, z - grow)]
            ring += [(x + half, 0.0, z + LENGTH + grow), (x - half, 0.0, z + LENGTH + grow)]
            self._polygon(ring, (14, 15, 18), alpha)

    def _wheels(self, side: float) -> None:
        x, z = self._car.x, self._car.z
        for s in (-1, 1):
            inner, outer = sorted((s * (HALF_WIDTH - 0.24), s * (HALF_WIDTH - 0.03)))
            self._face(inner, 0.0, outer, 0.42, _RUBBER, depth=0.45)
        self._face(-HALF_WIDTH + 0.2, 0.2, HALF_WIDTH - 0.2, 0.4, (24, 25, 28), depth=0.5)
        if side:
            self._disc(x + side * HALF_WIDTH, z + 0.8, 0.32, _RUBBER)
            self._disc(x + side * HALF_WIDTH, z + 3.5, 0.32, _RUBBER)

    def _disc(self, x: float, z: float, radius: float, fill: Colour) -> None:
        turn = [2 * pi * k / 28 for k in range(28)]
        self._polygon([(x, 0.32 + radius * sin(a), z + radius * cos(a)) for a in turn], fill)

    def _piece(self, first: tuple[float, float], second: tuple[float, float], kind: str) -> None:
        """One piece of the profile across the car, if it faces the camera."""
        x, z = self._car.x, self._car.z
        a, b = self._half_width(first[1]), self._half_width(second[1])
        ring = [(x - a, first[1], z + first[0]), (x + a, first[1], z + first[0])]
        ring += [(x + b, second[1], z + second[0]), (x - b, second[1], z + second[0])]
        if self._on_patch(ring[0])[1] <= self._on_patch(ring[3])[1]:
            return  # seen from below or behind
        self._polygon(ring, self._shade(kind, first, second))
        if kind == "glass":
            self._glass(first, second)

    def _shade(self, kind: str, first: tuple[float, float], second: tuple[float, float]) -> Colour:
        colour = {"glass": self._scaled(0.7), "bumper": (46, 48, 52), "under": (22, 22, 24)}.get(kind)
        steep = abs(second[1] - first[1]) / (abs(second[0] - first[0]) + abs(second[1] - first[1]))
        return colour or self._scaled(1.18 - 0.36 * steep)

    def _scaled(self, light: float) -> Colour:
        red, green, blue = (min(255, int(c * light + 12 * light)) for c in self._car.colour)
        return red, green, blue

    def _glass(self, first: tuple[float, float], second: tuple[float, float]) -> None:
        """The pane inside its frame, darker below, with the sky in its upper part."""
        x, z = self._car.x, self._car.z
        steps = 12
        for k in range(steps):
            low, high = 0.06 + 0.86 * k / steps, 0.06 + 0.86 * (k + 1) / steps
            corners = []
            for part, order in ((low, (-1, 1)), (high, (1, -1))):
                y = first[1] + part * (second[1] - first[1])
                depth = z + first[0] + part * (second[0] - first[0])
                half = self._half_width(y) - 0.09
                corners += [(x + s * half, y, depth) for s in order]
            light = 0.75 + 1.5 * max(0.0, k / steps - 0.35)
            self._polygon(corners, (int(_GLASS[0] * light), int(_GLASS[1] * light), int(_GLASS[2] * light * 1.05)))

    def _side(self, profile: list[tuple[tuple[float, float], tuple[float, float], str]], side: float) -> None:
        x, z = self._car.x, self._car.z
        outline = [profile[0][0], *(piece[1] for piece in profile)]
        lower = [(x + side * HALF_WIDTH, min(y, BELT), z + dz) for dz, y in outline]
        self._polygon(lower, self._scaled(0.74))
        cabin = [(x + side * self._half_width(y), y, z + dz) for dz, y in outline if y >= BELT - 1e-6]
        self._polygon(cabin, self._scaled(0.66))
        depths = [dz for dz, y in outline if y >= BELT - 1e-6]
        near, far = min(depths) + 0.35, max(depths) - 0.45
        middle = (near + far) / 2
        for start, stop in ((near, middle - 0.05), (middle + 0.05, far)):
            lean = 0.28
            pane = [(start, BELT + 0.04), (stop, BELT + 0.04)]
            pane += [
                (stop - (lean if stop == far else 0), 1.36),
                (start + (lean if start == near else 0), 1.36),
            ]
            self._polygon([(x + side * self._half_width(y), y, z + dz) for dz, y in pane], (54, 64, 74))
        plane = x + side * HALF_WIDTH
        for handle in (middle - 0.3, middle + 0.75):
            ring = [(plane, 0.80, z + handle), (plane, 0.80, z + handle + 0.18)]
            ring += [(plane, 0.83, z + handle + 0.18), (plane, 0.83, z + handle)]
            self._polygon(ring, _CHROME)
        for wheel in (0.8, 3.5):
            for radius, fill in (
                (0.37, (18, 18, 20)),
                (0.31, _RUBBER),
                (0.2, (150, 154, 158)),
                (0.06, (70, 72, 76)),
            ):
                self._disc(plane, z + wheel, radius, fill)

    def _lights(self) -> None:
        if self._car.oncoming:
            self._face(-0.42, 0.52, 0.42, 0.66, (30, 32, 34))
            self._face(-0.42, 0.575, 0.42, 0.59, _CHROME)
            return
        for s in (-1, 1):
            inner, outer = sorted((s * 0.56, s * 0.86))
            self._face(inner, 0.66, outer, 0.90, (152, 16, 22))
            self._face(inner, 0.73, outer, 0.775, (238, 224, 214))
            self._face(s * 0.8 - 0.06, 0.78, s * 0.8 + 0.06, 0.90, (220, 96, 30))
        self._face(-0.30, 0.57, 0.30, 0.735, self._scaled(0.62))
        self._face(-0.22, 0.755, 0.22, 0.785, _CHROME)
        self._face(-0.86, 0.40, 0.86, 0.43, (70, 73, 78))
        self._face(0.42, 0.29, 0.58, 0.34, (120, 122, 124))
