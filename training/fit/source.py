"""Where a run's batches come from: clean pairs, coded pairs from a bank that is renewed behind its back, or both."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.fit.presets import Preset
from training.pairs.bank import write_bank
from training.pairs.data import Pairs, clean_pair, find_photos, fingerprint, read_photos, validation_part
from vidsr.errors import InputMissing, InputUnreadable, NoPicture, RunError, SettingsError

_PATIENCE_SECONDS = 3600.0


class RenewedBank:
    """A bank of coded pairs; while one is in use, a background process codes the next.

    Bank number k depends on the preset's seed and k alone, so that a resumed run sees what an unbroken one would.
    """

    def __init__(self, folder: Path, photos: Sequence[Path], preset: Preset, device: torch.device, maker: bool) -> None:
        self.folder, self.photos, self.preset, self.device, self.maker = folder, photos, preset, device, maker
        self._number = -1
        self._pairs: Pairs | None = None
        self._next: Future[None] | None = None
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, _end_with_parent) if maker else None

    def pairs(self, step: int) -> Pairs:
        """The bank for a step; waits where it is not yet made.

        Raises:
            RunError: the process that codes it ended.
        """
        number = step // self.preset.renew_every
        if number == self._number and self._pairs is not None:
            return self._pairs
        try:
            return self._renewed(number)
        except BrokenProcessPool as error:
            raise RunError(
                "the process that codes pairs ended, most often because memory ran out; close other programs and go on "
                "with --resume"
            ) from error

    def _renewed(self, number: int) -> Pairs:
        self._wait_for(number)
        self._pairs = Pairs.load(self._path(number)).to(self.device)
        self._number = number
        if self.maker:
            self._path(number - 1).unlink(missing_ok=True)
            if (number + 1) * self.preset.renew_every < self.preset.steps or self.preset.minutes:
                self._next = self._start(number + 1)
        return self._pairs

    def close(self) -> None:
        """Stop the background process, whatever it is coding."""
        if self._pool:
            for process in list((self._pool._processes or {}).values()):  # shutdown forgets them
                process.terminate()
            self._pool.shutdown(cancel_futures=True)
            for torn in self.folder.glob("bank-*.part"):
                torn.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"bank-{number}.safetensors"

    def _start(self, number: int) -> Future[None] | None:
        if self._pool is None or self._path(number).exists():
            return None
        p = self.preset
        arguments = (self._path(number), self.photos, p.generator.scale, p.clips, (p.seed, number), p.degradation)
        return self._pool.submit(write_bank, *arguments)

    def _wait_for(self, number: int) -> None:
        if self.maker:
            made = self._next or self._start(number)
            if made is not None:
                made.result()
            self._next = None
            return
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._path(number).exists():
            if time.monotonic() > deadline:
                raise SettingsError(f"{self._path(number)} did not appear; --run must be a folder that workers share")
            time.sleep(0.5)


def _end_with_parent() -> None:
    """End this process when its parent is killed: else it would code on beside the run that is resumed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def forget_banks(folder: Path) -> None:
    """Delete the coded pairs that an older run left in a folder: they are of its photographs and its preset."""
    for bank in folder.glob("bank-*.safetensors"):
        bank.unlink()


@dataclass
class Source:
    """What a trainer draws from.

    Attributes:
        clean: clean pairs, or None.
        coded: coded pairs, or a bank of them, or None.
        held: pictures to validate on, trained on by none.
        clean_share: the part of the crops of many steps that is clean; a batch has the next smaller or larger number.
    """

    clean: Pairs | None
    coded: Pairs | RenewedBank | None
    held: Pairs
    clean_share: float

    def sample(
        self, step: int, batch: int, patch: int, random: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> tuple[Tensor, Tensor]:
        """(small, large) crops of a step, float32 in [0, 1].

        Args:
            step: of the run; a bank that is renewed and the number of clean crops go by it.
            batch: crops over all workers.
            patch: side of the small crop.
            random: a CPU generator in the same state in every worker.
            part: (number, count) of this worker, which gets every count-th crop.
        """
        clean = self._clean(step, batch) if self.clean else 0
        drawn = []
        if self.coded is not None and batch > clean:
            coded = self.coded.pairs(step) if isinstance(self.coded, RenewedBank) else self.coded
            drawn.append(coded.sample(batch - clean, patch, random, part))
        if self.clean is not None and clean:
            # Counted on from the coded ones, so that each part has as many crops as any other, or one more.
            drawn.append(self.clean.sample(clean, patch, random, ((part[0] - batch + clean) % part[1], part[1])))
        low, high = zip(*drawn, strict=True)
        return torch.cat(low), torch.cat(high)

    def _clean(self, step: int, batch: int) -> int:
        # Rounded for each batch alone, shares of 15 % and of 10 % would be the same 2 of 16 crops.
        return int((step + 1) * batch * self.clean_share) - int(step * batch * self.clean_share)

    def prepare(self, step: int) -> float:
        """Wait for what a step needs and is not there yet; returns the seconds that this took."""
        began = time.monotonic()
        if isinstance(self.coded, RenewedBank):
            self.coded.pairs(step)
        return time.monotonic() - began

    def close(self) -> None:
        """Stop what runs in the background."""
        if isinstance(self.coded, RenewedBank):
            self.coded.close()


def _to_train_on(data: Path) -> list[Path]:
    photos = find_photos(data)
    held = set(validation_part(photos, data))
    return [photo for photo in photos if photo not in held]


def identity(data: Path | None, bank: Path | None) -> dict[str, object]:
    """What a run trains on, to be compared when it is resumed: names and sizes, not contents.

    Raises:
        InputMissing: there is no such folder or bank.
        NoPicture: the folder has no photographs.
    """
    photos = [] if data is None else _to_train_on(data)
    listed = "\n".join(f"{photo.relative_to(data or photo)} {photo.stat().st_size}" for photo in photos)
    if bank is not None and not bank.is_file():
        raise InputMissing(f"{bank} does not exist; write it with training.bank --bank")
    return {
        "photographs": len(photos),
        "names and sizes": hashlib.sha256(listed.encode()).hexdigest()[:16],
        "bank": bank.stat().st_size if bank is not None else None,
    }


def open_source(
    preset: Preset, data: Path | None, bank: Path | None, folder: Path, device: torch.device, maker: bool = True
) -> Source:
    """Read photographs into memory and make, or read, the coded pairs.

    Args:
        preset: how much of the data is coded, and how.
        data: a folder of photographs; None trains from the bank alone.
        bank: coded pairs written by `training.bank --bank`; None codes them here where the preset wants any.
        folder: where banks are kept.
        device: where the pixels are to lie.
        maker: code the banks; one of several workers does.

    Raises:
        SettingsError: the preset, the data and the bank do not fit each other.
        InputUnreadable: the bank is none, or of an older version.
        NoPicture: the folder has no photographs that can be read, or none but those held out.
    """
    shape = preset.generator
    wants_coded = preset.clean_share < 1
    if wants_coded and shape.colour == "rgb":
        raise SettingsError("coded pairs hold luma; set generator.colour=luma, or clean_share=1")
    if data is None and (bank is None or not wants_coded):
        raise SettingsError(f"preset {preset.name} trains on photographs; give --data")
    coded: Pairs | RenewedBank | None = None
    clean = held = None
    photos: list[Path] = []
    if wants_coded and bank is not None:
        coded, held = _read_bank(bank, shape.scale).split(preset.held_out)
        coded = coded.to(device)
    if data is not None:
        clean, held, photos = _read_clean(preset, data, held)
        clean = clean.to(device)
    if wants_coded and bank is None:
        coded = RenewedBank(folder, photos, preset, device, maker)
    assert held is not None  # one of data and bank is there
    return Source(clean, coded, held.to(device), preset.clean_share)


def _read_clean(preset: Preset, data: Path, held: Pairs | None) -> tuple[Pairs, Pairs, list[Path]]:
    """(pairs to train on, pairs to validate on, photographs of the former), apart from `held` where that is given."""
    photos = _to_train_on(data)
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(preset.seed)).tolist()
    kept_out = set() if held is None or held.photos is None else set(held.photos.tolist())
    scale = preset.generator.scale
    read = [
        (path, clean_pair(pixels, scale, preset.generator.colour))
        for path, pixels in read_photos(photos[i] for i in order)
        if not kept_out or fingerprint(pixels) not in kept_out
    ]
    if not read:
        raise NoPicture(f"{data} holds nothing but what the bank's validation uses; give other photographs to --data")
    if held is None:
        count = min(preset.held_out, max(len(read) - 1, 1))
        held = Pairs.of([pair for _, pair in read[:count]], scale)
        read = read[count:] or read
    return Pairs.of([pair for _, pair in read], scale), held, [path for path, _ in read]


def _read_bank(path: Path, scale: int) -> Pairs:
    pairs = Pairs.load(path)
    if pairs.scale != scale:
        raise SettingsError(f"{path} holds pairs of {pairs.scale}x, not {scale}x; give another --bank")
    if pairs.photos is None:
        raise InputUnreadable(
            f"{path} is of an older version and does not say which photographs its pairs are of, so none can be held "
            "out; write it again with training.bank --bank"
        )
    return pairs
