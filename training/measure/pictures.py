"""Methods of enlarging beside each other, on pictures that are reduced first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.measure.metrics import Lpips, Score, mean_score, score
from training.pairs.data import Pixels, reduce

Enlarge = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class PictureScore:
    """One picture: its file name, and the score of each method by name."""

    name: str
    scores: Mapping[str, Score]


def pillow(kernel: Image.Resampling, scale: int) -> Enlarge:
    """Pillow's enlargement of (H, W, 3) uint8 by a whole factor."""

    def enlarge(pixels: Pixels) -> Pixels:
        h, w = pixels.shape[:2]
        return np.asarray(Image.fromarray(pixels).resize((w * scale, h * scale), kernel))

    return enlarge


def evaluate_picture(
    name: str, picture: Pixels, scale: int, methods: Mapping[str, Enlarge], lpips: Lpips
) -> tuple[PictureScore, dict[str, Pixels]]:
    """Reduce a picture (H, W, 3) and enlarge it by each method.

    Returns:
        the scores, and the pictures: "truth" and each method's.
    """
    h, w = (n // scale * scale for n in picture.shape[:2])
    truth = np.ascontiguousarray(picture[:h, :w])
    small = reduce(truth, scale)
    pictures = {method: enlarge(small) for method, enlarge in methods.items()}
    scores = {method: score(large, truth, scale, lpips) for method, large in pictures.items()}
    return PictureScore(name, scores), {"truth": truth, **pictures}


def means(pictures: Sequence[PictureScore]) -> dict[str, Score]:
    """Each method's mean score."""
    return {method: mean_score([p.scores[method] for p in pictures]) for method in pictures[0].scores}
