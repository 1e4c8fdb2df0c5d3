"""A short drive through a street, rendered: high-resolution truth, and the dashcam clip that a camera made of it.

    python -m training.synthetic_drive OUT_DIR --seconds 4 --width 1280 --height 720 --scale 2

writes truth.mp4 (lossless H.264), dashcam.mp4 (reduced, noisy, coded, with engine sound) and labels.json (the texts on
each frame, with the box of every character).
"""

from __future__ import annotations

from pathlib import Path

import click

from training.console import console, run
from training.scene.drive import DriveSpec, write_drive


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seconds", type=float, default=4.0, show_default=True)
@click.option("--width", type=int, default=1280, show_default=True, help="Of the truth, in pixels.")
@click.option("--height", type=int, default=720, show_default=True, help="Of the truth, in pixels.")
@click.option("--rate", type=int, default=30, show_default=True, help="Frames per second.")
@click.option("--scale", type=int, default=2, show_default=True, help="How many times smaller the clip is: 2 or 4.")
@click.option("--crf", type=click.IntRange(0, 51), default=23, show_default=True, help="Of the clip's x264 coding.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(folder: Path, seconds: float, width: int, height: int, rate: int, scale: int, crf: int, seed: int) -> None:
    """Render a short synthetic drive with known truth into FOLDER."""
    files = write_drive(folder, DriveSpec(seconds, width, height, rate, seed), scale, crf)
    for path in (files.truth, files.clip, files.labels):
        console.print(str(path))


if __name__ == "__main__":
    run(main)
