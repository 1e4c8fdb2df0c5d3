"""What `make demo` shows: a synthetic drive, upscaled by the real command and held against its truth.

python -m training.demo            renders the drive
python -m training.demo VIDEO      upscales your own video
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from training.console import console, run
from training.footage import planes_to_rgb, read_planes, resize
from training.measure.metrics import psnr_inside
from training.measure.pipeline import upscale_files
from training.measure.sheet import Tile, telling_window, window_around, write_sheet
from training.scene.drive import DriveFiles, DriveSpec, read_labels, write_drive

SPEC = DriveSpec(seconds=3, width=1280, height=720, rate=15, seed=1)
SCALE = 2


@dataclass(frozen=True)
class Comparison:
    """Means over the frames of PSNR-Y against the truth, in dB."""

    frames: int
    ours: float
    bicubic: float


def compare(files: DriveFiles, result: Path, scale: int) -> Comparison:
    """Hold the result and bicubic (a = -0.5) of the clip against the truth, luma plane to luma plane."""
    values = []
    for truth, clip, large in zip(read_planes(files.truth), read_planes(files.clip), read_planes(result), strict=True):
        height, width = truth[0].shape
        plain = resize(clip, width, height)[0]
        values.append([psnr_inside(p, truth[0], scale) for p in (large[0], plain)])
    ours, bicubic = np.mean(values, axis=0)
    return Comparison(len(values), float(ours), float(bicubic))


def write_crops(files: DriveFiles, result: Path, number: int, target: Path) -> None:
    """A PNG of frame `number`: bicubic, the result and the truth of the number plate and of the most changed part."""
    truth, clip, large = (next(read_planes(path, number, 1)) for path in (files.truth, files.clip, result))
    height, width = truth[0].shape
    pictures = [planes_to_rgb(p) for p in (resize(clip, width, height), large, truth)]
    plates = [text.box for text in read_labels(files.labels)[number] if text.kind == "plate"]
    windows = [window_around(box, (width, height), 200) for box in plates]
    windows.append(telling_window(pictures[2], pictures[0], 200))
    names = ("bicubic", "vidsr", "truth")
    rows = [[Tile(p[window], name) for p, name in zip(pictures, names, strict=True)] for window in windows]
    write_sheet(target, rows, zoom=2)


def synthetic(folder: Path) -> Comparison:
    """Render, upscale, compare, and say where everything is."""
    console.print(f"Rendering {SPEC.seconds:g} s of a synthetic drive, {SPEC.width}x{SPEC.height} ...")
    files = write_drive(folder, SPEC, SCALE)
    console.print(f"Upscaling {files.clip} with: vidsr upscale {files.clip} --scale {SCALE}")
    result = folder / "dashcam_2x.mp4"
    upscale_files([files.clip], result, SCALE)
    comparison = compare(files, result, SCALE)
    crops = folder / "comparison.png"
    write_crops(files, result, SPEC.frames // 2, crops)
    table = Table("against the truth", "PSNR-Y", title=f"{comparison.frames} frames, {SCALE}x")
    table.add_row("bicubic (a = -0.5)", f"{comparison.bicubic:.2f} dB")
    table.add_row("vidsr", f"{comparison.ours:.2f} dB")
    console.print(table)
    console.print(
        f"the clip:    {files.clip}\nthe result:  {result}\nthe truth:   {files.truth}\nside by side: {crops}"
    )
    return comparison


def own_video(video: Path, folder: Path) -> Path:
    """Upscale a user's video into `folder` and say where the result is."""
    folder.mkdir(parents=True, exist_ok=True)
    report = upscale_files([video], folder, SCALE)[0]
    written = Path(report["result"])
    console.print(f"the result: {written}")
    return written


@click.command()
@click.argument("video", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True)
def main(video: Path | None, out: Path) -> None:
    """Upscale a rendered drive, or VIDEO, into a folder."""
    if video is None:
        synthetic(out)
    else:
        own_video(video, out)


if __name__ == "__main__":
    run(main)
