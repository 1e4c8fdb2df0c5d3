"""Checkpoints: written beside and renamed, so that a full disk or a killed run leaves the previous one whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from vidsr.errors import DiskTooSmall, InputMissing, InputUnreadable

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
    except Exception as error:
        raise InputUnreadable(f"{path} is damaged ({type(error).__name__}); start the run anew") from error
    return state
