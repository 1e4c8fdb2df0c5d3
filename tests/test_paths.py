"""Names of results, and what is refused before any work, without codec or model."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from vidsr.errors import (
    DiskTooSmall,
    InputEmpty,
    InputUnreadable,
    OutputExists,
    OutputIsInput,
    OutputUnwritable,
    VidsrError,
)
from vidsr.paths import (
    by_name,
    check_folder,
    check_result,
    check_source,
    default_result,
    is_image,
    output_path,
    own_files,
    write_output,
    write_whole,
)
from vidsr.settings import UpscaleSettings


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sizes = tmp_path / "a.json", []

    def sync(number: int) -> None:
        assert not path.exists()
        sizes.append(os.fstat(number).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    assert write_whole(path, b"whole") == path and path.read_bytes() == b"whole"
    assert sizes == [5]


def test_a_folder_that_is_missing_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OutputUnwritable, match=r"a\.json cannot be written, its folder is missing; make that"):
        write_output(tmp_path / "new" / "a.json", b"")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskTooSmall), (errno.EDQUOT, DiskTooSmall), (errno.EIO, OutputUnwritable)],
)
def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[VidsrError]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    failed = OSError(number, os.strerror(number), str(path))
    monkeypatch.setattr(os, "fsync", Mock(side_effect=failed))
    with pytest.raises(kind, match=r"a\.json cannot be written"):
        write_output(path, b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.json", b"old")]
    with pytest.raises(kind, match=r"a\.json cannot be (read or )?written"), own_files("elsewhere"):
        raise failed


@pytest.mark.parametrize(
    ("out", "result"),
    [
        (None, "card/drive.new_2x.mp4"),
        ("large", "large/drive.new_2x.mp4"),
        ("folder.d", "folder.d/drive.new_2x.mp4"),
        ("large.mp4", "large.mp4"),
        ("2024.01.15/", "2024.01.15/drive.new_2x.mp4"),
        ("2024.01.15/.", "2024.01.15/drive.new_2x.mp4"),
    ],
)
def test_names_of_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str | None, result: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.d").mkdir()
    given = None if out is None else output_path(out)
    assert default_result(Path("card/drive.new.mp4"), given, UpscaleSettings(scale=2)) == Path(result)
    named = default_result(Path("card/drive.mp4"), None, UpscaleSettings(height=1080), ".mkv")
    assert named == Path("card/drive_1080p.mkv")
    assert all(is_image(Path(name)) for name in ("A.JPG", "a.jfif", "a.ico")) and not is_image(Path("a.mp4"))


def test_folders_are_called_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "card" / "day").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "card" / "day")
    assert [by_name(Path(name)).name for name in (".", "..", "../..", "x")] == ["day", "card", tmp_path.name, "x"]


def test_sources_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.mp4"
    source.touch()
    with pytest.raises(InputEmpty):
        check_source(source)
    source.write_bytes(b"film")
    check_source(source)
    os.mkfifo(tmp_path / "pipe")
    check_source(tmp_path / "pipe")  # which has no bytes yet
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputUnreadable, match="change its permissions"):
        check_source(source)
    monkeypatch.setattr(Path, "stat", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(InputUnreadable, match="check its folder's permissions"):
        check_source(source)


def test_results_that_would_destroy_something(tmp_path: Path) -> None:
    source, same, other = (tmp_path / name for name in ("a.mp4", "same.mp4", "other.mp4"))
    source.write_bytes(b"film")
    os.link(source, same)
    other.write_bytes(b"another")
    with pytest.raises(OutputIsInput):
        check_result(source, same, overwrite=True)
    with pytest.raises(OutputExists):
        check_result(source, other, overwrite=False)
    check_result(source, other, overwrite=True)
    with pytest.raises(OutputUnwritable, match="is a folder"):
        check_result(source, tmp_path, overwrite=True)


@pytest.mark.parametrize("stem", ["a" * 228, "ä" * 114])
def test_names_leave_room_for_what_lies_beside(tmp_path: Path, stem: str) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"film")
    with pytest.raises(OutputUnwritable, match="too long a name"):
        check_result(source, tmp_path / f"{stem}.mp4", overwrite=False)
    check_result(source, tmp_path / f"{stem[:-1]}.mp4", overwrite=False)


def test_folders_of_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for make in (True, False):
        with pytest.raises(OutputUnwritable, match="is a file"):
            check_folder(tmp_path / "file" / "below", make)
    check_folder(tmp_path / "new" / "below", make=False)
    assert not (tmp_path / "new").exists()
    check_folder(tmp_path / "new" / "below", make=True)
    refused = tmp_path / "new" / "below"
    for bit in (os.W_OK, os.X_OK):
        monkeypatch.setattr(os, "access", lambda path, mode, bit=bit: path != refused or not mode & bit)
        with pytest.raises(OutputUnwritable, match="may not be written"):
            check_folder(refused, make=True)
        with pytest.raises(OutputUnwritable, match="below may not be written"):
            check_folder(refused / "deeper", make=False)
