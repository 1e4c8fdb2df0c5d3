"""FrameBatch: decoded frames as they travel between decoder, model and encoder.

Frames stay planar YUV in their own bit depth: half the bytes of RGB, no conversion on the CPU, no lost bits.
`vidsr.media` and `vidsr.model` know of each other's work only what is here, so it imports neither av nor torch.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class PixelLayout:
    """How the planes of one frame are laid out.

    Attributes:
        depth: bits per sample, 8 to 16. 8 is stored as uint8, more as uint16 in the low bits.
        chroma_x: log2 of the horizontal chroma subsampling (1 for 4:2:0 and 4:2:2).
        chroma_y: log2 of the vertical chroma subsampling (1 for 4:2:0).
        grey: whether there is a luma plane only.
    """

    depth: int = 8
    chroma_x: int = 1
    chroma_y: int = 1
    grey: bool = False

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name of this layout, such as ``yuv420p10le``."""
        suffix = "" if self.depth == 8 else f"{self.depth}le"
        if self.grey:
            return f"gray{suffix}"
        subsampling = {
            (1, 1): "420",
            (1, 0): "422",
            (0, 0): "444",
            (0, 1): "440",
            (2, 0): "411",
            (2, 2): "410",
        }
        return f"yuv{subsampling[self.chroma_x, self.chroma_y]}p{suffix}"

    def plane_shapes(self, width: int, height: int) -> list[tuple[int, int]]:
        """The (height, width) of each plane of a frame of width x height; odd sizes round chroma up."""
        luma = (height, width)
        if self.grey:
            return [luma]
        chroma = (-(-height >> self.chroma_y), -(-width >> self.chroma_x))
        return [luma, chroma, chroma]


# Luma weights of red and blue (Kr, Kb) by matrix: ITU-T H.273, table 4.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


@dataclass(frozen=True)
class Colour:
    """What the samples mean, in the code points of ITU-T H.273 (2 is "unspecified") as FFmpeg numbers them.

    Attributes:
        matrix: YUV to RGB matrix (1 BT.709, 5 and 6 BT.601, 9 BT.2020).
        primaries: colour primaries.
        transfer: transfer characteristics (16 PQ, 18 HLG).
        full_range: whether luma uses 0 to 255 (at 8 bits) and not 16 to 235.
        chroma_location: FFmpeg's AVChromaLocation (1 left, 2 centre, 3 top-left); 0 is unspecified, read as left.
        tagged_range: whether the file says its range, or it was assumed.
    """

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    full_range: bool = False
    chroma_location: int = 0
    tagged_range: bool = True

    @property
    def tagged(self) -> bool:
        """Whether the file says any of matrix, primaries and transfer."""
        return (self.matrix, self.primaries, self.transfer) != (2, 2, 2)

    def resolved_matrix(self, height: int) -> int:
        """The matrix to compute with: the tag, or what players assume (BT.709 from 720 lines up, else BT.601)."""
        if self.matrix not in (2, 3):
            return self.matrix
        return 1 if height >= 720 else 6

    def luma_weights(self, height: int) -> tuple[float, float]:
        """(Kr, Kb) to compute with; those of BT.709 for a matrix that has none, such as YCgCo."""
        return LUMA_WEIGHTS.get(self.resolved_matrix(height), LUMA_WEIGHTS[1])


@dataclass(frozen=True)
class FrameBatch:
    """N frames of one size.

    Attributes:
        planes: one array (N, h, w) per plane, Y then U then V, uint8 or uint16.
        layout: depth and subsampling.
        colour: what the samples mean.
        index: the number of each frame in its video's frame table (`VideoInfo.table`), ascending.
        user_data: per frame, its SEI user data messages (uuid and payload) and closed captions, mostly none.
    """

    planes: tuple[Plane, ...]
    layout: PixelLayout
    colour: Colour
    index: tuple[int, ...]
    user_data: tuple[tuple[bytes, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.planes[0])

    @property
    def width(self) -> int:
        """Luma width in pixels."""
        return int(self.planes[0].shape[2])

    @property
    def height(self) -> int:
        """Luma height in pixels."""
        return int(self.planes[0].shape[1])

    def within(self, first: int, stop: int) -> FrameBatch:
        """Those of the frames whose index is first to stop - 1."""
        kept = slice(bisect_left(self.index, first), bisect_left(self.index, stop))
        planes = tuple(plane[kept] for plane in self.planes)
        return replace(self, planes=planes, index=self.index[kept], user_data=self.user_data[kept])

    def with_planes(self, planes: tuple[Plane, ...]) -> FrameBatch:
        """The same frames with other samples (and so, perhaps, another size)."""
        return replace(self, planes=planes)
