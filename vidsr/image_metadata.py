"""What a picture's file tells besides its pixels: EXIF, XMP, IPTC, comments, colour and resolution."""

from __future__ import annotations

import re
import struct
from typing import Any

from PIL import Image, TiffTags
from PIL.ExifTags import IFD, Base
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile, PngInfo
from PIL.TiffImagePlugin import XMP, TiffImageFile

WITH_EXIF = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF")  # and with a colour profile
_TOLD_TAGS = (Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist, Base.Copyright)
# Of a phone's XMP: where in the file a gain map, a depth map or a film lies behind the picture. They are not taken.
_TELLS_OF_OTHERS = re.compile(rb"Container:Directory|MicroVideo|MotionPhoto|hdrgm:|GDepth:|GImage:")
# Lengths in pixels in an XMP, as attributes or elements: the picture's own, and those of the sphere that it is part of.
_XMP_SIZES = re.compile(rb"((?:exif:Pixel[XY]Dimension|tiff:Image(?:Width|Length))\s*(?:>|=\s*[\"']))(\d+)")
_XMP_SPHERE = re.compile(rb"(GPano:\w*(?:Width|Height|Left|Top)Pixels\s*(?:>|=\s*[\"']))(\d+)")
_EXIF = b"Exif\0\0"
_SHORT = 3  # of EXIF's types
_MOST_IN_JPEG = 65_000  # bytes of a JPEG's segment, less what goes before
_XMP_IN_PNG = "XML:com.adobe.xmp"
# Of a JPEG, besides what Pillow writes: Photoshop's segment, which has IPTC's captions, and the rest of a long XMP.
_IPTC, _MORE_XMP = b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0"
_APP1, _APP13 = b"\xff\xe1", b"\xff\xed"
# Of a PNG: what its samples mean, and when it was changed; what means the same as saying nothing (sRGB).
_PNG_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"tIME")
_PLAIN_CHUNKS = {
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
}
# Of a TIFF: how its pixels lie in the file, and what is kept otherwise (resolution, profile, XMP).
_LAYOUT_TAGS = {
    *range(254, 267), 273, *range(277, 285), 296, 301, *range(317, 326), 330, 332, 334, *range(338, 342), 347,
    *range(512, 522), *range(529, 533), XMP, 34675, IFD.Exif, IFD.GPSInfo,
}  # fmt: skip


def kept_metadata(image: Image.Image, shown: Image.Image, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    """What Pillow saves a result with, so that it tells what its source told.

    Args:
        image: the source.
        shown: the picture that is enlarged, whose colour profile the result has.
        kind: the result's format, as Pillow calls it.
        size: its width and height.
    """
    infos = {"exif": image.info, "icc_profile": shown.info, "dpi": image.info}
    kept = {key: info[key] for key, info in infos.items() if key in info}
    if "exif" in kept and not kept["exif"].startswith(_EXIF):  # which WebP has not, and JPEG needs
        kept["exif"] = _EXIF + kept["exif"]
    xmp, _ = _xmp(image, kind)
    xmp = _xmp_with_size(xmp, size, shown.size)
    if isinstance(image, TiffImageFile) or (xmp and kind == "TIFF"):
        told = _told(image) if isinstance(image, TiffImageFile) else image.getexif()
        if kind == "TIFF" and xmp:
            told[XMP] = xmp
        kept["exif"] = told.tobytes()
    if "exif" in kept:
        kept["exif"] = _with_size(kept["exif"], *size)
    if kind in ("JPEG", "WEBP") and xmp:
        kept["xmp"] = xmp
    if kind == "JPEG" and "comment" in image.info:
        kept["comment"] = image.info["comment"]
    if kind == "JPEG":
        kept["extra"] = b"".join(_segments(image, bool(xmp)))
    if kind == "PNG":
        kept["pnginfo"] = _texts(image, xmp)
        for name, content in _png_chunks(image).items():
            kept["pnginfo"].add(name, content)
    return kept


def lost_metadata(image: Image.Image, kind: str) -> list[str]:
    """What of it the result does not tell, as sentences."""
    _, lost = _xmp(image, kind)
    found = [lost] if lost else []
    if kind not in WITH_EXIF:
        exif = _told(image) if isinstance(image, TiffImageFile) else image.getexif()
        found += [f"{kind} has no place for its EXIF"] if exif else []
    if kind != "JPEG" and _iptc(image):
        found.append(f"{kind} has no place for its IPTC caption")
    chunks = _png_chunks(image)
    told = [name.decode() for name, content in chunks.items() if content != _PLAIN_CHUNKS.get(name) and name != b"tIME"]
    if kind != "PNG" and told and b"sRGB" not in chunks and "icc_profile" not in image.info:
        found.append(f"{kind} has no place for how its colours are meant ({', '.join(told)})")
    if isinstance(image, TiffImageFile):
        more = sorted(set(image.tag_v2) - _LAYOUT_TAGS - set(_TOLD_TAGS))
        names = [TiffTags.lookup(tag).name for tag in more]
        shown = (f"{tag} ({name})" if name != "unknown" else f"{tag}" for tag, name in zip(more, names, strict=True))
        found += [f"TIFF's tags {', '.join(shown)} are left out"] if more else []
    return found


def _xmp(image: Image.Image, kind: str) -> tuple[bytes, str]:
    """The XMP that the result keeps, or why it keeps none of its source's."""
    found: bytes = image.info.get("xmp", b"")
    if _TELLS_OF_OTHERS.search(found):
        return b"", "its XMP tells where other pictures or a film lie in the file; it is left out with them"
    if found and (kind not in ("JPEG", "PNG", "TIFF", "WEBP") or (kind == "JPEG" and len(found) > _MOST_IN_JPEG)):
        return b"", f"{kind} has no place for its XMP"
    return found, ""


def _xmp_with_size(xmp: bytes, size: tuple[int, int], before: tuple[int, int]) -> bytes:
    """XMP that tells the result's size where it tells the source's."""

    def own(found: re.Match[bytes]) -> bytes:
        return found[1] + str(size[b"Y" in found[1] or b"Length" in found[1]]).encode()

    def of_sphere(found: re.Match[bytes]) -> bytes:
        down = b"Height" in found[1] or b"Top" in found[1]
        return found[1] + str(round(int(found[2]) * size[down] / before[down])).encode()

    return _XMP_SPHERE.sub(of_sphere, _XMP_SIZES.sub(own, xmp))


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


def _iptc(image: Image.Image) -> list[bytes]:
    """The segments of a JPEG that have IPTC's captions, names and rights."""
    parts = image.applist if isinstance(image, JpegImageFile) else []
    return [content for name, content in parts if name == "APP13" and content.startswith(_IPTC)]


def _segments(image: Image.Image, with_xmp: bool) -> list[bytes]:
    """Segments of a JPEG that go to another as they are."""
    parts = image.applist if isinstance(image, JpegImageFile) and with_xmp else []
    more = [(_APP1, content) for name, content in parts if name == "APP1" and content.startswith(_MORE_XMP)]
    found = [*more, *((_APP13, content) for content in _iptc(image))]
    return [mark + struct.pack(">H", len(content) + 2) + content for mark, content in found]


def _png_chunks(image: Image.Image) -> dict[bytes, bytes]:
    """The _PNG_CHUNKS that a PNG has before its picture; of some of them Pillow does not tell."""
    found: dict[bytes, bytes] = {}
    if not isinstance(image, PngImageFile):
        return found
    with open(image.filename, "rb") as file:
        file.seek(len(b"\x89PNG\r\n\x1a\n"))
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            content = file.read(int.from_bytes(head[:4], "big"))
            file.seek(4, 1)  # the checksum
            if head[4:] in _PNG_CHUNKS:
                found[head[4:]] = content
    return found


def _with_size(exif: bytes, width: int, height: int) -> bytes:
    """EXIF that tells the result's size where it tells the source's (PixelXDimension, PixelYDimension).

    The rest stays where it is: makers' notes say where in it their parts lie.
    """
    made, start = bytearray(exif), len(_EXIF)
    order = "<" if exif[start : start + 2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (inner,) = (value for tag, _, value, _ in _entries(exif, start + at, order) if tag == IFD.Exif)
        for tag, kind, _, place in _entries(exif, start + inner, order):
            if tag in (Base.ExifImageWidth, Base.ExifImageHeight):
                struct.pack_into(f"{order}{'H' if kind == _SHORT else 'I'}", made, place, (width, height)[tag & 1])
    except (struct.error, ValueError):  # it has no such part, is damaged, or has no room for so large a number
        return exif
    return bytes(made)


def _entries(exif: bytes, at: int, order: str) -> list[tuple[int, int, int, int]]:
    """(tag, type, value as a long, place of the value) of each entry of a directory of EXIF."""
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    places = range(at + 2, at + 2 + 12 * count, 12)
    return [(*struct.unpack_from(f"{order}HH4xI", exif, place), place + 8) for place in places]
