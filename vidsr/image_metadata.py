"""What a picture's file tells besides its pixels: EXIF, XMP, comments, colour profile and resolution."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngImageFile, PngInfo
from PIL.TiffImagePlugin import XMP, TiffImageFile

_TOLD_TAGS = (Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.Copyright)
# Of a phone's XMP: where in the file a gain map, a depth map or a film lies behind the picture. They are not taken.
_TELLS_OF_OTHERS = re.compile(rb"Container:Directory|MicroVideo|MotionPhoto|hdrgm:|GDepth:|GImage:")
_EXIF = b"Exif\0\0"
_MOST_IN_JPEG = 65_000  # bytes of a JPEG's segment, less what goes before
_XMP_IN_PNG = "XML:com.adobe.xmp"


def kept_metadata(image: Image.Image, shown: Image.Image, kind: str) -> dict[str, Any]:
    """What Pillow saves a result with, so that it tells what its source told.

    Args:
        image: the source.
        shown: the picture that is enlarged, whose colour profile the result has.
        kind: the result's format, as Pillow calls it.
    """
    infos = {"exif": image.info, "icc_profile": shown.info, "dpi": image.info}
    kept = {key: info[key] for key, info in infos.items() if key in info}
    if "exif" in kept and not kept["exif"].startswith(_EXIF):  # which WebP has not, and JPEG needs
        kept["exif"] = _EXIF + kept["exif"]
    xmp, _ = _xmp(image, kind)
    if isinstance(image, TiffImageFile) or (xmp and kind == "TIFF"):
        told = _told(image) if isinstance(image, TiffImageFile) else image.getexif()
        if kind == "TIFF" and xmp:
            told[XMP] = xmp
        kept["exif"] = told.tobytes()
    if kind in ("JPEG", "WEBP") and xmp:
        kept["xmp"] = xmp
    if kind == "JPEG" and "comment" in image.info:
        kept["comment"] = image.info["comment"]
    if kind == "PNG":
        kept["pnginfo"] = _texts(image, xmp)
    return kept


def lost_metadata(image: Image.Image, kind: str) -> list[str]:
    """What of it the result does not tell, as sentences."""
    _, lost = _xmp(image, kind)
    return [lost] if lost else []


def _xmp(image: Image.Image, kind: str) -> tuple[bytes, str]:
    """The XMP that the result keeps, or why it keeps none of its source's."""
    found: bytes = image.info.get("xmp", b"")
    if _TELLS_OF_OTHERS.search(found):
        return b"", "its XMP tells where other pictures or a film lie in the file; it is left out with them"
    if found and (kind not in ("JPEG", "PNG", "TIFF", "WEBP") or (kind == "JPEG" and len(found) > _MOST_IN_JPEG)):
        return b"", f"{kind} has no place for its XMP"
    return found, ""


def _told(image: Image.Image) -> Image.Exif:
    """What a TIFF tells of the picture, without how its pixels lie in the file and turned, which Pillow undoes."""
    found, told = image.getexif(), Image.Exif()
    for tag in _TOLD_TAGS:
        if tag in found:
            told[tag] = found[tag]
    for group in (IFD.Exif, IFD.GPSInfo):
        if inner := found.get_ifd(group):
            told[group] = dict(inner)
    return told


def _texts(image: Image.Image, xmp: bytes) -> PngInfo:
    texts = PngInfo()
    if isinstance(image, PngImageFile):
        for name, text in image.text.items():
            if name != _XMP_IN_PNG:
                texts.add_itxt(name, text)
    if xmp:
        texts.add_itxt(_XMP_IN_PNG, xmp.decode(errors="replace"))
    return texts
