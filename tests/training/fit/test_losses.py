from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim, ssim

from training.backbones import ALEXNET, VGG19, BackboneMissing, lpips_network, torchvision_models
from training.fit.losses import (
    LOSS_NAMES,
    Labels,
    LpipsLoss,
    VggLoss,
    build_loss,
    discriminator_bce,
    discriminator_relativistic,
    generator_bce,
    generator_relativistic,
    two_view_consistency,
)
from vidsr.errors import BadWeights, InputMissing, SettingsError

PLAIN = ("mse", "l1", "charbonnier", "ssim", "ms_ssim", "colour", "frequency")
PAPER = Labels()


def pictures(channels: int = 3, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(2, channels, size, size, generator=generator)
    noise = torch.randn(2, channels, size, size, generator=generator)
    return (target + 0.1 * noise).clamp(0, 1).requires_grad_(), target


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """State dicts of the published shapes with random values."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    models = torchvision_models()
    files = {}
    for backbone in (ALEXNET, VGG19):
        features = getattr(models, backbone.name)(weights=None).features.state_dict()
        files[backbone.name] = folder / f"{backbone.name}.pth"
        torch.save({f"features.{k}": v for k, v in features.items()}, files[backbone.name])
    return files


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PLAIN)
def test_each_loss_is_zero_for_equal_pictures_and_improves_along_its_gradient(name: str, channels: int) -> None:
    loss = build_loss({name: 1.0})
    output, target = pictures(channels)
    assert loss(target, target) == pytest.approx(0, abs=2e-3)
    value = loss(output, target)
    value.backward()
    assert value.shape == ()
    assert output.grad is not None
    better = output.detach() - 0.001 * output.grad / output.grad.abs().max()
    assert loss(better, target) < value


def test_plain_losses_equal_their_formulas() -> None:
    output, target = pictures()
    x, y = output.detach().double().numpy(), target.double().numpy()
    terms = build_loss(dict.fromkeys(PLAIN, 1.0)).terms(output, target)
    spectrum = np.fft.rfft2(x - y, norm="ortho")
    means = (x - y).reshape(2, 3, 8, 8, 8, 8).mean((3, 5))
    expected = {
        "mse": np.mean((x - y) ** 2),
        "l1": np.mean(np.abs(x - y)),
        "charbonnier": np.mean(np.sqrt((x - y) ** 2 + 1e-6)),
        "colour": np.mean(np.abs(means)),
        "frequency": np.mean((np.abs(spectrum.real) + np.abs(spectrum.imag)) / 2),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name
    assert terms["ssim"].item() == pytest.approx(1 - ssim(output, target, data_range=1).item())


def test_the_sum_is_weighted() -> None:
    output, target = pictures()
    loss = build_loss({"l1": 2.0, "ssim": 0.5, "mse": 0.0})
    terms = loss.terms(output, target)
    assert set(terms) == {"l1", "ssim"}
    assert loss(output, target).item() == pytest.approx((2 * terms["l1"] + 0.5 * terms["ssim"]).item())


def test_ssim_is_computed_in_float32_under_autocast() -> None:
    output, target = pictures()
    loss = build_loss({"ssim": 1.0, "ms_ssim": 1.0})
    expected = 2 - ssim(output, target, data_range=1).item()
    expected -= ms_ssim(output, target, data_range=1, win_size=3).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(output, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_colour_sees_a_drift_that_ssim_hardly_sees() -> None:
    _, target = pictures()
    terms = build_loss({"ssim": 1, "colour": 1}).terms(target * 0.9 + 0.09, target * 0.9 + 0.05)
    assert terms["ssim"] < 0.02
    assert terms["colour"].item() == pytest.approx(0.04, abs=1e-4)


@pytest.mark.parametrize("size", [33, 64, 161])
def test_ms_ssim_keeps_a_finite_gradient_where_structure_is_inverted(size: int) -> None:
    output, _ = pictures(size=size)
    build_loss({"ms_ssim": 1.0})(output, 1 - output.detach()).backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_ms_ssim_names_the_smallest_crop() -> None:
    output, target = pictures(size=32)
    with pytest.raises(SettingsError, match="at least 33 pixels, not 32"):
        build_loss({"ms_ssim": 1.0})(output, target)


@pytest.mark.parametrize("name", ["lpips", "vgg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_feature_losses(name: str, channels: int, backbones: dict[str, Path]) -> None:
    loss = build_loss({name: 1.0}, lpips_backbone=backbones["alexnet"], vgg_backbone=backbones["vgg19"])
    output, target = pictures(channels)
    assert loss(target, target).item() == 0
    loss(output, target).backward()
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in loss.parameters())
    assert {t.device.type for t in loss.to("meta").state_dict().values()} == {"meta"}, "it goes where the loss goes"


def test_vgg_sees_pictures_as_it_was_trained_on_them(backbones: dict[str, Path]) -> None:
    """By the mean and deviation of ImageNet's channels."""
    loss = build_loss({"vgg": 1.0}, vgg_backbone=backbones["vgg19"]).networks["vgg"]
    assert isinstance(loss, VggLoss)
    seen: list[torch.Tensor] = []
    loss.network.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    loss(mean + torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1), mean)
    assert [float(x.mean()) for x in seen] == pytest.approx([0, 1], abs=1e-6)


def test_lpips_loss_scales_to_minus_one_to_one(backbones: dict[str, Path]) -> None:
    output, target = pictures()
    network = lpips_network(backbones["alexnet"])
    expected = network(output * 2 - 1, target * 2 - 1).mean()
    assert LpipsLoss(backbones["alexnet"])(output, target).item() == pytest.approx(expected.item())


def test_lpips_has_the_backbone_of_the_file_and_the_heads_of_the_package(backbones: dict[str, Path]) -> None:
    network = lpips_network(backbones["alexnet"])
    file = torch.load(backbones["alexnet"], weights_only=True)
    state = network.state_dict()
    assert torch.equal(state["net.slice5.10.bias"], file["features.10.bias"])
    assert all(state[f"lin{i}.model.1.weight"].min() >= 0 for i in range(5))  # learned ones are not negative


@pytest.mark.parametrize("content", [b"", b"not a state dict" * 40])
def test_a_file_that_is_no_state_dict_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "alexnet.pth"
    file.write_bytes(content)
    with pytest.raises(BadWeights, match=r"alexnet\.pth is no state dict"):
        build_loss({"lpips": 1}, lpips_backbone=file)


def test_another_networks_weights_are_an_error(tmp_path: Path, backbones: dict[str, Path]) -> None:
    with pytest.raises(BadWeights, match="does not fit alexnet"):
        build_loss({"lpips": 1}, lpips_backbone=backbones["vgg19"])
    part = tmp_path / "part.pth"
    state = torch.load(backbones["alexnet"], weights_only=True)
    torch.save({name: state[name] for name in list(state)[:-1]}, part)
    with pytest.raises(BadWeights, match=r"part\.pth does not fit alexnet"):
        build_loss({"lpips": 1}, lpips_backbone=part)
    heads = tmp_path / "heads.pth"
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, heads)
    with pytest.raises(BadWeights, match="does not hold the features of alexnet"):
        build_loss({"lpips": 1}, lpips_backbone=heads)
    with pytest.raises(InputMissing, match="no such file"):
        build_loss({"vgg": 1}, vgg_backbone=tmp_path / "absent.pth")


def test_no_weights_anywhere_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    unreachable = type(ALEXNET)("alexnet", "https://nowhere.invalid/alexnet-owt-7be5be79.pth")
    monkeypatch.setattr("training.fit.losses.ALEXNET", unreachable)
    with pytest.raises(BackboneMissing, match="alexnet's weights are not here"):
        build_loss({"lpips": 1})


def test_unknown_names_and_weights_are_errors() -> None:
    with pytest.raises(SettingsError, match="no loss is called 'psnr'") as caught:
        build_loss({"psnr": 1.0})
    assert all(name in caught.value.message for name in LOSS_NAMES)
    with pytest.raises(SettingsError, match="'l1' is -1"):
        build_loss({"l1": -1})
    with pytest.raises(SettingsError, match="'l1' is nan"):
        build_loss({"l1": float("nan")})
    with pytest.raises(SettingsError, match="no loss has a weight above 0"):
        build_loss({"l1": 0})


def test_adversarial_losses_follow_the_labels() -> None:
    says_zero, says_one = torch.full((4, 1), -6.0), torch.full((4, 1), 6.0)
    assert discriminator_bce(says_zero, says_one, PAPER) < 0.01
    assert discriminator_bce(says_one, says_zero, PAPER) > 5
    assert generator_bce(says_zero, PAPER) < 0.01  # taken for real
    assert generator_bce(says_one, PAPER) > 5
    usual = Labels(real=1, fake=0)
    assert discriminator_bce(says_one, says_zero, usual) < 0.01
    assert generator_bce(says_one, usual) < 0.01


def test_relativistic_losses_depend_on_differences_only() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(6, 1), torch.randn(6, 1)
    value = discriminator_relativistic(real, fake, PAPER)
    assert discriminator_relativistic(real + 3, fake + 3, PAPER).item() == pytest.approx(value.item(), rel=1e-5)
    # With the paper's labels the discriminator wants real below fake, and the generator the reverse.
    assert discriminator_relativistic(real - 5, fake, PAPER) < discriminator_relativistic(real + 5, fake, PAPER)
    assert generator_relativistic(real + 5, fake, PAPER) < generator_relativistic(real - 5, fake, PAPER)


def test_two_views() -> None:
    a, b = pictures()
    assert two_view_consistency(a, a).item() == 0
    assert two_view_consistency(a, b).item() == pytest.approx((a - b).abs().mean().item())


@pytest.mark.parametrize("of", [discriminator_bce, discriminator_relativistic, generator_relativistic])
def test_judgements_in_half_precision_are_weighed_in_float32(of: Callable[..., torch.Tensor]) -> None:
    logits = torch.tensor([[2.5], [-1.25]]), torch.tensor([[0.5], [-3.0]])
    value = of(*(each.bfloat16() for each in logits), PAPER)
    views = two_view_consistency(*(each.bfloat16() for each in logits))
    assert value.dtype == views.dtype == torch.float32
    assert value.item() == pytest.approx(of(*logits, PAPER).item(), abs=0.01)
    assert views.item() == pytest.approx(1.875)


def test_losses_of_parts_of_a_batch_make_that_of_the_batch(backbones: dict[str, Path]) -> None:
    """So several workers have the gradient of one; docs/training.md says for which losses they have not."""
    output, target = pictures()
    for name in LOSS_NAMES:
        loss = build_loss({name: 1.0}, lpips_backbone=backbones["alexnet"], vgg_backbone=backbones["vgg19"])
        whole = float(loss(output, target).detach())
        parts = [float(loss(output[k : k + 1], target[k : k + 1]).detach()) for k in range(2)]
        same = sum(parts) / 2 == pytest.approx(whole, rel=1e-5)
        assert same is (name != "vgg"), name
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])
    for of, same in ((discriminator_bce, True), (discriminator_relativistic, False), (generator_relativistic, False)):
        apart = float(sum(of(real[k : k + 1], fake[k : k + 1], PAPER) for k in range(2))) / 2
        assert (apart == pytest.approx(float(of(real, fake, PAPER)))) is same
