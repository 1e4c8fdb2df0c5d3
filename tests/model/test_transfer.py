"""Samples to the device and back, and threads that share one upscaler; with a GPU where there is one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.transfer import Kept, Lanes, download, upload
from vidsr.model.upscaler import Upscaler

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def noise(number: int, kind: type[np.uint8] | type[np.uint16] = np.uint8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, np.iinfo(kind).max, (2, 40, 50), kind, endpoint=True)


def frames(number: int) -> FrameBatch:
    layout = PixelLayout(grey=True, chroma_x=0, chroma_y=0)
    return FrameBatch((noise(number),), layout, Colour(), (2 * number, 2 * number + 1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_bit_comes_back(device: str, kind: type[np.uint8] | type[np.uint16]) -> None:
    samples = noise(1, kind)
    samples.setflags(write=False)  # as Ray's object store gives them
    with Lanes(torch.device(device)).turn():
        back = download(upload(samples, torch.device(device)))
    np.testing.assert_array_equal(back.view(kind), samples)


@pytest.mark.parametrize("device", DEVICES)
def test_threads_that_share_an_upscaler_get_what_one_gets(device: str) -> None:
    """The last frame of each batch is compared with the next batch's first, whichever thread had it."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(2, 2, 8, "luma", kernel=5))
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.1)
    batches = [frames(number // 2) for number in range(24)]  # each comes twice, so half can be reused
    alone = Upscaler(generator, device)
    expected = [alone.upscale(batch) for batch in batches]
    shared = Upscaler(generator, device)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(shared.upscale, batches))
    for one, other in zip(expected, found, strict=True):
        assert one.index == other.index
        np.testing.assert_array_equal(one.planes[0], other.planes[0])


@pytest.mark.parametrize("device", DEVICES)
def test_kept_tensors_are_those_that_were_given(device: str) -> None:
    place = torch.device(device)
    lanes = Lanes(place)
    with lanes.turn():
        kept = Kept(torch.full((1000, 1000), 3.0, device=place).cumsum(0))
    with lanes.turn():
        assert kept.take()[-1, 0].item() == 3000
