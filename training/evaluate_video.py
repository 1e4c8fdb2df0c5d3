"""What the real command makes of coded video, against truth: fidelity, colour, steadiness, legibility.

    python -m training.evaluate_video drive.mp4 city.mp4 --scale 2 --crf 18,23,28,33 --synthetic --out runs/video

Real high-resolution footage is the truth. Its planes are reduced (Pillow's bicubic, a = -0.5), coded with x264 and
upscaled by `vidsr upscale`, whose result is coded losslessly and compared with the truth, plane to plane, beside
bicubic and Lanczos of the same coded clip.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click
from PIL import Image

from training.console import console, run, write_json
from training.footage import Planes, PlaneWriter, crop, frame_rate, planes_to_rgb, read_planes, resize
from training.metrics import Lpips
from training.pipeline import upscale_files
from training.scene.lettering import TextBox
from training.sheet import Tile, telling_window, window_around, write_sheet
from training.synthetic_drive import DriveSpec, read_labels, write_drive
from training.video_report import ClipResult, as_json, plot, score_table, text_table
from training.video_score import Meter, TruthStep
from vidsr.errors import SettingsError, UnsupportedSize

KERNELS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
LOSSLESS = ("--codec", "ffv1", "--container", "mkv")


@dataclass(frozen=True)
class Footage:
    """A video that serves as truth: `count` frames from `first`, and the texts known to be on them."""

    path: Path
    first: int
    count: int
    texts: Sequence[Sequence[TextBox]] = ()

    def frames(self, scale: int) -> Iterator[Planes]:
        """Its planes, cut to multiples of 4 * scale.

        Raises:
            UnsupportedSize: nothing is left of the picture, or there are no such frames.
        """
        found = False
        for planes in read_planes(self.path, self.first, self.count):
            found = True
            cut = crop(planes, 4 * scale)
            if min(cut[0].shape) < 16 * scale:
                raise UnsupportedSize(f"{self.path} is too small to be reduced {scale} times; give a larger video")
            yield cut
        if not found:
            raise UnsupportedSize(f"{self.path} has no frame {self.first}; lower --first")


@dataclass(frozen=True)
class Coded:
    """A reduced and coded clip."""

    footage: Footage
    crf: int
    path: Path
    bits_per_pixel: float


def code_clip(footage: Footage, scale: int, crf: int, path: Path) -> Coded:
    """Reduce the footage and code it with x264 (preset medium)."""
    rate = frame_rate(footage.path)
    frames = footage.frames(scale)
    first = next(frames)
    height, width = (side // scale for side in first[0].shape)
    count = 0
    with PlaneWriter(path, (width, height), rate, {"crf": str(crf), "preset": "medium"}) as writer:
        for planes in chain([first], frames):
            writer.write(resize(planes, width, height))
            count += 1
    bits = 8 * path.stat().st_size / (count * width * height)
    return Coded(footage, crf, path, bits)


def measure(coded: Coded, result: Path, scale: int, lpips: Lpips) -> ClipResult:
    """Hold the result, and the kernels' enlargements of the coded clip, against the footage."""
    meters = {name: Meter(scale, lpips) for name in (*KERNELS, "vidsr")}
    step, frames = None, 0
    source = zip(coded.footage.frames(scale), read_planes(coded.path), read_planes(result), strict=True)
    for number, (truth, small, large) in enumerate(source):
        texts = coded.footage.texts[coded.footage.first + number] if coded.footage.texts else ()
        step, frames = TruthStep.after(step, truth, texts), frames + 1
        height, width = truth[0].shape
        pictures = {name: resize(small, width, height, kernel) for name, kernel in KERNELS.items()}
        plain = planes_to_rgb(pictures["bicubic"])
        for name, planes in {**pictures, "vidsr": large}.items():
            meters[name].add(planes, step, plain)
    scores = {name: meter.score() for name, meter in meters.items()}
    return ClipResult(coded.footage.path.stem, coded.crf, frames, coded.bits_per_pixel, scores)


def sheet_row(coded: Coded, result: Path, scale: int, side: int = 192) -> list[Tile]:
    """Bicubic, vidsr and truth of the middle frame: a number plate, or what bicubic gets most wrong."""
    frames = list(zip(coded.footage.frames(scale), read_planes(coded.path), read_planes(result), strict=True))
    middle = len(frames) // 2
    truth, small, large = frames[middle]
    height, width = truth[0].shape
    pictures = [planes_to_rgb(p) for p in (resize(small, width, height), large, truth)]
    texts = coded.footage.texts[coded.footage.first + middle] if coded.footage.texts else ()
    plates = [window_around(text.box, (width, height), side) for text in texts if text.kind == "plate"]
    window = plates[0] if plates else telling_window(pictures[2], pictures[0], side)
    name = f"{coded.footage.path.stem} CRF {coded.crf}"
    return [Tile(p[window], f"{name}: {m}") for p, m in zip(pictures, ("bicubic", "vidsr", "truth"), strict=True)]


def evaluate(
    footage: Sequence[Footage], scale: int, crfs: Sequence[int], options: Sequence[str], lpips: Lpips, work: Path
) -> tuple[list[ClipResult], list[list[Tile]]]:
    """Code every footage at every CRF, upscale all in one run of the command, and measure.

    Returns:
        The figures, and a row of pictures for each of them.
    """
    coded = [
        code_clip(f, scale, crf, work / f"{number:03d}-{f.path.stem}-crf{crf}.mp4")
        for number, f in enumerate(footage)
        for crf in crfs
    ]
    results = work / "results"
    results.mkdir()
    reports = upscale_files([c.path for c in coded], results, scale, [*LOSSLESS, *options])
    larger = [Path(report["result"]) for report in reports]
    scores = [measure(c, path, scale, lpips) for c, path in zip(coded, larger, strict=True)]
    return scores, [sheet_row(c, path, scale) for c, path in zip(coded, larger, strict=True)]


def synthetic_footage(folder: Path, spec: DriveSpec, scale: int) -> Footage:
    """The synthetic drive as footage with known texts."""
    files = write_drive(folder, spec, scale)
    named = files.truth.rename(files.truth.with_name("synthetic.mp4"))
    return Footage(named, 0, spec.frames, read_labels(files.labels))


def parse_crfs(text: str) -> list[int]:
    """Whole numbers from 0 to 51, separated by commas.

    Raises:
        SettingsError: they are not.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) <= 51 for part in parts):
        raise SettingsError(f"--crf {text} is not a list of numbers from 0 to 51; write 18,23,28")
    return sorted({int(part) for part in parts})


@click.command()
@click.argument("clips", nargs=-1, type=click.Path(path_type=Path))
@click.option("--scale", type=click.Choice([2, 4]), default=2, show_default=True)
@click.option("--crf", default="18,23,28,33", show_default=True, help="What the reduced clips are coded at.")
@click.option("--model", default="auto", show_default=True, help="A bundled model's name or a weights file.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="First frame of each clip.")
@click.option("--frames", type=click.IntRange(1), default=10, show_default=True, help="Frames of each clip.")
@click.option("--synthetic", is_flag=True, help="Also the synthetic drive, with its known texts.")
@click.option("--options", default="", help='More options of vidsr upscale, such as "--fidelity 0.7".')
@click.option("--lpips-backbone", type=click.Path(path_type=Path), help="AlexNet's weights as torchvision has them.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/video"), show_default=True)
def main(
    clips: tuple[Path, ...],
    scale: int,
    crf: str,
    model: str,
    first: int,
    frames: int,
    synthetic: bool,
    options: str,
    lpips_backbone: Path | None,
    out: Path,
) -> None:
    """Measure the real command on CLIPS of 8-bit 4:2:0 footage."""
    crfs = parse_crfs(crf)
    if not clips and not synthetic:
        raise SettingsError("there is nothing to measure; name clips, or give --synthetic")
    lpips = Lpips(lpips_backbone)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vidsr-evaluate-") as name:
        work = Path(name)
        footage = [Footage(path, first, frames) for path in clips]
        if synthetic:
            footage.append(synthetic_footage(work, DriveSpec(seconds=frames / 15, rate=15), scale))
        results, rows = evaluate(footage, scale, crfs, ["--model", model, *shlex.split(options)], lpips, work)
    for table in (score_table(results), text_table(results)):
        if table is not None:
            console.print(table)
    if lpips.reason:
        console.print(f"LPIPS: not available ({lpips.reason})")
    settings = {"scale": scale, "crf": crfs, "model": model, "first": first, "frames": frames, "options": options}
    write_json(out / "video.json", as_json(results, {**settings, "lpips": lpips.reason or "available"}))
    plot(results, out / "video.png")
    write_sheet(out / "sheet.png", rows)
    console.print(f"written: {out / 'video.json'}, {out / 'video.png'}, {out / 'sheet.png'}")


if __name__ == "__main__":
    run(main)
