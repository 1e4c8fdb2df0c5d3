"""Checkpoints: written beside and renamed, so that a full disk or a killed run leaves the previous one whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vidsr.errors import DiskTooSmall, InputMissing, InputUnreadable

NAME = "checkpoint.pt"


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
