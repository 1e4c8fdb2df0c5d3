"""The models: which are bundled, what a weights file says of itself, and the choice for `--model`. Imports no torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from os.path import isfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vidsr.errors import BadWeights, SettingsError, UnknownModel, WrongScale
from vidsr.machine import has_amx, has_native_int8, usable_cores
from vidsr.model.config import GeneratorConfig
from vidsr.model.ranges import Ranges, read_ranges
from vidsr.settings import UpscaleSettings

FORMAT = "1"
BUNDLED = Path(__file__).parent.parent / "bundled"


@dataclass(frozen=True)
class ModelFile:
    """A weights file and what it says of itself; `ranges` are for int8, None where it holds none."""

    name: str
    path: Path
    config: GeneratorConfig
    training: dict[str, Any]
    sha256: str
    ranges: Ranges | None = None


def describe(path: Path) -> ModelFile:
    """Read a weights file's configuration without loading the weights.

    Raises:
        BadWeights: not to be read, truncated, a pickle, or of another architecture.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise BadWeights(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if start[:2] == b"\x80\x02" or start == b"PK\x03\x04":
        raise BadWeights(f"{path} is a pickle, which can run code when it is loaded; convert it to safetensors")
    try:
        with safe_open(path, framework="numpy") as opened:
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
    try:
        ranges = read_ranges(metadata, config)
    except ValueError as error:
        raise BadWeights(f"{path} holds ranges for int8 that do not fit it ({error}); "
                         "measure them again with training.quantise") from error  # fmt: skip
    return ModelFile(path.stem, path, config, training, hashlib.sha256(path.read_bytes()).hexdigest(), ranges)


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
    if path.suffix == ".safetensors" or isfile(path):
        if not isfile(path):
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


def find_sharp(model: ModelFile) -> ModelFile:
    """The adversarially fine-tuned partner of a model: NAME-sharp.safetensors beside it.

    Raises:
        UnknownModel: it has none.
        BadWeights: the partner has another shape.
    """
    path = model.path.with_name(f"{model.path.stem}-sharp.safetensors")
    if not path.is_file():
        raise UnknownModel(f"{model.name} has no adversarial weights ({path.name}); use --fidelity 1")
    sharp = describe(path)
    if sharp.config != model.config:
        raise BadWeights(f"{path.name} has another shape than {model.path.name}; use --fidelity 1")
    return sharp


TIERS = ("quality", "balanced", "fast")
# On CPUs `quality` needs ten times the multiplications of `balanced` for 0.1 to 0.2 dB: only by its name.
CPU_TIERS = TIERS[1:]
# Multiply-accumulates a second that a GPU does at least, and a CPU core in the whole command: with AMX, in int8, and
# otherwise (docs/performance.md).
_GPU_MACS = 10e12
_AMX_MACS, _INT8_MACS, _CORE_MACS = 240e9, 80e9, 30e9
USEFUL_FRAMES_PER_SECOND = 0.5


def choose_model(
    settings: UpscaleSettings, scale: int, gpu: bool, pixels: int, is_clean: Callable[[], bool]
) -> ModelFile:
    """The model for `--model`; `auto` is the best bundled tier that has the variant and runs at a useful speed.

    The variant is for clean pictures or for coded video, by what the source is. With `--fidelity` below 1 it is one for
    coded video that has an adversarial partner, which clean weights have not.

    Args:
        settings: model and fidelity are used.
        scale: 2 or 4.
        gpu: whether it will run on a GPU.
        pixels: of one source frame.
        is_clean: whether the source is (see `vidsr.clean`); only asked where that decides.

    Raises:
        ModelError: as `find_model`.
    """
    if settings.model != "auto":
        return find_model(settings.model, scale)
    variant = "sharp" if settings.fidelity < 1 else "clean" if is_clean() else ""
    budget = _GPU_MACS if gpu else _core_macs() * usable_cores()
    bundled = {m.name: m for m in bundled_models()}
    names = [f"{tier}-{scale}x" for tier in (TIERS if gpu else CPU_TIERS)]
    suffix = variant and f"-{variant}"
    found = [bundled[n] for n in names if n in bundled and n + suffix in bundled]
    if not found:
        raise UnknownModel(f"no model is bundled for {scale}x; give a weights file with --model")
    rates = [budget / (model.config.macs_per_pixel * pixels) for model in found]
    chosen = next((m for m, rate in zip(found, rates, strict=True) if rate >= USEFUL_FRAMES_PER_SECOND), found[-1])
    return bundled[f"{chosen.name}-clean"] if variant == "clean" else chosen


def _core_macs() -> float:
    if importlib.util.find_spec("openvino") is None:
        return _CORE_MACS
    return _AMX_MACS if has_amx() else _INT8_MACS if has_native_int8() else _CORE_MACS
