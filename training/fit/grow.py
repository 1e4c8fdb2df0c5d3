"""Starting a network from a smaller one, so that it computes the same at first (as Net2Net does, Chen et al. 2016).

The smaller network's channels come first. New channels read all channels and are read by new ones alone, and new
residual blocks add nothing, so the output stays (a plain body must not be deeper). Both learn at once, because the
weights that are zero are not those that feed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.fit.presets import Preset
from vidsr.errors import RunError
from vidsr.model.generator import Generator
from vidsr.model.registry import bundled_models, find_model
from vidsr.model.weights import load_weights

State = Mapping[str, Tensor]


def starting_generator(preset: Preset) -> Generator:
    """A new generator; what fits comes from the preset's `start`, which may be narrower and shallower.

    A start without branches is folded; it then gives a branched generator nothing, which is an error. A bundled start
    by its full name may be of another scale, as bodies have none.

    Raises:
        RunError: the start has no body that fits.
        UnknownModel, WrongScale, BadWeights: as `read_network`.
    """
    torch.manual_seed(preset.seed)
    generator = Generator(preset.generator)
    if preset.start:
        scale = next((m.config.scale for m in bundled_models() if m.name == preset.start), preset.generator.scale)
        given = read_network(preset.start, scale).state_dict()
        own = generator.state_dict()
        state = grown(own, given)
        if not any(k.startswith("body.") and v.dim() == 4 and k in given and state[k] is not v for k, v in own.items()):
            folded = "if it is folded, add --set generator.branches=false, else " if preset.generator.branches else ""
            raise RunError(f"start={preset.start} has no body that fits this generator; {folded}leave it out")
        generator.load_state_dict(state)
    return generator


def read_network(name: str, scale: int) -> Generator:
    """The network in a weights file, or a bundled one by its name.

    Raises:
        UnknownModel, WrongScale: there is no such file or model, or the bundled one of that name has another scale.
        BadWeights: the file is something else.
    """
    path = Path(name)
    return load_weights(path if path.is_file() else find_model(name, scale).path)


def grown(own: State, given: State) -> dict[str, Tensor]:
    """The tensors of a new network with those of an equal or smaller one put into them.

    Args:
        own: `state_dict` of the new network, as initialised.
        given: of the one to start from. What does not fit is left out: other kernels, and a tail that makes another
            number of channels, because pixel shuffle gives each of them its place.

    Returns:
        All of `own`, in its order.
    """
    fitting = {name for name, tensor in given.items() if name in own and _fits(name, own[name], tensor)}
    began = {_block(name) for name in fitting}
    state = {}
    for name, tensor in own.items():
        state[name] = _placed(tensor, given[name]) if name in fitting else tensor
        if _adds(name) and fitting and _block(name) not in began:
            state[name] = torch.zeros_like(tensor)
    return state


def _fits(name: str, own: Tensor, given: Tensor) -> bool:
    if own.dim() != given.dim() or own.shape[2:] != given.shape[2:]:
        return False
    if name.startswith("tail.") and own.shape[0] != given.shape[0]:
        return False
    return all(large >= small for large, small in zip(own.shape, given.shape, strict=True))


def _placed(own: Tensor, given: Tensor) -> Tensor:
    """`given` in the first rows and columns of `own`; the rest of its rows is 0, other rows stay."""
    if own.dim() == 0:
        return given
    whole = own.clone()
    rows = len(given)
    if own.dim() == 4:
        whole[:rows] = 0
        whole[:rows, : given.shape[1]] = given
    else:
        whole[:rows] = given
    return whole


def _block(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _adds(name: str) -> bool:
    """Whether it is the last convolution of a residual block."""
    return name.startswith("body.") and ".conv2." in name
