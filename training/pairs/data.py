"""Photographs and pairs (small input, large target) in memory as uint8, cropped on the training device.

Two kinds of pairs share one form, `Pairs`: clean ones, each a photograph and its antialiased bicubic reduction, and
coded ones (`pairs.bank`). A luma pair holds 8-bit limited-range Y; crops of it are what the generator sees of such
video, or, as they are, what it sees of video that fills all codes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidsr.errors import DiskTooSmall, InputMissing, InputUnreadable, NoPicture, SettingsError
from vidsr.model.colour import seen_luma

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SMALLEST = 256
# Y of BT.601 (ITU-R BT.601-7, 2.5.1) and of BT.709 (ITU-R BT.709-6, 3.2); still pictures are measured in the first.
LUMA = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}
LIMITED_SHARE = 0.75  # of the crops of luma
Colour = Literal["rgb", "luma"]
Pixels = NDArray[np.uint8]


def find_photos(folder: Path) -> list[Path]:
    """The photographs below a folder, sorted; the segmentation masks of ADE20K's layouts are left out.

    In `ADEChallengeData2016` photographs are below `images/` and masks below `annotations/`; in the full
    `ADE20K_*` tree a photograph `NAME.jpg` has its masks `NAME_seg.png`, `NAME_parts_1.png` and, in a folder `NAME`,
    `instance_*.png` beside it.

    Raises:
        InputMissing: no such folder.
        NoPicture: nothing in it is a photograph.
    """
    if not folder.is_dir():
        raise InputMissing(f"{folder} is not a folder; --data wants a folder of pictures")
    found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    photos = [p for p in found if not _is_mask(p.relative_to(folder))]
    if not photos:
        raise NoPicture(f"{folder} holds no photographs ({len(found)} masks); give a folder with pictures to --data")
    return photos


def validation_part(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Those of a folder's photographs that ADE20K keeps for tests, below `validation`; none where all of them are."""
    found = [p for p in photos if "validation" in p.relative_to(folder).parts[:-1]]
    return found if len(found) < len(photos) else []


def _is_mask(path: Path) -> bool:
    name = path.stem.lower()
    if path.suffix.lower() != ".png":
        return False
    in_masks = any(part.lower().startswith("annotations") for part in path.parts[:-1])
    return in_masks or name.endswith("_seg") or "_parts_" in name or name.startswith("instance_")


def read_picture(path: Path) -> Pixels:
    """One picture as RGB, (H, W, 3) uint8: turned upright, alpha over black, the first picture of an animation,
    16-bit grey scaled to 8 bits.

    Raises:
        InputUnreadable: it cannot be decoded.
    """
    try:
        with Image.open(path) as opened:
            opened.seek(0)
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                grey = np.asarray(image).astype(np.int64)
                image = Image.fromarray((grey >> 8 if grey.max() > 255 else grey).astype(np.uint8))
            if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
                rgba = image.convert("RGBA")
                image = Image.new("RGB", image.size)
                image.paste(rgba, mask=rgba.getchannel("A"))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise InputUnreadable(f"{path} cannot be decoded ({error}); remove it or save it again") from error


def read_photo(path: Path) -> Pixels:
    """As `read_picture`, and reflected out to 256 pixels where it is smaller."""
    pixels = read_picture(path)
    h, w = pixels.shape[:2]
    while min(h, w) < SMALLEST:  # a reflection adds at most the picture's own size less one
        extra = [(0, min(max(SMALLEST - n, 0), max(n - 1, 1))) for n in (h, w)]
        pixels = np.pad(pixels, (*extra, (0, 0)), mode="reflect" if min(h, w) > 1 else "edge")
        h, w = pixels.shape[:2]
    return pixels


def fingerprint(pixels: Pixels) -> int:
    """64 signed bits that tell a photograph from others, whatever its file is called."""
    return int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "little", signed=True)


def centre(pixels: Pixels, side: int) -> Pixels:
    """The middle of a picture (H, W, ...), at most side x side."""
    top, left = (max(length - side, 0) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def read_photos(paths: Iterable[Path]) -> Iterator[tuple[Path, Pixels]]:
    """The pictures that can be read; a broken one is reported and skipped.

    Raises:
        NoPicture: none could be read.
    """
    count = 0
    for path in paths:
        try:
            pixels = read_photo(path)
        except InputUnreadable as error:
            log.warning("skipped: %s", error.message)
            continue
        count += 1
        yield path, pixels
    if not count:
        raise NoPicture("none of the pictures could be read; give other photographs to --data")


def luma(pixels: NDArray[np.generic], matrix: str = "bt601") -> NDArray[np.float64]:
    """Limited-range Y, 16 to 235, not rounded, of (..., 3) RGB in 0 to 255."""
    return np.asarray(16.0 + pixels.astype(np.float64) @ np.asarray(LUMA[matrix]) * (219.0 / 255.0))


def planes(pixels: Pixels, colour: Colour, matrix: str = "bt601") -> Pixels:
    """(H, W, 3) RGB -> the generator's planes, (1 or 3, H, W) uint8."""
    if colour == "luma":
        return np.rint(luma(pixels, matrix)).astype(np.uint8)[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def reduce(pixels: Pixels, scale: int) -> Pixels:
    """(H, W, 3) RGB -> (H / scale, W / scale, 3), antialiased bicubic (a = -0.5), rounded to 8 bits."""
    h, w = pixels.shape[:2]
    image = Image.fromarray(pixels).resize((w // scale, h // scale), Image.Resampling.BICUBIC)
    return np.asarray(image)


def clean_pair(pixels: Pixels, scale: int, colour: Colour) -> tuple[Pixels, Pixels]:
    """(small, large) planes of a photograph whose sides are cut to multiples of the scale.

    The reduction is made of the RGB picture and rounded before the luma is taken, as the test sets are.
    """
    h, w = (n // scale * scale for n in pixels.shape[:2])
    large = np.ascontiguousarray(pixels[:h, :w])
    return planes(reduce(large, scale), colour), planes(large, colour)


@dataclass(frozen=True)
class Pairs:
    """Pictures of any size, one after another in two flat uint8 tensors; crops are gathered by index on the device.

    Attributes:
        scale: large over small.
        low: every small picture's planes, flat.
        high: every large picture's planes, flat.
        table: (pictures, 3) int64: offset into `low`, height and width of the small picture. A large picture's
            offset is scale * scale times that of the small one.
        depth: planes of each picture, 1 or 3.
        photos: (pictures,) int64: `fingerprint` of the photograph that each picture is of; None where it is not kept.
    """

    scale: int
    low: Tensor
    high: Tensor
    table: Tensor
    depth: int
    photos: Tensor | None = None

    @staticmethod
    def of(pictures: Sequence[tuple[Pixels, Pixels]], scale: int, photos: Sequence[int] | None = None) -> Pairs:
        """Gather (small (P, h, w), large (P, h * scale, w * scale)) pairs, and the photographs they are of."""
        rows, offset = [], 0
        for small, large in pictures:
            depth, h, w = small.shape
            if large.shape != (depth, h * scale, w * scale):
                raise ValueError(f"a pair of {small.shape} and {large.shape} is not {scale}x")
            rows.append((offset, h, w))
            offset += small.size
        low = torch.from_numpy(np.concatenate([small.reshape(-1) for small, _ in pictures]))
        high = torch.from_numpy(np.concatenate([large.reshape(-1) for _, large in pictures]))
        kept = None if photos is None else torch.tensor(photos)
        return Pairs(scale, low, high, torch.tensor(rows), pictures[0][0].shape[0], kept)

    def __len__(self) -> int:
        return len(self.table)

    def to(self, device: torch.device) -> Pairs:
        """The same on another device."""
        return replace(self, low=self.low.to(device), high=self.high.to(device))

    def split(self, count: int) -> tuple[Pairs, Pairs]:
        """(what is left, `count` pairs or fewer to validate on), over the same pixels; no photograph is in both.

        The photographs of the last pairs are held out, as many as it takes, but for one; a single one is in both.

        Raises:
            ValueError: the photographs are not kept.
        """
        if self.photos is None:
            raise ValueError("pairs that do not keep their photographs cannot be split by them")
        held = torch.zeros(len(self), dtype=torch.bool)
        for photo in list(dict.fromkeys(self.photos.flip(0).tolist()))[:-1]:
            if int(held.sum()) < count:
                held |= self.photos == photo
        mine = held if held.any() else ~held
        return self._rows((~held).nonzero()[:, 0]), self._rows(mine.nonzero()[-count:, 0])

    def _rows(self, index: Tensor) -> Pairs:
        return replace(self, table=self.table[index], photos=None if self.photos is None else self.photos[index])

    def sample(
        self, count: int, patch: int, random: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> tuple[Tensor, Tensor]:
        """Random crops, each flipped and turned at random.

        Args:
            count: crops, over all parts.
            patch: side of the small crop.
            random: a CPU generator; equal states give equal crops on any device.
            part: (number, parts): every parts-th crop is returned, from that number on.

        Returns:
            (count, P, patch, patch) and (count, P, patch * scale, patch * scale), float32 in [0, 1]; of luma
            LIMITED_SHARE as the network sees video of limited range, the others as it sees that of full range.

        Raises:
            SettingsError: a picture is smaller than the patch.
        """
        if patch > int(self.table[:, 1:].min()):
            raise SettingsError(f"patch is {patch}, but the smallest picture has {int(self.table[:, 1:].min())} pixels")
        mine = slice(part[0], None, part[1])
        which = torch.randint(len(self), (count,), generator=random)[mine]
        place = torch.rand(count, 2, generator=random)[mine]
        turn = torch.randint(8, (count,), generator=random)[mine]
        low = self._gather(self.low, 1, which, place, turn, patch)
        high = self._gather(self.high, self.scale, which, place, turn, patch)
        if self.depth == 1:
            limited = (torch.rand(count, generator=random)[mine] < LIMITED_SHARE).to(low.device)[:, None, None, None]
            gain, offset = seen_luma(1)
            low, high = (torch.where(limited, crops * gain + offset, crops) for crops in (low, high))
        return low, high

    def _gather(self, flat: Tensor, factor: int, which: Tensor, place: Tensor, turn: Tensor, patch: int) -> Tensor:
        offset, h, w = self.table[which].unbind(1)
        corner_y = (place[:, 0] * (h - patch + 1)).long() * factor
        corner_x = (place[:, 1] * (w - patch + 1)).long() * factor
        # Some numbers a crop go to the device; millions of indices are made there.
        offset, h, w, corner_y, corner_x, turn = (
            numbers.to(flat.device, non_blocking=True) for numbers in (offset, h, w, corner_y, corner_x, turn)
        )
        n = patch * factor
        along = torch.arange(n, device=flat.device)
        y = along[None, :, None].expand(len(which), n, n)
        x = along[None, None, :].expand(len(which), n, n)
        swap, flip_y, flip_x = ((turn >> bit & 1).bool()[:, None, None] for bit in range(3))
        y, x = torch.where(swap, x, y), torch.where(swap, y, x)
        y, x = torch.where(flip_y, n - 1 - y, y), torch.where(flip_x, n - 1 - x, x)
        width, height = w * factor, h * factor
        pixel = (corner_y[:, None, None] + y) * width[:, None, None] + corner_x[:, None, None] + x
        plane = (
            torch.arange(self.depth, device=flat.device)[None, :, None, None] * (width * height)[:, None, None, None]
        )
        index = offset[:, None, None, None] * factor * factor + plane + pixel[:, None]
        return flat[index].float() / 255.0

    def picture(self, index: int) -> tuple[Tensor, Tensor]:
        """One whole pair, (1, P, h, w) and (1, P, h * scale, w * scale), float32 in [0, 1]."""
        offset, h, w = (int(v) for v in self.table[index])
        s, size = self.scale, self.depth * h * w
        low = self.low[offset : offset + size].reshape(1, self.depth, h, w)
        high = self.high[offset * s * s : (offset + size) * s * s].reshape(1, self.depth, h * s, w * s)
        return low.float() / 255.0, high.float() / 255.0

    def save(self, path: Path) -> None:
        """Write as one safetensors file, by rename.

        Raises:
            DiskTooSmall: it cannot be written.
        """
        part = path.with_name(path.name + ".part")
        about = {"pairs": json.dumps({"scale": self.scale, "depth": self.depth})}
        try:
            tensors = {"low": self.low, "high": self.high, "table": self.table}
            save_file(tensors if self.photos is None else {**tensors, "photos": self.photos}, part, metadata=about)
            part.replace(path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise DiskTooSmall(f"{path} could not be written ({error}); make room, or give another folder") from error

    @staticmethod
    def load(path: Path) -> Pairs:
        """Read what `save` wrote.

        Raises:
            InputUnreadable: not such a file.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["pairs"])
                low, high, table = (file.get_tensor(name) for name in ("low", "high", "table"))
                photos = file.get_tensor("photos") if "photos" in file.keys() else None  # noqa: SIM118
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise InputUnreadable(f"{path} is no file of pairs; write it with training.bank --bank") from error
        return Pairs(about["scale"], low, high, table, about["depth"], photos)
