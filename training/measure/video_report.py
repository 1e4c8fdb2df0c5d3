"""Tables, plots and figures of `training.evaluate_video`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from training.console import write_file
from training.measure.steadiness import SeamScore, StillScore
from training.measure.video_score import VideoScore

BASE = "bicubic"
# After bicubic's own PSNR-Y: differences to it, the colour shift against it, and ratios to it.
COLUMNS = (
    "CRF",
    "bit/px",
    "bicubic",
    "Lanczos",
    "vidsr",
    "SSIM-Y",
    "dE to truth",
    "dE shift",
    "LPIPS",
    "warping",
    "tOF",
)


@dataclass(frozen=True)
class ClipResult:
    """One clip at one CRF.

    Attributes:
        clip: its name.
        crf: what it was coded at.
        frames: frames measured.
        bits_per_pixel: of the coded clip.
        scores: by method: bicubic, lanczos and vidsr.
    """

    clip: str
    crf: int
    frames: int
    bits_per_pixel: float
    scores: dict[str, VideoScore]

    def gain(self, method: str = "vidsr") -> float:
        """PSNR-Y over bicubic, dB."""
        return self.scores[method].psnr_y - self.scores[BASE].psnr_y

    def ratio(self, measure: str) -> float | None:
        """A measure of vidsr's relative to bicubic's, or None where it could not be had."""
        ours, base = getattr(self.scores["vidsr"], measure), getattr(self.scores[BASE], measure)
        return None if ours is None or not base else ours / base


def score_table(results: Sequence[ClipResult]) -> Table:
    """One line per clip and CRF: PSNR-Y of bicubic in dB, and what vidsr has over it or relative to it."""
    table = Table(title="vidsr beside bicubic (a = -0.5), plane to plane; LPIPS, warping error and tOF as ratios")
    table.add_column("clip", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for r in results:
        ours, base = r.scores["vidsr"], r.scores[BASE]
        table.add_row(
            r.clip,
            str(r.crf),
            f"{r.bits_per_pixel:.3f}",
            f"{base.psnr_y:.2f}",
            f"{r.gain('lanczos'):+.2f}",
            f"{r.gain():+.2f}",
            f"{ours.ssim_y - base.ssim_y:+.4f}",
            f"{ours.ciede2000 - base.ciede2000:+.2f}",
            f"{ours.colour_shift:.2f}",
            *(_known(r.ratio(measure)) for measure in ("lpips", "warping", "tof")),
        )
    for crf, gain in mean_gains(results).items():
        table.add_row("mean", str(crf), "", "", "", f"[bold]{gain:+.2f}[/bold]", *[""] * 6)
    return table


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def mean_gains(results: Sequence[ClipResult]) -> dict[int, float]:
    """By CRF, the mean over the clips of vidsr's PSNR-Y over bicubic."""
    return {
        crf: float(np.mean([r.gain() for r in results if r.crf == crf])) for crf in sorted({r.crf for r in results})
    }


def text_table(results: Sequence[ClipResult]) -> Table | None:
    """How many characters the template matcher reads and how the overlay flickers, or None without known texts."""
    rows = [row for result in results for row in _text_rows(result)]
    if not rows:
        return None
    table = Table(
        *("CRF", "text", "method", "read right", "invented", "not read", "flicker"),
        title="Characters, by template matching; flicker: change from frame to frame beside the truth's, of 255",
    )
    for row in rows:
        table.add_row(*row)
    return table


def _text_rows(result: ClipResult) -> Iterator[tuple[str, ...]]:
    for kind in ("plate", "overlay"):
        for method, score in result.scores.items():
            read = getattr(score, kind)
            if read is not None:
                shares = (f"{n} ({n / read.total:.0%})" for n in (read.right, read.invented, read.unread))
                flicker = score.overlay_flicker if kind == "overlay" else None
                yield (str(result.crf), kind, method, *shares, _known(flicker))


def steadiness_table(stills: Sequence[StillScore], seams: Sequence[SeamScore]) -> Table:
    """What moves in a still scene, and what segment borders leave behind, by clip."""
    table = Table(title="A still scene, frame to frame; and the result in segments beside that in one. Values of 255")
    table.add_column("clip", overflow="fold")
    for name in ("CRF", "source moves", "result moves", "at rest", "moves there", "segments", "seam"):
        table.add_column(name, justify="right")
    for still, seam in zip(stills, seams, strict=True):
        table.add_row(
            still.clip,
            str(still.crf),
            f"{still.source_change:.3f}",
            f"{still.result_change:.3f}",
            f"{still.at_rest:.1%}",
            str(still.change_at_rest),
            str(seam.segments),
            str(seam.difference),
        )
    return table


def as_json(
    results: Sequence[ClipResult], stills: Sequence[StillScore], seams: Sequence[SeamScore], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "settings": settings,
        "mean_gain_psnr_y": {str(crf): gain for crf, gain in mean_gains(results).items()},
        "clips": [asdict(result) for result in results],
        "stills": [asdict(still) for still in stills],
        "seams": [asdict(seam) for seam in seams],
    }


def plot(results: Sequence[ClipResult], path: Path) -> None:
    """Gain, structural similarity, steadiness and colour over the CRF, a line per clip, as PNG.

    Raises:
        OutputUnwritable: as `write_file`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    panels: dict[str, Callable[[ClipResult], float]] = {
        "PSNR-Y over bicubic, dB": lambda r: r.gain(),
        "SSIM-Y over bicubic": lambda r: r.scores["vidsr"].ssim_y - r.scores[BASE].ssim_y,
        "warping error / bicubic's": lambda r: r.ratio("warping") or np.nan,
        "colour shift, CIEDE2000 of 8x8 means": lambda r: r.scores["vidsr"].colour_shift,
    }
    for axes, (title, value) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for clip in dict.fromkeys(r.clip for r in results):
            own = sorted((r for r in results if r.clip == clip), key=lambda r: r.crf)
            axes.plot([r.crf for r in own], [value(r) for r in own], marker="o", label=clip)
        axes.axhline(1.0 if "/" in title else 0.0, color="grey", linewidth=0.8)
        axes.set(title=title, xlabel="CRF", xticks=sorted({r.crf for r in results}))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    png = io.BytesIO()
    figure.savefig(png, dpi=120, format="png")
    write_file(path, png.getvalue())
