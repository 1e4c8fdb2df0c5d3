"""Starting a network from a smaller one, so that it computes the same at first (as Net2Net does, Chen et al. 2016).

The smaller network's channels come first. New channels read all channels and are read by new ones alone, and new
residual blocks add nothing, so the output stays (a plain body must not be deeper). Both learn at once, because the
weights that are zero are not those that feed them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


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
