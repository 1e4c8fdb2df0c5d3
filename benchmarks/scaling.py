"""How throughput grows with upscalers, measured without GPUs: each upscaler sleeps as long as a GPU would compute.

`python -m benchmarks.scaling` prints frames per second for one long video, for 8 and for many, with 1, 2, 4 and 8
upscalers on this machine, and the share of linear growth. Everything but the network is real: decoding, Ray, encoding,
joining, verifying. The machine's own cores must be able to decode and encode what the upscalers let through.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import click
import numpy as np
import ray
from rich.console import Console
from rich.table import Table

from jobs.find import Selection
from jobs.folder import FolderOptions, run_folder
from jobs.view import LineFolderView
from training.console import run
from vidsr.frames import FrameBatch
from vidsr.graph import upscalers
from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings

WIDTH, HEIGHT, RATE = 64, 48, 25
WARM_CLIPS, WARM_FRAMES = 16, 30  # start the processes that the measured run needs


class SleepingUpscaler:
    """Repeats pixels, and takes as long for each frame as it is told."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def upscale(self, batch: FrameBatch, *words: Any) -> FrameBatch:
        """Enlarge a batch; `words` are what a real one would also look at."""
        time.sleep(self._seconds * len(batch))
        return batch.with_planes(tuple(plane.repeat(2, 1).repeat(2, 2) for plane in batch.planes))


@dataclass(frozen=True)
class Sleepers:
    """Stands where the graph expects the class of its actors."""

    seconds: float

    def options(self, **options: Any) -> Any:
        """As an actor class has it; CPUs are not reserved, since sleeping needs none."""
        return _Maker(ray.remote(SleepingUpscaler).options(**{**options, "num_cpus": 0}), self.seconds)


@dataclass(frozen=True)
class _Maker:
    made: Any
    seconds: float

    def remote(self, *words: Any) -> Any:
        """Start an actor; `words` are what a real one would load."""
        return self.made.remote(self.seconds)


def write_clip(path: Path, frames: int) -> None:
    """A video with a key frame every second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "g": str(RATE)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            grey = np.full((HEIGHT, WIDTH), 60 + number % 120, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _clips(folder: Path, count: int, frames: int) -> Path:
    folder.mkdir()
    for number in range(count):
        write_clip(folder / f"{number:04}.mp4", frames)
    return folder


def measure(folder: Path, count: int, output: Path, model: Path, session: Session) -> float:
    """Frames per second over `count` videos of a folder, from the first begun to the last verified."""
    settings = UpscaleSettings(
        model=str(model), device="cpu", segment_seconds=1.0, encode=EncodeSettings(preset="ultrafast")
    )
    options = FolderOptions(selection=Selection(limit=count))
    quiet = LineFolderView(Console(quiet=True))
    started = time.monotonic()
    summary = run_folder(folder, output, settings, session, options, quiet, threading.Event())
    return summary.computed_frames / (time.monotonic() - started)


@click.command()
@click.option("--seconds", default=0.1, show_default=True, help="What a GPU takes for a frame.")
@click.option("--frames", default=2400, show_default=True, help="Of each measurement, over all its videos.")
@click.option("--videos", default="1,8,200", show_default=True, help="How many videos share the frames.")
@click.option("--actors", default="1,2,4,8", show_default=True, help="How many upscalers.")
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True, help="Any 2x weights file.")
def main(seconds: float, frames: int, videos: str, actors: str, model: Path) -> None:
    """Measure and print the table."""
    with patch.object(upscalers, "UpscalerActor", Sleepers(seconds)):
        _print_table(frames, videos, actors, model, seconds)


def _print_table(frames: int, videos: str, actors: str, model: Path, seconds: float) -> None:
    numbers = [int(each) for each in actors.split(",")]
    table = Table("videos", *(f"{n} upscalers" for n in numbers), title=f"frames per second, {seconds} s for a frame")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        warm = _clips(work / "warm", WARM_CLIPS, WARM_FRAMES)
        for count in (int(each) for each in videos.split(",")):
            folder = _clips(work / f"in{count}", count, max(frames // count, 1))
            found = []
            for number in numbers:
                with Session(ClusterSettings(actors=number)) as session:
                    session.start()
                    measure(warm, WARM_CLIPS, work / f"warm{count}-{number}", model, session)
                    found.append(measure(folder, count, work / f"out{count}-{number}", model, session))
            ideal = [found[0] / numbers[0] * number for number in numbers]
            cells = [f"{rate:.2f} ({rate / best:.0%})" for rate, best in zip(found, ideal, strict=True)]
            table.add_row(str(count), *cells)
    Console().print(table)


if __name__ == "__main__":
    run(main)
