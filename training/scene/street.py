"""The street: what stands where, and the picture of it after some metres of driving."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sin

import numpy as np
from PIL import Image, ImageDraw

from training.scene.camera import HAZE, Camera, Floats, transmittance
from training.scene.cars import LENGTH, Car
from training.scene.houses import HOUSE_HEIGHT, house_texture
from training.scene.lettering import PLATE_ALPHABET, TextBox
from training.scene.planes import PlaneView
from training.scene.sprites import Sprite, lamp_post, road_sign, tree
from training.scene.textures import (
    GROUND_LEFT,
    HEDGE_HEIGHT,
    HEDGE_RIGHT,
    WALL_LEFT,
    Texture,
    ground_texture,
    ground_tint,
    hedge_texture,
    sky,
)

SHUTTER = 1 / 400  # seconds


@dataclass(frozen=True)
class _Thing:
    """A sprite that stands at (x, z) and comes again every `period` metres."""

    sprite: Sprite
    x: float
    z: float
    period: float


@dataclass(frozen=True)
class _Traffic:
    """A car that is `gap` metres ahead at the start and comes nearer at `closing` metres per second."""

    x: float
    gap: float
    closing: float
    colour: tuple[int, int, int]
    oncoming: bool
    plate_text: str


class _Ground:
    """The road and what lies beside it."""

    def __init__(self, camera: Camera, texture: Texture) -> None:
        top = int(np.ceil(camera.horizon + 0.5))
        rows = np.arange(top, camera.height)
        depth = camera.focal * camera.eye / (rows + 0.5 - camera.horizon)
        pixel = depth / camera.focal
        x = (np.arange(camera.width) + 0.5 - camera.centre)[None, :] * pixel[:, None]
        line = np.repeat(np.arange(len(rows)), camera.width)
        span = depth**2 / (camera.focal * camera.eye)
        self._view = PlaneView(
            texture.samples,
            texture.texel,
            depth,
            span,
            pixel,
            line,
            (x - GROUND_LEFT).ravel().astype(np.float32),
        )
        clear = transmittance(depth)[:, None, None]
        self._tint = ground_tint(x) * clear
        self._haze = np.array(HAZE, np.float32) * (1 - clear)
        self._top, self._shape = top, x.shape

    def draw(self, image: Floats, travelled: float, shutter: float) -> None:
        """Paint it on `image`, (H, W, 3)."""
        light = self._view.render(travelled, shutter).reshape(*self._shape, 1)
        image[self._top :] = light * self._tint + self._haze


class _Wall:
    """A wall along the road at x metres, its texture's first column at `top` metres."""

    def __init__(self, camera: Camera, texture: Texture, x: float, top: float, farthest: float) -> None:
        columns = np.arange(camera.width)
        offset = columns + 0.5 - camera.centre
        columns = columns[(offset * np.sign(x) > 0) & (np.abs(x) * camera.focal / np.abs(offset) < farthest)]
        offset = columns + 0.5 - camera.centre
        depth = x * camera.focal / offset
        rows = np.arange(camera.height)
        y = camera.eye - (rows[:, None] + 0.5 - camera.horizon) * depth[None, :] / camera.focal
        pixel = depth / camera.focal
        row, column = np.nonzero((y > -pixel / 2) & (y < top))
        span = depth**2 / (camera.focal * abs(x))
        across = (top - y[row, column]).astype(np.float32)
        self._view = PlaneView(texture.samples, texture.texel, depth, span, pixel, column, across)
        self._pixels = row * camera.width + columns[column]
        self._clear = transmittance(depth)[column, None]
        self._haze = np.array(HAZE, np.float32) * (1 - self._clear)

    def draw(self, image: Floats, travelled: float, shutter: float) -> None:
        """Paint it on `image`, (H, W, 3)."""
        rgba = self._view.render(travelled, shutter)
        alpha = rgba[:, 3:] * (1 / 255)
        flat = image.reshape(-1, 3)
        behind = flat[self._pixels]
        colour = rgba[:, :3] * self._clear + self._haze * alpha  # the texture is premultiplied
        flat[self._pixels] = colour + behind * (1 - alpha)


class Street:
    """One street with its traffic, the same for the same seed and size."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.camera = camera = Camera(width, height)
        detail = max(1.0, 1280 / width)
        self._sky = sky(rng, width, height, camera.horizon).astype(np.float32)
        self._ground = _Ground(camera, ground_texture(rng, detail))
        self._houses = _Wall(camera, _premultiplied(house_texture(rng, detail)), WALL_LEFT, HOUSE_HEIGHT, 170)
        self._hedge = _Wall(camera, _premultiplied(hedge_texture(rng, detail)), HEDGE_RIGHT, HEDGE_HEIGHT, 110)
        self._things = _furniture(rng, width)
        self._traffic = _traffic(rng, lead_plate=_plate_text(rng))
        self._bonnet = _bonnet(width, height)

    def picture(self, time: float, speed: float) -> tuple[Image.Image, TextBox | None]:
        """The view after `time` seconds at `speed` metres per second, and the lead car's plate in it."""
        travelled = time * speed
        image = self._sky.copy()
        for plane in (self._ground, self._houses):
            plane.draw(image, travelled, speed * SHUTTER)
        canvas = _as_image(image)
        self._draw_behind_hedge(canvas, travelled)
        image = np.array(canvas, dtype=np.float32)
        self._hedge.draw(image, travelled, speed * SHUTTER)
        canvas = _as_image(image)
        cars = [(car, number == 0) for number, car in enumerate(self._cars(time))]
        plate_box = self._draw_near(canvas, travelled, cars)
        canvas.paste(self._bonnet, (0, canvas.height - self._bonnet.height), self._bonnet)
        return canvas, plate_box

    def _cars(self, time: float) -> list[Car]:
        """Where the traffic is; the lead car's gap breathes a little."""
        cars = []
        for number, item in enumerate(self._traffic):
            z = item.gap - item.closing * time
            if number == 0:
                z += 0.9 * sin(2 * pi * time / 7.0)
            elif item.oncoming:
                z = (z - 1.3) % 110 + 1.3 - LENGTH  # another one follows
            sway = 0.06 * sin(0.9 * time + number)
            cars.append(Car(item.x + sway, z, item.colour, item.oncoming, item.plate_text))
        return cars

    def _placed(self, travelled: float) -> list[tuple[float, _Thing]]:
        placed = []
        for thing in self._things:
            first = (thing.z - travelled) % thing.period
            placed += [(z, thing) for z in np.arange(first, 115, thing.period) if z > 2.0]
        return sorted(placed, key=lambda pair: -pair[0])

    def _draw_behind_hedge(self, canvas: Image.Image, travelled: float) -> None:
        for z, thing in self._placed(travelled):
            if thing.x > HEDGE_RIGHT:
                thing.sprite.draw(canvas, self.camera, thing.x, 0.0, z)

    def _draw_near(self, canvas: Image.Image, travelled: float, cars: list[tuple[Car, bool]]) -> TextBox | None:
        """Cars and street furniture, from far to near."""
        order: list[tuple[float, _Thing | Car, bool]] = [(car.z, car, lead) for car, lead in cars]
        order += [(z, thing, False) for z, thing in self._placed(travelled) if thing.x < HEDGE_RIGHT]
        found = None
        for z, item, lead in sorted(order, key=lambda entry: -entry[0]):
            if isinstance(item, Car):
                box = item.draw(canvas, self.camera)
                found = box if lead else found
            else:
                item.sprite.draw(canvas, self.camera, item.x, 0.0, z)
        return found


def _as_image(image: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(image, 0, 255)).astype(np.uint8))


def _premultiplied(texture: Texture) -> Texture:
    samples = texture.samples.astype(np.float32)
    samples[:, :, :3] *= samples[:, :, 3:] / 255
    return Texture(np.rint(samples).astype(np.uint8), texture.texel)


def _plate_text(rng: np.random.Generator) -> str:
    letters = [PLATE_ALPHABET[i] for i in rng.integers(0, 23, 4)]
    digits = "".join(str(i) for i in rng.integers(0, 10, 3))
    return f"{letters[0]}{letters[1]} {letters[2]}{letters[3]}{digits}"


def _furniture(rng: np.random.Generator, width: int) -> list[_Thing]:
    pixels = max(48, min(900, round(width * 0.4)))
    trees = [tree(rng, pixels) for _ in range(3)]
    things = [_Thing(trees[k % 3], 7.5 + 1.6 * (k % 4), 6.0 + 9.0 * k, 63.0) for k in range(7)]
    things += [_Thing(trees[k % 3], 15.0 + 3.0 * (k % 3), 4.0 + 12.6 * k, 63.0) for k in range(5)]
    things.append(_Thing(lamp_post(max(64, min(1400, width))), 2.4, 21.0, 42.0))
    signs = (("50", 2.9, 16.0), ("!", 2.8, 34.0), ("ELM STREET", 2.9, 55.0), ("30", -5.9, 27.0))
    sign_pixels = max(40, min(400, width // 5))
    return things + [_Thing(road_sign(kind, sign_pixels), x, z, 84.0) for kind, x, z in signs]


def _traffic(rng: np.random.Generator, lead_plate: str) -> list[_Traffic]:
    paints = [(168, 24, 30), (198, 202, 206), (28, 62, 118), (232, 232, 228), (52, 56, 60), (120, 128, 96)]
    order = rng.permutation(len(paints))
    ahead = [_Traffic(0.0, 7.2, 0.0, paints[order[0]], False, lead_plate)]
    ahead.append(_Traffic(0.1, 27.0, -0.7, paints[order[1]], False, _plate_text(rng)))
    gaps = (16.0, 41.0, 78.0, 99.0)
    return ahead + [
        _Traffic(-3.5, gap, 21.0, paints[order[2 + k]], True, _plate_text(rng)) for k, gap in enumerate(gaps)
    ]


def _bonnet(width: int, height: int) -> Image.Image:
    """The camera car's own bonnet at the foot of the picture: the same in every frame."""
    finer = 3
    tall = round(height * 0.075)
    patch = Image.new("RGBA", (width * finer, tall * finer))
    draw = ImageDraw.Draw(patch)
    for step in range(24):
        shade = 30 + round(46 * (1 - step / 24) ** 2)
        lift = tall * finer * step / 30
        box = (-0.25 * width * finer, lift, 1.25 * width * finer, lift + 9 * tall * finer)
        draw.ellipse(box, (shade, shade + 4, shade + 10, 255))
    return patch.resize((width, tall), Image.Resampling.BOX)
