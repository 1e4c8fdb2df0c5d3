from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from training.backbones import ALEXNET, Backbone, is_published, lpips_network, torchvision_models
from training.measure.metrics import Lpips, block_means, ciede2000, low_frequency_drift, mean_score, psnr, score, ssim
from vidsr.errors import BadWeights, InputMissing, UnsupportedSize

Pixels = NDArray[np.uint8]


def pictures(h: int = 60, w: int = 77) -> tuple[Pixels, Pixels]:
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:h, 0:w]
    truth = np.stack([128 + 90 * np.sin(x / (3 + c)) * np.cos(y / 5) for c in range(3)], axis=-1)
    noisy = truth + random.normal(0, 9, truth.shape)
    return noisy.clip(0, 255).astype(np.uint8), truth.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's shapes, random values."""
    file = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.manual_seed(0)
    state = torchvision_models().alexnet(weights=None).features.state_dict()
    torch.save({f"features.{k}": v for k, v in state.items()}, file)
    return file


@pytest.mark.parametrize(("scale", "data_range"), [(1.0, 255.0), (1 / 255, 1.0), (1 / 255, 2.0)])
def test_ssim_equals_scikit_images(scale: float, data_range: float) -> None:
    output, truth = (p * scale for p in pictures())
    reference = structural_similarity(
        output, truth, channel_axis=-1, data_range=data_range,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(output, truth, data_range) == pytest.approx(reference, abs=1e-4)
    grey = structural_similarity(
        output[..., 0], truth[..., 0], data_range=data_range,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(output[..., 0], truth[..., 0], data_range) == pytest.approx(grey, abs=1e-4)


def test_psnr_equals_scikit_images() -> None:
    output, truth = pictures()
    assert psnr(output, truth, 255) == pytest.approx(peak_signal_noise_ratio(truth, output))
    assert psnr(truth, truth, 255) == math.inf


def test_ssim_refuses_what_its_window_does_not_fit() -> None:
    output, truth = pictures(10, 40)
    with pytest.raises(UnsupportedSize, match="40x10"):
        ssim(output, truth, 255)


def test_y_is_bt601_limited_with_the_border_cut_off() -> None:
    _, truth = pictures()
    output = truth.copy()
    output[:2] = output[-2:] = output[:, :2] = output[:, -2:] = 0
    silent = Lpips.__new__(Lpips)
    silent._network = None
    result = score(output, truth, 2, silent)
    assert result.psnr_y == math.inf
    assert result.ssim_y == pytest.approx(1)
    assert result.psnr_rgb < 20
    assert result.lpips is None
    shifted = np.minimum(truth, 245) + 10
    expected = 20 * math.log10(255 / (10 * 219 / 255))
    flat = score(shifted.astype(np.uint8), np.minimum(truth, 245), 2, silent)
    assert flat.psnr_y == pytest.approx(expected, abs=1e-6)
    assert flat.drift == pytest.approx(10)
    assert mean_score([result, flat]).drift == pytest.approx((result.drift + 10) / 2)


def test_drift_ignores_detail_and_sees_an_offset() -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    checker = flat + np.where(np.indices((64, 64)).sum(0) % 2, 20, -20).astype(np.int64)[..., None]
    assert low_frequency_drift(checker, flat) == pytest.approx(0, abs=0.1)
    assert low_frequency_drift(flat + 3, flat) == pytest.approx(3)
    stripes = flat + 20 * np.sin(np.arange(64) * 2 * np.pi / 10)[None, :, None]
    blocks = np.abs(block_means(stripes) - block_means(flat)).mean()
    assert low_frequency_drift(stripes, flat) < blocks / 3


def test_drift_is_measured_on_pictures_reduced_as_pillow_reduces() -> None:
    output, truth = pictures(64, 80)
    small = [
        np.asarray(Image.fromarray(picture[..., k].astype(np.float32)).resize((10, 8), Image.Resampling.BICUBIC))
        for picture in (output, truth)
        for k in range(3)
    ]
    expected = np.abs(np.stack(small[:3]) - np.stack(small[3:])).mean()
    assert low_frequency_drift(output, truth) == pytest.approx(expected, rel=1e-3)


def test_ciede2000_of_a_known_pair() -> None:
    grey, lighter = np.full((16, 16, 3), 119, np.uint8), np.full((16, 16, 3), 124, np.uint8)
    assert ciede2000(grey, grey) == 0
    # At chroma 0 CIEDE2000 is the difference of lightness over S_L.
    low, high = (116 * (((v / 255 + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16 for v in (119, 124))
    mean = (low + high) / 2 - 50
    expected = (high - low) / (1 + 0.015 * mean**2 / math.sqrt(20 + mean**2))
    assert ciede2000(lighter, grey) == pytest.approx(expected, abs=0.01)


def test_lpips_is_zero_for_equal_pictures_and_takes_minus_one_to_one(backbone: Path) -> None:
    output, truth = pictures()
    lpips = Lpips(backbone)
    assert lpips(truth, truth) == 0
    tensors = [torch.from_numpy(p / 127.5 - 1).float().permute(2, 0, 1)[None] for p in (output, truth)]
    assert lpips(output, truth) == pytest.approx(lpips_network(backbone)(*tensors).item(), rel=1e-5)
    assert lpips.reason is None


def test_a_backbone_that_is_not_the_published_one_is_told(backbone: Path) -> None:
    assert not Lpips(backbone).published
    digest = hashlib.sha256(backbone.read_bytes()).hexdigest()[:8]
    assert is_published(Backbone("alexnet", f"https://example.org/alexnet-owt-{digest}.pth"), backbone)


def test_a_wrong_file_is_an_error_and_never_random_heads(tmp_path: Path) -> None:
    package = importlib.util.find_spec("lpips")
    assert package is not None
    assert package.origin is not None
    heads = Path(package.origin).parent / "weights" / "v0.1" / "alex.pth"
    with pytest.raises(BadWeights, match="does not hold the features of alexnet"):
        Lpips(heads)
    with pytest.raises(InputMissing, match="no such file"):
        Lpips(tmp_path / "absent.pth")


def test_lpips_without_weights_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(
        "training.measure.metrics.ALEXNET", Backbone("alexnet", "https://nowhere.invalid/a-00000000.pth")
    )
    lpips = Lpips()
    output, truth = pictures()
    assert lpips(output, truth) is None
    assert lpips.reason is not None
    assert "cannot be fetched" in lpips.reason


def test_the_hub_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ALEXNET.file_name).write_bytes(backbone.read_bytes())
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    output, truth = pictures()
    assert Lpips()(output, truth) == Lpips(backbone)(output, truth)
