"""What each preset of an encoder costs and keeps: `python -m benchmarks.presets CLIP --crf 17 --crf 16`.

The clip is enlarged by 2 once; for each preset and CRF the table has the encoder's CPU seconds, bits, and how true the
coded luma is to what was given to the encoder. The defaults in `vidsr.media.encoders` are chosen by this.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from training.console import run
from training.measure.metrics import psnr
from vidsr.frames import FrameBatch
from vidsr.graph.stages import ENCODER_THREADS
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.probe import VideoInfo, probe
from vidsr.model.upscaler import Upscaler
from vidsr.settings import EncodeSettings

BATCH = 4


def measure(
    info: VideoInfo, frames: list[FrameBatch], settings: EncodeSettings, path: Path
) -> tuple[float, int, float]:
    """(CPU seconds, bytes, PSNR of luma in dB) of coding 8-bit batches into a Matroska file."""
    before = time.process_time()
    with SegmentEncoder(path, info, frames[0].width, frames[0].height, settings, ENCODER_THREADS) as encoder:
        for batch in frames:
            encoder.write(batch)
        encoder.close()
    seconds = time.process_time() - before
    coded = probe(path)
    decoded = decode_range(coded, 0, len(coded.table), BATCH)
    fidelity = [
        psnr(coded_frame, frame, 255)
        for given, found in zip(frames, decoded, strict=True)
        for frame, coded_frame in zip(given.planes[0], found.planes[0], strict=True)
    ]
    return seconds, path.stat().st_size, statistics.fmean(fidelity)


@click.command()
@click.argument("clip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--codec", default="libx264", show_default=True)
@click.option("--preset", "presets", multiple=True, default=("medium", "faster", "veryfast", "superfast"))
@click.option("--crf", "crfs", type=int, multiple=True, default=(17, 16))
@click.option("--model", default="fast", show_default=True, help="What enlarges.")
@click.option("--frames", type=int, default=48, show_default=True, help="How many of the clip.")
def main(clip: Path, codec: str, presets: tuple[str, ...], crfs: tuple[int, ...], model: str, frames: int) -> None:
    """Print the table for an 8-bit clip."""
    info, upscaler = probe(clip), Upscaler(model)
    large = [upscaler.upscale(batch) for batch in decode_range(info, 0, min(frames, len(info.table)), BATCH)]
    count = sum(len(batch) for batch in large)
    table = Table("preset", "CRF", "CPU s/frame", "kbit/frame", "PSNR-Y, dB", title=f"{clip.name}, {codec}")
    with tempfile.TemporaryDirectory() as folder:
        for preset, crf in itertools.product(presets, crfs):
            settings = EncodeSettings(codec, crf, preset)
            seconds, size, psnr = measure(info, large, settings, Path(folder) / "coded.mkv")
            cells = f"{seconds / count:.3f}", f"{size * 8 / count / 1000:.0f}", f"{psnr:.2f}"
            table.add_row(preset, str(crf), *cells)
    Console().print(table)


if __name__ == "__main__":
    run(main)
