from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.footage import Plane, rgb_to_planes
from training.measure.legibility import Legibility, legibility, read_text
from training.scene.drive import DriveSpec, render
from training.scene.lettering import TextBox


@pytest.fixture(scope="module")
def frame() -> tuple[Plane, tuple[TextBox, ...]]:
    first = next(render(DriveSpec(seconds=0.1, width=1280, height=720, rate=15, seed=2)))
    return rgb_to_planes(first.picture)[0], first.texts


def shrunk(luma: Plane, times: int) -> Plane:
    height, width = luma.shape
    small = Image.fromarray(luma).resize((width // times, height // times), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def test_the_truth_can_be_read(frame: tuple[Plane, tuple[TextBox, ...]]) -> None:
    luma, texts = frame
    assert {text.kind for text in texts} == {"plate", "overlay"}
    for text in texts:
        seen = read_text(luma, text)
        right = sum(a == b for a, b in zip(seen, text.text, strict=True))
        assert right >= 0.9 * len(text.text), (text.text, seen)


def test_less_can_be_read_the_smaller_the_picture_was(frame: tuple[Plane, tuple[TextBox, ...]]) -> None:
    luma, texts = frame
    read = [legibility(shrunk(luma, times), texts).right for times in (1, 2, 6)]
    assert read[0] >= read[1] > read[2] + 5


def test_a_wrong_character_counts_as_invented(frame: tuple[Plane, tuple[TextBox, ...]]) -> None:
    luma, texts = frame
    overlay = next(text for text in texts if text.kind == "overlay")
    changed = "7" if overlay.text[0] == "2" else "2"
    lying = TextBox("overlay", changed + overlay.text[1:], overlay.box, overlay.cells)
    assert legibility(luma, [lying]).invented == legibility(luma, [overlay]).invented + 1


def test_nothing_is_read_where_nothing_is(frame: tuple[Plane, tuple[TextBox, ...]]) -> None:
    _, texts = frame
    grey = np.full((720, 1280), 100, np.uint8)
    count = sum(len(text.text) for text in texts)
    assert legibility(grey, texts) == Legibility(unread=count)
