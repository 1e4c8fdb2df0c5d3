"""Small runs of the trainer for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.fit.presets import Preset, override, preset

CPU = torch.device("cpu")


def small(steps: int = 30, **more: object) -> Preset:
    changes = ["generator.blocks=1", "generator.channels=8", "batch=4", "patch=16", "warmup=3", "held_out=1"]
    base = replace(override(preset("smoke"), changes), steps=steps, validate_every=10)
    return replace(base, **more)  # type: ignore[arg-type]


def assert_equal(a: Path, b: Path) -> None:
    one, other = load_file(a), load_file(b)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
