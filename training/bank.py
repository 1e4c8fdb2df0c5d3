"""`python -m training.bank --data FOLDER --bank FILE`: write a bank of coded pairs for training, or look at a few."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from training.console import run
from training.fit.presets import override, preset
from training.measure.sheet import Tile, write_sheet
from training.pairs.bank import make_bank
from training.pairs.data import Pairs, find_photos
from vidsr.errors import OutputUnwritable

_SHEET_COLUMNS = 3


def sheet_rows(pairs: Pairs) -> list[list[Tile]]:
    """Each pair's small picture, enlarged by whole pixels, above its target, three in a row."""
    tiles = []
    for index in range(len(pairs)):
        low, high = (picture[0, 0].mul(255).round().byte().numpy() for picture in pairs.picture(index))
        both = np.concatenate([low.repeat(pairs.scale, 0).repeat(pairs.scale, 1), high])
        tiles.append(Tile(np.stack([both] * 3, axis=-1), "input above target"))
    return [tiles[at : at + _SHEET_COLUMNS] for at in range(0, len(tiles), _SHEET_COLUMNS)]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of photographs.")
@click.option("--preset", "name", default="balanced-2x", show_default=True, help="Whose scale and degradation to take.")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Replace a field of the preset.")
@click.option("--clips", type=click.IntRange(min=1), help="Clips; 6 for a preview, else the preset's.")
@click.option("--seed", type=int, default=0, help="Equal seeds give equal pairs.")
@click.option("--preview", type=click.Path(path_type=Path), help="Write a contact sheet (PNG).")
@click.option("--bank", type=click.Path(path_type=Path), help="Write the pairs (safetensors) for training.train.")
def main(
    data: Path,
    name: str,
    assignments: tuple[str, ...],
    clips: int | None,
    seed: int,
    preview: Path | None,
    bank: Path | None,
) -> None:
    """Make coded training pairs of photographs: look at a few, or write a bank of them.

    The preset says how they are degraded, and how much larger the target is than the input.
    """
    target = preview or bank
    if target is None or (preview and bank):
        raise click.UsageError("give one of --preview FILE and --bank FILE")
    if not target.parent.is_dir():
        raise OutputUnwritable(f"{target} cannot be written: there is no folder {target.parent}; make it first")
    wanted = override(preset(name), assignments)
    count = clips or (6 if preview else wanted.clips)
    pairs = make_bank(find_photos(data), wanted.generator.scale, count, [seed], wanted.degradation)
    if target == preview:
        write_sheet(target, sheet_rows(pairs), zoom=1)
    else:
        pairs.save(target)


if __name__ == "__main__":
    run(main)
