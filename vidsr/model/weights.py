"""Weights files: safetensors whose metadata holds the generator's configuration; and the bundled models by name.

The metadata keys are `vidsr` (format version), `config` (GeneratorConfig as JSON) and `training` (free JSON: preset,
data, steps, figures). Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidsr.errors import BadWeights, SettingsError, UnknownModel, WrongScale
from vidsr.model.generator import Generator, GeneratorConfig

FORMAT = "1"
BUNDLED = Path(__file__).parent.parent / "bundled"


@dataclass(frozen=True)
class ModelFile:
    """A weights file and what it says of itself."""

    name: str
    path: Path
    config: GeneratorConfig
    training: dict[str, Any]
    sha256: str


def save_weights(path: Path, generator: Generator, training: dict[str, Any], half: bool = True) -> None:
    """Write a generator, by rename, so that a full disk never damages the file of that name.

    Args:
        path: the file to write.
        generator: its weights and configuration are stored.
        training: what to remember of how it was fitted; JSON values.
        half: store float16 (loads as float32).
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {k: v.detach().cpu().to(dtype if v.is_floating_point() else v.dtype).contiguous()
               for k, v in generator.state_dict().items()}  # fmt: skip
    metadata = {
        "vidsr": FORMAT,
        "config": json.dumps(asdict(generator.config)),
        "training": json.dumps(training),
    }
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata=metadata)
    part.replace(path)


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


def describe(path: Path) -> ModelFile:
    """Read a weights file's configuration without loading the weights.

    Raises:
        BadWeights: truncated, a pickle, or of another architecture.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x80\x02" or start == b"PK\x03\x04":
        raise BadWeights(f"{path} is a pickle, which can run code when it is loaded; convert it to safetensors")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise BadWeights(f"{path} is truncated or not a safetensors file; copy it again") from error
    if metadata.get("vidsr") != FORMAT:
        raise BadWeights(f"{path} holds no vidsr generator; use weights that training.train wrote")
    try:
        config = GeneratorConfig(**json.loads(metadata["config"]))
        training = json.loads(metadata.get("training", "{}"))
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise BadWeights(f"{path} names an architecture that this version does not know; update vidsr") from error
    return ModelFile(path.stem, path, config, training, hashlib.sha256(path.read_bytes()).hexdigest())


@lru_cache(maxsize=1)
def bundled_models() -> tuple[ModelFile, ...]:
    """The models that come with vidsr, by file name: TIER-SCALEx[-VARIANT].safetensors."""
    return tuple(describe(path) for path in sorted(BUNDLED.glob("*.safetensors")))


def find_model(name: str, scale: int) -> ModelFile:
    """The model for `--model NAME` at a scale: a bundled name such as `balanced` or `balanced-clean`, or a file.

    Raises:
        UnknownModel: neither a bundled model nor a file.
        WrongScale: the file's model has another scale.
        BadWeights: the file cannot be used.
    """
    path = Path(name)
    if path.suffix == ".safetensors" or path.exists():
        if not path.is_file():
            raise UnknownModel(f"no weights file {name}; `vidsr models` lists the bundled ones")
        found = describe(path)
    else:
        tier, _, variant = name.partition("-")
        wanted = f"{tier}-{scale}x" + (f"-{variant}" if variant else "")
        match = [m for m in bundled_models() if m.name in (name, wanted)]
        if not match:
            raise UnknownModel(f"no bundled model {name!r} at {scale}x; `vidsr models` lists them")
        found = match[0]
    if found.config.scale != scale:
        raise WrongScale(f"{found.path.name} enlarges {found.config.scale}x, not {scale}x; "
                         f"use --scale {found.config.scale} or another model")  # fmt: skip
    return found
