"""`python -m training.reproduce`: train the paper's four models under one budget and print its Table I.

The paper states no protocol. The strict one here: photographs, cropped to 256x256 in the middle (reflected out where
they are smaller), RGB, SSIM with the 11x11 Gaussian window and the pictures' own data range, no border cut off. Two
others are suspected behind its digits: segmentation masks among the test pictures, and a data range of 2 for pictures
in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from PIL import Image
from rich.markdown import Markdown
from rich.progress import Progress

from training.console import console, run, write_file
from training.fit.checkpoint import NAME as CHECKPOINT
from training.fit.presets import Preset, override, preset
from training.fit.run import fit
from training.measure.metrics import Lpips, crop_border, psnr, ssim
from training.measure.pictures import Enlarge, pillow
from training.pairs.data import Pixels, centre, luma, read_photos, reduce
from training.pairs.split import Split, link_photos, split_photos
from vidsr.errors import OutputUnwritable
from vidsr.model.registry import describe
from vidsr.model.upscaler import Upscaler

SIDE = 256
# (column of the paper's Table I, preset, its SSIM, its LPIPS)
PAPER = (
    ("OP (4x)", "paper-original-4x", 0.864, 0.328),
    ("M (4x)", "paper-modified-4x", 0.872, 0.320),
    ("OP (2x)", "paper-original-2x", 0.871, 0.302),
    ("M (2x)", "paper-modified-2x", 0.942, 0.142),
)


@dataclass(frozen=True)
class Figures:
    """One method at one scale, means over the test pictures.

    Attributes:
        strict: SSIM under the strict protocol, by photograph.
        masks: the same of the masks; empty where there are none.
        doubled: SSIM with twice the data range.
        luma: SSIM of Y with a border of `scale` pixels cut off.
        psnr: of RGB, dB.
        lpips: of the photographs, or None.
    """

    strict: tuple[float, ...]
    masks: tuple[float, ...]
    doubled: float
    luma: float
    psnr: float
    lpips: float | None

    @property
    def ssim(self) -> float:
        """The mean under the strict protocol."""
        return float(np.mean(self.strict))

    @property
    def with_masks(self) -> float | None:
        """The mean over photographs and as many masks; None without masks."""
        return (self.ssim + float(np.mean(self.masks))) / 2 if self.masks else None


@dataclass(frozen=True)
class Run:
    """A trained model: its preset, updates done, figures, those before its adversarial stage, and bicubic's."""

    preset: Preset
    steps: int
    figures: Figures
    content: Figures
    bicubic: Figures


def measure(enlarge: Enlarge, scale: int, photos: Sequence[Pixels], masks: Sequence[Pixels], lpips: Lpips) -> Figures:
    """Reduce pictures of 256x256, enlarge them and compare."""
    pairs = [(enlarge(reduce(p, scale)), p) for p in photos]
    known = [d for d in (lpips(out, truth) for out, truth in pairs) if d is not None]
    ys = [(crop_border(luma(out), scale), crop_border(luma(truth), scale)) for out, truth in pairs]
    return Figures(
        strict=tuple(ssim(out, truth, 255) for out, truth in pairs),
        masks=tuple(ssim(enlarge(reduce(m, scale)), m, 255) for m in masks),
        doubled=float(np.mean([ssim(out, truth, 2 * 255) for out, truth in pairs])),
        luma=float(np.mean([ssim(out, truth, 255) for out, truth in ys])),
        psnr=float(np.mean([psnr(out, truth, 255) for out, truth in pairs])),
        lpips=float(np.mean(known)) if known else None,
    )


def table(runs: Mapping[str, Run]) -> list[str]:
    """The lines of the Markdown table; `runs` by preset name."""
    ordered = [runs[name] for _, name, _, _ in PAPER]

    def row(title: str, values: Sequence[float | None], digits: int = 3) -> str:
        cells = ("not available" if v is None else f"{v:.{digits}f}" for v in values)
        return f"| {title} | {' | '.join(cells)} |"

    def figure(name: str, of: str = "figures") -> list[float | None]:
        return [getattr(getattr(r, of), name) for r in ordered]

    return [
        f"| | {' | '.join(column for column, *_ in PAPER)} |",
        "|---|" + "---:|" * len(PAPER),
        row("SSIM, the paper's", [p[2] for p in PAPER]),
        row("SSIM, strict", figure("ssim")),
        row("SSIM, strict, before the adversarial stage", figure("ssim", "content")),
        row("SSIM, strict, bicubic", figure("ssim", "bicubic")),
        row("SSIM, photographs and masks", figure("with_masks")),
        row("SSIM, photographs and masks, bicubic", figure("with_masks", "bicubic")),
        row("SSIM, data_range 2", figure("doubled")),
        row("SSIM, data_range 2, bicubic", figure("doubled", "bicubic")),
        row("SSIM, Y, border cut off", figure("luma")),
        row("SSIM, Y, border cut off, bicubic", figure("luma", "bicubic")),
        row("PSNR of RGB, dB", figure("psnr"), 2),
        row("PSNR of RGB, dB, bicubic", figure("psnr", "bicubic"), 2),
        row("LPIPS, the paper's", [p[3] for p in PAPER]),
        row("LPIPS", figure("lpips")),
        row("LPIPS, bicubic", figure("lpips", "bicubic")),
    ]


def findings(runs: Mapping[str, Run]) -> list[str]:
    """What the figures show, and no more."""
    lines = []
    for scale in (2, 4):
        op, m = (runs[f"paper-{kind}-{scale}x"].figures for kind in ("original", "modified"))
        bicubic = runs[f"paper-original-{scale}x"].bicubic.ssim
        above = sum(b > a for a, b in zip(op.strict, m.strict, strict=True))
        verb = "is above" if m.ssim > op.ssim else "is not above"
        lines.append(
            f"- {scale}x: M {verb} OP in strict SSIM ({m.ssim:.3f} and {op.ssim:.3f}; on {above} of "
            f"{len(op.strict)} photographs it is). Bicubic has {bicubic:.3f}: OP is "
            f"{'above' if op.ssim > bicubic else 'below'} it, M {'above' if m.ssim > bicubic else 'below'}."
        )
        if op.lpips is not None and m.lpips is not None:
            better = "better" if m.lpips < op.lpips else "not better"
            lines.append(f"- {scale}x: M is {better} than OP in LPIPS ({m.lpips:.3f} and {op.lpips:.3f}).")
    distances = {}
    for title, name in (("strict", "ssim"), ("masks", "with_masks"), ("data_range 2", "doubled")):
        values = [getattr(runs[preset_name].figures, name) for _, preset_name, _, _ in PAPER]
        if None not in values:
            distances[title] = float(np.mean([abs(v - p[2]) for v, p in zip(values, PAPER, strict=True)]))
    near = ", ".join(f"{title} {value:.3f}" for title, value in distances.items())
    lines.append(f"- Mean distance of the four SSIM from the paper's, by protocol: {near}.")
    return lines


def report(runs: Mapping[str, Run], split: Split, data: str, device: str, changes: Sequence[str], lpips: Lpips) -> str:
    """The whole of docs/table1.md."""
    first = next(iter(runs.values())).preset
    budget = f"{first.minutes:g} minutes" if first.minutes else f"{first.steps} steps"
    done = "; ".join(f"{name} {r.steps} of {preset(name).steps}" for name, r in runs.items())
    origin = "ADE20K's validation part" if split.official else "every tenth photograph, none of them trained on"
    masks = f"{len(split.masks)} masks" if split.masks else "no masks, so that protocol has no figure"
    known = data.startswith(("ADE20K", "ADEChallenge"))
    distance = "0.1, AlexNet, inputs in [-1, 1]."
    if lpips.reason:
        distance = "not available: AlexNet's weights could not be had."
    elif not lpips.published:
        distance += " Its backbone is not the published one; its values compare with nobody's."
    lines = [
        "# Table I of the paper",
        "",
        "OP is the original SRGAN (16 blocks, MSE), M the paper's (20 blocks, SSIM), both adversarial.",
        "",
        f"- Budget: {budget} for each model, on {device}. Updates done, of the preset's: {done}.",
        f"- Changed from the presets: {', '.join(changes) or 'nothing else'}.",
        f"- Data: folder `{data}`" + ("" if known else ", which is not the ADE20K set of the paper")
        + f"; {len(split.train)} photographs to train on.",
        f"- Test: {len(split.test)} photographs, {origin}; {masks}.",
        "- Strict protocol: 256x256 from the middle, RGB in [0, 1], 11x11 Gaussian window, data_range 1.",
        f"- LPIPS: {distance}",
        "",
        *table(runs),
        "",
        "## What this shows",
        "",
        *findings(runs),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _train(wanted: Preset, photos: Path, folder: Path, device: str, bar: Progress) -> Path:
    task = bar.add_task(f"{wanted.name}: reading pictures", total=1.0)
    path = fit(
        wanted,
        photos,
        folder,
        device=device,
        resume=(folder / CHECKPOINT).is_file(),
        report=lambda at: bar.update(
            task, completed=at.share, description=f"{wanted.name} {at.stage}, step {at.step}, loss {at.loss:.4f}"
        ),
    )
    bar.update(task, completed=1.0)
    return path


def reproduce(
    data: Path, folder: Path, minutes: float | None, changes: Sequence[str], limit: int, device: str, lpips: Lpips
) -> tuple[dict[str, Run], Split]:
    """Train the four models and measure them.

    Args:
        data: an ADE20K tree, or any folder of photographs.
        folder: where the runs go; what is there already is resumed.
        minutes: of training for each model; None takes the presets' steps.
        changes: FIELD=VALUE, for all four presets.
        limit: test photographs at most.
        device: "auto", "cpu" or "cuda".
        lpips: measures the photographs.

    Raises:
        VidsrError: what reading the data, the changes and training raise.
    """
    split = split_photos(data, limit)
    photos = [centre(pixels, SIDE) for _, pixels in read_photos(split.test)]
    masks = [centre(pixels, SIDE) for _, pixels in read_photos(split.masks)] if split.masks else []
    train = link_photos(split.train, folder / "photographs")
    runs: dict[str, Run] = {}
    plain: dict[int, Figures] = {}
    with Progress(console=console) as bar:
        for _, name, _, _ in PAPER:
            wanted = override(preset(name), changes)
            wanted = replace(wanted, minutes=minutes) if minutes else wanted
            path = _train(wanted, train, folder / name, device, bar)
            scale = wanted.generator.scale
            last, content = (
                Upscaler(str(weights), device=device, scale=scale, backend="torch")
                for weights in (path, path.with_name("content.safetensors"))
            )
            if scale not in plain:
                plain[scale] = measure(pillow(Image.Resampling.BICUBIC, scale), scale, photos, masks, lpips)
            runs[name] = Run(
                preset=wanted,
                steps=int(describe(path).training["steps"]),
                figures=measure(last.upscale, scale, photos, masks, lpips),
                content=measure(content.upscale, scale, photos, masks, lpips),
                bicubic=plain[scale],
            )
    return runs, split


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="An ADE20K tree, or any photographs.")
@click.option("--minutes", type=click.FloatRange(min=0.01), help="Train each model so long, not its preset's steps.")
@click.option("--run", "folder", type=click.Path(path_type=Path), default=Path("runs/table1"), show_default=True)
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Replace a field of all four presets.")
@click.option("--test", "limit", type=click.IntRange(1), default=100, show_default=True, help="Test photographs.")
@click.option("--device", default="auto", show_default=True)
@click.option("--lpips-backbone", type=click.Path(path_type=Path), help="AlexNet's weights as torchvision has them.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/table1.md"), show_default=True)
def main(
    data: Path,
    minutes: float | None,
    folder: Path,
    changes: tuple[str, ...],
    limit: int,
    device: str,
    lpips_backbone: Path | None,
    out: Path,
) -> None:
    """Train the paper's four models under one budget; print its Table I, theirs beside ours, and write it down."""
    if not out.parent.is_dir():
        raise OutputUnwritable(f"{out} cannot be written: there is no folder {out.parent}; choose another --out")
    lpips = Lpips(lpips_backbone)
    runs, split = reproduce(data, folder, minutes, changes, limit, device, lpips)
    trained_on = describe(folder / PAPER[0][1] / f"{PAPER[0][1]}.safetensors").training["device"]
    text = report(runs, split, data.resolve().name, trained_on, changes, lpips)
    console.print(Markdown(text))
    write_file(out, text.encode())


if __name__ == "__main__":
    run(main)
