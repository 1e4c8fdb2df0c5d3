"""Files of GPS and sensor data that cameras write beside a video, and their copies beside a result."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from vidsr.errors import OutputExists

SIDE_SUFFIXES = (".gps", ".3gf", ".nmea", ".srt", ".gpx")


def side_files(path: Path) -> list[Path]:
    """Files of the same stem that cameras write beside a video, whatever the case of their names.

    Of several with one suffix that differ in case alone, that of the very stem: the others are other videos'.
    """
    stem = path.stem.lower()
    found = sorted(
        each
        for each in path.parent.iterdir()
        if each.stem.lower() == stem and each.suffix.lower() in SIDE_SUFFIXES and each.is_file()
    )
    by_suffix = {each.suffix: each for each in sorted(found, key=lambda each: each.stem == path.stem)}
    return sorted(by_suffix.values())


def side_file_copies(source: Path, result: Path) -> list[tuple[Path, Path]]:
    """Each side file of a video and the name of its copy beside a result; without those that have that name."""
    pairs = [(each, result.with_name(result.stem + each.suffix)) for each in side_files(source)]
    return [(each, copy) for each, copy in pairs if copy != each]


def check_side_files_free(source: Path, result: Path) -> None:
    """Refuse to copy the source's side files over others that have those names.

    Raises:
        OutputExists: one of them exists.
    """
    for each, copy in side_file_copies(source, result):
        if copy.exists() and not filecmp.cmp(copy, each, shallow=False):
            raise OutputExists(
                f"{copy} exists and {each.name} would replace it; use --overwrite, or -o for another name"
            )


def copy_side_files(source: Path, result: Path) -> list[Path]:
    """Copy a video's side files beside a result; the copies.

    Raises:
        OSError: reading or writing fails.
    """
    copies = []
    for each, copy in side_file_copies(source, result):
        part = copy.with_name(copy.name + ".part")
        shutil.copy2(each, part)
        copies.append(part.replace(copy))
    return copies
