"""What is made of a video where the settings leave it open: size, model, encoder, container and the result's name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidsr.clean import LOSSLESS, is_clean
from vidsr.errors import DamagedVideo, NotAVideo, SettingsError, UnsupportedSize
from vidsr.graph.stages import ENCODER_THREADS
from vidsr.media.decode import decode_range
from vidsr.media.encode import check_size
from vidsr.media.encoders import check_matrix, choose_codec, encoder_for, encoder_options, pix_fmt_for
from vidsr.media.formats import (
    check_colour,
    check_container,
    check_sampling,
    check_times,
    choose_suffix,
    format_of,
    holds,
    silence,
)
from vidsr.media.probe import VideoInfo
from vidsr.model.registry import ModelFile, choose_model, find_sharp
from vidsr.paths import default_result
from vidsr.settings import SCALES, X265_LEAST_WIDTH, UpscaleSettings, reach_height

LARGEST_SIDE = 16384
# Those that players guess.
MATRIX_NAMES = {1: "BT.709", 6: "BT.601"}
# What `--stabilise-detail auto` takes: it steadies every measured clip, and most of them gain PSNR (docs/training.md).
STABILISED = 0.33


@dataclass(frozen=True)
class Choice:
    """What is made of a video.

    Attributes:
        settings: with scale, codec and the weight of the frame before.
        model: the weights.
        partner: the adversarially trained weights that `--fidelity` below 1 mixes in, or None.
        width, height: of the result, in pixels.
        result: its name.
        notes: what the user should know of it, as sentences.
    """

    settings: UpscaleSettings
    model: ModelFile
    partner: ModelFile | None
    width: int
    height: int
    result: Path
    notes: tuple[str, ...]


def choose(source: Path, out: Path | None, info: VideoInfo, settings: UpscaleSettings, gpu: bool) -> Choice:
    """Choose everything, and check that it can be made.

    Args:
        source, out, settings, gpu: as `prepare`.
        info: the source as it is read.

    Raises:
        VidsrError: of the class of whatever is wrong.
    """
    scale, width, height = choose_size(info, settings)
    model = choose_model(settings, scale, gpu, info.width * info.height, lambda: _is_clean(info))
    steadied = choose_stabilising(info, settings)
    settings, loss = _choose_codec(source, out, info, replace(settings, scale=scale, stabilise_detail=steadied), width)
    check_size(info, width, height, settings.encode)
    partner = find_sharp(model) if settings.fidelity < 1 else None
    result, why = _choose_result(source, out, settings, info)
    notes = (*_colour_notes(info, height), *_field_notes(info, settings), *why, *loss)
    return Choice(settings, model, partner, width, height, result, notes)


def _choose_result(
    source: Path, out: Path | None, settings: UpscaleSettings, info: VideoInfo
) -> tuple[Path, tuple[str, ...]]:
    """The result's name, and what is to be said of its container: why nobody's choice it is, that it has no sound."""
    suffix, why = choose_suffix(info, settings.encode.container, settings.encode.codec)
    result = default_result(source, out, settings, suffix)
    check_container(result.suffix, settings.encode.codec)
    check_colour(result.suffix, settings.encode.codec, info)
    check_sampling(result.suffix, settings.encode.codec, info.layout)
    check_times(result.suffix, info)
    if settings.encode.container != "auto" and format_of(result.suffix) != format_of(suffix):
        raise SettingsError(
            f"--container {settings.encode.container} makes {suffix} files and -o names {result}; "
            f"leave one of them out, or name {result.with_suffix(suffix)}"
        )
    said = (why if result.suffix == suffix else "", silence(info, result.suffix))
    return result, tuple(filter(None, said))


def _is_clean(info: VideoInfo) -> bool:
    alone = len(info.table) > 1 and all(info.table.key)
    return is_clean(info.codec, info.bits_per_pixel, _some_lumas(info), alone)


def _some_lumas(info: VideoInfo) -> Iterator[NDArray[np.float32]]:
    """The luma of three key frames, in [0, 255]; what cannot be decoded is for the run to find out."""
    keys = [i for i in range(len(info.table)) if info.table.key[i]]
    looked_at = {0} if info.sequential or not keys else {keys[len(keys) * part // 4] for part in (1, 2, 3)}
    for number in sorted(looked_at):
        try:
            batch = next(decode_range(info, number, number + 1, 1))
        except (DamagedVideo, NotAVideo):
            continue
        luma = batch.planes[0][0].astype(np.float32) / 2 ** (info.layout.depth - 8)
        yield luma[::2] if info.interlaced else luma


def _colour_notes(info: VideoInfo, height: int) -> tuple[str, ...]:
    """That players will guess another matrix for the result than for a source that does not say its own."""
    guessed = [info.colour.resolved_matrix(each) for each in (info.height, height)]
    if guessed[0] == guessed[1] or info.layout.grey:
        return ()
    before, after = (MATRIX_NAMES[matrix] for matrix in guessed)
    return (f"it does not say its colour matrix, and many players guess it by the height: {before} for the source and "
            f"{after} for the result, whose reds then look a little different; tell the player {before}",)  # fmt: skip


def _field_notes(info: VideoInfo, settings: UpscaleSettings) -> tuple[str, ...]:
    """That fields become whole pictures, as many as there are frames."""
    if not info.interlaced or settings.deinterlace == "off":
        return ()
    return ("it is interlaced: each frame is made of one of its two fields; --deinterlace off leaves them woven",)


def _choose_codec(
    source: Path, out: Path | None, info: VideoInfo, settings: UpscaleSettings, width: int
) -> tuple[UpscaleSettings, tuple[str, ...]]:
    """The settings with an encoder, and what is to be said of it.

    Where `auto` takes a lossless one that the container cannot hold, and that is settled (`-o`, `--container`, a
    folder's results), it is the one for a source that is not lossless.
    """
    notes: tuple[str, ...] = ()
    codec = encoder_for(info, settings.encode)
    if settings.encode.codec == "auto" and codec in LOSSLESS:
        suffix, _ = choose_suffix(info, settings.encode.container, codec)
        suffix = default_result(source, out, settings, suffix).suffix
        if not holds(suffix, codec):
            lossless, codec = codec, choose_codec(info, lossless=False)
            loss = f"{suffix} files cannot hold {lossless} video, and {codec} loses a little"
            notes = (f"{loss}; --container mkv takes {lossless}",)
    if codec == "libx265" and width < X265_LEAST_WIDTH:
        raise UnsupportedSize(f"{info.path}: x265 cannot code {width} pixels a line; use --codec ffv1")
    pix_fmt_for(codec, info.layout, info.colour.full_range)
    check_matrix(codec, info)
    encoder_options(codec, settings.encode, info, ENCODER_THREADS)  # what it refuses is said before the work
    return replace(settings, encode=replace(settings.encode, codec=codec)), notes


def choose_stabilising(info: VideoInfo, settings: UpscaleSettings) -> float:
    """The weight of the frame before: what was asked for, else STABILISED; 0 of fields, which is not measured."""
    if settings.stabilise_detail is None:
        return 0.0 if info.interlaced or info.fields else STABILISED
    return settings.stabilise_detail


def choose_size(info: VideoInfo, settings: UpscaleSettings) -> tuple[int, int, int]:
    """(scale of the model, width, height of the result).

    Raises:
        SettingsError: `--height` is not within 1x to 4x, or odd where two rows share their colour.
        UnsupportedSize: the source is too small, or the result too large for any encoder.
    """
    if min(info.width, info.height) < 2:
        raise UnsupportedSize(f"{info.path} is {info.width}x{info.height}; at least 2x2 pixels are needed")
    if settings.height is None:
        scale = settings.scale or SCALES[0]
        width, height = info.width * scale, info.height * scale
    else:
        turned = info.rotation % 180 == 90
        try:
            scale, width, height = reach_height(info.width, info.height, settings.height, turned, step=2)
        except SettingsError as error:
            raise SettingsError(f"{info.path}: {error.message}") from error
        if width % (1 << info.layout.chroma_x) or height % (1 << info.layout.chroma_y):
            raise SettingsError(f"--height {settings.height} is odd, which {info.pix_fmt} cannot have; use an even one")
    if max(width, height) > LARGEST_SIDE:
        raise UnsupportedSize(
            f"{info.path}: the result would have {width}x{height} pixels, more than encoders take "
            f"({LARGEST_SIDE}); use a smaller --scale or --height"
        )
    return scale, width, height
