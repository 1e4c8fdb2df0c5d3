"""Every preset as typed values; `training.train` runs one by name, with any field replaced by `--set FIELD=VALUE`.

What the paper leaves open, and what was chosen, is in docs/training.md.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from training.fit.discriminator import DiscriminatorConfig
from training.fit.losses import Labels
from training.pairs.degrade import Degradation
from vidsr.errors import SettingsError
from vidsr.model.generator import GeneratorConfig


@dataclass(frozen=True)
class Stage:
    """A part of a training run with its own objective; each starts with a fresh optimiser and its own cosine.

    Attributes:
        kind: what the stage's weights file is called.
        share: its part of the run's steps or minutes; shares are divided by their sum.
        rate: the learning rate after the warm-up; it falls to a thousandth of that by a cosine.
        losses: weight by name (training.fit.losses).
        adversarial: weight of the adversarial loss; 0 trains without a discriminator.
        relativistic: judge each picture against the mean of the others.
        discriminator: its shape.
        discriminator_rate: its learning rate, on the same schedule.
        two_view: weight of the difference between the outputs for two noisy views of the same input.
    """

    kind: Literal["content", "ssim", "adversarial"]
    share: float
    rate: float
    losses: Mapping[str, float]
    adversarial: float = 0.0
    relativistic: bool = False
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    discriminator_rate: float = 1e-4
    two_view: float = 0.0


@dataclass(frozen=True)
class Preset:
    """A training run.

    Attributes:
        name: of the preset.
        generator: the generator's shape.
        stages: what is minimised, one after another.
        steps: updates of the generator, over all stages; `minutes` takes their place if it is not 0.
        minutes: wall-clock minutes of training, over all stages; 0 trains by steps.
        batch: crops a step, over all workers.
        patch: side of the small crop.
        clip: largest norm of the generator's gradient; 0 does not clip.
        warmup: steps at the start of each stage over which the learning rate rises; a tenth of the stage at most.
        ema: decay of the averaged weights, which are what is exported; 0 exports the last ones.
        clean_share: the part of the crops that is not coded; 1 trains on clean pictures alone.
        clips: clips in a bank of coded pairs.
        renew_every: steps after which a new bank, made in the background, takes the old one's place.
        degradation: what happens to the clips.
        labels: the discriminator's answers.
        teacher: a bundled model or weights file whose output is a second target; "" for none.
        distillation: weight of the L1 distance to the teacher's output.
        start: a bundled model or weights file that gives all tensors that fit; "" for none.
        validate_every: steps between validations against bicubic.
        held_out: pictures that are validated on and not trained on.
        seed: of everything random.
    """

    name: str
    generator: GeneratorConfig
    stages: tuple[Stage, ...]
    steps: int
    minutes: float = 0.0
    batch: int = 16
    patch: int = 32
    clip: float = 1.0
    warmup: int = 200
    ema: float = 0.999
    clean_share: float = 1.0
    clips: int = 1800
    renew_every: int = 10_000
    degradation: Degradation = field(default_factory=Degradation)
    labels: Labels = field(default_factory=Labels)
    teacher: str = ""
    distillation: float = 0.0
    start: str = ""
    validate_every: int = 500
    held_out: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages or sum(s.share for s in self.stages) <= 0 or min(s.share for s in self.stages) < 0:
            raise SettingsError(f"preset {self.name} needs stages with a share above 0")
        for name in ("steps", "batch", "patch", "clips", "renew_every", "validate_every", "held_out"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; use 1 or more")
        if not (0 <= self.clean_share <= 1 and 0 <= self.ema < 1 and self.minutes >= 0):
            raise SettingsError("clean_share lies in [0, 1], ema in [0, 1), and minutes are not negative")
        if self.distillation and not self.teacher:
            raise SettingsError("distillation needs a teacher; set teacher to a model's name")


_BALANCED = GeneratorConfig(blocks=8, channels=32, colour="luma", kernel=5)
_FAST = GeneratorConfig(blocks=6, channels=16, colour="luma", kernel=5, body="plain", branches=True)
_QUALITY = GeneratorConfig(blocks=20, channels=64, colour="luma", kernel=5)
_UNET = DiscriminatorConfig(kind="unet", channels=32)


def _paper(scale: int, modified: bool) -> Preset:
    # SRGAN weighs its adversarial loss against the MSE of pictures in [-1, 1]; ours are in [0, 1].
    losses = {"ssim": 1.0} if modified else {"mse": 4.0}
    return Preset(
        name=f"paper-{'modified' if modified else 'original'}-{scale}x",
        generator=GeneratorConfig(
            scale=scale, blocks=20 if modified else 16, channels=64, norm="batch", tail="srgan", skip="none", kernel=9
        ),
        stages=(
            Stage("content", 0.5, 1e-4, losses),
            Stage("adversarial", 0.5, 1e-4, losses, adversarial=1e-3),
        ),
        steps=200_000,
        patch=256 // scale,
        clip=0.0,
        warmup=1,
        ema=0.0,
    )


def _shipped(tier: str, generator: GeneratorConfig, scale: int, rate: float, steps: int, **more: Any) -> Preset:
    """Content, then SSIM, then adversarial: the discriminator is small and weak, so that fidelity survives."""
    anchored = {"ssim": 1.0, "l1": 1.0, "colour": 1.0}
    return Preset(
        name=f"{tier}-{scale}x",
        generator=replace(generator, scale=scale),
        stages=(
            Stage("content", 0.8, rate, {"l1": 1.0}),
            Stage("ssim", 0.1, rate / 5, anchored),
            Stage("adversarial", 0.1, 1e-4, anchored, adversarial=5e-3, discriminator=_UNET, two_view=0.1),
        ),
        steps=steps,
        clean_share=0.15,
        degradation=Degradation() if scale == 2 else Degradation(largest=(512, 704)),
        **more,
    )


def _all() -> dict[str, Preset]:
    presets = [_paper(scale, modified) for modified in (False, True) for scale in (2, 4)]
    for scale in (2, 4):
        presets += [
            _shipped("quality", _QUALITY, scale, 4e-4, 100_000, batch=32, patch=64 if scale == 2 else 48),
            _shipped("balanced", _BALANCED, scale, 1e-3, 25_000),
            _shipped("fast", _FAST, scale, 2e-3, 50_000, teacher=f"balanced-{scale}x", distillation=1.0),
        ]
    smoke = GeneratorConfig(blocks=2, channels=16, colour="luma", kernel=3)
    presets.append(
        Preset(
            name="smoke",
            generator=smoke,
            stages=(
                Stage("content", 0.7, 2e-3, {"l1": 1.0}),
                Stage("ssim", 0.2, 5e-4, {"ssim": 1.0, "l1": 1.0}),
                Stage(
                    "adversarial", 0.1, 1e-4, {"l1": 1.0}, adversarial=1e-3, discriminator=replace(_UNET, channels=8)
                ),
            ),
            steps=1000,
            batch=8,
            patch=24,
            warmup=50,
            ema=0.99,
            validate_every=250,
        )
    )
    return {preset.name: preset for preset in presets}


PRESETS: dict[str, Preset] = _all()


def preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        SettingsError: there is none; the message gives the nearest names.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.3) or sorted(PRESETS)
        raise SettingsError(f"no preset is called {name!r}; the nearest are {', '.join(near)}")
    return PRESETS[name]


def override(base: Preset, assignments: Iterable[str]) -> Preset:
    """A preset with fields replaced.

    Args:
        base: where the other values come from.
        assignments: "FIELD=VALUE" with the dotted name of any field, such as `batch=8`, `generator.blocks=4`,
            `stages.0.rate=1e-4` or `stages.1.losses.ssim=0.5`; values are JSON, or plain words.

    Raises:
        SettingsError: no such field, or a value of another type.
    """
    values = to_json(base)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment} has no value; write FIELD=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        _assign(values, name.split("."), value, f"--set {name}")
    return from_json(values)


def _assign(node: Any, path: list[str], value: Any, what: str, names_are_free: bool = False) -> None:
    key: Any = int(path[0]) if isinstance(node, list) and path[0].isdigit() else path[0]
    known = range(len(node)) if isinstance(node, list) else node if isinstance(node, dict) else ()
    if key not in known and not names_are_free:
        names = [str(name) for name in known]
        near = difflib.get_close_matches(str(key), names, n=3, cutoff=0.5) or names
        raise SettingsError(f"{what}: there is no {key!r} there; the nearest are {', '.join(near) or 'none'}")
    if len(path) == 1:
        node[key] = value
    else:
        _assign(node[key], path[1:], value, what, names_are_free=key == "losses")


def to_json(preset: Preset) -> dict[str, Any]:
    """A preset as JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(preset)))
    return values


def from_json(values: Mapping[str, Any]) -> Preset:
    """The preset of `to_json`.

    Raises:
        SettingsError: a field that does not exist, or a value of another type.
    """
    built: Preset = _build(Preset, values, "preset")
    return built


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, Mapping):
        types = get_type_hints(kind)
        unknown = sorted(set(value) - {f.name for f in fields(kind)})
        if unknown:
            raise SettingsError(f"{where} has no field {unknown[0]!r}")
        missing = [
            f.name
            for f in fields(kind)
            if f.name not in value and f.default is MISSING and f.default_factory is MISSING
        ]
        if missing:
            raise SettingsError(f"{where} needs {', '.join(missing)}")
        made: Any = kind
        return made(**{name: _build(types[name], v, f"{where}.{name}") for name, v in value.items()})
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [inner[0]] * len(value) if inner[1:] == (Ellipsis,) else inner
        if len(kinds) == len(value):
            return tuple(_build(k, v, f"{where}.{i}") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is Literal and value in inner:
        return value
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {str(k): _build(inner[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    wanted = f"one of {', '.join(map(str, inner))}" if origin is Literal else getattr(kind, "__name__", str(kind))
    raise SettingsError(f"{where} is {value!r}; use {wanted}")


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of the fields in which two presets in JSON differ."""
    names = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            left, right = dict(enumerate(left)), dict(enumerate(right))
        if isinstance(left, dict) and isinstance(right, dict):
            names += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key}")
    return names
