"""Whether a source is coded so finely that weights for clean pictures fit it better than those for coded video.

The rule is its codec and its bits per pixel; docs/training.md has the measurement behind the figures.
"""

from __future__ import annotations

LOSSLESS = frozenset({
    "ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "v210", "v410", "r210", "png", "apng", "bmp",
    "tiff", "targa", "qtrle", "cllc", "lagarith",
})  # fmt: skip
# Bits a pixel from which a source is clean. Codecs that predict from other frames need fewer for the same picture.
CLEAN_FROM = {"h264": 0.7, "hevc": 0.5, "vp9": 0.5, "av1": 0.5, "webp": 2.5}
# Frames that stand alone (JPEG, MJPEG, ProRes, DNxHD, any codec with key frames only), and codecs older than H.264.
OTHERS_CLEAN_FROM = 4.0


def is_clean(codec: str, bits_per_pixel: float, key_frames_only: bool = False) -> bool:
    """Whether clean weights fit a source.

    Args:
        codec: FFmpeg's name of it; pictures have theirs: png, mjpeg for JPEG.
        bits_per_pixel: of the coded pictures alone; a pixel is one of luma.
        key_frames_only: a video none of whose frames is predicted from another.
    """
    needed = OTHERS_CLEAN_FROM if key_frames_only else CLEAN_FROM.get(codec, OTHERS_CLEAN_FROM)
    return codec in LOSSLESS or bits_per_pixel >= needed
