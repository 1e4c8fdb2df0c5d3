"""YUV planes to network input and back, on the device, in float32, rounded once at the end.

Nothing here truncates (swscale's RGB round trip darkens luma by 1.3 code values) and nothing is clipped to
video range: blacker than black and whiter than white come back as they went in.
Matrices: ITU-T H.273 table 4. Chroma siting: H.273 figure 8; unspecified is read as left, as decoders do.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidsr.frames import Colour, FrameBatch, PixelLayout, Plane
from vidsr.model.resample import bicubic_upscale, lanczos_resize
from vidsr.model.transfer import download, upload

# A CPU rounds so many values at a time that they stay in its cache.
_CPU_VALUES = 1 << 17
# The values between which networks of luma are trained.
SEEN_BLACK, SEEN_WHITE = 16 / 255, 235 / 255
_LEFT = {0, 1, 3, 5}
_TOP = {3, 4}
_BOTTOM = {5, 6}


def to_tensor(plane: Plane, device: torch.device) -> Tensor:
    """(N, h, w) uint8 or uint16 samples -> (N, 1, h, w) float32 code values on the device."""
    moved = upload(plane, device)
    if moved.dtype == torch.int16:
        return (moved.to(torch.int32) & 0xFFFF).float()[:, None]
    return moved.float()[:, None]


def to_plane(values: Tensor, depth: int, gain: float = 1.0, offset: float = 0.0) -> Plane:
    """(N, 1, h, w) float -> (N, h, w) samples, rounded and limited to the depth; see `download`.

    Args:
        values: code values times `gain` plus `offset`; they are overwritten.
        depth: bits of a sample.
        gain, offset: what to take back.
    """
    flat = values.flatten()
    samples = torch.empty_like(flat, dtype=torch.uint8 if depth == 8 else torch.int16)
    together = _CPU_VALUES if flat.device.type == "cpu" else max(len(flat), 1)
    for part, rounded in zip(torch.split(flat, together), torch.split(samples, together), strict=True):
        codes = part.sub_(offset).div_(gain).round_().clamp_(0, (1 << depth) - 1)
        rounded.copy_(codes if depth == 8 else codes.to(torch.int32))
    plane = download(samples.reshape(len(values), *values.shape[-2:]))
    return plane if plane.dtype == np.uint8 else plane.view(np.uint16)


def seen_luma(highest: float) -> tuple[float, float]:
    """Gain and offset from luma to what a network sees, SEEN_BLACK to SEEN_WHITE, of all codes that a video can hold.

    Whatever range a video is said to have: many cameras write blacks below 16 and whites above 235 and do not say so,
    and a network makes anything of values that it was not trained on.

    Args:
        highest: the luma's highest value, with 0 the lowest; of more than 8 bits, 255 in their unit.
    """
    return (SEEN_WHITE - SEEN_BLACK) / highest, SEEN_BLACK


def luma_range(colour: Colour, depth: int) -> tuple[float, float]:
    """(code of black, codes from black to white)."""
    if colour.full_range:
        return 0.0, float((1 << depth) - 1)
    unit = 1 << (depth - 8)
    return 16.0 * unit, 219.0 * unit


def chroma_range(colour: Colour, depth: int) -> tuple[float, float]:
    """(code of no colour, codes of the range -0.5 to 0.5)."""
    centre = float(1 << (depth - 1))
    return (centre, float((1 << depth) - 1)) if colour.full_range else (centre, 224.0 * (1 << (depth - 8)))


def _site(colour: Colour) -> tuple[float, float]:
    """(vertical, horizontal) place of a chroma sample among its luma samples: 0 first, 0.5 middle, 1 last.

    Along an axis that is not subsampled there is one luma sample, and every place is the same.
    """
    location = colour.chroma_location
    vertical = 0.0 if location in _TOP else 1.0 if location in _BOTTOM else 0.5
    return vertical, 0.0 if location in _LEFT else 0.5


def _off_middle(colour: Colour, layout: PixelLayout) -> tuple[float, float]:
    """(vertical, horizontal) distance of a chroma sample from the middle of its cell, in chroma samples.

    It is the same at every size, so it has to be left out of what is resized.
    """
    vertical, horizontal = _site(colour)
    return (vertical - 0.5) * (1 - 1 / (1 << layout.chroma_y)), (horizontal - 0.5) * (1 - 1 / (1 << layout.chroma_x))


def enlarge_chroma(chroma: Tensor, scale: int, colour: Colour, layout: PixelLayout) -> Tensor:
    """Enlarge a chroma plane (N, 1, h, w) by `scale`, so that its siting to the enlarged luma is as before."""
    vertical, horizontal = _off_middle(colour, layout)
    return bicubic_upscale(chroma, scale, (vertical * (1 - scale), horizontal * (1 - scale)))


def resize_chroma(
    chroma: Tensor, source: tuple[int, int], target: tuple[int, int], colour: Colour, layout: PixelLayout
) -> Tensor:
    """Resize a chroma plane (N, 1, h, w) as its luma is, from `source` to `target` (height, width), siting as before.

    The luma's sizes count: where one is odd, the last chroma sample is of a cell that is not full.
    """
    height, width = layout.plane_shapes(target[1], target[0])[1]
    vertical, horizontal = source[0] / target[0], source[1] / target[1]
    off = _off_middle(colour, layout)
    shift = off[0] * (vertical - 1), off[1] * (horizontal - 1)
    return lanczos_resize(chroma, height, width, (vertical, horizontal), shift)


def _chroma_to_luma_size(chroma: Tensor, height: int, width: int, colour: Colour, layout: PixelLayout) -> Tensor:
    factors = (1 << layout.chroma_y, 1 << layout.chroma_x)
    if factors == (1, 1):
        return chroma
    vertical, horizontal = _site(colour)
    shift = ((0.5 - vertical) * (factors[0] - 1), (0.5 - horizontal) * (factors[1] - 1))
    return bicubic_upscale(chroma, factors, shift)[..., :height, :width]


def _chroma_to_own_size(chroma: Tensor, colour: Colour, layout: PixelLayout) -> Tensor:
    """Average luma-sized chroma (N, C, h, w) down to its subsampled size, at its siting."""
    sites = _site(colour)
    for axis, log2 in enumerate((layout.chroma_y, layout.chroma_x)):
        factor = 1 << log2
        if factor == 1:
            continue
        if axis == 1:
            chroma = chroma.transpose(-1, -2)
        chroma = _decimate(chroma, factor, sites[axis])
        if axis == 1:
            chroma = chroma.transpose(-1, -2)
    return chroma


def _decimate(x: Tensor, factor: int, site: float) -> Tensor:
    """Vertical reduction of (N, C, h, w): box filter for middle siting, tent filter around a sample otherwise."""
    n, c, h, w = x.shape
    padded = -(-h // factor) * factor
    if site == 0.5:
        kernel = x.new_full((factor,), 1 / factor)
        before = 0
    else:
        tent = [factor - abs(k) for k in range(1 - factor, factor)]
        kernel = x.new_tensor(tent) / factor**2
        before = factor - 1 - round(site * (factor - 1))
    after = padded - h + (len(kernel) - factor - before)
    flat = F.pad(x.reshape(n * c, 1, h, w), (0, 0, before, max(after, 0)), mode="replicate")
    out = F.conv2d(flat, kernel.reshape(1, 1, -1, 1), stride=(factor, 1))
    return out[..., : padded // factor, :].reshape(n, c, padded // factor, w)


def batch_to_rgb(batch: FrameBatch, device: torch.device) -> Tensor:
    """The frames as RGB (N, 3, H, W), nominally in [0, 1], with the stream's own matrix, range and siting."""
    black, white = luma_range(batch.colour, batch.layout.depth)
    y = (to_tensor(batch.planes[0], device) - black) / white
    if batch.layout.grey:
        return y.expand(-1, 3, -1, -1)
    centre, span = chroma_range(batch.colour, batch.layout.depth)
    u, v = (
        _chroma_to_luma_size(
            (to_tensor(p, device) - centre) / span, batch.height, batch.width, batch.colour, batch.layout
        )
        for p in batch.planes[1:]
    )
    kr, kb = batch.colour.luma_weights(batch.height)
    r = y + 2 * (1 - kr) * v
    b = y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return torch.cat([r, g, b], dim=1)


def rgb_to_planes(rgb: Tensor, colour: Colour, layout: PixelLayout, source_height: int) -> tuple[Plane, ...]:
    """RGB (N, 3, H, W) -> planes, by the inverse of `batch_to_rgb`.

    `source_height` decides the matrix of untagged video, so that both directions use the same one.
    """
    r, g, b = rgb[:, 0:1], rgb[:, 1:2], rgb[:, 2:3]
    kr, kb = colour.luma_weights(source_height)
    y = kr * r + (1 - kr - kb) * g + kb * b
    black, white = luma_range(colour, layout.depth)
    luma = to_plane(y * white + black, layout.depth)
    if layout.grey:
        return (luma,)
    centre, span = chroma_range(colour, layout.depth)
    uv = torch.cat([(b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))], dim=1)
    codes = _chroma_to_own_size(uv, colour, layout) * span + centre
    return luma, to_plane(codes[:, 0:1], layout.depth), to_plane(codes[:, 1:2], layout.depth)
