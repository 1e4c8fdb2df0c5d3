"""One picture from file to file; what the file tells of it is kept."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from vidsr.clean import is_clean
from vidsr.errors import NotAVideo, OutputUnwritable, SettingsError, UnsupportedSize, first_line
from vidsr.image_metadata import WITH_EXIF, kept_metadata, lost_metadata
from vidsr.model.registry import choose_model
from vidsr.model.upscaler import Upscaler, find_device
from vidsr.paths import check_result, check_source, default_result, refuse_still, write_output
from vidsr.settings import SCALES, UpscaleSettings, reach_height

JPEG_QUALITY = 95
TURNED = 5  # the first of EXIF's orientations that swap width and height
# Codecs of the formats that usually lose something; all others keep every bit.
LOSSY = {"JPEG": "mjpeg", "MPO": "mjpeg", "WEBP": "webp"}  # MPO: a JPEG of a phone, with more pictures behind it
NOT_RGB = ("CMYK", "LAB")
MOST_PIXELS = {"JPEG": 65500, "WEBP": 16383, "ICO": 256}  # of a side
LEAST_PIXELS = 2  # of a side
OF_SOME_SIZES = ("ICNS",)  # Pillow writes squares of sizes of its own
OPAQUE = ("JPEG", "MPO", "BMP", "DIB", "GIF", "PPM")  # what Pillow writes of transparency is lost, or on or off


def upscale_image(
    source: Path, out: Path | None, settings: UpscaleSettings, overwrite: bool, dry_run: bool = False
) -> dict[str, Any]:
    """Enlarge a picture file.

    Args:
        source: a picture that Pillow reads.
        out: the result's name or folder; None is beside the source.
        settings: scale or height, model, device, backend and fidelity are used.
        overwrite: whether a result that is there may be replaced.
        dry_run: check and choose everything, compute and write nothing.

    Returns:
        The report that `--json` prints.

    Raises:
        VidsrError: of the class of whatever is wrong.
    """
    started = time.monotonic()
    check_source(source)
    result = default_result(source, out, settings)
    kind = Image.registered_extensions().get(result.suffix.lower())
    if kind not in Image.SAVE or kind in OF_SOME_SIZES:
        raise OutputUnwritable(f"{result}: no pictures are written as {result.suffix}; choose another suffix with -o")
    check_result(source, result, overwrite, make=not dry_run)
    image = _open(source)
    if image.has_transparency_data and kind in OPAQUE:
        raise SettingsError(f"{source} has transparency, which {kind} cannot keep; use -o NAME.png")
    if image.getexif().get(Base.Orientation) in range(2, 9) and kind not in WITH_EXIF:
        raise SettingsError(f"{source} is shown turned, which {kind} cannot say; use -o NAME.png")
    if min(image.size) < LEAST_PIXELS:
        raise UnsupportedSize(f"{source} is {image.width}x{image.height}; at least 2x2 pixels are needed")
    scale, size = _size(image, source, settings)
    gpu = find_device(settings.device).type == "cuda"
    lossless_webp = image.format == "WEBP" and _is_lossless_webp(source)
    pixels = image.width * image.height
    model = choose_model(settings, scale, gpu, pixels, lambda: _is_clean(image, source, lossless_webp))
    width, height = size or (image.width * scale, image.height * scale)
    if max(width, height) > (most := MOST_PIXELS.get(kind, max(width, height))):
        raise UnsupportedSize(
            f"{result}: {kind} has at most {most} pixels a side, not {width}x{height}; use -o NAME.png"
        )
    report: dict[str, Any] = {
        "source": str(source), "result": str(result), "width": width, "height": height,
        "model": {"name": model.name, "sha256": model.sha256}, "notes": _notes(image, kind),
    }  # fmt: skip
    if dry_run:
        return report
    upscaler = Upscaler(model.path, settings.device, scale, settings.backend, fidelity=settings.fidelity)
    shown = _in_srgb(image) if image.mode in NOT_RGB else image
    large = upscaler.upscale(shown, size)
    content = BytesIO()
    try:
        how = {"lossless": lossless_webp, "quality": JPEG_QUALITY, "subsampling": _chroma_sampling(image, kind)}
        sizes = [large.size]  # of an ICO, for which Pillow would take some of its own
        large.save(content, kind, sizes=sizes, **how, **kept_metadata(image, shown, kind, large.size))
    except (OSError, ValueError) as error:
        raise OutputUnwritable(f"{result} cannot be written ({error}); choose another suffix with -o") from error
    write_output(result, content.getvalue())
    return {**report, "seconds": round(time.monotonic() - started, 3)}


def _notes(image: Image.Image, kind: str) -> list[str]:
    """What the result has not of its source, or has otherwise."""
    notes = lost_metadata(image, kind)
    if (pictures := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"it holds {pictures} pictures; the first is enlarged, and the others (previews, depth) left out")
    if (sizes := len(image.info.get("sizes", ()))) > 1:
        notes.append(f"it is an icon of {sizes} sizes; the largest is enlarged, and the others left out")
    if image.mode in NOT_RGB:
        notes.append(f"{image.mode} is converted to sRGB")
    elif kind not in WITH_EXIF and "icc_profile" in image.info:
        notes.append(f"{kind} has no place for its colour profile")
    return notes


def _in_srgb(image: Image.Image) -> Image.Image:
    """A picture in sRGB, by its colour profile if it has one that can be used; its own would not fit RGB."""
    try:
        profile = BytesIO(image.info["icc_profile"])
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (KeyError, ImageCms.PyCMSError):
        plain = image.convert("RGB")
        plain.info.pop("icc_profile", None)
        return plain


def _chroma_sampling(image: Image.Image, kind: str) -> int | str:
    """How a JPEG is to hold colour, as Pillow counts: like its source, so that fine colour is not averaged away."""
    if kind == "AVIF":  # for which Pillow has names
        return "4:4:4"
    return get_sampling(image) if isinstance(image, JpegImageFile) else 0


def _open(source: Path) -> Image.Image:
    refuse_still(source)
    try:
        image = Image.open(source)
        image.load()
        image.getexif()
        pictures = getattr(image, "n_frames", 1)
    except (UnidentifiedImageError, OSError, SyntaxError, TypeError, ValueError, LookupError, struct.error) as error:
        unknown = isinstance(error, UnidentifiedImageError)  # whose message is of the name alone
        why = "of no known format" if unknown else first_line(error)
        raise NotAVideo(f"{source} is not a picture that can be read ({why}); copy it again") from error
    except Image.DecompressionBombError as error:
        raise UnsupportedSize(f"{source} has too many pixels for one picture; cut it up first") from error
    if pictures > 1 and image.format != "MPO":
        raise NotAVideo(f"{source} holds several pictures; save it as a video (or one picture) first")
    if image.mode.startswith(("I", "F")) or _sample_bits(image, source) > 8:
        raise NotAVideo(f"{source} has more than 8 bits per sample, which pictures lose here; save it with 8 bits")
    return image


def _sample_bits(image: Image.Image, source: Path) -> int:
    """Bits of a sample in the file; Pillow cuts colours of 16 to 8 without a word."""
    if image.format == "PNG":
        with source.open("rb") as file:
            return file.read(25)[24]  # of IHDR, which is always first
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(BITSPERSAMPLE, (1,))))
    return 8


def _is_clean(image: Image.Image, source: Path, lossless_webp: bool) -> bool:
    codec = "png" if lossless_webp else LOSSY.get(image.format or "", "png")
    return is_clean(codec, 8 * source.stat().st_size / (image.width * image.height), _luma(image))


def _luma(image: Image.Image) -> Iterator[NDArray[np.float32]]:
    """A picture's luma, in [0, 255], once it is asked for."""
    yield np.asarray(image.convert("L"), dtype=np.float32)


def _is_lossless_webp(source: Path) -> bool:
    """Whether the chunk that holds the picture is the lossless kind; Pillow does not tell."""
    chunk = re.search(rb"VP8[L ]", source.read_bytes())
    return chunk is not None and chunk[0] == b"VP8L"


def _size(image: Image.Image, source: Path, settings: UpscaleSettings) -> tuple[int, tuple[int, int] | None]:
    if settings.height is None:
        return settings.scale or SCALES[0], None
    turned = image.getexif().get(Base.Orientation, 1) >= TURNED
    try:
        scale, width, height = reach_height(image.width, image.height, settings.height, turned)
    except SettingsError as error:
        raise UnsupportedSize(f"{source}: {error.message}") from error
    return scale, (width, height)
