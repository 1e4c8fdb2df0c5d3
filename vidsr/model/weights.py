"""Weights files: safetensors whose metadata holds the generator's configuration. Nothing is ever unpickled.

The metadata keys are `vidsr` (format version), `config` (GeneratorConfig as JSON), `training` (free JSON: preset,
data, steps, figures) and, where they were measured, `int8` (`vidsr.model.ranges` as JSON).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidsr.errors import BadWeights
from vidsr.model.generator import Generator
from vidsr.model.ranges import KEY, Ranges
from vidsr.model.registry import FORMAT, describe, find_sharp


def save_weights(path: Path, generator: Generator, training: dict[str, Any]) -> None:
    """Write a generator as float16, by rename, so that a full disk never damages the file of that name.

    Args:
        path: the file to write.
        generator: its weights and configuration are stored.
        training: what to remember of how it was fitted; JSON values.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {k: v.detach().cpu().to(torch.float16 if v.is_floating_point() else v.dtype).contiguous()
               for k, v in generator.state_dict().items()}  # fmt: skip
    metadata = {
        "vidsr": FORMAT,
        "config": json.dumps(asdict(generator.config)),
        "training": json.dumps(training),
    }
    _save(path, tensors, metadata)


def add_ranges(path: Path, ranges: Ranges) -> None:
    """Store ranges for int8 in a weights file, in place of those that it holds; the weights stay as they are.

    Raises:
        BadWeights: it is no weights file.
    """
    describe(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    _save(path, tensors, metadata | {KEY: ranges.to_json()})


def _save(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        save_file(tensors, part, metadata=metadata)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise OSError(f"{path}: {error}") from error


def load_weights(path: Path) -> Generator:
    """The generator in a weights file, in float32 on the CPU, in evaluation mode.

    Raises:
        BadWeights: truncated, a pickle, or of another architecture.
    """
    try:
        config = describe(path).config
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        generator = Generator(config)
        state = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        generator.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise BadWeights(f"{path}: the weights do not fit the architecture they name ({type(error).__name__}); "
                         "export them again with training.train") from error  # fmt: skip
    return generator.eval()


def load_interpolated(path: Path, fidelity: float) -> Generator:
    """The generator between a model (fidelity 1) and its adversarial partner (0), weight by weight.

    Network interpolation (Wang et al. 2018, section 3.4); valid because both were fine-tuned from the same weights.

    Raises:
        UnknownModel: fidelity is below 1 and the model has no partner.
        BadWeights: as `load_weights`.
    """
    generator = load_weights(path)
    if fidelity == 1:
        return generator
    sharp = load_weights(find_sharp(describe(path)).path)
    with torch.no_grad():
        for mine, theirs in zip(generator.parameters(), sharp.parameters(), strict=True):
            mine.lerp_(theirs, 1 - fidelity)
    return generator
