"""Resampling against Pillow, the reference for a = -0.5 and for Lanczos."""

import numpy as np
import pytest
import torch
from PIL import Image

from vidsr.model import resample
from vidsr.model.resample import bicubic_downscale, bicubic_upscale, lanczos_resize


def picture(h: int, w: int) -> np.ndarray:
    return np.random.default_rng(1).random((h, w), dtype=np.float32)


@pytest.mark.parametrize("scale", [2, 4])
def test_enlarging_is_pillows_bicubic(scale: int) -> None:
    small = picture(20, 31)
    ours = bicubic_upscale(torch.from_numpy(small)[None, None], scale)[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(small).resize((31 * scale, 20 * scale), Image.Resampling.BICUBIC))
    inner = slice(3 * scale, -3 * scale)  # Pillow shortens the kernel at borders, we repeat the border
    np.testing.assert_allclose(ours[inner, inner], theirs[inner, inner], atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
def test_strips_leave_no_seams(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU enlarges some rows at a time, 8 at least; the last ones may be fewer."""
    x = torch.from_numpy(picture(42, 30)).reshape(2, 1, 21, 30)
    shift = (0.75, -0.75)
    whole = bicubic_upscale(x, scale, shift)
    monkeypatch.setattr(resample, "_STRIP_SAMPLES", 1)
    assert torch.equal(bicubic_upscale(x, scale, shift), whole)
    assert torch.equal(bicubic_upscale(x, scale, shift, onto=torch.ones_like(whole)), whole + 1)


def test_factors_may_differ() -> None:
    x = torch.from_numpy(picture(8, 9))[None, None]
    tall = bicubic_upscale(x, (2, 1))
    assert tall.shape == (1, 1, 16, 9)
    torch.testing.assert_close(bicubic_upscale(tall, (1, 2)), bicubic_upscale(x, 2))


def test_a_shift_moves_the_grid() -> None:
    ramp = torch.arange(16.0).reshape(1, 1, 1, 16)
    shifted = bicubic_upscale(ramp, (1, 2), (0.0, 0.5))
    plain = bicubic_upscale(ramp, (1, 2))
    inner = slice(6, -6)
    torch.testing.assert_close(shifted[..., inner], plain[..., inner] + 0.25)


@pytest.mark.parametrize("scale", [2, 4])
def test_reducing_is_pillows_bicubic(scale: int) -> None:
    large = picture(24 * scale, 20 * scale)
    ours = bicubic_downscale(torch.from_numpy(large)[None, None], scale)[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(large).resize((20, 24), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(30, 40), (17, 23), (50, 61)])
def test_lanczos_is_pillows(size: tuple[int, int]) -> None:
    source = picture(33, 44)
    ours = lanczos_resize(torch.from_numpy(source)[None, None], *size)[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(source).resize(size[::-1], Image.Resampling.LANCZOS))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_shift_and_a_ratio_move_the_lanczos_grid() -> None:
    ramp = torch.arange(40.0).reshape(1, 1, 1, 40).expand(1, 1, 40, 40)
    across = lanczos_resize(ramp, 40, 30, (1.0, 1.25), (0.0, 0.5))
    down = lanczos_resize(ramp.mT, 30, 40, (1.25, 1.0), (0.5, 0.0))
    expected = (torch.arange(30) + 0.5) * 1.25  # - 0.5 + the shift
    torch.testing.assert_close(across[0, 0, 20, 5:-5], expected[5:-5], rtol=0, atol=0.02)
    torch.testing.assert_close(down, across.mT)
