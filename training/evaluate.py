"""`python -m training.evaluate`: a model beside bicubic and Lanczos, on pictures or on coded road clips.

Pictures are cut to multiples of the scale, reduced by the antialiased bicubic (a = -0.5), rounded to 8 bits and
enlarged again; bicubic and Lanczos are Pillow's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from rich.table import Table

from training.console import console, noise_option, run, whole_numbers, write_json
from training.measure.coded import ClipScore, coded_gain
from training.measure.metrics import Lpips
from training.measure.pictures import Enlarge, PictureScore, evaluate_picture, means, pillow
from training.measure.sheet import Tile, telling_window, write_sheet
from training.pairs.data import Pixels, find_photos, read_picture
from vidsr.errors import SettingsError
from vidsr.model.registry import ModelFile, find_model
from vidsr.model.upscaler import Upscaler

_SHEET_ROWS, _SHEET_CROP = 8, 128


def enlargers(name: str, upscaler: Upscaler) -> dict[str, Enlarge]:
    """The methods to compare, the model last."""
    scale = upscaler.scale
    return {
        "bicubic": pillow(Image.Resampling.BICUBIC, scale),
        "lanczos": pillow(Image.Resampling.LANCZOS, scale),
        name: upscaler.upscale,
    }


def sheet_row(result: PictureScore, pictures: Mapping[str, Pixels]) -> list[Tile]:
    """Truth, bicubic and the model, cut to where bicubic errs most."""
    model = list(result.scores)[-1]
    window = telling_window(pictures["truth"], pictures["bicubic"], _SHEET_CROP)
    tiles = [Tile(pictures["truth"][window], result.name)]
    tiles += [
        Tile(pictures[method][window], f"{method}  {result.scores[method].psnr_y:.2f} dB")
        for method in ("bicubic", model)
    ]
    return tiles


def picture_table(pictures: Sequence[PictureScore]) -> Table:
    """Every picture's scores and their means."""
    table = Table("picture", "method", title="PSNR in dB; Y is BT.601 with the border cut off; drift of 255")
    for column in ("PSNR Y", "SSIM Y", "PSNR RGB", "SSIM RGB", "LPIPS", "drift", "CIEDE2000"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = [(p.name, p.scores) for p in pictures] + [(f"mean of {len(pictures)}", means(pictures))]
    for name, scores in rows:
        for at, (method, s) in enumerate(scores.items()):
            lpips = "not available" if s.lpips is None else f"{s.lpips:.4f}"
            cells = (f"{s.psnr_y:.2f}", f"{s.ssim_y:.4f}", f"{s.psnr_rgb:.2f}", f"{s.ssim_rgb:.4f}", lpips)
            table.add_row(name if at == 0 else "", method, *cells, f"{s.drift:.2f}", f"{s.ciede2000:.2f}")
        table.add_section()
    return table


def gains(pictures: Sequence[PictureScore]) -> dict[str, float]:
    """PSNR of Y over bicubic of the last method, by picture."""
    model = list(pictures[0].scores)[-1]
    return {p.name: p.scores[model].psnr_y - p.scores["bicubic"].psnr_y for p in pictures}


def clip_table(clips: Sequence[ClipScore]) -> Table:
    """Every clip at every CRF, and the means by CRF."""
    table = Table("clip", "CRF", title="PSNR of luma in dB; gains over bicubic")
    for column in ("frames", "bicubic", "Lanczos", "model", "worst frame"):
        table.add_column(column, justify="right")
    for c in clips:
        cells = (f"{c.bicubic:.2f}", f"{c.lanczos:+.2f}", f"{c.gain:+.2f}", f"{c.worst:+.2f}")
        table.add_row(c.clip, str(c.crf), str(c.frames), *cells)
    table.add_section()
    for crf, mean in clip_means(clips).items():
        table.add_row("mean", str(crf), "", *(f"{mean[n]:{'+' if n != 'bicubic' else ''}.2f}" for n in mean), "")
    return table


def clip_means(clips: Sequence[ClipScore]) -> dict[int, dict[str, float]]:
    """The mean of PSNR and gains by CRF; every clip counts alike."""
    return {
        crf: {
            name: float(np.mean([getattr(c, name) for c in clips if c.crf == crf]))
            for name in ("bicubic", "lanczos", "gain")
        }
        for crf in sorted({c.crf for c in clips})
    }


def _describe(model: ModelFile, upscaler: Upscaler, lpips: Lpips) -> dict[str, Any]:
    state = lpips.reason and f"not available: {lpips.reason}"
    origin = "0.1, AlexNet" if lpips.published else "0.1, AlexNet of another file than the published one"
    return {
        "model": model.name,
        "sha256": model.sha256,
        "scale": upscaler.scale,
        "backend": upscaler.backend,
        "lpips": state or origin,
    }


def _pictures(
    folder: Path, model: ModelFile, upscaler: Upscaler, lpips: Lpips, sheet: Path | None
) -> list[PictureScore]:
    photos = find_photos(folder)
    methods = enlargers(model.name, upscaler)
    shown = {photos[i] for i in np.linspace(0, len(photos) - 1, min(_SHEET_ROWS, len(photos))).astype(int)}
    results, rows = [], []
    with console.status("evaluating") as status:
        for number, photo in enumerate(photos, 1):
            status.update(f"{photo.name} ({number} of {len(photos)})")
            result, pictures = evaluate_picture(photo.name, read_picture(photo), upscaler.scale, methods, lpips)
            results.append(result)
            if photo in shown:
                rows.append(sheet_row(result, pictures))
    if sheet:
        write_sheet(sheet, rows)
    return results


def _clips(
    clips: Iterable[Path], crfs: Sequence[int], upscaler: Upscaler, frames: int, noise: float, night: bool
) -> list[ClipScore]:
    with console.status("coding and evaluating"):
        return [coded_gain(clip, crf, upscaler, frames, noise, night) for clip in clips for crf in crfs]


@click.command()
@click.argument("clips", nargs=-1, type=click.Path(path_type=Path))
@click.option("--model", "name", required=True, help="A bundled model's name or a weights file.")
@click.option("--scale", type=click.Choice([2, 4]), default=2, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="A folder of pictures.")
@click.option("--crf", default="23,28", show_default=True, help="What the clips are coded at.")
@click.option("--frames", type=click.IntRange(1), default=10, show_default=True, help="Frames of each clip.")
@noise_option
@click.option(
    "--night", is_flag=True, help="Make the clips dark first, black at 0 in limited range, as cameras film nights."
)
@click.option("--device", default="auto", show_default=True)
@click.option("--lpips-backbone", type=click.Path(path_type=Path), help="AlexNet's weights as torchvision has them.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every figure here.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a PNG with crops here.")
def evaluate(
    clips: tuple[Path, ...],
    name: str,
    scale: int,
    data: Path | None,
    crf: str,
    frames: int,
    noise: float,
    night: bool,
    device: str,
    lpips_backbone: Path | None,
    json_file: Path | None,
    sheet: Path | None,
) -> None:
    """Print a model's figures beside bicubic's and Lanczos', on a folder of pictures or on road CLIPS, coded."""
    if bool(data) == bool(clips):
        raise SettingsError("give either --data FOLDER or CLIPS")
    crfs = whole_numbers("--crf", crf, 51)
    model = find_model(name, scale)
    upscaler = Upscaler(str(model.path), device=device, scale=scale, backend="torch")
    if data:
        lpips = Lpips(lpips_backbone)
        pictures = _pictures(data, model, upscaler, lpips, sheet)
        console.print(picture_table(pictures))
        by_picture = gains(pictures)
        worst = min(by_picture, key=by_picture.__getitem__)
        console.print(f"Y over bicubic: worst picture {worst} {by_picture[worst]:+.2f} dB")
        values = _describe(model, upscaler, lpips)
        console.print(f"{model.name}, {upscaler.backend}, LPIPS {values['lpips']}")
        values |= {"pictures": [asdict(p) for p in pictures]}
        values |= {"mean": {method: asdict(s) for method, s in means(pictures).items()}}
    else:
        scores = _clips(clips, crfs, upscaler, frames, noise, night)
        console.print(clip_table(scores))
        values = {"model": model.name, "sha256": model.sha256, "scale": scale, "backend": upscaler.backend}
        values |= {"clips": [asdict(c) for c in scores], "mean": clip_means(scores)}
    if json_file:
        write_json(json_file, values)


if __name__ == "__main__":
    run(evaluate)
