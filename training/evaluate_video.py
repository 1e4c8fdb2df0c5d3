"""What the real command makes of coded video, against truth: fidelity, colour, steadiness, legibility, seams.

    python -m training.evaluate_video drive.mp4 city.mp4 --scale 2 --crf 18,23,28,33 --synthetic --out runs/video

Real high-resolution footage is the truth. Its planes are reduced (Pillow's bicubic, a = -0.5), coded with x264 and
upscaled by `vidsr upscale`, whose result is coded losslessly and compared with the truth, plane to plane, beside
bicubic and Lanczos of the same coded clip. At the middle CRF two more runs tell whether a still scene stays still and
whether the borders of segments show (training.measure.steadiness).
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

import click
from PIL import Image

from training.console import console, run, whole_numbers, write_json
from training.footage import (
    Plane,
    Planes,
    PlaneWriter,
    crop_to_multiple,
    frame_rate,
    middle,
    planes_to_rgb,
    read_planes,
    resize,
)
from training.measure.metrics import Lpips
from training.measure.pipeline import upscale_files
from training.measure.sheet import Tile, telling_window, window_around, write_sheet
from training.measure.steadiness import SeamScore, StillScore, score_seams, score_still
from training.measure.video_report import ClipResult, as_json, plot, score_table, steadiness_table, text_table
from training.measure.video_score import Meter, TruthStep
from training.scene.drive import DriveSpec, read_labels, write_drive
from training.scene.lettering import TextBox
from vidsr.errors import SettingsError, UnsupportedSize
from vidsr.media.probe import probe
from vidsr.model.registry import find_model

KERNELS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
LOSSLESS = ("--codec", "ffv1", "--container", "mkv")
# The longest and the shortest segments that the command takes.
IN_ONE, IN_PARTS = ("--segment-seconds", "3600"), ("--segment-seconds", "0.1")
_SHEET_CROP = 192


@dataclass(frozen=True)
class Footage:
    """A video that serves as truth: `count` frames from `first`, and the texts known to be on them.

    Attributes:
        path: the video.
        first, count: which of its frames.
        texts: of each frame of the video; empty where they are not known.
        still: the frame `first` alone, `count` times.
    """

    path: Path
    first: int
    count: int
    texts: Sequence[Sequence[TextBox]] = ()
    still: bool = False

    def frames(self, scale: int) -> Iterator[Planes]:
        """Its planes, cut to multiples of 4 * scale.

        Raises:
            UnsupportedSize: nothing is left of the picture, or there are no such frames.
        """
        found = False
        for planes in read_planes(self.path, self.first, 1 if self.still else self.count):
            found = True
            cut = crop_to_multiple(planes, 4 * scale)
            if min(cut[0].shape) < 16 * scale:
                raise UnsupportedSize(f"{self.path} is too small to be reduced {scale} times; give a larger video")
            yield from repeat(cut, self.count if self.still else 1)
        if not found:
            raise UnsupportedSize(f"{self.path} has no frame {self.first}; lower --first")


@dataclass(frozen=True)
class Coded:
    """A reduced and coded clip of so many frames."""

    footage: Footage
    crf: int
    path: Path
    frames: int
    bits_per_pixel: float


def code_clip(footage: Footage, scale: int, crf: int, path: Path) -> Coded:
    """Reduce the footage and code it with x264 (preset medium).

    Each plane is reduced and enlarged about its own middle, as if chroma lay in the middle of its luma samples. The
    clip says that it does, or the command would take it for chroma on the left and move it.
    """
    options = {"crf": str(crf), "preset": "medium", "chroma_sample_location": "center"}
    rate = frame_rate(footage.path)
    frames = footage.frames(scale)
    first = next(frames)
    height, width = (side // scale for side in first[0].shape)
    count = 0
    with PlaneWriter(path, (width, height), rate, options) as writer:
        for planes in chain([first], frames):
            writer.write(resize(planes, width, height))
            count += 1
    return Coded(footage, crf, path, count, probe(path).bits_per_pixel)


@dataclass(frozen=True)
class Evaluation:
    """All figures, and a row of the contact sheet for each clip and CRF."""

    clips: list[ClipResult]
    stills: list[StillScore]
    seams: list[SeamScore]
    rows: list[list[Tile]]


def measure(coded: Coded, result: Path, scale: int, lpips: Lpips) -> tuple[ClipResult, list[Tile]]:
    """Hold the result, and the kernels' enlargements of the coded clip, against the footage.

    Returns:
        The figures, and the middle frame's row of the contact sheet.
    """
    meters = {name: Meter(scale, lpips) for name in (*KERNELS, "vidsr")}
    step, row = None, []
    source = zip(coded.footage.frames(scale), read_planes(coded.path), read_planes(result), strict=True)
    for number, (truth, small, large) in enumerate(source):
        texts = coded.footage.texts[coded.footage.first + number] if coded.footage.texts else ()
        step = TruthStep.after(step, truth, texts)
        height, width = truth[0].shape
        pictures = {name: resize(small, width, height, kernel) for name, kernel in KERNELS.items()}
        plain = planes_to_rgb(pictures["bicubic"])
        for name, planes in {**pictures, "vidsr": large}.items():
            meters[name].add(planes, step, plain)
        if number == coded.frames // 2:
            shown = {"bicubic": plain, "vidsr": planes_to_rgb(large), "truth": step.rgb}
            row = sheet_row(f"{coded.footage.path.stem} CRF {coded.crf}", shown, texts)
    scores = {name: meter.score() for name, meter in meters.items()}
    return ClipResult(coded.footage.path.stem, coded.crf, coded.frames, coded.bits_per_pixel, scores), row


def sheet_row(name: str, pictures: Mapping[str, Plane], texts: Sequence[TextBox]) -> list[Tile]:
    """A tile of each picture: the number plate, or else what bicubic gets most wrong."""
    height, width = pictures["truth"].shape[:2]
    plates = [window_around(text.box, (width, height), _SHEET_CROP) for text in texts if text.kind == "plate"]
    window = plates[0] if plates else telling_window(pictures["truth"], pictures["bicubic"], _SHEET_CROP)
    return [Tile(picture[window], f"{name}: {method}") for method, picture in pictures.items()]


def evaluate(
    footage: Sequence[Footage],
    scale: int,
    crfs: Sequence[int],
    model: str,
    options: Sequence[str],
    lpips: Lpips,
    work: Path,
) -> Evaluation:
    """Code every footage at every CRF, upscale all by the command, and measure.

    Args:
        footage: the truth; two frames each at least, so that something can change between them.
        scale: 2 or 4.
        crfs: in rising order.
        model: as `--model` takes it.
        options: more of the command's options.
        lpips: the network, or the reason why there is none.
        work: an empty folder for the videos.
    """
    coded = [
        code_clip(f, scale, crf, work / f"{number:03d}-{f.path.stem}-crf{crf}.mp4")
        for number, f in enumerate(footage)
        for crf in crfs
    ]
    central = crfs[len(crfs) // 2]
    stills = [
        code_clip(replace(f, still=True), scale, central, work / f"{number:03d}-{f.path.stem}-still.mp4")
        for number, f in enumerate(footage)
    ]
    options = [*LOSSLESS, "--model", model, *options]
    (work / "whole").mkdir()
    reports = upscale_files([c.path for c in (*coded, *stills)], work / "whole", scale, [*options, *IN_ONE])
    larger = [Path(report["result"]) for report in reports]
    measured = [measure(c, path, scale, lpips) for c, path in zip(coded, larger, strict=False)]

    still_scores = []
    for c, report in zip(stills, reports[len(coded) :], strict=True):
        halo = find_model(report["model"]["name"] if model == "auto" else model, scale).config.halo
        name, result = c.footage.path.stem, Path(report["result"])
        still_scores.append(score_still(name, c.crf, c.path, result, scale, halo))

    cut = [(c, path) for c, path in zip(coded, larger, strict=False) if c.crf == central]
    (work / "parts").mkdir()
    parts = upscale_files([c.path for c, _ in cut], work / "parts", scale, [*options, *IN_PARTS])
    seams = [
        score_seams(c.footage.path.stem, c.crf, whole, Path(report["result"]), report["segments"])
        for (c, whole), report in zip(cut, parts, strict=True)
    ]
    return Evaluation([clip for clip, _ in measured], still_scores, seams, [row for _, row in measured])


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
    return sorted(set(whole_numbers("--crf", text, 51)))


@click.command()
@click.argument("clips", nargs=-1, type=click.Path(path_type=Path))
@click.option("--scale", type=click.Choice([2, 4]), default=2, show_default=True)
@click.option("--crf", default="18,23,28,33", show_default=True, help="What the reduced clips are coded at.")
@click.option("--model", default="auto", show_default=True, help="A bundled model's name or a weights file.")
@click.option(
    "--first", type=click.IntRange(0), help="First frame of each clip.  [default: so that the middle is measured]"
)
@click.option("--frames", type=click.IntRange(2), default=10, show_default=True, help="Frames of each clip.")
@click.option("--synthetic", is_flag=True, help="Also the synthetic drive, with its known texts.")
@click.option("--options", default="", help='More options of vidsr upscale, such as "--fidelity 0.7".')
@click.option("--lpips-backbone", type=click.Path(path_type=Path), help="AlexNet's weights as torchvision has them.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/video"), show_default=True)
def main(
    clips: tuple[Path, ...],
    scale: int,
    crf: str,
    model: str,
    first: int | None,
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
        footage = [Footage(path, middle(path, frames) if first is None else first, frames) for path in clips]
        if synthetic:
            footage.append(synthetic_footage(work, DriveSpec(seconds=frames / 15, rate=15), scale))
        found = evaluate(footage, scale, crfs, model, shlex.split(options), lpips, work)
    for table in (score_table(found.clips), text_table(found.clips), steadiness_table(found.stills, found.seams)):
        if table is not None:
            console.print(table)
    if lpips.reason:
        console.print(f"LPIPS: not available ({lpips.reason})")
    settings = {
        "scale": scale,
        "crf": crfs,
        "model": model,
        "first": {f.path.stem: f.first for f in footage},
        "frames": frames,
        "options": options,
    }
    settings["lpips"] = lpips.reason or "available"
    write_json(out / "video.json", as_json(found.clips, found.stills, found.seams, settings))
    plot(found.clips, out / "video.png")
    write_sheet(out / "sheet.png", found.rows)
    console.print(f"written: {out / 'video.json'}, {out / 'video.png'}, {out / 'sheet.png'}")


if __name__ == "__main__":
    run(main)
