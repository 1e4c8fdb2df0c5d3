"""What the commands of training write."""

import errno
import os
from pathlib import Path

import pytest

from training import console
from vidsr.errors import DiskTooSmall, OutputUnwritable


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputUnwritable, match=r"report\.json cannot be written \(No such file.*choose another place"):
        console.write_json(tmp_path / "gone" / "report.json", {})

    def full(path: Path, content: bytes) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(console, "write_whole", full)
    with pytest.raises(DiskTooSmall, match=r"report\.json cannot be written, the disk is full"):
        console.write_json(tmp_path / "report.json", {})
