"""Which weights `--model auto` takes: by how finely the source is coded."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.media.clips import Clip, make_clip
from vidsr.clean import CLEAN_FROM, is_clean
from vidsr.graph.prepare import prepare
from vidsr.image import upscale_image
from vidsr.model.registry import find_sharp
from vidsr.settings import UpscaleSettings


@pytest.mark.parametrize("codec", [*CLEAN_FROM, "mjpeg", "mpeg2video"])
def test_no_dashcam_is_clean(codec: str) -> None:
    """They code H.264 at 0.05 to 0.25 bits per pixel, HEVC at less."""
    assert not is_clean(codec, 0.3)
    assert is_clean(codec, 12.0)


def test_codecs_that_predict_need_fewer_bits() -> None:
    assert is_clean("hevc", 0.6) and not is_clean("h264", 0.6)
    assert is_clean("h264", 2.0) and not is_clean("mjpeg", 2.0)
    assert is_clean("ffv1", 0.01)


@pytest.mark.parametrize(
    ("codec", "options", "fidelity", "model"),
    [
        ("libx264", {"crf": "35"}, 1.0, "balanced-2x"),
        ("libx264", {"qp": "0"}, 1.0, "balanced-2x-clean"),
        ("ffv1", {}, 1.0, "balanced-2x-clean"),
        ("libx264", {"crf": "23", "g": "1"}, 1.0, "balanced-2x"),  # many bits, because each frame stands alone
        ("ffv1", {}, 0.5, "balanced-2x"),  # clean weights have no adversarial partner
    ],
)
def test_auto_of_a_video(tmp_path: Path, codec: str, options: dict[str, str], fidelity: float, model: str) -> None:
    clip = make_clip(tmp_path / "drive.mkv", Clip(codec=codec, options=options, frames=6))
    plans = [prepare(clip, None, UpscaleSettings(fidelity=fidelity), False, False) for _ in range(2)]
    assert [plan.model.name for plan in plans] == [model] * 2
    assert plans[0].key == plans[1].key
    weights = [plans[0].model, *([find_sharp(plans[0].model)] if fidelity < 1 else [])]
    assert plans[0].key["weights"] == [file.sha256 for file in weights]
    assert all(file.sha256 in str(plans[0].recorded_settings) for file in weights[1:])


@pytest.mark.parametrize(
    ("name", "quality", "model"),
    [
        ("still.png", None, "balanced-2x-clean"),
        ("still.jpg", 5, "balanced-2x"),
        ("still.jpg", 100, "balanced-2x-clean"),
    ],
)
def test_auto_of_a_picture(tmp_path: Path, name: str, quality: int | None, model: str) -> None:
    noise = Image.effect_noise((256, 192), 20).convert("RGB")
    noise.save(tmp_path / name, **({} if quality is None else {"quality": quality}))
    assert upscale_image(tmp_path / name, None, UpscaleSettings(device="cpu"), False)["model"]["name"] == model


def test_a_picture_on_a_gpu_takes_the_tier_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.effect_noise((256, 192), 20).convert("RGB").save(tmp_path / "still.jpg", quality=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    report = upscale_image(tmp_path / "still.jpg", None, UpscaleSettings(), False, dry_run=True)
    assert report["model"]["name"] == "quality-2x"
