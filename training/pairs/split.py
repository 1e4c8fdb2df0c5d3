"""Test pictures that training does not see, for the commands that train several models and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.pairs.data import SUFFIXES, find_photos, validation_part
from vidsr.errors import NoPicture, OutputExists

_EVERY = 10


@dataclass(frozen=True)
class Split:
    """The photographs of a folder.

    Attributes:
        train, test: no photograph is in both.
        masks: the segmentation masks of the test photographs, where the folder has them.
        official: whether the test photographs are the data set's own validation part.
    """

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    masks: tuple[Path, ...]
    official: bool


def split_photos(folder: Path, limit: int) -> Split:
    """Divide the photographs of a folder.

    ADE20K's `validation` folder is the test part where there is one, else every tenth photograph is.

    Args:
        folder: of pictures, or an ADE20K tree.
        limit: test pictures at most, evenly spaced; what is beyond it is not trained on either.

    Raises:
        InputMissing: no such folder.
        NoPicture: fewer than two photographs in it.
    """
    photos = find_photos(folder)
    test = validation_part(photos, folder)
    official = bool(test)
    if not official:
        test = photos[_EVERY // 2 :: _EVERY] or photos[-1:]
    held = set(test)
    train = tuple(p for p in photos if p not in held)
    if not train:
        raise NoPicture(f"{folder} holds one photograph only; --data needs some to train on and some to test on")
    chosen = tuple(test[i] for i in np.linspace(0, len(test) - 1, min(limit, len(test))).astype(int))
    return Split(train, chosen, _masks(folder, photos, chosen), official)


def _masks(folder: Path, photos: Sequence[Path], test: Sequence[Path]) -> tuple[Path, ...]:
    """The class masks of photographs: NAME_seg.png beside NAME.jpg, or annotations/.../NAME.png."""
    known = set(photos)
    others = {p.stem: p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p not in known}
    found = (others.get(f"{p.stem}_seg", others.get(p.stem)) for p in test)
    return tuple(p for p in found if p is not None)


def link_photos(photos: Sequence[Path], folder: Path) -> Path:
    """Make a folder of links to photographs, for `training.fit.run.fit`, and return it; links in it are replaced.

    Raises:
        OutputExists: it holds something else, photographs maybe; nothing was changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = list(folder.iterdir())
    if not all(old.is_symlink() for old in before):
        raise OutputExists(f"{folder} holds files that are not from an earlier run; give another --run")
    for old in before:
        old.unlink()
    for number, photo in enumerate(photos):
        (folder / f"{number:06d}{photo.suffix}").symlink_to(photo.resolve())
    return folder
