"""From which bits per pixel, and up to which noise, the weights for clean pictures beat those for coded video.

    python -m training.crossover drive.mp4 city.mp4 --codec h264 --quality 4,8,12,15,18,23,28
    python -m training.crossover drive.mp4 city.mp4 --quality 8,12 --noise 1.5

The middle of each clip is reduced, gets noise if asked for, and is coded; some of its frames are enlarged by both kinds
of weights of each tier and compared with the clip, luma to luma. `vidsr.clean` goes by what this prints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image
from rich.table import Table

from training.console import console, noise_option, run, whole_numbers, write_json
from training.footage import Plane, PlaneWriter, crop_to_multiple, frame_rate, middle, read_planes, resize
from training.measure.coded import add_noise, enlarge_luma
from training.measure.metrics import psnr_inside
from vidsr.media.probe import probe
from vidsr.model.registry import TIERS
from vidsr.model.upscaler import Upscaler

MEASURED_EVERY = 6
# Encoder and options for a quality: a constant rate factor, for MJPEG a quantiser.
ENCODERS: Mapping[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "h264": ("libx264", lambda q: {"crf": q, "preset": "medium"}),
    "hevc": ("libx265", lambda q: {"crf": q, "preset": "medium", "x265-params": "log-level=none:pools=none"}),
    "vp9": ("libvpx-vp9", lambda q: {"crf": q, "b": "0", "cpu-used": "4"}),
    "mjpeg": ("mjpeg", lambda q: {"qmin": q, "qmax": q, "strict": "unofficial"}),
    "ffv1": ("ffv1", lambda q: {}),
}


@dataclass(frozen=True)
class CodingScore:
    """One clip in one coding.

    Attributes:
        clip: its name.
        quality: as the encoder takes it.
        bits_per_pixel: as `vidsr probe` counts them.
        bicubic: PSNR of luma, dB, mean over the frames.
        gains: over it, by model.
    """

    clip: str
    quality: int
    bits_per_pixel: float
    bicubic: float
    gains: dict[str, float]


def score_clip(
    clip: Path,
    codec: str,
    qualities: Sequence[int],
    frames: int,
    upscalers: Mapping[str, Upscaler],
    folder: Path,
    noise: float = 0.0,
) -> list[CodingScore]:
    """Measure every model on the middle of a clip, coded at each quality, with noise of that deviation of 255."""
    scale = next(iter(upscalers.values())).scale
    first = middle(clip, frames)
    truth = [crop_to_multiple(planes, 4 * scale) for planes in read_planes(clip, first, frames)]
    height, width = truth[0][0].shape
    small = add_noise([resize(planes, width // scale, height // scale) for planes in truth], noise)
    encoder, options = ENCODERS[codec]
    scores = []
    for quality in qualities:
        path = folder / f"{clip.stem}-{quality}.mkv"
        with PlaneWriter(path, (width // scale, height // scale), frame_rate(clip), options(str(quality)),
                         codec=encoder) as writer:  # fmt: skip
            for planes in small:
                writer.write(planes)
        coded = list(read_planes(path))[MEASURED_EVERY // 2 :: MEASURED_EVERY]
        wanted = [planes[0] for planes in truth[MEASURED_EVERY // 2 :: MEASURED_EVERY]]
        plain = [np.asarray(Image.fromarray(y).resize((width, height), Image.Resampling.BICUBIC)) for y, _, _ in coded]
        bicubic = _mean_psnr(plain, wanted, scale)
        gains = {
            name: _mean_psnr(enlarge_luma(upscaler, coded), wanted, scale) - bicubic
            for name, upscaler in upscalers.items()
        }
        scores.append(CodingScore(clip.stem, quality, probe(path).bits_per_pixel, bicubic, gains))
    return scores


def _mean_psnr(pictures: Sequence[Plane], truth: Sequence[Plane], border: int) -> float:
    return float(np.mean([psnr_inside(p, t, border) for p, t in zip(pictures, truth, strict=True)]))


def crossover_table(scores: Sequence[CodingScore], codec: str, scale: int) -> Table:
    """By falling bits per pixel: what each tier gains, and what its clean weights gain more."""
    table = Table(title=f"{codec}, {scale}x: PSNR of luma over bicubic, dB; clean: what the clean weights have more")
    table.add_column("clip", overflow="fold")
    tiers = [tier for tier in TIERS if all(f"{tier}-{scale}x" in score.gains for score in scores)]
    columns = [column for tier in tiers for column in (tier, "clean")]
    for column in ("quality", "bit/px", "bicubic", *columns):
        table.add_column(column, justify="right")
    for score in sorted(scores, key=lambda s: -s.bits_per_pixel):
        cells = []
        for tier in tiers:
            coded, clean = (score.gains[name] for name in variants(tier, scale))
            cells += [f"{coded:+.2f}", f"{clean - coded:+.2f}"]
        table.add_row(score.clip, str(score.quality), f"{score.bits_per_pixel:.3f}", f"{score.bicubic:.2f}", *cells)
    return table


def variants(tier: str, scale: int) -> tuple[str, str]:
    """The names of a tier's weights for coded video and for clean pictures."""
    return f"{tier}-{scale}x", f"{tier}-{scale}x-clean"


@click.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--codec", type=click.Choice(list(ENCODERS)), default="h264", show_default=True)
@click.option("--quality", default="4,8,12,15,18,23,28", show_default=True, help="CRFs; for mjpeg quantisers from 1.")
@click.option("--scale", type=click.Choice([2, 4]), default=2, show_default=True)
@click.option(
    "--tier", "tiers", multiple=True, type=click.Choice(TIERS), default=("balanced", "fast"), show_default=True
)
@click.option(
    "--frames", type=click.IntRange(MEASURED_EVERY), default=36, show_default=True, help="Coded of each clip."
)
@noise_option
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every figure here.")
def main(
    clips: tuple[Path, ...], codec: str, quality: str, scale: int, tiers: tuple[str, ...], frames: int, noise: float,
    json_file: Path | None,
) -> None:  # fmt: skip
    """Measure both kinds of weights on CLIPS of 8-bit 4:2:0 footage in one codec."""
    qualities = whole_numbers("--quality", quality, 63)
    upscalers = {name: Upscaler(name, scale=scale) for tier in tiers for name in variants(tier, scale)}
    with tempfile.TemporaryDirectory(prefix="vidsr-crossover-") as folder:
        scores = [
            s for clip in clips for s in score_clip(clip, codec, qualities, frames, upscalers, Path(folder), noise)
        ]
    console.print(crossover_table(scores, codec, scale))
    if json_file:
        write_json(
            json_file, {"codec": codec, "scale": scale, "noise": noise, "scores": [asdict(score) for score in scores]}
        )


if __name__ == "__main__":
    run(main)
