"""Upscaler: the only entry to inference. It owns device, precision, batches, tiles, reuse and memory back-off."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vidsr.errors import NO_GPU, DeviceError, SettingsError, UnsupportedSize
from vidsr.frames import LUMA_WEIGHTS, FrameBatch, Plane
from vidsr.model.backends import Backend, make_backend
from vidsr.model.brightness import keep_brightness
from vidsr.model.colour import (
    SEEN_BLACK,
    SEEN_WHITE,
    batch_to_rgb,
    enlarge_chroma,
    resize_chroma,
    rgb_to_planes,
    seen_luma,
    to_plane,
    to_tensor,
)
from vidsr.model.generator import Generator, fold
from vidsr.model.ranges import choose_ranges
from vidsr.model.registry import find_model
from vidsr.model.resample import bicubic_upscale, lanczos_resize
from vidsr.model.tiles import Grid, Tile, changed_windows, make_grid
from vidsr.model.transfer import Kept, Lanes, download, upload
from vidsr.model.weights import load_interpolated
from vidsr.settings import check_device, check_fidelity

# Sources whose last frames are remembered: segments that take turns. A GPU has as many as the cores beside it encode.
SOURCES, SOURCES_ON_A_GPU = 4, 32
_MORE_MEMORY = "close other programs or use --device cpu"


class Upscaler:
    """Enlarges pictures and frames with one generator on one device.

    Where the input, halo included, is bit-identical to the frame before, nothing is computed again; the result is
    the same as computing it. Threads may share one: on a GPU the copies of one thread's batch then run beside the
    computing of another's.
    """

    def __init__(
        self,
        model: str | Path | Generator = "balanced",
        device: str = "auto",
        scale: int = 2,
        backend: str = "auto",
        threads: int | None = None,
        fidelity: float = 1.0,
    ) -> None:
        """Load a model.

        Args:
            model: a bundled name, a weights file or a generator, which stays as it is.
            device: auto, cpu, cuda or cuda:N.
            scale: which of a bundled name's scales; a generator brings its own.
            backend: auto, torch or openvino; only auto takes int8.
            threads: CPU threads; default: what torch would take.
            fidelity: 1 for the model's own weights, towards 0 for those of its adversarial partner.

        Raises:
            ModelError: the model cannot be had or read.
            DeviceError: the device is not there.
            SettingsError: the device has no such name, or the fidelity is not from 0 to 1.
        """
        check_fidelity(fidelity)
        if threads:
            torch.set_num_threads(threads)
        self.device = find_device(device)
        ranges = None
        if isinstance(model, Generator):
            generator = copy.deepcopy(model)  # folding and half precision would change the caller's
        else:
            found = find_model(str(model), scale)
            generator = load_interpolated(found.path, fidelity)
            ranges = choose_ranges(found.ranges, backend, fidelity)
        self.config = generator.config
        self.scale = self.config.scale
        self._generator = fold(generator).requires_grad_(False)
        self._backend: Backend = make_backend(self._generator, self.device, backend, ranges)
        if threads and self._backend.streams > 1:
            torch.set_num_threads(1)  # what is left to torch is little, and its threads wait for each other spinning
        self._batch_pixels = self._backend.batch_pixels
        self._tile_pixels = self._backend.tile_pixels
        self._largest_window = 0
        self._most_frames = sys.maxsize
        self._last: OrderedDict[Hashable, tuple[Kept, Kept]] = OrderedDict()  # a frame, and the same enlarged
        self._sources = SOURCES_ON_A_GPU if self.device.type == "cuda" else SOURCES
        self._lanes = Lanes(self.device)

    @property
    def works(self) -> bool:
        """Whether the device answers: after some errors of a GPU no call of this process reaches it."""
        try:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        except RuntimeError:
            return False
        return True

    @property
    def backend(self) -> str:
        """What computes, and in which precision."""
        return self._backend.name

    @overload
    def upscale(
        self, picture: FrameBatch, size: tuple[int, int] | None = None, source: Hashable = None
    ) -> FrameBatch: ...
    @overload
    def upscale(
        self, picture: Image.Image, size: tuple[int, int] | None = None, source: Hashable = None
    ) -> Image.Image: ...
    @overload
    def upscale(
        self, picture: NDArray[np.uint8], size: tuple[int, int] | None = None, source: Hashable = None
    ) -> NDArray[np.uint8]: ...

    def upscale(
        self,
        picture: FrameBatch | Image.Image | NDArray[np.uint8],
        size: tuple[int, int] | None = None,
        source: Hashable = None,
    ) -> FrameBatch | Image.Image | NDArray[np.uint8]:
        """Enlarge by the model's scale.

        Args:
            picture: a FrameBatch, a PIL image of 8 bits (any mode; alpha, EXIF and profile are kept), or RGB uint8
                (H, W, 3) or (N, H, W, 3).
            size: exact (width, height) of the result, reached from the enlarged picture by Lanczos.
            source: what the frames belong to, where batches of several videos take turns; the first frame is
                compared with the last one of the same source.

        Returns:
            The same kind as was given.

        Raises:
            SettingsError: the picture is of another type, empty or has more than 8 bits, or the size is none.
            UnsupportedSize: it is less than 2x2.
            DeviceError: the GPU's memory does not hold one frame.
        """
        if size and min(size) < 1:
            raise SettingsError(f"no picture has the size {size[0]}x{size[1]}; give at least 1x1")
        if isinstance(picture, Image.Image):
            return self._upscale_image(picture, size, source)
        if isinstance(picture, FrameBatch):
            batch = picture
            return batch.with_planes(self._in_parts(len(batch), lambda part: self._planes(batch, part, size, source)))
        is_array = isinstance(picture, np.ndarray)  # which not all callers have checked
        is_rgb = is_array and picture.dtype == np.uint8 and picture.ndim in (3, 4) and picture.shape[-1] == 3
        if not is_rgb or picture.size == 0:
            given = f"{picture.dtype} {picture.shape}" if is_array else type(picture).__name__
            raise SettingsError(f"cannot upscale {given}; give uint8 RGB (H, W, 3) or (N, H, W, 3)")
        frames = picture if picture.ndim == 4 else picture[None]
        (result,) = self._in_parts(len(frames), lambda part: (self._rgb(frames[part], size, source),))
        return result if picture.ndim == 4 else result[0]

    def _in_parts(self, frames: int, upscale: Callable[[slice], tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
        """What `upscale` gives for so many frames, computed together as far as memory reaches.

        Where it runs out, half as many frames go together, which is remembered for the batches to come.

        Raises:
            DeviceError: there is too little for one.
        """
        parts: list[tuple[NDArray[Any], ...]] = []
        at = 0
        with torch.inference_mode(), self._lanes.turn():
            while at < frames:
                stop = min(at + self._most_frames, frames)
                reducible = stop - at > 1 or len(self._last) > 0  # what is remembered takes room, too
                done = self._tried(upscale, slice(at, stop))
                if done is not None:
                    parts.append(done)
                    at = stop
                elif reducible:
                    self._most_frames = max((stop - at) // 2, 1)
                else:
                    raise DeviceError(f"the GPU has too little free memory for one enlarged frame; {_MORE_MEMORY}")
        # Only now everything has arrived from the device.
        return parts[0] if len(parts) == 1 else tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _tried(
        self, upscale: Callable[[slice], tuple[NDArray[Any], ...]], part: slice
    ) -> tuple[NDArray[Any], ...] | None:
        """What `upscale` gives for some frames; None where memory ran out, and then no frame before is remembered.

        The error is left behind here: while it is handled, it holds the memory of what failed.
        """
        try:
            return upscale(part)
        except torch.cuda.OutOfMemoryError:
            self._last.clear()
        torch.cuda.empty_cache()
        return None

    def _planes(
        self, batch: FrameBatch, part: slice, size: tuple[int, int] | None, source: Hashable
    ) -> tuple[Plane, ...]:
        """Planes of some of a batch's frames, enlarged."""
        layout, colour = batch.layout, batch.colour
        batch = batch.with_planes(tuple(plane[part] for plane in batch.planes))
        if self.config.colour == "rgb":
            rgb = _resized(self._enlarge(batch_to_rgb(batch, self.device), source), size)
            return rgb_to_planes(rgb, colour, layout, batch.height)
        gain, offset = seen_luma(255 << (layout.depth - 8))
        luma = self._enlarge(to_tensor(batch.planes[0], self.device).mul_(gain).add_(offset), source)
        planes: list[Plane] = [to_plane(_resized(luma, size), layout.depth, gain, offset)]
        height, width = batch.height * self.scale, batch.width * self.scale
        for plane, (h, w) in zip(batch.planes[1:], layout.plane_shapes(width, height)[1:], strict=True):
            chroma = enlarge_chroma(to_tensor(plane, self.device), self.scale, colour, layout)
            if size:
                chroma = resize_chroma(chroma, (height, width), (size[1], size[0]), colour, layout)
            else:
                chroma = chroma[..., :h, :w]
            planes.append(to_plane(chroma, layout.depth))
        return tuple(planes)

    def _rgb(self, frames: NDArray[np.uint8], size: tuple[int, int] | None, source: Hashable) -> NDArray[np.uint8]:
        """RGB frames (N, H, W, 3), enlarged."""
        rgb = upload(frames, self.device).permute(0, 3, 1, 2).float() / 255
        if self.config.colour == "rgb":
            large = self._enlarge(rgb, source)
        else:
            kr, kb = LUMA_WEIGHTS[6]  # BT.601, as pictures have it (JFIF)
            luma = (rgb * rgb.new_tensor((kr, 1 - kr - kb, kb)).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
            chroma = bicubic_upscale(rgb - luma, self.scale)
            gain, offset = seen_luma(1)
            large = self._enlarge(luma.mul_(gain).add_(offset), source).sub_(offset).div_(gain) + chroma
        codes = (_resized(large, size) * 255).round_().clamp_(0, 255).to(torch.uint8)
        result: NDArray[np.uint8] = download(codes.permute(0, 2, 3, 1))
        return result

    def _upscale_image(self, image: Image.Image, size: tuple[int, int] | None, source: Hashable) -> Image.Image:
        if image.mode.startswith(("I", "F")):
            raise SettingsError(f"cannot upscale a picture of mode {image.mode}; reduce it to 8 bits (L or RGB) first")
        target = size or (image.width * self.scale, image.height * self.scale)
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        rgb = np.asarray(image.convert("RGB"))
        if alpha is not None:
            rgb = _bled(rgb, np.asarray(alpha))
        large = Image.fromarray(self.upscale(rgb, size, source))
        # Without them a photograph would lie on its side, and have other colours; a profile of inks would not fit RGB.
        told = ("exif",) if image.mode in ("CMYK", "LAB") else ("exif", "icc_profile")
        large.info.update({key: image.info[key] for key in told if key in image.info})
        if alpha is not None:
            large.putalpha(alpha.resize(target, Image.Resampling.BICUBIC))
        if image.mode in ("L", "LA", "1"):
            return large.convert("L" if alpha is None else "LA")
        return large

    def _enlarge(self, x: Tensor, source: Hashable) -> Tensor:
        """(N, planes, H, W) float -> (N, planes, H * scale, W * scale), computing only what changed."""
        n, _, h, w = x.shape
        if min(h, w) < 2:
            raise UnsupportedSize(f"a picture of {w}x{h} is too small to enlarge; at least 2x2 is needed")
        kept = self._last.pop(source, None)
        # Taken before the network computes: who is next compares with it meanwhile, which waits for the comparison.
        given = Kept(x[-1].clone())
        before = kept[0].take() if kept else None
        if before is not None and before.shape != x[0].shape:
            before = None
        changes = [self._changes(x[k], x[k - 1] if k else before) for k in range(n)]
        last = kept[1].take() if kept and changes[0] is not None else None
        while (out := self._computed(x, changes, last)) is None:
            self._shrink_tiles()
            changes = [None] * n
        self._last[source] = given, Kept(out[-1].clone())
        if len(self._last) > self._sources:
            self._last.popitem(last=False)
        # Only now: what is kept for the next frame is what the network made.
        keep_brightness(x, out, *((0.0, 1.0) if self.config.colour == "rgb" else (SEEN_BLACK, SEEN_WHITE)))
        return out

    def _computed(self, x: Tensor, changes: list[list[Grid] | None], last: Tensor | None) -> Tensor | None:
        """The enlarged frames, given what changed in each and the frame before, enlarged.

        None is for too little memory for the tiles of one frame; fewer frames, and those remembered, come before it.
        """
        n, planes, h, w = x.shape
        whole = [k for k, windows in enumerate(changes) if windows is None]
        untiled = len(whole) == n and self._go_untiled(x)
        out = None if untiled else x.new_empty((n, planes, h * self.scale, w * self.scale))
        try:
            if out is None:
                self._largest_window = h * w
                return self._compute(x)
            self._enlarge_whole(x, out, whole)
            for k, windows in enumerate(changes):
                if windows is not None:
                    out[k] = out[k - 1] if k else last  # type: ignore[assignment]  # there are changes to it
                    for window in windows:
                        self._enlarge_windows(x, out, window, [(k, window.tiles[0])])
        except torch.cuda.OutOfMemoryError:
            if len(x) > 1 or self._last:
                raise
            return None
        return out

    def _changes(self, now: Tensor, before: Tensor | None) -> list[Grid] | None:
        """What to compute of a frame (planes, H, W) that follows another; None is the whole frame."""
        if before is None:
            return None
        changed = (now != before).any(0)
        pixels = changed.shape[0] * changed.shape[1]
        if int(changed.any(1).sum()) > changed.shape[0] // 2:
            return None
        windows = changed_windows(changed.cpu().numpy(), self.config.halo)
        areas = [window.window for window in windows]
        return windows if sum(areas) <= pixels // 2 and max(areas, default=0) <= self._tile_pixels else None

    def _grid(self, x: Tensor, frames: int) -> Grid:
        """Tiles for so many whole frames, small enough that no stream of the backend is idle."""
        height, width = x.shape[-2:]
        share = height * width * frames * 5 // (4 * self._backend.streams)  # a quarter more, for halos
        return make_grid(height, width, self.config.halo, min(self._tile_pixels, share))

    def _go_untiled(self, x: Tensor) -> bool:
        """Whether all frames go into one call of the backend as they are: then nothing has to be put together."""
        grid = self._grid(x, len(x))
        return len(grid.tiles) == 1 and grid.window * len(x) <= self._batch_pixels

    def _enlarge_whole(self, x: Tensor, out: Tensor, frames: list[int]) -> None:
        """Compute some frames in tiles."""
        if not frames:
            return
        grid = self._grid(x, len(frames))
        jobs = [(k, tile) for k in frames for tile in grid.tiles]
        size = max(self._batch_pixels // grid.window, 1)
        self._largest_window = grid.window
        for at in range(0, len(jobs), size):
            self._enlarge_windows(x, out, grid, jobs[at : at + size])

    def _enlarge_windows(self, x: Tensor, out: Tensor, grid: Grid, jobs: list[tuple[int, Tile]]) -> None:
        """Compute windows of equal size, given as (frame, tile), in one call of the backend."""
        windows = torch.stack([x[k, :, t.top : t.top + grid.height, t.left : t.left + grid.width] for k, t in jobs])
        for (k, tile), large in zip(jobs, self._compute(windows), strict=True):
            top, bottom, left, right = (edge * self.scale for edge in tile.keep)
            y, z = tile.top * self.scale, tile.left * self.scale
            out[k, :, top:bottom, left:right] = large[:, top - y : bottom - y, left - z : right - z]

    def _compute(self, windows: Tensor) -> Tensor:
        large = self._generator.skip(windows, onto=self._backend.residual(windows))
        assert large is not None
        return large

    def _shrink_tiles(self) -> None:
        """After running out of memory: fewer tiles together, then smaller ones; remembered for the frames to come."""
        torch.cuda.empty_cache()
        window = self._largest_window
        if self._batch_pixels > window:
            self._batch_pixels = max(window, self._batch_pixels // 2)
        elif window > 64 * 64:
            self._tile_pixels = self._batch_pixels = window // 2
        else:
            raise DeviceError(f"the GPU has too little free memory even for 64x64 tiles; {_MORE_MEMORY}")


def _bled(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) where each pixel that is wholly transparent has the colour of the nearest that is not.

    What such pixels hide, black as a rule, would be mixed into the borders of what is seen.
    """
    seen = alpha > 0
    if seen.all() or not seen.any():
        return rgb
    import cv2  # machines that only train have none

    hidden = (~seen).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.empty((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[seen]] = rgb[seen]
    bled: NDArray[np.uint8] = colours[nearest]
    return bled


def _resized(x: Tensor, size: tuple[int, int] | None) -> Tensor:
    return lanczos_resize(x, size[1], size[0]) if size else x


def find_device(name: str) -> torch.device:
    """The device for `--device`; auto is a CUDA GPU where there is one.

    Raises:
        DeviceError: asked for a GPU that is not there.
        SettingsError: not a device.
    """
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(NO_GPU)
        if number and int(number) >= torch.cuda.device_count():
            raise DeviceError(f"there is no {name}; this machine has {torch.cuda.device_count()} GPU(s)")
    return torch.device(name)
