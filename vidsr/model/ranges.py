"""Activation ranges for int8, as a weights file may hold them. Imports no torch.

They lie in the metadata under `int8`, as JSON, not as tensors: so they can be read without the weights, and versions
that do not know them load the file as before. `python -m training.quantise` measures and stores them. They are fixed,
so a pixel's result depends on neither its window nor the rest of the video.
"""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import asdict, dataclass

from vidsr.machine import has_amx, has_native_int8
from vidsr.model.config import GeneratorConfig

KEY = "int8"
INT8 = "openvino int8"  # the backend's name, before what is left in floating point
# A model that loses more to float32, in the mean of the pictures that were held out, is not run in int8.
LARGEST_LOSS_DB = 0.1


@dataclass(frozen=True)
class Ranges:
    """What int8 needs to know of a model, and what it was measured to cost and bring.

    Attributes:
        inputs: (smallest, largest) input of each convolution but the first and the last, in order, 0 between them;
            None of one that stays in floating point, because its rounding loses most.
        loss_db: PSNR lost against float32, mean of pictures whose ranges were not measured.
        speedup: frames a second over those of the precision that OpenVINO takes without ranges, where both were
            measured.
    """

    inputs: tuple[tuple[float, float] | None, ...]
    loss_db: float
    speedup: float

    @property
    def pay(self) -> bool:
        """Whether int8 was measured to be faster at a loss that is allowed."""
        return self.loss_db < LARGEST_LOSS_DB and self.speedup > 1

    def to_json(self) -> str:
        """The text for the metadata."""
        return json.dumps(asdict(self))


def read_ranges(metadata: dict[str, str], config: GeneratorConfig) -> Ranges | None:
    """The ranges in a weights file's metadata; None where it has none.

    Raises:
        ValueError: they do not fit the configuration.
    """
    if KEY not in metadata:
        return None
    try:
        values = json.loads(metadata[KEY])
        inputs = tuple(None if pair is None else _range(*pair) for pair in values.pop("inputs"))
        ranges = Ranges(inputs, **{name: float(value) for name, value in values.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if len(inputs) != config.inner_convolutions:
        raise ValueError(f"{len(inputs)} ranges for {config.inner_convolutions} convolutions")
    return ranges


def _range(low: float, high: float) -> tuple[float, float]:
    if not (low <= 0 <= high and 0 < high - low < math.inf):
        raise ValueError("a range that is empty or leaves out 0")
    return float(low), float(high)


def choose_ranges(ranges: Ranges | None, backend: str, fidelity: float) -> Ranges | None:
    """The ranges with which a model is run on a CPU; None is not in int8, as with AMX, where bfloat16 is faster.

    Args:
        ranges: of the model, if it has some.
        backend: as asked for; only `auto` takes int8.
        fidelity: as asked for; weights between two files have other ranges than either, so only 1 takes int8.
    """
    here = backend == "auto" and importlib.util.find_spec("openvino") is not None and has_native_int8()
    return ranges if here and not has_amx() and fidelity == 1 and ranges is not None and ranges.pay else None
