"""Banks of coded pairs: whole clips, degraded as a preset says and coded once, for training to draw crops from.

Every clip depends on (seed, number) alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.pairs.data import Pairs, Pixels, fingerprint, read_photo
from training.pairs.degrade import Degradation, degrade_clip
from vidsr.errors import InputUnreadable, NoPicture

log = logging.getLogger(__name__)


def make_bank(photos: Sequence[Path], scale: int, clips: int, seed: Sequence[int], degradation: Degradation) -> Pairs:
    """Coded pairs of `clips` clips, each over a photograph drawn at random; broken ones are reported and left out.

    Raises:
        NoPicture: none could be read.
    """
    pictures: list[tuple[Pixels, Pixels]] = []
    drawn: list[int] = []
    said: set[str] = set()
    for number in range(clips):
        random = np.random.default_rng([*seed, number])
        try:
            photo = read_photo(photos[int(random.integers(len(photos)))])
        except InputUnreadable as error:
            if error.message not in said:
                log.warning("skipped: %s", error.message)
            said.add(error.message)
            continue
        pictures += degrade_clip(Image.fromarray(photo), scale, degradation, random)
        drawn += [fingerprint(photo)] * (len(pictures) - len(drawn))
    if not pictures:
        raise NoPicture("none of the pictures could be read; give other photographs")
    return Pairs.of(pictures, scale, drawn)


def write_bank(
    path: Path, photos: Sequence[Path], scale: int, clips: int, seed: Sequence[int], degradation: Degradation
) -> None:
    """Make a bank on one thread and write it, by rename.

    Raises:
        NoPicture: none of the photographs could be read.
        DiskTooSmall: it cannot be written.
    """
    torch.set_num_threads(1)
    make_bank(photos, scale, clips, seed, degradation).save(path)
