"""Banks of coded pairs: what they hold, that they are repeatable, and the command that writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from tests.training.pictures import folder_of
from training.bank import main
from training.pairs.bank import make_bank
from training.pairs.data import Pairs, fingerprint, read_photo
from training.pairs.degrade import Degradation
from vidsr.errors import InputMissing, NoPicture, OutputUnwritable


@pytest.mark.parametrize("scale", [2, 4])
def test_a_bank_depends_on_its_seed_alone(tmp_path: Path, scale: int) -> None:
    photos = sorted(folder_of(tmp_path / "photos", 3).iterdir())
    make = Degradation(frames=5, keep=2, h265=0.3, mild=0.3)
    one, same, other = (make_bank(photos, scale, 4, seed, make) for seed in ([1], [1], [2]))
    assert len(one) == 8 and one.scale == scale and one.depth == 1
    assert torch.equal(one.low, same.low) and torch.equal(one.high, same.high)
    assert not torch.equal(one.low[:1000], other.low[:1000])
    known = {fingerprint(read_photo(photo)) for photo in photos}
    assert one.photos is not None and len(one.photos) == 8 and set(one.photos.tolist()) <= known
    assert torch.equal(one.photos[::2], one.photos[1::2])  # two of each clip
    for index in range(len(one)):
        low, high = one.picture(index)
        block = torch.nn.functional.avg_pool2d(high, scale)
        assert float((block - low).abs().mean()) < 0.06  # the same place, exposure and range
        assert float(high.min()) >= 16 / 255 - 0.02 and float(high.max()) <= 235 / 255 + 1e-6


def test_a_bank_without_a_readable_photograph_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(NoPicture):
        make_bank([tmp_path / "x.png"], 2, 2, [0], Degradation())


def test_the_command_writes_a_sheet_or_a_bank(tmp_path: Path) -> None:
    photos = str(folder_of(tmp_path / "photos", 2))
    run = CliRunner().invoke(main, ["--data", photos, "--preview", str(tmp_path / "s.png"), "--clips", "2"])
    assert run.exit_code == 0, run.output
    with Image.open(tmp_path / "s.png") as sheet:
        assert np.asarray(sheet).std() > 20
    run = CliRunner().invoke(main, ["--data", photos, "--bank", str(tmp_path / "b"), "--clips", "1"])
    assert run.exit_code == 0, run.output
    assert len(Pairs.load(tmp_path / "b")) == 3
    assert CliRunner().invoke(main, ["--data", photos]).exit_code == 2
    nowhere = CliRunner().invoke(main, ["--data", photos, "--bank", str(tmp_path / "no" / "b")])
    assert isinstance(nowhere.exception, OutputUnwritable)
    four = ["--data", photos, "--preset", "balanced-4x", "--bank", str(tmp_path / "four"), "--clips", "1"]
    run = CliRunner().invoke(main, four)
    assert run.exit_code == 0, run.output
    assert Pairs.load(tmp_path / "four").scale == 4
    nothing = CliRunner().invoke(main, ["--data", str(tmp_path / "no"), "--bank", str(tmp_path / "c")])
    assert isinstance(nothing.exception, InputMissing) and "not a folder" in nothing.exception.message
