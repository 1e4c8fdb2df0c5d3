from __future__ import annotations

import errno
import os
import pickle
import shutil
import threading
from pathlib import Path
from typing import IO, Any
from unittest.mock import Mock

import pytest

from jobs.storage import FolderPlace, ObjectPlace, Place, _insist, open_place, read_json, short_name
from tests.jobs.conftest import S3Server
from vidsr.errors import InputMissing, InputUnreadable, OutputUnwritable, SettingsError


@pytest.fixture(params=["folder", "file", "no links", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "s3":
        return open_place(request.getfixturevalue("bucket") + "/deep/folder")
    if request.param == "no links":
        refuse_links(monkeypatch)
    return open_place(f"file://{tmp_path}" if request.param == "file" else tmp_path)


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as exFAT does, and shares without hard links."""

    def link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)


def test_small_files(place: Place) -> None:
    assert place.read("a/b.json") is None
    assert place.entry("a/b.json") is None
    assert list(place.files()) == []
    place.write("a/b.json", b'{"n": 1}')
    place.write("a/b.json", b'{"n": 22}')
    assert read_json(place, "a/b.json") == {"n": 22}
    entry = place.entry("a/b.json")
    assert entry is not None and entry.size == 9 and entry.mtime_ns > 1.7e18
    assert bool(entry.tag) == (place.folder is None)
    assert place.entry("a") is None, "a folder is no file"
    place.write("c.txt", b"x")
    assert {e.name for e in place.files()} == {"a/b.json", "c.txt"}
    assert [e.name for e in place.files("a")] == ["a/b.json"]
    place.delete("a/b.json")
    place.delete("a/b.json")
    assert [e.name for e in place.files()] == ["c.txt"]


def test_tasks_with_another_current_folder_find_the_place() -> None:
    assert {open_place(name).url for name in ("card", "./card", "file://card")} == {str(Path.cwd() / "card")}


def test_links_lead_to_each_folder_once(tmp_path: Path) -> None:
    card, disk = tmp_path / "card", tmp_path / "disk"
    for folder in (card / "monday", disk / "tuesday"):
        folder.mkdir(parents=True)
        (folder / "a.mp4").write_bytes(b"x")
    (card / "latest").symlink_to(".")
    (card / "current").symlink_to("monday")  # comes before it by name
    (card / "monday" / "up").symlink_to("..")
    (card / "disk").symlink_to(disk)
    (card / "disk again").symlink_to(disk / "tuesday")
    (disk / "tuesday" / "card").symlink_to(card)
    (card / "b.mp4").symlink_to(card / "monday" / "a.mp4")
    found = sorted(e.name for e in open_place(card).files())
    assert found == ["b.mp4", "disk/tuesday/a.mp4", "monday/a.mp4"]
    (tmp_path / "link").symlink_to(card)
    assert sorted(e.name for e in open_place(tmp_path / "link").files()) == found


def test_only_files_are_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "a.mp4").touch()
    assert [entry.name for entry in open_place(tmp_path).files()] == ["a.mp4"]


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "a.mp4").touch()
    look = os.scandir

    def refuse(path: str) -> object:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [entry.name for entry in open_place(tmp_path).files()] == ["a.mp4"]
    assert f"{closed} is left out (Permission denied)" in caplog.text
    with pytest.raises(PermissionError):
        list(open_place(closed).files())


def test_a_link_to_a_hidden_folder_shows_it(tmp_path: Path) -> None:
    (tmp_path / ".data" / "deep").mkdir(parents=True)
    (tmp_path / ".data" / "deep" / "a.mp4").write_bytes(b"x")
    (tmp_path / "videos").symlink_to(".data")
    place = open_place(tmp_path)
    assert [e.name for e in place.files()] == ["videos/deep/a.mp4"]
    assert [e.name for e in place.files(".data")] == [".data/deep/a.mp4"]


@pytest.mark.parametrize("name", ["/tmp/a.mp4", "../a.mp4", "sub/../../a.mp4"])
def test_a_name_never_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    """Keys of object stores may be any text: that of `in//tmp/a.mp4` below `in` is `/tmp/a.mp4`."""
    place = open_place(tmp_path / "out")
    for use in (place.url_of, place.read, place.delete, lambda name: place.write(name, b"")):
        with pytest.raises(SettingsError, match=r"is no name below .*rename"):
            use(name)


def test_one_of_many_creates(place: Place) -> None:
    made: list[int] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        if place.create("lease", b"%d" % number):
            made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert place.read("lease") == b"%d" % made[0]
    assert [e.name for e in place.files()] == ["lease"]


def test_a_file_that_cannot_be_written_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)
    whole = Path.open

    def full(path: Path, mode: str = "r", *words: Any) -> IO[Any]:
        if mode != "xb":
            return whole(path, mode, *words)
        path.touch()
        return whole(Path("/dev/full"), "wb", buffering=0)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space"):
        open_place(tmp_path).create("lease", b"mine")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place(tmp_path)
    place.write("record", b"old")
    with (tmp_path / "record").open("rb") as reader:
        place.write("record", b"new")
        assert reader.read() == b"old"
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        place.write("record", b"newer")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("record", b"new")]


def test_a_file_that_was_made_though_the_answer_was_an_error_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shares answer whose connection was lost for a moment."""
    link, place = os.link, open_place(tmp_path)

    def lost(source: Path, target: Path) -> None:
        link(source, target)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", lost)
    assert place.create("lease", b"mine")
    monkeypatch.undo()
    assert not place.create("lease", b"another's")


def test_the_last_try_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.storage.PAUSES", (0.0, 0.0))
    busy = OSError(errno.EBUSY, "slow down")
    assert _insist(Mock(side_effect=[busy, busy, b"content"])) == b"content"
    with pytest.raises(OSError, match="slow down"):
        _insist(Mock(side_effect=[busy, busy, busy, b"content"]))
    unknown = Mock(side_effect=ValueError("no credentials"))
    with pytest.raises(OSError, match="no credentials"):
        _insist(unknown)
    assert unknown.call_count == 1, "the library has tried as often as makes sense"


def test_files_travel_and_so_does_the_place(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("here")
    (folder / "one").write_bytes(bytes(range(256)) * 1000)
    again: Place = pickle.loads(pickle.dumps(place))
    again.upload(folder / "one", "x/two")
    place.download("x/two", folder / "deeper" / "three")
    assert (folder / "deeper" / "three").read_bytes() == (folder / "one").read_bytes()
    assert [p.name for p in (folder / "deeper").iterdir()] == ["three"]
    assert [e.name for e in place.files()] == ["x/two"]


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_a_copy_for_which_there_is_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def full(*words: Any) -> None:
        Path(words[-1]).write_bytes(b"hal")
        raise OSError(errno.ENOSPC, "No space left on device")

    place: Place = open_place(tmp_path / "card") if kind == "folder" else ObjectPlace("memory://card")
    place.write("drive.mp4", b"half")
    monkeypatch.setattr("jobs.storage.PAUSES", ())
    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", full)
    with pytest.raises(OSError, match="No space"):
        place.download("drive.mp4", tmp_path / "cache" / "drive.mp4")
    assert list((tmp_path / "cache").iterdir()) == []


def test_names_as_long_as_file_systems_take(place: Place, tmp_path: Path) -> None:
    name = "x/" + "a" * 251 + ".mp4"
    place.write(name, b"written")
    assert place.create(f"{name[:-1]}5", b"created")
    (tmp_path / "one").write_bytes(b"uploaded")
    place.upload(tmp_path / "one", f"{name[:-1]}6")
    place.download(name, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"written"
    assert {e.name[-1]: e.size for e in place.files("x")} == {"4": 7, "5": 7, "6": 8}


def test_a_name_that_leaves_no_room_for_a_suffix_is_cut() -> None:
    assert short_name("day/drive.mp4") == "day/drive.mp4"
    long = ["day/" + "ä" * 122 + f"{number}.mp4" for number in range(2)]
    short = [short_name(name) for name in long]
    assert short[0] != short[1] and all(name.startswith("day/ääää") for name in short)
    assert [len(name.encode()) for name in short] == [len("day/") + 200 + 17] * 2
    assert list(map(short_name, short)) == short


def test_a_missing_object_is_named(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.mp4"):
        open_place(bucket).download("gone.mp4", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_a_store_does_not_allow_is_named_with_its_object(bucket: str, s3: S3Server, tmp_path: Path) -> None:
    place = open_place(f"{bucket}/card")
    (tmp_path / "one").write_bytes(b"content")
    reads = (place.read, place.entry, lambda name: place.download(name, tmp_path / "two"))
    writes = (
        lambda name: place.write(name, b"x"), lambda name: place.create(name, b"x"), place.delete,
        lambda name: place.upload(tmp_path / "one", name),
    )  # fmt: skip
    s3.denied = True
    for read in reads:
        with pytest.raises(InputUnreadable, match=rf"{bucket}/card/a\.mp4 may not be read \(.+\); check what"):
            read("a.mp4")
    with pytest.raises(InputUnreadable, match=rf"{bucket}/card/day may not be read"):
        list(place.files("day"))
    for write in writes:
        with pytest.raises(OutputUnwritable, match=rf"{bucket}/card/a\.mp4 may not be written \(.+\); check what"):
            write("a.mp4")
    s3.denied = False
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_file_of_this_machine_is_not_taken_for_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place("memory://card")
    mine = PermissionError(errno.EACCES, "Permission denied", "/cache/a.mp4")
    monkeypatch.setattr("jobs.storage._insist", Mock(side_effect=mine))
    with pytest.raises(PermissionError, match=r"/cache/a\.mp4"):
        place.download("a.mp4", tmp_path / "a.mp4")


def test_a_store_that_fails_sometimes(bucket: str, s3: S3Server, tmp_path: Path) -> None:
    place = open_place(bucket)
    s3.fail_every, before = 2, s3.failed
    for number in range(5):
        place.write(f"{number}", b"content")
        assert place.create(f"lease-{number}", b"mine")
        assert place.read(f"{number}") == b"content"
    assert len(list(place.files())) == 10
    assert s3.failed > before + 5
    s3.fail_every = 0


def test_protocols(tmp_path: Path) -> None:
    assert open_place("some/folder") == FolderPlace(str(Path("some/folder").absolute()))
    with pytest.raises(SettingsError, match="nosuch"):
        open_place("nosuch://bucket")


def test_the_web_is_no_store() -> None:
    """A video there was called a file whose folder is to be given, and the folder ended with a traceback."""
    with pytest.raises(SettingsError, match=r"https://a\.example/drive\.mp4 is an address of the web.*; download"):
        open_place("https://a.example/drive.mp4")


def test_a_version_of_an_object_is_no_folder() -> None:
    """The store's answer was said of the output, whose permissions were to be checked."""
    with pytest.raises(SettingsError, match=r"a\.mp4\?versionId=1 names one version of an object, and not a folder"):
        open_place("s3://bucket/a.mp4?versionId=1")
