"""A model that repeats pixels: quick, and its result is known."""

from pathlib import Path

from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.weights import save_weights


def nearest_model(folder: Path, scale: int = 2) -> Path:
    """Write the weights of a nearest-neighbour generator."""
    path = folder / f"nearest-{scale}x.safetensors"
    save_weights(path, Generator(GeneratorConfig(scale, 0, 1, "luma", skip="nearest", kernel=3)), {})
    return path
