from __future__ import annotations

import errno
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.console import Console

import vidsr
from vidsr.describe import evidence_table
from vidsr.errors import InputError, InputMissing, InputUnreadable
from vidsr.evidence import (
    Check,
    EvidenceRecord,
    FileDigest,
    FrameCounts,
    ModelDigest,
    check_record,
    digest,
    enhanced_note,
    find_source,
    read_record,
    record_path,
    write_record,
)
from vidsr.settings import UpscaleSettings

MODEL = ModelDigest("balanced-2x", hashlib.sha256(b"weights").hexdigest())
CHECK = Check("frames", True, "24 of 24")


def made(folder: Path, checks: tuple[Check, ...] = (CHECK,)) -> tuple[Path, Path, EvidenceRecord]:
    """A source, a result in another folder, and the record of it."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    source, result = folder / "in" / "drive.mp4", folder / "out" / "drive_2x.mp4"
    source.write_bytes(b"source" * 1000)
    result.write_bytes(b"result" * 4000)
    record = write_record(
        source,
        result,
        model=MODEL,
        settings=UpscaleSettings(fidelity=0.5).__dict__,
        frames=FrameCounts(24, 20, reused=4),
        checks=checks,
        started=0.0,
        finished=1.5,
        salvaged=("frame 3 is lost",),
    )
    return source, result, record


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    source, result, record = made(tmp_path)
    assert read_record(result) == replace(record)
    assert record.source.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (record.source.path, record.result.path) == ("../in/drive.mp4", "drive_2x.mp4")
    assert (record.started, record.finished) == ("1970-01-01T00:00:00.000+00:00", "1970-01-01T00:00:01.500+00:00")
    assert record.settings["fidelity"] == 0.5
    assert record.versions["vidsr"]
    assert json.loads(record_path(result).read_text())["verified"] is True
    assert sorted(p.name for p in result.parent.iterdir()) == ["drive_2x.mp4", "drive_2x.mp4.vidsr.json"]


def test_a_machine_that_was_sent_the_package_without_metadata_can_write_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str) -> str:
        if name == "av":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("vidsr.evidence.version", unknown)
    *_, record = made(tmp_path)
    assert record.versions["vidsr"] == vidsr.__version__ and "av" not in record.versions
    assert record.versions["numpy"] == version("numpy")
    assert f"by vidsr {vidsr.__version__} with" in enhanced_note(MODEL, 2)


def test_the_record_of_a_result_that_has_no_name_yet(tmp_path: Path) -> None:
    source, result, record = made(tmp_path)
    content = bytes(range(256)) * 4200  # more than is read at once
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(content)
    again = write_record(
        source, result, model=MODEL, settings={}, frames=FrameCounts(1, 1), checks=[CHECK], started=0.0, finished=1.0,
        made=joined, name="s3://card/drive.mp4",
    )  # fmt: skip
    assert again.result == FileDigest("drive_2x.mp4", len(content), hashlib.sha256(content).hexdigest())
    assert again.source == replace(record.source, path="s3://card/drive.mp4")
    source.unlink()
    with pytest.raises(InputMissing, match=r"in/drive\.mp4 cannot be read for its record .*is it gone"):
        write_record(
            source, result, model=MODEL, settings={}, frames=FrameCounts(1, 1), checks=[], started=0.0, finished=1.0
        )


def test_an_untouched_result_has_no_problems(tmp_path: Path) -> None:
    _, result, _ = made(tmp_path)
    assert check_record(result) == []


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("position", [0, 2999, -1])
def test_a_changed_byte_is_found(tmp_path: Path, which: int, position: int) -> None:
    paths = made(tmp_path)
    content = bytearray(paths[which].read_bytes())
    content[position] ^= 1
    paths[which].write_bytes(content)
    problems = check_record(paths[1])
    assert len(problems) == 1
    assert str(paths[which].name) in problems[0]
    assert "has changed" in problems[0]


def test_a_cut_result_is_found(tmp_path: Path) -> None:
    _, result, _ = made(tmp_path)
    result.write_bytes(result.read_bytes()[:-1])
    assert "23999 bytes and had 24000" in check_record(result)[0]


def test_the_source_may_be_gone_moved_or_named(tmp_path: Path) -> None:
    source, result, record = made(tmp_path)
    beside = source.rename(result.with_name(source.name))
    assert find_source(record, result) == beside
    source.write_bytes(b"there again")
    found = find_source(record, result)
    assert found is not None and found.samefile(source)
    source.unlink()
    elsewhere = beside.rename(tmp_path / "elsewhere.mp4")
    assert find_source(record, result) is None
    assert check_record(result) == []
    assert check_record(result, elsewhere) == []
    elsewhere.write_bytes(b"another")
    assert len(check_record(result, elsewhere)) == 1
    assert "missing" in check_record(result, tmp_path / "gone.mp4")[0]


def test_a_result_of_its_sources_name_is_not_taken_for_the_source(tmp_path: Path) -> None:
    source, result, _ = made(tmp_path)
    result = result.rename(result.with_name(source.name))
    record = write_record(
        source, result, model=MODEL, settings={}, frames=FrameCounts(1, 1), checks=[CHECK], started=0.0, finished=1.0
    )
    source.unlink()  # the card was taken out
    assert find_source(record, result) is None
    assert check_record(result) == []


@pytest.mark.parametrize("linked", ["out", "in", "in and out"])
def test_the_source_is_found_from_a_linked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str) -> None:
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "shelf").mkdir()
    for name in linked.split(" and "):
        (tmp_path / "store" / "deep" / name).mkdir()
        (tmp_path / "shelf" / name).symlink_to(tmp_path / "store" / "deep" / name)
    source, result, record = made(tmp_path / "shelf")
    source.write_bytes(b"another")
    for name in (result, result.resolve()):
        found = find_source(record, name)
        assert found is not None and found.samefile(source)
        assert ["drive.mp4 has 7 bytes" in problem for problem in check_record(name)] == [True]
    monkeypatch.chdir(result.parent)
    assert len(check_record(Path(result.name))) == 1


def test_a_linked_source_has_the_name_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "drive.mp4").symlink_to(tmp_path / "0001.mp4")
    *_, record = made(tmp_path)
    assert record.source.path == "../in/drive.mp4"


def test_names_that_cannot_be_looked_at_are_not_there(tmp_path: Path) -> None:
    _, result, record = made(tmp_path)
    name = "n" * 300  # root may look at everything else
    assert find_source(replace(record, source=replace(record.source, path=name)), result) is None
    assert "missing" in check_record(result, tmp_path / name)[0]
    with pytest.raises(InputMissing):
        read_record(tmp_path / name)


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, result, _ = made(tmp_path)
    for secret in (source, result):
        with monkeypatch.context() as denied:  # which root never is
            denied.setattr("vidsr.evidence.digest", deny(secret, digest))
            with pytest.raises(InputUnreadable, match=f"{secret.name} cannot be read"):
                check_record(result, source)
    refused = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=refused))
    with pytest.raises(InputError, match=r"vidsr\.json is not an evidence record \(.*Permission denied"):
        read_record(result)


def deny(secret: Path, read: Callable[[Path], tuple[int, str]]) -> Callable[[Path], tuple[int, str]]:
    def reads(path: Path) -> tuple[int, str]:
        if path == secret:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    return reads


def test_folder_and_record_may_move_together(tmp_path: Path) -> None:
    _, result, _ = made(tmp_path)
    moved = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    assert check_record(moved / "out" / result.name) == []


def test_what_was_not_verified_is_said(tmp_path: Path) -> None:
    _, result, record = made(tmp_path, checks=(CHECK, Check("sound", False, "2 packets differ")))
    assert not record.verified
    assert check_record(result) == ["the check 'sound' failed when the result was made: 2 packets differ"]


def test_a_result_without_checks_is_not_verified(tmp_path: Path) -> None:
    _, result, record = made(tmp_path, checks=())
    assert not record.verified
    assert check_record(result) == ["the result was never verified against its source"]


def test_a_missing_or_foreign_record_is_an_error(tmp_path: Path) -> None:
    _, result, record = made(tmp_path)
    record_path(result).write_text(record.to_json().replace('"vidsr_evidence": 1', '"vidsr_evidence": 2'))
    with pytest.raises(InputError, match="another format; update vidsr"):
        read_record(result)
    for text in ("", "[]", "{}", '{"vidsr_evidence": 2}'):
        record_path(result).write_text(text)
        with pytest.raises(InputError, match=r"vidsr\.json is not an evidence record"):
            read_record(result)
    nameless = {"path": 5, "bytes": 1, "sha256": ""}
    for value in ({"source": nameless}, {"settings": []}, {"versions": []}, {"started": 1}):
        record_path(result).write_text(json.dumps(json.loads(record.to_json()) | value))
        with pytest.raises(InputError, match=r"vidsr\.json is not an evidence record"):
            read_record(result)
    record_path(result).unlink()
    with pytest.raises(InputMissing, match=r"vidsr\.json"):
        check_record(result)


def test_what_a_record_says_is_shown_as_it_is(tmp_path: Path) -> None:
    """A certificate's name may be anyone's: `[/]` would end the table's markup, and `[red]` would colour it."""
    *_, record = made(tmp_path)
    hostile = replace(record, signature="C2PA, [/] Foo", model=replace(record.model, name="[red]"), started="[blue]")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(evidence_table(hostile, [], None))
    shown = console.export_text()
    assert all(text in shown for text in ("C2PA, [/] Foo", "[red], sha256", "[blue] to"))


def test_the_note_names_the_model() -> None:
    note = enhanced_note(MODEL, 2)
    assert note.startswith("Enhanced: enlarged 2x by vidsr ")
    assert "balanced-2x" in note
    assert f"(sha256 {MODEL.sha256[:16]})" in note


def test_checking_needs_no_heavy_package() -> None:
    code = "import sys, vidsr.evidence; print([m for m in ('av', 'torch', 'ray', 'numpy') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
