"""The upscaler: exact tiles, reuse that changes nothing, colour that comes back, every kind of picture."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base
from torch import nn

import vidsr.model.upscaler
from tests.model.computed import pixels_computed
from vidsr.errors import DeviceError, SettingsError, UnsupportedSize
from vidsr.frames import Colour, FrameBatch, PixelLayout
from vidsr.model.brightness import keep_brightness
from vidsr.model.generator import Generator, GeneratorConfig
from vidsr.model.resample import bicubic_upscale
from vidsr.model.transfer import upload
from vidsr.model.upscaler import SOURCES, Upscaler, find_device

NEAREST = GeneratorConfig(2, 0, 1, "luma", skip="nearest", kernel=3)
LAYOUTS = [
    PixelLayout(depth, x, y) for depth in (8, 10, 12) for x, y in ((1, 1), (1, 0), (0, 0))
]  # fmt: skip


@pytest.fixture(autouse=True)
def network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all that random weights make would be given up for its brightness, and with it any error of theirs."""
    monkeypatch.setattr(vidsr.model.upscaler, "keep_brightness", lambda *_: None)


def busy(config: GeneratorConfig) -> Generator:
    torch.manual_seed(3)
    generator = Generator(config)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.1)
    return generator


def batch(layout: PixelLayout, width: int = 50, height: int = 38, frames: int = 2, **colour: int) -> FrameBatch:
    rng = np.random.default_rng(5)
    kind = np.uint8 if layout.depth == 8 else np.uint16
    planes = tuple(
        rng.integers(0, 1 << layout.depth, (frames, *shape)).astype(kind)
        for shape in layout.plane_shapes(width, height)
    )
    return FrameBatch(planes, layout, Colour(**colour), tuple(range(frames)))


def tiled(upscaler: Upscaler, pixels: int) -> Upscaler:
    upscaler._tile_pixels = upscaler._batch_pixels = pixels
    return upscaler


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize(
    "config", [GeneratorConfig(2, 2, 8, "luma", kernel=5), GeneratorConfig(4, 2, 8, "rgb", tail="srgan")]
)
def test_tiles_equal_the_whole_frame(config: GeneratorConfig, backend: str) -> None:
    generator, frames = busy(config), batch(PixelLayout(), 120, 90)
    whole = tiled(Upscaler(generator, "cpu", backend=backend), 10**9).upscale(frames)
    pieces = tiled(Upscaler(generator, "cpu", backend=backend), 60 * 60).upscale(frames)
    for a, b in zip(whole.planes, pieces.planes, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


@pytest.mark.parametrize("kept", [False, True], ids=["alone", "brightness-kept"])
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_what_did_not_change_is_not_computed_and_comes_out_the_same(
    backend: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept:
        monkeypatch.setattr(vidsr.model.upscaler, "keep_brightness", keep_brightness)
    frames = batch(PixelLayout(), 120, 90, frames=4)
    still = [np.repeat(plane[:1], 4, axis=0) for plane in frames.planes]
    still[0][2, 5:9, 5:9] += 1  # one corner of one frame changes
    frames = frames.with_planes(tuple(still))
    generator = busy(GeneratorConfig(2, 2, 8, "luma", kernel=5))
    reusing = Upscaler(generator, "cpu", backend=backend)
    pixels = pixels_computed(reusing)
    halves = [reusing.upscale(frames.with_planes(tuple(p[k : k + 2] for p in frames.planes))) for k in (0, 2)]
    for k in range(4):
        one = frames.with_planes(tuple(p[k : k + 1] for p in frames.planes))
        expected = Upscaler(generator, "cpu", backend=backend).upscale(one)
        for a, b in zip(halves[k // 2].planes, expected.planes, strict=True):
            np.testing.assert_array_equal(a[k % 2], b[0])
    corner = (9 + 2 * generator.config.halo) ** 2
    assert pixels[0] >= 120 * 90, "the first frame, perhaps in tiles"
    assert pixels[1:] == [corner, corner], "the corner's change and its return"


def test_a_callers_generator_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be trained on, and the upscaler does not follow."""
    monkeypatch.setattr("vidsr.model.backends.has_native_bf16", lambda: True)
    generator = busy(GeneratorConfig(2, 1, 32, "luma", norm="batch", kernel=3)).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    upscaler = Upscaler(generator, "cpu", backend="torch")
    assert upscaler.backend == "torch bfloat16" and generator.training
    assert all(parameter.requires_grad for parameter in generator.parameters())
    torch.testing.assert_close(generator.state_dict(), before, rtol=0, atol=0)
    theirs = {parameter.data_ptr() for parameter in generator.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in upscaler._generator.parameters()}


def test_batches_of_two_sources_may_take_turns() -> None:
    """The first frame of a batch is compared with the last one of its own source."""
    a, b = batch(PixelLayout(), 60, 40, frames=1), batch(PixelLayout(), 60, 40, frames=1)
    b = b.with_planes((255 - b.planes[0], *b.planes[1:]))
    upscaler = Upscaler(busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), "cpu", backend="torch")
    pixels = pixels_computed(upscaler)
    first = upscaler.upscale(a, source="a")
    upscaler.upscale(b, source="b")
    again = upscaler.upscale(a, source="a")
    assert pixels == [60 * 40, 60 * 40]
    np.testing.assert_array_equal(first.planes[0], again.planes[0])


def test_a_few_sources_are_remembered_and_those_that_waited_longest_forgotten() -> None:
    frame = batch(PixelLayout(), 60, 40, frames=1)
    upscaler = Upscaler(busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), "cpu", backend="torch")
    pixels = pixels_computed(upscaler)
    names = [str(number) for number in range(SOURCES + 1)]
    for name in names:
        upscaler.upscale(frame, source=name)
    for name, fresh in ((names[-1], 0), (names[1], 0), (names[0], 60 * 40), (names[1], 0), (names[2], 60 * 40)):
        pixels.clear()
        upscaler.upscale(frame, source=name)
        assert sum(pixels) == fresh, name


def test_a_source_that_changes_its_size_is_computed_anew() -> None:
    upscaler = Upscaler(busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), "cpu", backend="torch")
    for width in (60, 50):
        frame = batch(PixelLayout(), width, 40, frames=1)
        large = upscaler.upscale(frame, source="a")
        fresh = Upscaler(upscaler._generator, "cpu", backend="torch").upscale(frame)
        np.testing.assert_array_equal(large.planes[0], fresh.planes[0])


def test_luma_of_pictures_is_that_of_jpeg() -> None:
    """Of two colours that are as bright by BT.601, the model of luma sees no border."""
    picture = np.empty((24, 24, 3), np.uint8)
    picture[:, :11], picture[:, 11:] = (200, 60, 60), (60, 131, 60)
    rgb = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    expected = bicubic_upscale(rgb, 2)[0].permute(1, 2, 0).round().clamp(0, 255).numpy()
    assert np.abs(Upscaler(Generator(NEAREST), "cpu").upscale(picture) - expected).max() <= 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("colour", ["luma", "rgb"])
def test_grey_ramp_and_bars_come_back(layout: PixelLayout, full: bool, colour: str) -> None:
    """An identity-like model (nearest) leaves flat areas within 1 code value, in every format."""
    generator = Generator(GeneratorConfig(2, 0, 1, colour, skip="nearest", kernel=3))
    top = (1 << layout.depth) - 1
    width, height = 64, 16
    unit = 1 << (layout.depth - 8)
    kind = np.uint8 if layout.depth == 8 else np.uint16
    planes = []
    for k, (h, w) in enumerate(layout.plane_shapes(width, height)):
        low, high = (0, top) if full and k == 0 else (16 * unit, 235 * unit) if k == 0 else (100 * unit, 150 * unit)
        steps = np.linspace(low, high, 4).round().astype(kind)
        planes.append(np.repeat(np.repeat(steps, w // 4)[None], h, axis=0)[None])
    source = FrameBatch(tuple(planes), layout, Colour(1, 1, 1, full_range=full), (0,))
    large = Upscaler(generator, "cpu", backend="torch").upscale(source)
    assert large.layout == layout
    for before, after in zip(source.planes, large.planes, strict=True):
        assert after.dtype == before.dtype
        quarter = before.shape[2] // 4
        for bar in range(4):
            middle = bar * quarter + quarter // 2
            assert abs(int(after[0, after.shape[1] // 2, 2 * middle]) - int(before[0, 0, middle])) <= unit


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("full", [False, True])
def test_networks_of_luma_see_nothing_that_they_were_not_trained_on(
    depth: int, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever code a camera writes, in limited range too: below 16 and above 235 networks made anything of it."""
    seen: list[torch.Tensor] = []
    upscaler = Upscaler(Generator(NEAREST), "cpu", backend="torch")
    compute = upscaler._compute
    monkeypatch.setattr(upscaler, "_compute", lambda windows: (seen.append(windows.clone()), compute(windows))[1])
    frames = batch(PixelLayout(depth, 1, 1), full_range=full)
    frames.planes[0][:, 0, :2] = 0, (1 << depth) - 1
    large = upscaler.upscale(frames)
    values = torch.cat(seen) * 255
    assert float(values.min()) == pytest.approx(16, abs=1e-3)
    assert float(values.max()) == pytest.approx(235, abs=1)
    np.testing.assert_array_equal(large.planes[0][:, ::2, ::2], frames.planes[0])


def test_odd_sizes() -> None:
    large = Upscaler(Generator(NEAREST), "cpu").upscale(batch(PixelLayout(), 51, 39))
    assert [p.shape[1:] for p in large.planes] == [(78, 102), (39, 51), (39, 51)]


def test_exact_size() -> None:
    large = Upscaler(Generator(NEAREST), "cpu").upscale(batch(PixelLayout(), 50, 38), (76, 60))
    assert [p.shape[1:] for p in large.planes] == [(60, 76), (30, 38), (30, 38)]


def test_left_sited_chroma_stays_left() -> None:
    """A chroma ramp enlarged 2x lies a quarter of a sample off the middle-sited one."""
    layout = PixelLayout()
    ramp = np.tile(np.arange(25, dtype=np.uint8) * 8, (1, 19, 1))
    planes = (np.full((1, 38, 50), 100, np.uint8), ramp, ramp)
    left, middle = (
        Upscaler(Generator(NEAREST), "cpu").upscale(FrameBatch(planes, layout, Colour(chroma_location=at), (0,)))
        for at in (1, 2)
    )
    difference = left.planes[1][0, 10, 10:40].astype(float) - middle.planes[1][0, 10, 10:40]
    assert difference.mean() == pytest.approx(8 * 0.125, abs=0.3)


# (vertical, horizontal) place of a chroma sample among its luma samples, by code point (H.273 figure 8).
SITES = {0: (0.5, 0), 1: (0.5, 0), 2: (0.5, 0.5), 3: (0, 0), 4: (0, 0.5), 5: (1, 0), 6: (1, 0.5)}


@pytest.mark.parametrize("colour", ["luma", "rgb"])
@pytest.mark.parametrize("location", SITES)
@pytest.mark.parametrize("layout", [PixelLayout(16, x, y) for x, y in ((1, 1), (1, 0), (0, 0))])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (95, 63)])
def test_chroma_stays_where_it_is_on_the_luma(
    width: int, height: int, layout: PixelLayout, location: int, colour: str
) -> None:
    """Ramps that say where on the luma a chroma sample lies, across in U and down in V, say so at every size too."""
    upscaler = Upscaler(Generator(GeneratorConfig(2, 0, 1, colour, kernel=3)), "cpu", backend="torch")
    vertical, horizontal = SITES[location]

    def places(wide: int, tall: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the chroma samples of a frame, in luma pixels: (h, 1) and (1, w)."""
        h, w = layout.plane_shapes(wide, tall)[1]
        rows, columns = 1 << layout.chroma_y, 1 << layout.chroma_x
        down = np.arange(h)[:, None] * rows + 0.5 + vertical * (rows - 1)
        return down, np.arange(w)[None] * columns + 0.5 + horizontal * (columns - 1)

    down, across = places(width, height)
    u, v = (np.rint(20000 + 256 * place) for place in np.broadcast_arrays(across, down))
    luma = np.full((1, height, width), 30000, np.uint16)
    source = FrameBatch(
        (luma, u[None].astype(np.uint16), v[None].astype(np.uint16)), layout, Colour(1, chroma_location=location), (0,)
    )
    for size in (None, (144, 96), (103, 71), (250, 170)):
        large = upscaler.upscale(source, size)
        down, across = places(large.width, large.height)
        for plane, place, ratio in (
            (large.planes[1], across, large.width / width),
            (large.planes[2], down, large.height / height),
        ):
            off = (plane[0] - 20000.0) / 256 * ratio - place
            inner = off[off.shape[0] // 5 : -(off.shape[0] // 5), off.shape[1] // 5 : -(off.shape[1] // 5)]
            assert abs(inner.mean()) < 0.01 and np.abs(inner).max() < 0.06, size  # luma pixels; the rest is ripple


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "CMYK", "1"])
def test_pictures_of_every_mode_of_8_bits(mode: str) -> None:
    picture = Image.new("RGB", (20, 12), (200, 30, 60)).convert(mode)
    large = Upscaler(busy(GeneratorConfig(2, 1, 4, "luma", kernel=3)), "cpu").upscale(picture)
    assert large.size == (40, 24)
    assert large.mode == {"RGBA": "RGBA", "LA": "LA", "L": "L", "1": "L"}.get(mode, "RGB")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_pictures_keep_their_orientation_and_profile(mode: str) -> None:
    picture, told = Image.new("RGB", (20, 12), (200, 30, 60)).convert(mode), Image.Exif()
    told[Base.Orientation] = 6
    picture.info |= {"exif": told.tobytes(), "icc_profile": b"a profile", "transparency": 3, "dpi": (72, 72)}
    large = Upscaler(Generator(NEAREST), "cpu").upscale(picture)
    assert large.getexif()[Base.Orientation] == 6
    assert large.info.get("icc_profile") == (None if mode == "CMYK" else b"a profile")
    assert set(large.info) <= {"exif", "icc_profile"}


def test_what_transparency_hides_is_not_mixed_into_its_border() -> None:
    rgba = np.zeros((24, 32, 4), np.uint8)
    rgba[6:18, 8:24] = 255
    config = GeneratorConfig(2, 0, 1, "luma", skip="bicubic", kernel=3)
    for scaled in (None, (50, 40)):
        large = np.asarray(Upscaler(Generator(config), "cpu").upscale(Image.fromarray(rgba), scaled))
        assert 0 < large[..., 3].mean() < 255
        assert large[..., :3].min() == 255


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_pictures_of_more_bits_are_refused(mode: str) -> None:
    upscaler = Upscaler(Generator(NEAREST), "cpu")
    with pytest.raises(SettingsError, match=f"mode {mode}; reduce it to 8 bits"):
        upscaler.upscale(Image.new(mode, (20, 12)))


def test_arrays_and_colour() -> None:
    red = np.broadcast_to(np.array([210, 40, 20], np.uint8), (3, 12, 16, 3))
    for colour in ("rgb", "luma"):
        config = GeneratorConfig(2, 0, 1, colour, skip="nearest", kernel=3)
        large = Upscaler(Generator(config), "cpu").upscale(red)
        assert large.shape == (3, 24, 32, 3)
        assert np.abs(large.astype(int) - [210, 40, 20]).max() <= 1


def test_what_cannot_be_done_is_said() -> None:
    upscaler = Upscaler(Generator(NEAREST), "cpu")
    with pytest.raises(SettingsError, match="uint8"):
        upscaler.upscale(np.zeros((4, 4, 3), np.float32))
    for shape in ((0, 4, 4, 3), (4, 0, 3), (0, 0, 3)):
        with pytest.raises(SettingsError, match=r"cannot upscale uint8 \(.*0.*\); give"):
            upscaler.upscale(np.zeros(shape, np.uint8))
    for other, kind in (([[[0, 0, 0]]], "list"), (None, "NoneType"), ("drive.mp4", "str")):
        with pytest.raises(SettingsError, match=f"cannot upscale {kind}; give uint8 RGB"):
            upscaler.upscale(other)  # type: ignore[call-overload]
    with pytest.raises(SettingsError, match="size 0x10"):
        upscaler.upscale(np.zeros((4, 4, 3), np.uint8), (0, 10))
    for fidelity in (1.5, -0.5, float("nan")):
        with pytest.raises(SettingsError, match="out of range; use 0"):
            Upscaler("fast", "cpu", fidelity=fidelity)
    with pytest.raises(UnsupportedSize):
        upscaler.upscale(np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(SettingsError):
        find_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError):
            find_device("cuda")


def test_running_out_of_memory_loses_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the batch, then smaller tiles; the result is what plenty of memory gives."""
    generator, frames = busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), batch(PixelLayout(), 120, 90, frames=4)
    expected = tiled(Upscaler(generator, "cpu", backend="torch"), 10**9).upscale(frames)
    upscaler = tiled(Upscaler(generator, "cpu", backend="torch"), 10**9)
    compute = upscaler._backend.residual

    def scarce(x: torch.Tensor) -> torch.Tensor:
        if x.numel() > 7000:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return compute(x)

    monkeypatch.setattr(upscaler._backend, "residual", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    large = upscaler.upscale(frames)
    for a, b in zip(expected.planes, large.planes, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


def test_running_out_of_memory_where_little_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot shrink is computed as whole frames, in tiles; without any room the error ends it."""
    generator, still = busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), batch(PixelLayout(), 240, 180, frames=1)
    moved = still.with_planes((still.planes[0].copy(), *still.planes[1:]))
    moved.planes[0][0, 20:60, 10:70] ^= 1
    upscaler = Upscaler(generator, "cpu", backend="torch")
    expected = tiled(Upscaler(generator, "cpu", backend="torch"), 10**9).upscale(moved)
    compute, room = upscaler._backend.residual, [10**9]

    def scarce(x: torch.Tensor) -> torch.Tensor:
        if x.numel() > room[0]:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return compute(x)

    monkeypatch.setattr(upscaler._backend, "residual", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    upscaler.upscale(still)
    room[0] = 4200  # less than the window around what changed
    assert np.abs(upscaler.upscale(moved).planes[0].astype(int) - expected.planes[0]).max() <= 1
    room[0] = 10
    with pytest.raises(DeviceError, match="too little free memory"):
        upscaler.upscale(still)


@pytest.mark.parametrize(
    ("colour", "step"),
    [
        *(
            ("luma", step)
            for step in ("to_tensor", "Kept", "keep_brightness", "lanczos_resize", "enlarge_chroma", "to_plane")
        ),
        *(("rgb", step) for step in ("batch_to_rgb", "Kept", "lanczos_resize", "rgb_to_planes")),
    ],
)
def test_whatever_runs_out_of_memory_is_done_for_fewer_frames(
    colour: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to one; where that does not fit, the error is ours. Tiles stay, as they would not help."""
    generator, frames = busy(GeneratorConfig(2, 2, 8, colour, kernel=5)), batch(PixelLayout(), 50, 38, frames=5)
    expected = Upscaler(generator, "cpu", backend="torch").upscale(frames, (76, 60))
    upscaler = Upscaler(generator, "cpu", backend="torch")
    tile, room, run = upscaler._tile_pixels, [2], getattr(vidsr.model.upscaler, step)

    def scarce(what: torch.Tensor | np.ndarray | FrameBatch, *more: Any) -> Any:
        # One frame is kept of each batch, so that there the room is for none of several.
        if (len(what) if step != "Kept" else upscaler._most_frames) > room[0]:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return run(what, *more)

    monkeypatch.setattr(vidsr.model.upscaler, step, scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    large = upscaler.upscale(frames, (76, 60))
    assert upscaler._most_frames == 2
    assert large.index == frames.index
    for a, b in zip(expected.planes, large.planes, strict=True):
        assert a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1
    room[0] = 0
    with pytest.raises(DeviceError, match="one enlarged frame"):
        upscaler.upscale(frames, (76, 60))
    assert upscaler._tile_pixels == tile


def test_arrays_too_are_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, frames = (
        busy(GeneratorConfig(2, 2, 8, "rgb", kernel=5)),
        np.random.default_rng(2).integers(0, 256, (5, 20, 30, 3), np.uint8),
    )
    expected = Upscaler(generator, "cpu", backend="torch").upscale(frames)
    upscaler, room = Upscaler(generator, "cpu", backend="torch"), [1]

    def scarce(samples: np.ndarray, device: torch.device) -> torch.Tensor:
        if len(samples) > room[0]:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return upload(samples, device)

    monkeypatch.setattr(vidsr.model.upscaler, "upload", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert np.abs(upscaler.upscale(frames).astype(int) - expected).max() <= 1
    room[0] = 0
    with pytest.raises(DeviceError, match="one enlarged frame"):
        upscaler.upscale(frames[0])


def test_a_result_without_room_is_not_blamed_on_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler(busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), "cpu", backend="torch")
    upscaler._tile_pixels = tile = 20 * 20

    def scarce(*_: Any) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.Tensor, "new_empty", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with pytest.raises(DeviceError, match="one enlarged frame"):
        upscaler.upscale(batch(PixelLayout()))
    assert upscaler._tile_pixels == tile


def test_what_is_remembered_of_other_sources_makes_room_first(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler(busy(GeneratorConfig(2, 2, 8, "luma", kernel=5)), "cpu", backend="torch")
    a, b = batch(PixelLayout(), frames=1), batch(PixelLayout(10), frames=1)
    expected = upscaler.upscale(a, source="a")
    upscaler.upscale(b, source="b")
    compute, tile = upscaler._backend.residual, upscaler._tile_pixels

    def scarce(x: torch.Tensor) -> torch.Tensor:
        if upscaler._last:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return compute(x)

    monkeypatch.setattr(upscaler._backend, "residual", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    np.testing.assert_array_equal(upscaler.upscale(a, source="c").planes[0], expected.planes[0])
    assert upscaler._tile_pixels == tile
