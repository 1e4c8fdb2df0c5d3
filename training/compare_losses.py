"""`python -m training.compare_losses`: one small network, trained under each loss for the same short budget.

The paper's "other loss metrics" as a table. The network computes on RGB, so that a loss that is blind to colour shows
it; one seed and a short budget, so read differences, not digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from PIL import Image
from rich.progress import Progress
from rich.table import Table

from training.backbones import BackboneMissing
from training.console import console, run, write_json
from training.fit.checkpoint import NAME as CHECKPOINT
from training.fit.presets import Preset, Stage, override, preset
from training.fit.run import fit
from training.measure.metrics import Lpips, Score
from training.measure.pictures import Enlarge, evaluate_picture, means, pillow
from training.pairs.data import read_photos
from training.pairs.split import link_photos, split_photos
from vidsr.model.upscaler import Upscaler


@dataclass(frozen=True)
class Recipe:
    """A loss to try: its name in the table, the weights of `fit.losses`, and more of `fit.presets.Stage`."""

    name: str
    losses: Mapping[str, float]
    adversarial: float = 0.0
    relativistic: bool = False
    two_view: float = 0.0

    def stage(self, like: Stage) -> Stage:
        """A stage as `like`, with this loss."""
        return replace(
            like,
            losses=self.losses,
            adversarial=self.adversarial,
            relativistic=self.relativistic,
            two_view=self.two_view,
        )


RECIPES = (
    Recipe("L1", {"l1": 1.0}),
    Recipe("MSE", {"mse": 1.0}),
    Recipe("Charbonnier", {"charbonnier": 1.0}),
    Recipe("1-SSIM (the paper's)", {"ssim": 1.0}),
    Recipe("1-SSIM + 0.1 L1", {"ssim": 1.0, "l1": 0.1}),
    Recipe("1-SSIM + L1 + colour", {"ssim": 1.0, "l1": 1.0, "colour": 1.0}),
    Recipe("1-MS-SSIM + 0.2 L1", {"ms_ssim": 1.0, "l1": 0.2}),
    Recipe("L1 + 0.1 frequency", {"l1": 1.0, "frequency": 0.1}),
    Recipe("L1 + 0.1 two views", {"l1": 1.0}, two_view=0.1),
    Recipe("L1 + 0.005 BCE", {"l1": 1.0}, adversarial=5e-3),
    Recipe("L1 + 0.005 relativistic", {"l1": 1.0}, adversarial=5e-3, relativistic=True),
    Recipe("L1 + 0.1 LPIPS", {"l1": 1.0, "lpips": 0.1}),
    Recipe("L1 + 0.1 VGG", {"l1": 1.0, "vgg": 0.1}),
)


def base_preset(changes: Sequence[str]) -> Preset:
    """The `smoke` preset with the network of `balanced-2x` on RGB, one stage, and FIELD=VALUE changes.

    Raises:
        SettingsError: no such field, or a value of another type.
    """
    small = preset("smoke")
    adversary = next(s.discriminator for s in small.stages if s.adversarial)
    return override(
        replace(
            small,
            name="compare",
            generator=replace(preset("balanced-2x").generator, colour="rgb"),
            stages=(Stage("content", 1.0, 1e-3, {"l1": 1.0}, discriminator=adversary),),
            patch=32,
        ),
        changes,
    )


def compare(
    recipes: Sequence[Recipe],
    data: Path,
    folder: Path,
    minutes: float | None,
    changes: Sequence[str],
    limit: int,
    device: str,
    lpips: Lpips,
    vgg_backbone: Path | None = None,
    lpips_backbone: Path | None = None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Train under each recipe and measure on pictures that none of them saw.

    Args:
        recipes: what to try.
        data: a folder of photographs.
        folder: where the runs go; what is there already is resumed.
        minutes: of training for each; None takes the preset's steps.
        changes: FIELD=VALUE for all of them.
        limit: test photographs at most.
        device: "auto", "cpu" or "cuda".
        lpips: measures the test photographs.
        vgg_backbone, lpips_backbone: weights for those losses.

    Returns:
        the mean scores by recipe, bicubic first; and, of recipes whose weights cannot be had, the reason.
    """
    base = base_preset(changes)
    base = replace(base, minutes=minutes) if minutes else base
    split = split_photos(data, limit)
    pictures = list(read_photos(split.test))
    photos = link_photos(split.train, folder / "photographs")
    scale = base.generator.scale

    def measure(enlarge: Enlarge) -> Score:
        methods = {"it": enlarge}
        return means([evaluate_picture(path.name, p, scale, methods, lpips)[0] for path, p in pictures])["it"]

    scores, missing = {"bicubic": measure(pillow(Image.Resampling.BICUBIC, scale))}, {}
    with Progress(console=console) as bar:
        for number, recipe in enumerate(recipes):
            target = folder / f"{number:02d}"
            task = bar.add_task(recipe.name, total=1.0)
            try:
                path = fit(
                    replace(base, stages=(recipe.stage(base.stages[0]),)), photos, target, device=device,
                    resume=(target / CHECKPOINT).is_file(), vgg_backbone=vgg_backbone, lpips_backbone=lpips_backbone,
                    report=lambda at, task=task: bar.update(task, completed=at.share),  # type: ignore[misc]
                )  # fmt: skip
            except BackboneMissing as error:
                missing[recipe.name] = error.message
                bar.remove_task(task)
                continue
            bar.update(task, completed=1.0)
            scores[recipe.name] = measure(Upscaler(str(path), device=device, scale=scale, backend="torch").upscale)
    return scores, missing


def score_table(scores: Mapping[str, Score], missing: Mapping[str, str]) -> Table:
    """The scores, and the recipes that could not be tried."""
    table = Table("loss", title="Y is BT.601 with the border cut off; drift of 255")
    for column in ("PSNR Y", "SSIM Y", "LPIPS", "drift", "CIEDE2000"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, s in scores.items():
        lpips = "not available" if s.lpips is None else f"{s.lpips:.4f}"
        table.add_row(name, f"{s.psnr_y:.2f}", f"{s.ssim_y:.4f}", lpips, f"{s.drift:.2f}", f"{s.ciede2000:.2f}")
    for name in missing:
        table.add_row(name, *["not available"] * 5)
    return table


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A folder of photographs.")
@click.option("--minutes", type=click.FloatRange(min=0.01), help="Train so long under each loss, not by steps.")
@click.option("--run", "folder", type=click.Path(path_type=Path), default=Path("runs/losses"), show_default=True)
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Replace a field of the preset.")
@click.option("--test", "limit", type=click.IntRange(1), default=50, show_default=True, help="Test photographs.")
@click.option("--device", default="auto", show_default=True)
@click.option("--lpips-backbone", type=click.Path(path_type=Path), help="AlexNet's weights as torchvision has them.")
@click.option("--vgg-backbone", type=click.Path(path_type=Path), help="VGG19's weights as torchvision has them.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
def main(
    data: Path,
    minutes: float | None,
    folder: Path,
    changes: tuple[str, ...],
    limit: int,
    device: str,
    lpips_backbone: Path | None,
    vgg_backbone: Path | None,
    json_file: Path | None,
) -> None:
    """Train one small network under each loss for the same budget and print what each is good for."""
    scores, missing = compare(
        RECIPES, data, folder, minutes, changes, limit, device, Lpips(lpips_backbone), vgg_backbone, lpips_backbone
    )
    console.print(score_table(scores, missing))
    for name, reason in missing.items():
        console.print(f"{name}: {reason}")
    if json_file:
        write_json(json_file, {"scores": {n: vars(s) for n, s in scores.items()}, "not available": missing})


if __name__ == "__main__":
    run(main)
