"""Checkpoints and weights: written beside and renamed, so that a full disk or a killed run leaves the previous ones
whole, and never in the middle of a step.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vidsr.errors import DiskTooSmall, InputMissing, InputUnreadable
from vidsr.model.generator import Generator, fold
from vidsr.model.weights import save_weights
from vidsr.paths import write_whole

NAME = "checkpoint.pt"
VALIDATED = "validated.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and text, by rename.

    Raises:
        DiskTooSmall: there is no room; the previous checkpoint is as it was.
    """
    path = folder / NAME
    part = path.with_name(NAME + ".part")
    try:
        torch.save(state, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a short write as a RuntimeError
        part.unlink(missing_ok=True)
        raise DiskTooSmall(
            f"{path} could not be written ({error}); make room; the checkpoint before it is kept"
        ) from error


def keep_validated(folder: Path) -> None:
    """Keep the checkpoint that is there under another name too; the next one does not touch it.

    Raises:
        DiskTooSmall: there is no room.
    """
    kept, part = folder / VALIDATED, folder / f"{VALIDATED}.part"
    try:
        part.unlink(missing_ok=True)
        try:
            os.link(folder / NAME, part)
        except OSError:  # exFAT and some shares have no hard links
            shutil.copyfile(folder / NAME, part)
        part.replace(kept)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DiskTooSmall(f"{kept} could not be written ({error}); make room") from error


def restore_validated(folder: Path) -> None:
    """Go back to the checkpoint of the last validation that was passed, where there was one."""
    if (folder / VALIDATED).is_file():
        (folder / VALIDATED).replace(folder / NAME)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read a run's checkpoint; nothing but tensors and plain values is ever unpickled.

    Raises:
        InputMissing: the run has none.
        InputUnreadable: it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise InputMissing(f"{folder} holds no {NAME} to resume from; start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state["counts"]  # of a file of something else, this is missing
    except Exception as error:
        kept = f"rename {VALIDATED} to {NAME} to go on from the last validation, or "
        remedy = f"{kept if (folder / VALIDATED).is_file() else ''}start the run anew"
        raise InputUnreadable(f"{path} is damaged ({type(error).__name__}); {remedy}") from error
    return state


def save_network(path: Path, network: Generator, about: dict[str, Any]) -> None:
    """Write a network, folded, as a weights file that vidsr runs, by rename.

    Raises:
        DiskTooSmall: there is no room.
    """
    with _room_for(path):
        save_weights(path, fold(copy.deepcopy(network)), about)


def copy_network(source: Path, path: Path) -> None:
    """Give a weights file another name too, by rename.

    Raises:
        DiskTooSmall: there is no room.
    """
    with _room_for(path):
        write_whole(path, source.read_bytes())


@contextmanager
def _room_for(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskTooSmall(f"{path} could not be written ({error}); make room") from error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: half a step must not be saved."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal arrives here
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting and callable(before):
        before(signal.SIGINT, None)
