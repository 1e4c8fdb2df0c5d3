"""Whether a source is coded so finely that weights for clean pictures fit it better than those for coded video.

The rule is its codec and its bits per pixel; docs/training.md has the measurement behind the figures.
"""

from __future__ import annotations

LOSSLESS = frozenset({
    "ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "v210", "v410", "r210", "png", "apng", "bmp",
    "tiff", "targa", "qtrle", "cllc", "lagarith",
})  # fmt: skip
# Bits a pixel from which a source is clean. Codecs that predict from other frames and code better need fewer bits for
# the same picture, those of single frames more.
CLEAN_FROM = {
    "h264": 0.75, "hevc": 0.6, "vp9": 0.6, "av1": 0.6,
    "mjpeg": 3.0, "webp": 3.0, "prores": 3.0, "dnxhd": 3.0, "cfhd": 3.0, "jpeg2000": 3.0, "dvvideo": 3.0,
}  # fmt: skip
OTHERS_CLEAN_FROM = 3.0


def is_clean(codec: str, bits_per_pixel: float) -> bool:
    """Whether clean weights fit a source.

    Args:
        codec: FFmpeg's name of it; pictures have theirs: png, mjpeg for JPEG.
        bits_per_pixel: of the coded pictures alone; a pixel is one of luma.
    """
    return codec in LOSSLESS or bits_per_pixel >= CLEAN_FROM.get(codec, OTHERS_CLEAN_FROM)
