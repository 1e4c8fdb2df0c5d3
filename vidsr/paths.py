"""Where sources and results are: names by default, and the checks that need neither codec nor model."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os.path import exists, isdir  # unlike Path's, they take what may not be looked at for not there
from pathlib import Path, PosixPath

from vidsr.errors import (
    DiskTooSmall,
    InputEmpty,
    InputMissing,
    InputUnreadable,
    NotAVideo,
    OutputError,
    OutputExists,
    OutputIsInput,
    OutputUnwritable,
    VidsrError,
    first_line,
)
from vidsr.settings import UpscaleSettings

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .f4v .mov .qt .3gp .3g2 .insv .lrv .360 .mkv .webm .avi .divx .wmv .asf .flv .ogv .ogm .rm .rmvb .nut"
    " .ts .mts .m2ts .m2t .trp .tp .tod .mod .mpg .mpeg .mpv .m1v .m2v .vob .mxf .gxf .dv .dav .ivf .y4m .mjpeg .mjpg"
    " .h264 .264 .avc .h265 .265 .hevc".split()
)
# Bytes of a file's name that file systems take, and what names beside the result have more than its own.
LONGEST_NAME, WORKING_NAME = 255, 24
IMAGE_SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .ico".split())
# Of HEIC and AVIF files (ISO/IEC 23008-12): FFmpeg gives the tiles of such a picture as films of one frame each, and of
# moving ones the first picture and transparency too.
STILL_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"hevc", b"hevx", b"msf1", b"avis"))


class FolderPath(PosixPath):
    """A folder for results, whether it is there or not: it was given with a slash at its end, which no Path keeps."""


def output_path(text: str | Path) -> Path:
    """A result's name or its folder, as it was given."""
    if isinstance(text, str) and os.path.basename(text) in ("", "."):
        return FolderPath(text)
    return Path(text)


def is_output_folder(out: Path) -> bool:
    """Whether results go into `out`: it is a folder, was given as one, or has no suffix."""
    return isinstance(out, FolderPath) or isdir(out) or not out.suffix


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file under another name and rename it, so that a file that is there is whole. Returns the path.

    The content is on the disk before the rename: else the name could outlive a power loss and the content not.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return part.replace(path)
    except BaseException:
        with suppress(OSError):  # of a file in the place of the folder, among others
            part.unlink()
        raise


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user asked for, or its record, as `write_whole` does.

    Raises:
        OutputUnwritable, DiskTooSmall: it cannot be written.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise write_error(path, error) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error, FFmpeg's too, says that there is no room on the disk."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def write_error(path: Path | str, error: Exception) -> OutputError:
    """The error to raise where something could not be written; a full disk has a class of its own."""
    if is_full(error):
        return DiskTooSmall(f"{path} cannot be written, the disk is full; make room and run the same command again")
    if isinstance(error, FileNotFoundError):
        return OutputUnwritable(f"{path} cannot be written, its folder is missing; make that, or use -o elsewhere")
    why = getattr(error, "strerror", None) or first_line(error)
    return OutputUnwritable(f"{path} cannot be written ({why}); see to its folder's permissions, or use -o elsewhere")


@contextmanager
def own_files(place: Path | str) -> Iterator[None]:
    """Names errors of what a run keeps below a place for itself."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or place, error.strerror or first_line(error)
        if is_full(error):
            raise write_error(where, error) from error
        raise OutputUnwritable(
            f"{where} cannot be read or written ({why}); check its permissions and run the same command to go on, "
            "or use -o for another place"
        ) from error


def sync(path: Path) -> None:
    """Return once a file's content is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def user_cache() -> Path:
    """The user's folder for what is kept between runs; without a home folder one that nothing can be kept in."""
    import platformdirs  # here, as benchmarks.gpu does without it

    try:
        return platformdirs.user_cache_path("vidsr")
    except RuntimeError:  # HOME is not set, and the system knows no such user, as in containers
        return Path(os.devnull)


def temporary_folder() -> Path:
    """The folder for temporary files.

    Raises:
        OutputUnwritable: no file can be written in any that there is.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise OutputUnwritable(
            "no temporary file can be written; make room in /tmp, or set TMPDIR to a folder that has room"
        ) from error


def is_image(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def size_label(settings: UpscaleSettings) -> str:
    """What the names of results say of their size: "2x" or "1080p"."""
    return f"{settings.height}p" if settings.height else f"{settings.scale}x"


def default_result(source: Path, out: Path | None, settings: UpscaleSettings, suffix: str | None = None) -> Path:
    """The result's path: `out`, or `drive_2x.mp4` beside the source or in the folder `out`.

    `is_output_folder` says what `out` is. `suffix` replaces the source's.
    """
    name = f"{source.stem}_{size_label(settings)}{suffix or source.suffix}"
    if out is None:
        return source.with_name(name)
    return Path(out, name) if is_output_folder(out) else out


def by_name(folder: Path) -> Path:
    """A folder by a path that ends in its name, which `.` and `..` do not."""
    return folder.resolve() if folder.name in ("", "..") else folder


def check_name(path: Path | str, refusal: type[VidsrError], remedy: str = "rename it") -> None:
    """Refuse a name that is not text: neither Ray nor FFmpeg take it."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise refusal(f"{shown}: its name is not UTF-8; {remedy}") from error


def check_source(path: Path) -> None:
    """Refuse a source that cannot be read.

    Raises:
        InputMissing, InputUnreadable, InputEmpty
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise InputMissing(f"{path} does not exist; check the name") from error
    except PermissionError as error:
        raise InputUnreadable(f"{path} may not be read; check its folder's permissions") from error
    except OSError as error:  # too long a name, a file in the place of a folder
        raise InputMissing(f"{path} cannot be found ({error.strerror}); check the name") from error
    check_name(path, InputUnreadable)
    if not os.access(path, os.R_OK):
        raise InputUnreadable(f"{path} may not be read; change its permissions (chmod u+r)")
    if path.is_file() and size == 0:
        raise InputEmpty(f"{path} has 0 bytes; the recording was not finished, copy it again from the card")


def is_still(path: Path) -> bool:
    """Whether a file is a HEIC or AVIF picture, whatever its name."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:] in STILL_BRANDS


def refuse_still(path: Path) -> None:
    """Refuse a picture that nothing here reads whole.

    Raises:
        NotAVideo
    """
    if is_still(path):
        raise NotAVideo(f"{path} is a HEIC or AVIF picture, which is not read here; save it as JPEG or PNG first")


def nearest_existing(path: Path) -> Path:
    """The path itself or the nearest above it that is there."""
    return next((each for each in (path, *path.parents) if exists(each)), Path())


def check_result(source: Path, result: Path, overwrite: bool, make: bool = True) -> None:
    """Refuse a result that cannot be written or would destroy something.

    Args:
        source: what it is made of.
        result: its name.
        overwrite: whether it may be there.
        make: make its folder; else only see whether it could be made.

    Raises:
        OutputIsInput, OutputExists, OutputUnwritable
    """
    if len(os.fsencode(result.name)) + WORKING_NAME > LONGEST_NAME:
        raise OutputUnwritable(f"{result} is too long a name; use -o with a shorter one")
    check_target(result, source)
    if exists(result) and not overwrite:
        raise OutputExists(f"{result} exists; use --overwrite, or -o for another name")
    check_folder(result.parent, make)


def check_target(target: Path, *sources: Path) -> None:
    """Refuse to write over a folder, or over one of the files that something is made of.

    Raises:
        OutputIsInput, OutputUnwritable
    """
    if isdir(target):
        raise OutputUnwritable(f"{target} is a folder; move it away, or name a file")
    if exists(target) and any(exists(source) and target.samefile(source) for source in sources):
        raise OutputIsInput(f"{target} is what it would be made of; give another name")


def check_folder(folder: Path, make: bool) -> None:
    """Refuse a folder that results cannot be written into.

    Args:
        folder: it.
        make: make it; else only see whether it could be made.

    Raises:
        OutputUnwritable
    """
    above = nearest_existing(folder)
    if not isdir(above):
        raise OutputUnwritable(f"the folder {folder} cannot be made, {above} is a file; use -o")
    if make:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputUnwritable(f"the folder {folder} cannot be made ({error.strerror}); use -o") from error
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputUnwritable(f"the folder {above} may not be written; use -o for another place")
