from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from tests.training.bare import TRAINING_NEEDS, run_with_only
from training.backbones import Backbone, torchvision_models
from training.evaluate import enlargers, evaluate, gains
from training.measure.coded import add_noise, coded_gain, read_planes
from training.measure.metrics import Lpips, crop_border, low_frequency_drift, psnr
from training.measure.pictures import evaluate_picture, means
from training.measure.sheet import telling_window
from training.pairs.data import find_photos, luma, read_picture, reduce
from vidsr.errors import InputError, InputMissing, NoPicture, NotAVideo, SettingsError, VidsrError, WrongScale
from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.registry import bundled_models
from vidsr.model.upscaler import Upscaler
from vidsr.model.weights import save_weights

Pixels = NDArray[np.uint8]

# The figures that are asked of the bundled weights and that these reach: mean PSNR of Y on B100 for clean weights, and
# gain over bicubic on the road clips by CRF for the others. Each is held to 0.05 dB.
B100 = {
    "balanced-2x-clean": 31.5, "balanced-4x-clean": 27.1, "fast-2x-clean": 31.2, "fast-4x-clean": 26.8,
    "quality-2x-clean": 32.05, "quality-4x-clean": 27.3,
}  # fmt: skip
ROAD = {
    ("fast-2x", 23): 0.6, ("fast-2x", 28): 0.2, ("balanced-2x", 23): 1.0, ("balanced-2x", 28): 0.45,
    ("quality-2x", 23): 1.45, ("quality-2x", 28): 0.9, ("quality-4x", 23): 1.5, ("quality-4x", 28): 0.9,
}  # fmt: skip
ROAD_CLIPS = ("dashcam-360p.mp4", "drive-720p-short.mp4", "drive-960x540.mp4", "drive-yellow.mp4")


@pytest.fixture
def no_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lpips:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "training.measure.metrics.ALEXNET", Backbone("alexnet", "https://nowhere.invalid/a-00000000.pth")
    )
    return Lpips()


def network(scale: int = 2, colour: str = "luma", change: float = 0.0) -> Generator:
    """Bicubic enlargement, changed by a random residual of a given strength."""
    torch.manual_seed(0)
    generator = Generator(
        GeneratorConfig(scale=scale, blocks=1, channels=4, colour=colour, kernel=3)  # type: ignore[arg-type]
    )
    if change:
        torch.nn.init.normal_([m for m in generator.tail if isinstance(m, torch.nn.Conv2d)][-1].weight, std=change)
    return generator.eval()


def weights(path: Path, **shape: object) -> Path:
    save_weights(path, network(**shape), {})  # type: ignore[arg-type]
    return path


def photograph(h: int = 97, w: int = 130, seed: int = 0) -> Pixels:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w]
    waves = [110 + 60 * np.sin(x / (4 + c) + y / 9) + 40 * (((x // 13 + y // 17) % 2) - 0.5) for c in range(3)]
    return (np.stack(waves, -1) + random.normal(0, 4, (h, w, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of several modes and odd sizes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(photograph()).save(folder / "a.png")
    Image.fromarray(photograph(seed=1)[..., 0]).save(folder / "grey.png")
    Image.fromarray(photograph(seed=2)).convert("CMYK").save(folder / "cmyk.jpg")
    return folder


def command(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(a) for a in arguments])


def failure(*arguments: object) -> VidsrError:
    error = command(*arguments).exception
    assert isinstance(error, VidsrError)
    return error


@pytest.mark.parametrize("colour", ["rgb", "luma"])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_net_without_residual_scores_as_bicubic(scale: int, colour: str, no_lpips: Lpips) -> None:
    methods = enlargers("net", Upscaler(network(scale, colour), device="cpu", backend="torch"))
    result, pictures = evaluate_picture("a", photograph(), scale, methods, no_lpips)
    assert list(result.scores) == ["bicubic", "lanczos", "net"]
    assert pictures["truth"].shape == (97 // scale * scale, 130 // scale * scale, 3)
    assert abs(gains([result])["a"]) < 0.05
    assert result.scores["net"].ssim_y == pytest.approx(result.scores["bicubic"].ssim_y, abs=1e-3)
    assert result.scores["lanczos"].psnr_y > result.scores["bicubic"].psnr_y


def test_a_worse_net_scores_worse(no_lpips: Lpips) -> None:
    methods = enlargers("net", Upscaler(network(change=0.05), device="cpu", backend="torch"))
    result, _ = evaluate_picture("a", photograph(), 2, methods, no_lpips)
    assert gains([result])["a"] < -1


def test_the_command_prints_and_writes_every_figure(folder: Path, tmp_path: Path, no_lpips: Lpips) -> None:
    model = weights(tmp_path / "plain.safetensors")
    out, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    result = command("--model", model, "--data", folder, "--json", out, "--sheet", sheet, "--device", "cpu")
    assert result.exit_code == 0, result.output
    values = json.loads(out.read_text())
    assert [p["name"] for p in values["pictures"]] == ["a.png", "cmyk.jpg", "grey.png"]
    assert set(values["mean"]) == {"bicubic", "lanczos", "plain"}
    assert values["mean"]["plain"]["lpips"] is None
    assert values["lpips"].startswith("not available")
    mean = np.mean([p["scores"]["plain"]["psnr_y"] for p in values["pictures"]])
    assert values["mean"]["plain"]["psnr_y"] == pytest.approx(mean)
    with Image.open(sheet) as image:
        assert image.width > 3 * 128
        assert image.height > 3 * 2 * 96
    assert not list(tmp_path.glob("*.part"))


ON_PICTURES = """
import training.compare_losses
import training.measure.metrics
import training.reproduce
from training.backbones import Backbone
from training.evaluate import evaluate
training.measure.metrics.ALEXNET = Backbone("no-such-alexnet", "https://nowhere.invalid/no-such-alexnet-00000000.pth")
evaluate(standalone_mode=False)
"""


def test_pictures_are_measured_without_pyav(folder: Path, tmp_path: Path) -> None:
    model = weights(tmp_path / "plain.safetensors")
    arguments = ("--model", str(model), "--data", str(folder), "--device", "cpu")
    done = run_with_only([*TRAINING_NEEDS, "scikit-image"], ON_PICTURES, *arguments)
    assert done.returncode == 0, done.stderr
    assert "worst picture" in done.stdout


def test_lpips_of_another_backbone_says_so(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    features = torchvision_models().alexnet(weights=None).features.state_dict()
    torch.save({f"features.{k}": v for k, v in features.items()}, tmp_path / "alexnet.pth")
    model, out = weights(tmp_path / "plain.safetensors"), tmp_path / "out.json"
    result = command("--model", model, "--data", folder, "--json", out, "--lpips-backbone", tmp_path / "alexnet.pth")
    assert result.exit_code == 0, result.output
    values = json.loads(out.read_text())
    assert values["mean"]["plain"]["lpips"] > 0
    assert "another file than the published one" in values["lpips"]


def test_the_sheet_shows_where_bicubic_errs_most() -> None:
    truth = np.full((200, 300, 3), 90, np.uint8)
    other = truth.copy()
    other[150:170, 220:260] += 40
    rows, columns = telling_window(truth, other, 64)
    assert rows.stop - rows.start == columns.stop - columns.start == 64
    assert rows.start <= 150
    assert rows.stop >= 170
    assert columns.start <= 220
    assert columns.stop >= 260
    assert telling_window(truth[:40], other[:40], 64) == (slice(0, 40), slice(0, 40))


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    model = weights(tmp_path / "plain.safetensors")
    (tmp_path / "empty").mkdir()
    for arguments, error, message in [
        (("--data", folder, "--scale", 4), WrongScale, "2x, not 4x"),
        (("--data", tmp_path / "empty"), NoPicture, "no photographs"),
        (("--data", tmp_path / "absent"), InputMissing, "not a folder"),
        ((), SettingsError, "either --data FOLDER or CLIPS"),
        (("--data", folder, model), SettingsError, "either --data FOLDER or CLIPS"),
        ((model, "--crf", "23,x"), SettingsError, "whole numbers from 0 to 51"),
        ((tmp_path / "absent.mp4",), InputMissing, "absent.mp4"),
        ((model,), NotAVideo, "plain.safetensors"),
    ]:
        raised = failure("--model", model, *arguments)
        assert isinstance(raised, error)
        assert message in raised.message


def write_clip(path: Path, pix_fmt: str = "yuv420p", size: tuple[int, int] = (98, 150)) -> Path:
    h, w = size
    photo = Image.fromarray(photograph(h, w))
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = w, h, pix_fmt
        for shift in range(4):
            frame = av.VideoFrame.from_image(photo.transform((w, h), Image.Transform.AFFINE, (1, 0, shift, 0, 1, 0)))
            out.mux(stream.encode(frame.reformat(format=pix_fmt)))
        out.mux(stream.encode())
    return path


def test_planes_are_the_decoded_samples(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    planes = read_planes(clip, 3, 2)
    assert len(planes) == 3
    with av.open(clip) as container:
        frame = next(container.decode(video=0))
    for plane, (h, w), line in zip(planes[0], [(96, 144), (48, 72), (48, 72)], range(3), strict=True):
        buffer = np.frombuffer(frame.planes[line], np.uint8).reshape(frame.planes[line].height, -1)
        assert np.array_equal(plane, buffer[:h, :w])


@pytest.mark.parametrize("colour", ["rgb", "luma"])
def test_coded_clips_are_compared_in_luma(tmp_path: Path, colour: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    upscaler = Upscaler(network(colour=colour), device="cpu", backend="torch")
    fine, coarse = (coded_gain(clip, crf, upscaler, 4) for crf in (18, 35))
    assert fine.frames == 4
    assert abs(fine.gain) < 0.1  # the net is bicubic
    assert fine.worst <= fine.gain
    assert coarse.bicubic < fine.bicubic - 1
    assert fine.lanczos > 0


def test_noise_is_in_what_is_coded_and_not_in_the_truth(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    upscaler = Upscaler(network(), device="cpu", backend="torch")
    clean, noisy = (coded_gain(clip, 12, upscaler, 2, noise) for noise in (0.0, 8.0))
    assert noisy.noise == 8.0
    assert noisy.bicubic < clean.bicubic - 2


def test_noise_has_its_deviation_and_spares_chroma() -> None:
    grey = (np.full((64, 64), 100, np.uint8), np.full((32, 32), 128, np.uint8), np.full((32, 32), 128, np.uint8))
    first, second = add_noise([grey, grey], 6.0)
    assert np.std(first[0]) == pytest.approx(6.0, rel=0.1)
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], grey[1])
    assert np.array_equal(add_noise([grey], 0.0)[0][0], grey[0])


def test_the_command_takes_clips(tmp_path: Path) -> None:
    model, clip, out = weights(tmp_path / "plain.safetensors"), write_clip(tmp_path / "a.mp4"), tmp_path / "out.json"
    other = write_clip(tmp_path / "b.mp4", size=(64, 64))
    result = command("--model", model, clip, other, "--crf", "20,30", "--frames", 2, "--json", out)
    assert result.exit_code == 0, result.output
    values = json.loads(out.read_text())
    assert [(c["clip"], c["crf"]) for c in values["clips"]] == [
        ("a.mp4", 20), ("a.mp4", 30), ("b.mp4", 20), ("b.mp4", 30)
    ]  # fmt: skip
    assert set(values["mean"]) == {"20", "30"}


def test_clips_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"yuv444p.*8-bit 4:2:0"):
        read_planes(write_clip(tmp_path / "clip.mp4", "yuv444p"), 1, 2)


@pytest.mark.parametrize(("scale", "y_psnr", "y_ssim"), [(2, 33.66, 0.9299), (4, 28.42, 0.8104)])
def test_bicubic_has_its_published_figures_on_set5(
    scale: int, y_psnr: float, y_ssim: float, shared_data: Path, no_lpips: Lpips
) -> None:
    methods = {"bicubic": enlargers("net", Upscaler(network(scale), device="cpu"))["bicubic"]}
    scores = [
        evaluate_picture(photo.name, read_picture(photo), scale, methods, no_lpips)[0]
        for photo in find_photos(shared_data / "bench" / "Set5")
    ]
    mean = means(scores)["bicubic"]
    assert mean.psnr_y == pytest.approx(y_psnr, abs=0.03)
    assert mean.ssim_y == pytest.approx(y_ssim, abs=0.002)


DEFAULTS = [
    "fast-2x",
    "balanced-2x",
    "fast-4x",
    "balanced-4x",
    pytest.param("quality-2x", marks=pytest.mark.slow),
    pytest.param("quality-4x", marks=pytest.mark.slow),
]


def bundled(model: str) -> Upscaler:
    file = next(m for m in bundled_models() if m.name == model)
    return Upscaler(str(file.path), device="cpu", scale=file.config.scale, backend="torch")


def luma_psnr(model: str, photos: list[Path]) -> NDArray[np.float64]:
    """PSNR of Y of bicubic and of a bundled model: (pictures, 2)."""
    upscaler = bundled(model)
    methods, scale = enlargers(model, upscaler), upscaler.scale
    values = []
    for photo in photos:
        picture = read_picture(photo)
        h, w = (n // scale * scale for n in picture.shape[:2])
        truth = np.ascontiguousarray(picture[:h, :w])
        small = reduce(truth, scale)
        outputs = (methods[name](small) for name in ("bicubic", model))
        values.append([psnr(*(crop_border(luma(p), scale) for p in (output, truth)), 255) for output in outputs])
    return np.array(values)


@pytest.mark.parametrize("model", sorted(B100))
def test_no_picture_of_the_clean_weights_is_below_bicubic(model: str, shared_data: Path) -> None:
    photos = [*find_photos(shared_data / "bench" / "Set5")[2:5], *find_photos(shared_data / "bench" / "BSD100")[:2]]
    bicubic, ours = luma_psnr(model, photos).T
    assert (ours > bicubic).all()
    assert (ours - bicubic).mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(B100))
def test_clean_weights_keep_their_figures(model: str, shared_data: Path) -> None:
    bicubic, ours = luma_psnr(model, find_photos(shared_data / "bench" / "BSD100")).T
    assert bicubic.mean() == pytest.approx(29.56 if "2x" in model else 25.96, abs=0.01)
    assert ours.mean() >= B100[model] - 0.05
    assert (ours > bicubic).all()


@pytest.mark.slow
@pytest.mark.parametrize("model", [m.name for m in bundled_models() if not m.name.endswith("-sharp")])
def test_no_picture_of_set14_is_below_bicubic(model: str, shared_data: Path) -> None:
    bicubic, ours = luma_psnr(model, find_photos(shared_data / "bench" / "Set14")).T
    assert (ours > bicubic).all()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "crf"), sorted(ROAD))
def test_road_weights_keep_their_figures(model: str, crf: int, shared_data: Path) -> None:
    upscaler = bundled(model)
    gained = [coded_gain(shared_data / "video" / clip, crf, upscaler, 10).gain for clip in ROAD_CLIPS]
    assert sum(gained) / len(gained) >= ROAD[model, crf] - 0.05


@pytest.mark.parametrize("crf", [14, 23])
@pytest.mark.parametrize("model", DEFAULTS)
def test_noise_does_not_bring_weights_below_bicubic(model: str, crf: int, shared_data: Path) -> None:
    upscaler = bundled(model)
    for noise in (4.0, 8.0, 12.0):
        assert coded_gain(shared_data / "video" / "dashcam-360p.mp4", crf, upscaler, 2, noise).worst > 0.5


@pytest.mark.parametrize("model", DEFAULTS)
def test_nights_whose_blacks_lie_below_16_are_above_bicubic(model: str, shared_data: Path) -> None:
    upscaler = bundled(model)
    for clip in ("dashcam-360p.mp4", "drive-720p-short.mp4"):
        assert coded_gain(shared_data / "video" / clip, 23, upscaler, 2, night=True).worst > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("model", [m.name for m in bundled_models() if not m.name.endswith(("-clean", "-sharp"))])
def test_default_weights_keep_brightness_and_colour(model: str, shared_data: Path) -> None:
    upscaler = bundled(model)
    drifts = []
    for photo in find_photos(shared_data / "bench" / "BSD100"):
        picture = read_picture(photo)
        h, w = (n // upscaler.scale * upscaler.scale for n in picture.shape[:2])
        truth = np.ascontiguousarray(picture[:h, :w])
        drifts.append(low_frequency_drift(upscaler.upscale(reduce(truth, upscaler.scale)), truth))
    assert np.mean(drifts) < 0.5
