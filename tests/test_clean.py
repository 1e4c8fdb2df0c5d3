"""Which weights `--model auto` takes: by how finely the source is coded, and by its noise."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.media.clips import Clip, frame_of, make_clip
from vidsr.clean import CLEAN_FROM, is_coded_finely, is_noisy
from vidsr.graph.prepare import prepare
from vidsr.image import upscale_image
from vidsr.model.registry import find_sharp
from vidsr.settings import UpscaleSettings


@pytest.mark.parametrize("codec", [*CLEAN_FROM, "mjpeg", "mpeg2video"])
def test_no_dashcam_is_clean(codec: str) -> None:
    """They code H.264 at 0.05 to 0.25 bits per pixel, HEVC at less."""
    assert not is_coded_finely(codec, 0.3)
    assert is_coded_finely(codec, 12.0)


def test_codecs_that_predict_need_fewer_bits() -> None:
    assert is_coded_finely("hevc", 0.6) and not is_coded_finely("h264", 0.6)
    assert is_coded_finely("h264", 2.0) and not is_coded_finely("mjpeg", 2.0)
    assert is_coded_finely("ffv1", 0.01)


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
    assert plans[0].upscaler.fidelity == fidelity
    weights = [plans[0].model, *([find_sharp(plans[0].model)] if fidelity < 1 else [])]
    assert plans[0].key["weights"] == [file.sha256 for file in weights]
    assert all(file.sha256 in str(plans[0].recorded_settings) for file in weights[1:])


def drawing(deviation: float) -> NDArray[np.float32]:
    """A slope with stripes on its middle, and noise: (240, 320)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:240, 0:320].astype(np.float32)
    picture = 90 + 0.2 * x + 0.1 * y
    picture[60:180, 80:240] += 60 * ((x + y)[60:180, 80:240] % 5 < 2)
    return np.rint(picture + deviation * random.standard_normal(picture.shape)).astype(np.float32)


@pytest.mark.parametrize("lossless", [True, False])
def test_noise_is_found_beside_detail(lossless: bool) -> None:
    assert [is_noisy(drawing(deviation), lossless) for deviation in (0.0, 0.5, 2.0, 8.0)] == [False, False, True, True]


def test_uneven_detail_is_not_taken_for_noise_where_nothing_was_smoothed() -> None:
    random = np.random.default_rng(0)
    grass = (120 + np.linspace(1.5, 12, 320) * random.standard_normal((240, 320))).astype(np.float32)
    assert not is_noisy(grass, lossless=True)
    assert is_noisy(grass, lossless=False)


def test_noise_that_a_codec_has_smoothed_here_and_there_is_found() -> None:
    picture = drawing(4.0)
    picture[:24] = 100
    assert is_noisy(picture, lossless=False)


@pytest.mark.parametrize("lossless", [True, False])
def test_noise_that_black_and_white_cut_off_is_not_looked_at(lossless: bool) -> None:
    noisy = drawing(6.0)[:160]
    noisy[:81], noisy[81:97] = 16, 255
    assert is_noisy(noisy, lossless)
    assert not is_noisy(noisy[:97], lossless)
    assert not is_noisy(noisy[100:105, :5], lossless)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize(("deviation", "model"), [(0.5, "balanced-2x-clean"), (4.0, "balanced-2x")])
def test_auto_of_a_noisy_video(tmp_path: Path, pix_fmt: str, deviation: float, model: str) -> None:
    """The second of its three key frames is black, as between two scenes."""
    random = np.random.default_rng(0)
    scale = 4 if "10" in pix_fmt else 1
    with av.open(tmp_path / "night.mkv", "w") as out:
        stream = out.add_stream("ffv1", 25, width=128, height=96, pix_fmt=pix_fmt, options={"g": "2"})
        for number in range(6):
            luma = np.full((96, 128), 16) if number in (2, 3) else 100 + deviation * random.standard_normal((96, 128))
            chroma = np.full((48, 64), 128.0)
            planes = [np.rint(plane * scale).astype(np.uint16) for plane in (luma, chroma, chroma)]
            frame = frame_of(planes, pix_fmt, 128, 96)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert prepare(tmp_path / "night.mkv", None, UpscaleSettings(), False, False).model.name == model


@pytest.mark.parametrize(
    ("name", "quality", "noisy", "model"),
    [
        ("still.png", None, False, "balanced-2x-clean"),
        ("still.png", None, True, "balanced-2x"),
        ("still.jpg", 5, False, "balanced-2x"),
        ("still.jpg", 100, False, "balanced-2x-clean"),
        ("still.jpg", 100, True, "balanced-2x"),
    ],
)
def test_auto_of_a_picture(tmp_path: Path, name: str, quality: int | None, noisy: bool, model: str) -> None:
    picture = Image.effect_noise((256, 192), 20).convert("RGB")
    if not noisy:
        picture.paste((120, 120, 120), (0, 0, 64, 192))  # the rest is detail
    picture.save(tmp_path / name, **({} if quality is None else {"quality": quality}))
    assert upscale_image(tmp_path / name, None, UpscaleSettings(device="cpu"), False)["model"]["name"] == model


def test_a_picture_on_a_gpu_takes_the_tier_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.effect_noise((256, 192), 20).convert("RGB").save(tmp_path / "still.jpg", quality=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    report = upscale_image(tmp_path / "still.jpg", None, UpscaleSettings(), False, dry_run=True)
    assert report["model"]["name"] == "quality-2x"
