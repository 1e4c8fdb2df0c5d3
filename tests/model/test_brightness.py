"""Whatever a network makes of a picture, no area of it becomes brighter or darker."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidsr.model import brightness
from vidsr.model.brightness import LIMIT, SIDE, keep_brightness
from vidsr.model.upscaler import Upscaler

Picture = NDArray[np.uint8]


def dense_patterns(width: int = 96, height: int = 64) -> dict[str, Picture]:
    """Detail of single pixels, in black and white."""
    y, x = np.mgrid[:height, :width]
    patterns = {
        "checks": (x + y) % 2,
        "rows": y % 2,
        "columns": x % 2,
        "mesh": (x % 4 == 0) | (y % 4 == 0),
        "dots": (x % 3 == 0) & (y % 3 == 0),
        "holes": (x % 3 > 0) | (y % 3 > 0),
        "dither": np.random.default_rng(1).random((height, width)) > 0.5,
    }
    return {name: (pattern * 255).astype(np.uint8) for name, pattern in patterns.items()}


def means(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)


@pytest.mark.parametrize("model", ["fast-2x", "balanced-2x-sharp", "balanced-2x-clean", "fast-4x-sharp"])
def test_dense_patterns_keep_their_brightness(model: str) -> None:
    """These models changed it by 5 to 70 of 255."""
    upscaler = Upscaler(model, "cpu", int(model.split("-")[1][0]))
    for name, pattern in dense_patterns().items():
        large = upscaler.upscale(np.repeat(pattern[..., None], 3, -1))[..., 0]
        before, after = (torch.from_numpy(p.astype(np.float32))[None, None] for p in (pattern, large))
        change = means(after, SIDE * upscaler.scale) - means(before, SIDE)
        assert change.mean().abs() < 4, name
        assert change.abs().max() < 9, name


def test_what_keeps_its_brightness_is_not_touched() -> None:
    torch.manual_seed(1)
    source = torch.rand(2, 1, 40, 56)
    detail = torch.rand(2, 1, 80, 112) * 0.2
    detail -= F.interpolate(F.avg_pool2d(detail, SIDE * 2), scale_factor=SIDE * 2)
    large = F.interpolate(source, scale_factor=2) * 0.5 + 0.2 + detail
    expected = large.clone()
    keep_brightness(source * 0.5 + 0.2, large, 0.0, 1.0)
    assert torch.equal(large, expected)


@pytest.mark.parametrize("size", [(64, 64), (37, 51), (5, 3)])
@pytest.mark.parametrize("scale", [2, 4])
def test_one_changed_area_is_mended_and_what_is_far_from_it_stays(size: tuple[int, int], scale: int) -> None:
    torch.manual_seed(1)
    source = 0.45 + torch.rand(3, 2, *size) * 0.1
    large = F.interpolate(source, scale_factor=scale).contiguous()
    large[1, 1, -3 * scale :, -3 * scale :] += 0.4  # the last corner, where areas may be small
    expected = large.clone()
    keep_brightness(source, large, 0.0, 1.0)
    change = means(large, SIDE * scale) - means(source, SIDE)
    assert change.abs().max() < LIMIT * 1.2
    assert (large - expected)[1, 1].min() < -0.01
    reach = SIDE * 3 * scale
    expected[1, 1, -reach:, -reach:] = large[1, 1, -reach:, -reach:]
    assert torch.equal(large, expected)


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (5, 3)])
@pytest.mark.parametrize("scale", [2, 4])
def test_mixing_everywhere_gives_the_same(size: tuple[int, int], scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on GPUs, which are not asked where it is needed."""
    torch.manual_seed(1)
    source = torch.rand(3, 2, *size)
    large = F.interpolate(source, scale_factor=scale).contiguous()
    large[1, 1, 8 * scale : 20 * scale, 8 * scale : 40 * scale] += 0.2
    large[1, 0, -3 * scale :, -3 * scale :] += 0.4
    large[2, :, :scale, :scale] += 0.9
    mended, everywhere = large.clone(), large.clone()
    keep_brightness(source, mended, 0.0, 1.0)
    assert (mended != large).any((1, 2, 3)).tolist() == [False, True, True]
    monkeypatch.setattr(
        brightness, "_windows", lambda share: [(k, 0, share.shape[2], 0, share.shape[3]) for k in range(3)]
    )
    keep_brightness(source, everywhere, 0.0, 1.0)
    torch.testing.assert_close(mended, everywhere, rtol=0, atol=1e-6)
    assert torch.equal(everywhere[0], large[0])


@pytest.mark.parametrize("size", [(37, 51), (64, 96)])
def test_strips_change_nothing(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU takes the means of some rows at a time."""
    torch.manual_seed(1)
    source = torch.rand(2, 1, *size)
    large = F.interpolate(source, scale_factor=2).contiguous()
    large[1, :, 20:40] += 0.2
    whole, strips = large.clone(), large.clone()
    keep_brightness(source, whole, 0.0, 1.0)
    monkeypatch.setattr(brightness, "_STRIP_SAMPLES", 1)
    keep_brightness(source, strips, 0.0, 1.0)
    assert torch.equal(strips, whole) and not torch.equal(whole, large)


def test_what_will_be_cut_off_does_not_count() -> None:
    """Detail that overshoots white as far as it undershoots is darker than its source once it is a picture."""
    source = torch.full((1, 1, 32, 32), 0.9)
    large = F.interpolate(source, scale_factor=2).contiguous()
    large[..., ::2] += 0.3
    large[..., 1::2] -= 0.3
    keep_brightness(source, large, 0.0, 1.0)
    assert abs(float(large.clamp(0, 1).mean()) - 0.9) < 1.5 * LIMIT
