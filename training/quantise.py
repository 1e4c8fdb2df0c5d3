"""`python -m training.quantise`: activation ranges for int8, measured and stored in a weights file.

First channels are rescaled so that they share int8's steps more evenly; the network computes the same. Half of the
pictures give the ranges, and the convolutions that stay in floating point because their rounding loses most; the other
half says what int8 loses against float32. Luma models see every picture twice, coded as in training and clean, others
only clean. The backend that users run does the measuring.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from training.console import console, run
from training.measure.metrics import psnr_inside
from training.pairs.bank import make_bank
from training.pairs.data import Pairs, centre, clean_pair, find_photos, read_photos
from training.pairs.degrade import Degradation
from vidsr.errors import DeviceError, NoPicture, UnknownModel
from vidsr.machine import has_amx, has_native_int8
from vidsr.model.backends import best_precision
from vidsr.model.generator import Generator, fold
from vidsr.model.openvino_backend import OpenVinoBackend
from vidsr.model.ranges import LARGEST_LOSS_DB, Ranges
from vidsr.model.registry import describe, find_sharp
from vidsr.model.weights import add_ranges, load_weights, save_weights

_CODED = Degradation(keep=1)
# Of each picture's values the outermost do not count, one in so many: a few would widen the steps of all others.
_OUTERMOST = 3_000
# How much wider than what was found: other pictures reach further, and one whose values are cut loses whole decibels.
_ROOM = 2.0
# A convolution whose rounding by itself loses more than so many dB stays in floating point.
_OWN_LOSS_DB = 0.003
# How much of the unevenness of a channel's values is left to the weights: Xiao et al., "SmoothQuant", 2023, equation 4.
_SMOOTHING = 0.7
_LARGEST = 256  # small pixels of a clean picture's side, so that a wallpaper does not outlast all others
_FRAME = (540, 960)  # whose speed is measured
_ROUNDS = 7
_LIMIT = "ONEDNN_MAX_CPU_ISA"  # the most that OpenVINO may use of a CPU


def quantise(path: Path, photos: Sequence[Path]) -> tuple[Ranges, list[Tensor]]:
    """Measure a model's ranges, loss and speed in int8, of its weights as `rescale` makes them; nothing is stored.

    Args:
        path: its weights file.
        photos: every other one gives the ranges, the others the loss.

    Returns:
        the ranges, and the scales for `rescale`.

    Raises:
        DeviceError: the CPU has no AVX512-VNNI, or it has AMX and would not run in int8, so that the speed would be no
            one's.
        NoPicture: fewer than two pictures, or none that can be read.
        BadWeights: as `load_weights`.
    """
    if not has_native_int8():
        raise DeviceError("this CPU has no AVX512-VNNI, so int8 cannot be measured here; use another machine")
    if len(photos) < 2:
        raise NoPicture("one picture cannot give both ranges and loss; give a folder with more of them to --data")
    generator = fold(load_weights(path)).requires_grad_(False)
    if has_amx() and _LIMIT not in os.environ:
        raise DeviceError(
            f"this CPU has AMX and runs {path.name} faster without int8, other CPUs do not; "
            f"measure with {_LIMIT}=AVX512_CORE_BF16 in the environment"
        )
    pairs = list(_pictures(generator, photos[::2]))
    pictures = [low for low, _ in pairs]
    scales = even_scales(generator, pictures)
    generator = rescale(generator, scales).half().float()  # as it is stored
    inputs = keep_floating(
        generator, [(_ROOM * low, _ROOM * high) for low, high in input_ranges(generator, pictures)], pairs
    )
    best = best_precision(generator.config)
    plain, bytes_ = OpenVinoBackend(generator, best), OpenVinoBackend(generator, best, inputs)
    held_out = list(_pictures(generator, photos[1::2]))
    losses = _psnr(generator, OpenVinoBackend(generator, "f32"), held_out) - _psnr(generator, bytes_, held_out)
    console.print(f"{len(losses)} pictures held out: mean loss {losses.mean():.4f} dB, worst {losses.max():.4f} dB")
    slow, fast = _frames_per_second((plain, bytes_), generator.config.planes)
    console.print(f"{plain.name} {slow:.2f} frames/s of {_FRAME[1]}x{_FRAME[0]}, {bytes_.name} {fast:.2f}")
    return Ranges(inputs, round(float(losses.mean()), 4), round(fast / slow, 2)), scales


def _neighbours(generator: Generator) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """The convolutions with nothing but a PReLU between them, so that what one divides the next can multiply."""
    if generator.config.body == "residual":
        return [(block.conv1, block.conv2) for block in generator.body]  # type: ignore[misc]
    convolutions = [m for part in (generator.head, generator.body) for m in part if isinstance(m, nn.Conv2d)]
    return list(pairwise(convolutions))


@torch.no_grad()
def even_scales(generator: Generator, pictures: Iterable[Tensor]) -> list[Tensor]:
    """For `rescale`: channels with large values are divided by more, those with large weights by less.

    Args:
        generator: folded.
        pictures: (1, planes, H, W) in [0, 1] each.

    Returns:
        a (channels,) factor above 0 and at most 1 for each two neighbouring convolutions.
    """
    neighbours = _neighbours(generator)
    found: dict[nn.Module, Tensor] = {}

    def widen(convolution: nn.Module, given: Tensor) -> None:
        values = given[0].flatten(1).abs()
        largest = values.topk(values.shape[1] // _OUTERMOST + 1, dim=1).values[:, -1]
        found[convolution] = torch.maximum(largest, found.get(convolution, largest))

    _show_inputs(generator, pictures, [after for _, after in neighbours], widen)
    scales = []
    for _, after in neighbours:
        values, weights = found[after].clamp(min=1e-4), after.weight.abs().amax((0, 2, 3)).clamp(min=1e-4)
        scale = values**_SMOOTHING / weights ** (1 - _SMOOTHING)
        scales.append(scale / scale.max())
    return scales


@torch.no_grad()
def rescale(generator: Generator, scales: Sequence[Tensor]) -> Generator:
    """The same network with each channel between two neighbouring convolutions divided by its scale, as a copy.

    Adversarial partners need the scales of their content weights, or `--fidelity` would mix channels of two sizes.
    """
    scaled = deepcopy(generator)
    for (before, after), scale in zip(_neighbours(scaled), scales, strict=True):
        before.weight.div_(scale[:, None, None, None])
        before.bias.div_(scale)  # type: ignore[union-attr]
        after.weight.mul_(scale[:, None, None])
    return scaled


@torch.no_grad()
def input_ranges(generator: Generator, pictures: Iterable[Tensor]) -> tuple[tuple[float, float], ...]:
    """The smallest and largest input of each convolution but the first and the last, 0 among them, in any picture,
    of which the outermost values do not count.

    Args:
        generator: folded.
        pictures: (1, planes, H, W) in [0, 1] each.
    """
    inner = [module for module in generator.modules() if isinstance(module, nn.Conv2d)][1:-1]
    found = dict.fromkeys(inner, (0.0, 0.0))

    def widen(convolution: nn.Module, given: Tensor) -> None:
        assert isinstance(convolution, nn.Conv2d)
        values = given.flatten()
        count = len(values) // _OUTERMOST + 1
        low, high = (float(values.topk(count, largest=largest).values[-1]) for largest in (False, True))
        found[convolution] = (min(low, found[convolution][0]), max(high, found[convolution][1]))

    _show_inputs(generator, pictures, inner, widen)
    return tuple((float(f"{low:.5g}"), float(f"{high:.5g}")) for low, high in found.values())


def keep_floating(
    generator: Generator, inputs: Sequence[tuple[float, float]], pairs: Sequence[tuple[Tensor, Tensor]]
) -> tuple[tuple[float, float] | None, ...]:
    """The ranges, with None for each convolution whose rounding by itself loses more than `_OWN_LOSS_DB` in the mean.

    Args:
        generator: folded.
        inputs: of each of its convolutions but the first and the last.
        pairs: (small, large) pictures, (1, planes, H, W) in [0, 1] each.
    """
    exact = _psnr(generator, OpenVinoBackend(generator, "f32"), pairs)
    kept: list[tuple[float, float] | None] = []
    for at, pair in enumerate(inputs):
        alone = OpenVinoBackend(generator, "f32", [pair if other == at else None for other in range(len(inputs))])
        loss = float((exact - _psnr(generator, alone, pairs)).mean())
        kept.append(pair if loss <= _OWN_LOSS_DB else None)
        console.print(f"convolution {at + 1} alone: {loss:.4f} dB{'' if kept[-1] else ', stays in floating point'}")
    return tuple(kept)


def _show_inputs(
    generator: Generator,
    pictures: Iterable[Tensor],
    convolutions: Iterable[nn.Module],
    look: Callable[[nn.Module, Tensor], None],
) -> None:
    """Run pictures through the network and let `look` see what each of these convolutions is given."""
    hooks = [each.register_forward_pre_hook(lambda module, given: look(module, given[0])) for each in convolutions]
    for picture in pictures:
        generator.residual(picture)
    for hook in hooks:
        hook.remove()


def _pictures(generator: Generator, photos: Sequence[Path]) -> Iterable[tuple[Tensor, Tensor]]:
    """(small, large) of every photograph, coded and clean: (1, planes, H, W) each."""
    config = generator.config
    middles = (centre(pixels, _LARGEST * config.scale) for _, pixels in read_photos(photos))
    banks = [Pairs.of([clean_pair(pixels, config.scale, config.colour) for pixels in middles], config.scale)]
    if config.colour == "luma":
        banks.append(make_bank(photos, config.scale, len(photos), [0], _CODED))
    return (bank.picture(index) for bank in banks for index in range(len(bank)))


def _psnr(generator: Generator, backend: OpenVinoBackend, pairs: Iterable[tuple[Tensor, Tensor]]) -> np.ndarray:
    """PSNR in dB of each picture as it is written, in 8 bits, without a border of `scale` pixels."""
    values = []
    for low, high in pairs:
        skip = generator.skip(low)
        residual = backend.residual(low)
        output = (residual if skip is None else residual + skip).mul(255).round().clamp(0, 255)
        ours, truth = (picture[0].permute(1, 2, 0).numpy() for picture in (output, high * 255))
        values.append(psnr_inside(ours, truth, generator.config.scale))
    return np.array(values)


def _frames_per_second(backends: Sequence[OpenVinoBackend], planes: int) -> list[float]:
    """The medians of runs that take turns."""
    frames = torch.rand(4, planes, *_FRAME)
    seconds: list[list[float]] = [[] for _ in backends]
    for _ in range(_ROUNDS):
        for backend, taken in zip(backends, seconds, strict=True):
            started = time.perf_counter()
            backend.residual(frames)
            taken.append(time.perf_counter() - started)
    return [len(frames) / float(np.median(taken[1:])) for taken in seconds]  # the first ones warm up


@click.command()
@click.argument("path", metavar="WEIGHTS", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of photographs.")
@click.option("--pictures", type=click.IntRange(2), default=96, show_default=True, help="So many of them, evenly.")
def main(path: Path, data: Path, pictures: int) -> None:
    """Rescale the channels of WEIGHTS for int8, measure their ranges, and store both in the file.

    The network computes the same as before. Its adversarial partner (NAME-sharp beside it) gets the same scales.
    """
    photos = find_photos(data)
    chosen = [photos[i] for i in np.linspace(0, len(photos) - 1, min(pictures, len(photos))).astype(int)]
    files = [describe(path)]
    with suppress(UnknownModel):  # it has no partner
        files.append(find_sharp(files[0]))
    ranges, scales = quantise(path, chosen)
    rescaled = [file.path.with_name(f"{file.path.stem}.rescaled.safetensors") for file in files]
    for file, there in zip(files, rescaled, strict=True):
        save_weights(there, rescale(fold(load_weights(file.path)), scales), file.training)
    add_ranges(rescaled[0], ranges)
    for file, there in zip(files, rescaled, strict=True):  # together: weights of two scales do not mix
        there.replace(file.path)
    verdict = "takes" if ranges.pay else f"does not take (it must be faster and lose under {LARGEST_LOSS_DB} dB)"
    console.print(f"{path.name}: stored; --backend auto {verdict} int8")


if __name__ == "__main__":
    run(main)
