from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.media.clips import Clip, make_clip
from training.crossover import ENCODERS, crossover_table, main, score_clip, variants
from vidsr.errors import SettingsError
from vidsr.model.registry import TIERS
from vidsr.model.upscaler import Upscaler


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("film") / "film.mp4", Clip(width=192, height=128, frames=14))


@pytest.mark.parametrize("codec", ENCODERS)
def test_finer_coding_takes_more_bits_and_is_closer(codec: str, film: Path, nearest: Path, tmp_path: Path) -> None:
    names = [name for tier in TIERS for name in variants(tier, 2)]
    upscalers = dict.fromkeys(names, Upscaler(nearest, backend="torch"))
    fine, coarse = score_clip(film, codec, (2, 24), 12, upscalers, tmp_path)
    if codec == "ffv1":
        assert fine.bicubic == coarse.bicubic
    else:
        assert fine.bits_per_pixel > 1.5 * coarse.bits_per_pixel
        assert fine.bicubic > coarse.bicubic
    assert len(set(fine.gains.values())) == 1  # one model under six names
    assert fine.gains["fast-2x"] < 0  # repeated pixels are worse than bicubic
    table = crossover_table([coarse, fine], codec, 2)
    assert list(table.columns[1].cells) == (["2", "24"] if codec != "ffv1" else ["24", "2"])
    assert [column.header for column in table.columns[4:]] == [c for tier in TIERS for c in (tier, "clean")]
    assert set(table.columns[5].cells) == {"+0.00"}


def test_only_the_tiers_that_are_asked_for_are_measured(film: Path) -> None:
    arguments = [str(film), "--quality", "18", "--frames", "6", "--tier", "fast"]
    result = CliRunner(env={"COLUMNS": "150"}).invoke(main, arguments, catch_exceptions=False)
    assert "fast" in result.stdout and "balanced" not in result.stdout


def test_noise_is_coded_with_the_clip(film: Path, nearest: Path, tmp_path: Path) -> None:
    upscalers = {"fast-2x": Upscaler(nearest, backend="torch")}
    (plain,), (noisy,) = (score_clip(film, "h264", (8,), 6, upscalers, tmp_path, noise) for noise in (0.0, 6.0))
    assert noisy.bits_per_pixel > 2 * plain.bits_per_pixel
    assert noisy.bicubic < plain.bicubic - 2


def test_qualities_are_numbers(film: Path) -> None:
    result = CliRunner().invoke(main, [str(film), "--quality", "fine"])
    assert isinstance(result.exception, SettingsError)
