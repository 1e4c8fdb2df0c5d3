"""What a run's batches are drawn from."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.bare import TRAINING_NEEDS, run_with_only
from tests.training.pictures import folder_of
from tests.training.runs import CPU, small
from training.fit.presets import override
from training.fit.run import fit
from training.fit.source import RenewedBank, Source, identity, open_source
from training.pairs.bank import make_bank, write_bank
from training.pairs.data import Pairs, clean_pair, fingerprint, read_photo
from training.pairs.degrade import Degradation
from vidsr.errors import InputMissing, InputUnreadable, NoPicture, RunError, SettingsError
from vidsr.model.registry import describe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("workers", [2, 5, 16])
def test_every_worker_has_its_share_of_a_mixed_batch(photos: Path, workers: int) -> None:
    """16 crops, 2 of them clean: no worker is without any, and together they are those of one worker."""
    clean = open_source(small(), photos, None, photos, CPU).clean
    source = Source(clean, clean, clean, 0.15)  # type: ignore[arg-type]
    parts = [source.sample(0, 16, 16, torch.Generator().manual_seed(1), (n, workers))[0] for n in range(workers)]
    assert {len(part) for part in parts} <= {16 // workers, -(-16 // workers)}
    whole = source.sample(0, 16, 16, torch.Generator().manual_seed(1))[0]
    rows = sorted(float(row.sum()) for part in parts for row in part)
    assert rows == sorted(float(row.sum()) for row in whole)


@pytest.mark.parametrize("batch", [6, 16])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.15, 0.5])
def test_the_clean_share_is_that_of_all_steps(batch: int, share: float) -> None:
    white, black = (
        Pairs.of([(np.full((1, 16, 16), value, np.uint8), np.full((1, 32, 32), value, np.uint8))], 2)
        for value in (255, 0)
    )
    source, random = Source(white, black, white, share), torch.Generator()
    clean = [int((source.sample(step, batch, 8, random)[0].mean((1, 2, 3)) > 0.5).sum()) for step in range(100)]
    assert sum(clean) == round(100 * batch * share)
    assert set(clean) <= {math.floor(batch * share), math.ceil(batch * share)}


LONG_RUN = """
import sys
from pathlib import Path
import torch
from tests.training.runs import small
from training.fit.source import RenewedBank

if __name__ == "__main__":
    photos, folder = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2])
    bank = RenewedBank(folder, photos, small(clips=100_000), torch.device("cpu"), True)
    bank._start(0)
    print(*bank._pool._processes, flush=True)
    bank.pairs(0)
"""


def test_what_codes_ends_with_a_run_that_is_killed(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(LONG_RUN)
    words = [sys.executable, str(script), str(photos), str(tmp_path)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=here) as run:
        assert run.stdout is not None
        coder = Path("/proc", run.stdout.readline().strip())
        while "libx264" not in (coder / "maps").read_text():  # until it is at work
            time.sleep(0.1)
        run.kill()
    deadline = time.monotonic() + 60
    while coder.exists():
        assert time.monotonic() < deadline, "it codes on"
        time.sleep(0.1)


def test_a_new_run_codes_its_own_bank(photos: Path, tmp_path: Path) -> None:
    """A run that was killed before its first checkpoint leaves its bank, which another preset must not train on."""
    coded = small(4, clean_share=0.0, clips=1, degradation=Degradation(frames=3, keep=2, h265=0))
    fit(coded, photos, tmp_path)
    assert len(Pairs.load(tmp_path / "bank-0.safetensors")) == 2
    (tmp_path / "checkpoint.pt").unlink()
    fit(replace(coded, clips=2), photos, tmp_path)
    assert len(Pairs.load(tmp_path / "bank-0.safetensors")) == 4


def test_a_process_that_codes_pairs_and_ends_is_named(photos: Path, tmp_path: Path) -> None:
    source = open_source(small(20, clean_share=0.0, clips=10**6), photos, None, tmp_path, CPU)
    assert isinstance(source.coded, RenewedBank) and source.coded._pool is not None
    source.coded._next = source.coded._start(0)
    for process in list(source.coded._pool._processes.values()):
        process.kill()  # as the kernel does where memory runs out
    with pytest.raises(RunError, match=r"ended.*--resume"):
        source.prepare(0)
    source.close()


def test_banks_are_renewed_and_what_ends_does_not_wait_for_the_next(photos: Path, tmp_path: Path) -> None:
    coded = small(20, clean_share=0.0, clips=1, renew_every=10, degradation=Degradation(frames=3, keep=2, h265=0))
    source = open_source(coded, photos, None, tmp_path, CPU)
    assert isinstance(source.coded, RenewedBank) and source.coded._pool is not None
    first = source.coded.pairs(0)
    assert source.coded.pairs(9) is first and source.coded._next is not None  # which is being coded meanwhile
    second = source.coded.pairs(10)
    assert len(second) == len(first) and not torch.equal(second.picture(0)[1], first.picture(0)[1])
    assert source.coded._next is None, "the run ends before another"
    source.coded.preset = replace(coded, clips=10**6, renew_every=10)  # days of coding
    source.coded._next = source.coded._start(2)
    processes = list(source.coded._pool._processes.values())
    (tmp_path / "bank-2.safetensors.part").write_bytes(b"what it had written")
    ended = threading.Thread(target=source.close, daemon=True)
    ended.start()
    ended.join(60)
    try:
        assert processes
        assert not any(process.is_alive() for process in processes)
        assert [file.name for file in tmp_path.iterdir()] == ["bank-1.safetensors"]
    finally:
        for process in processes:
            process.kill()


def test_minutes_are_of_training_and_not_of_coding_a_bank(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RenewedBank.pairs

    def slow(self: RenewedBank, step: int) -> Pairs:
        if self._number < 0:
            time.sleep(6)
        return real(self, step)

    monkeypatch.setattr(RenewedBank, "pairs", slow)
    coded = small(minutes=0.04, stages=small().stages[:1], clean_share=0.5, clips=1, renew_every=10**6)
    path = fit(replace(coded, degradation=Degradation(frames=3, keep=2, h265=0)), photos, tmp_path)
    assert describe(path).training["steps"] > 1


def test_resume_on_other_data_is_refused(photos: Path, tmp_path: Path) -> None:
    fit(small(10), photos, tmp_path / "run")
    other = folder_of(tmp_path / "other", 3)
    with pytest.raises(SettingsError, match=r"other data \(names and sizes, photographs\)"):
        fit(small(10), other, tmp_path / "run", resume=True)
    fit(small(10), photos, tmp_path / "run", resume=True)


def test_other_data_is_known_by_names_and_sizes(tmp_path: Path) -> None:
    photos, bank = folder_of(tmp_path / "photos", 3), tmp_path / "bank.safetensors"
    known = identity(photos, None)
    (photos / "validation").mkdir()
    shutil.copy(photos / "0.png", photos / "validation" / "0.png")  # which none is trained on
    assert identity(photos, None) == known
    (photos / "1.png").write_bytes(b"of another size")
    assert identity(photos, None) == known | {"names and sizes": identity(photos, None)["names and sizes"]} != known
    with pytest.raises(InputMissing, match=r"bank\.safetensors does not exist; write it with training\.bank --bank"):
        identity(photos, bank)
    bank.write_bytes(b"one")
    known = identity(None, bank)
    bank.write_bytes(b"another")
    assert identity(None, bank) != known


@pytest.mark.parametrize(("photos", "held"), [(1, 1), (3, 2)])
def test_of_few_photographs_one_is_left_to_train_on(tmp_path: Path, photos: int, held: int) -> None:
    data = folder_of(tmp_path / "photos", photos)
    source, resumed = (open_source(small(held_out=8), data, None, tmp_path, CPU) for _ in range(2))
    assert source.clean is not None and (len(source.clean), len(source.held)) == (1, held)
    assert torch.equal(resumed.held.picture(0)[1], source.held.picture(0)[1])


def test_a_bank_that_no_other_worker_makes_here_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fit.source._PATIENCE_SECONDS", -1.0)
    with pytest.raises(SettingsError, match=r"bank-0\.safetensors did not appear; --run must be a folder that workers"):
        RenewedBank(tmp_path, [], small(), CPU, maker=False).pairs(0)


CODED = Degradation(frames=3, keep=2, h265=0)


def shows(pairs: Pairs, photo: Path) -> bool:
    """Whether one of the clean pairs is of a photograph."""
    large = torch.from_numpy(clean_pair(read_photo(photo), 2, "luma")[1])[None].float() / 255
    return any(torch.equal(pairs.picture(index)[1], large) for index in range(len(pairs)))


def test_a_photograph_of_a_bank_is_trained_on_or_validated_on(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 5)
    bank = tmp_path / "bank.safetensors"
    write_bank(bank, sorted(photos.iterdir()), 2, 12, [0], CODED)
    wanted = small(held_out=3, clean_share=0.5)
    source = open_source(wanted, photos, bank, tmp_path, CPU)
    assert isinstance(source.coded, Pairs) and source.clean is not None
    assert source.coded.photos is not None and source.held.photos is not None
    held = set(source.held.photos.tolist())
    assert len(source.held) == 3
    assert held and held.isdisjoint(source.coded.photos.tolist())
    for photo in photos.iterdir():
        assert shows(source.clean, photo) is (fingerprint(read_photo(photo)) not in held)


def test_a_bank_of_an_older_version_is_to_be_made_again(photos: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank.safetensors"
    replace(make_bank(sorted(photos.iterdir()), 2, 2, [0], CODED), photos=None).save(bank)
    with pytest.raises(InputUnreadable, match=r"older version .* write it again with training\.bank --bank"):
        open_source(small(clean_share=0.0), None, bank, tmp_path, CPU)


def test_broken_photographs_do_not_bring_held_out_ones_into_the_bank(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 4)
    for number in range(8):
        (photos / f"broken-{number}.png").write_bytes(b"no picture")
    source = open_source(small(held_out=2, clean_share=0.5), photos, None, tmp_path, CPU)
    assert isinstance(source.coded, RenewedBank) and source.clean is not None
    coded = set(source.coded.photos)
    source.close()
    good = [photo for photo in photos.iterdir() if not photo.name.startswith("broken")]
    assert len(source.held) == len(coded) == 2
    for photo in good:
        assert shows(source.held, photo) is (photo not in coded)
        assert shows(source.clean, photo) is (photo in coded)


def test_data_and_presets_that_do_not_fit(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="hold luma"):
        fit(override(small(), ["generator.colour=rgb", "clean_share=0.5"]), photos, tmp_path / "a")
    with pytest.raises(SettingsError, match="give --data"):
        fit(small(), None, tmp_path / "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoPicture):
        fit(small(), tmp_path / "empty", tmp_path / "c")
    alone, bank = folder_of(tmp_path / "alone", 1), tmp_path / "bank.safetensors"
    write_bank(bank, sorted(alone.iterdir()), 2, 1, [0], CODED)
    with pytest.raises(NoPicture, match="validation"):
        fit(small(clean_share=0.5), alone, tmp_path / "d", bank=bank)


FROM_A_BANK = """
from pathlib import Path
from training.fit.run import fit
from tests.training.runs import small
fit(small(4, clean_share=0.0), None, Path(sys.argv[1]), bank=Path(sys.argv[2]))
"""


def test_a_finished_bank_is_trained_on_without_pyav_and_photographs(photos: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank.safetensors"
    write_bank(bank, sorted(photos.iterdir()), 2, 2, [0], Degradation(frames=3, keep=2))
    done = run_with_only(TRAINING_NEEDS, FROM_A_BANK, str(tmp_path / "run"), str(bank))
    assert done.returncode == 0, done.stderr
    assert describe(tmp_path / "run/smoke.safetensors").training["steps"] == 4
    four = override(small(4, clean_share=0.0), ["generator.scale=4"])
    with pytest.raises(SettingsError, match="holds pairs of 2x, not 4x"):
        fit(four, None, tmp_path / "four", bank=bank)
