from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from jobs.find import Selection, find_videos, fingerprint, longest_first, read_list, result_names
from jobs.folder import places
from jobs.storage import Entry, open_place
from tests.jobs.conftest import S3Server
from vidsr.batch import upscale_inputs
from vidsr.errors import InputMissing, InputUnreadable, NoVideos, OutputIsInput, SettingsError
from vidsr.request import Request
from vidsr.settings import EncodeSettings, UpscaleSettings


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "card"
    for name, size in {"b.mp4": 5, "sub/a.MOV": 9, "sub/._a.MOV": 1, ".Trash/x.mp4": 1, "notes.txt": 4}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    return folder


def names(folder: Path, output: Path, **selection: object) -> list[str]:
    found = find_videos(open_place(folder), open_place(output), Selection(**selection))  # type: ignore[arg-type]
    return [entry.name for entry in found.videos]


def test_videos_and_nothing_else(card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert names(card, out) == ["b.mp4", "sub/a.MOV"]
    assert names(card, out, patterns=("*.MOV", "c*")) == ["sub/a.MOV"]
    assert names(card, out, limit=1) == ["b.mp4"]
    assert [e.name for e in longest_first(find_videos(open_place(card), open_place(out), Selection()).videos)] == [
        "sub/a.MOV",
        "b.mp4",
    ]


def test_videos_by_whatever_name_cameras_and_recorders_give_them(tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    wanted = [
        f"a.{suffix}" for suffix in "264 265 360 MOD TOD asf avc dav divx dv f4v ivf m2t m2v mjpg rm tp trp".split()
    ]
    for name in (*wanted, "a.wav", "a.jpg", "a.srt", "a.mp4.telemetry.bin"):
        (card / name).write_bytes(b"x")
    assert names(card, tmp_path / "out") == sorted(wanted)


def test_results_inside_the_folder_are_no_sources(card: Path) -> None:
    (card / "large").mkdir()
    (card / "large" / "b.mp4").write_bytes(b"x")
    assert names(card, card / "large") == ["b.mp4", "sub/a.MOV"]


def test_earlier_results_are_no_sources(card: Path, tmp_path: Path) -> None:
    for name in ("b_2x.mp4", "large/b.mp4", "sub/a_2x.MOV"):
        (card / name).parent.mkdir(exist_ok=True)
        (card / name).write_bytes(b"x")
        (card / f"{name}.vidsr.json").write_bytes(b"{}")
    found = find_videos(open_place(card), open_place(card / "large4"), Selection())
    assert ([e.name for e in found.videos], found.results) == (["b.mp4", "sub/a.MOV"], 3)
    assert found.others == 1, "notes.txt, beside hidden files and records"
    assert found.sentences == (
        "left out: 3 videos that vidsr made; --list takes them too",
        "left out: 1 other file without a video's name; --list takes them too",
    )
    assert find_videos(open_place(card), open_place(tmp_path / "out"), Selection(("sub/a.*",))).sentences == ()
    assert names(card, tmp_path / "out", names=("b_2x.mp4",)) == ["b_2x.mp4"]
    with pytest.raises(
        NoVideos, match=r"holds no videos that fit large/\*; check --pattern; left out: 1 video that vidsr made"
    ):
        names(card, tmp_path / "out", patterns=("large/*",))


def test_earlier_joins_are_no_sources(card: Path, tmp_path: Path) -> None:
    """They have no record beside them, but a note where the job has its own."""
    for name in ("large/sub/a_joined.MOV", "a_joined.mp4"):
        (card / name).parent.mkdir(exist_ok=True, parents=True)
        (card / name).write_bytes(b"x")
    for note in ("large/.vidsr/joined/sub/a_joined.MOV.json", ".vidsr/joined/a_joined.mp4.json"):
        (card / note).parent.mkdir(parents=True)
        (card / note).write_bytes(b"{}")
    found = find_videos(open_place(card), open_place(tmp_path / "out"), Selection())
    assert ([e.name for e in found.videos], found.results) == (["b.mp4", "sub/a.MOV"], 2)
    (card / "large/.vidsr/joined/sub/a_joined.MOV.json").unlink()
    assert names(card, tmp_path / "out") == ["b.mp4", "large/sub/a_joined.MOV", "sub/a.MOV"]


def test_a_folder_of_pictures_says_what_to_name_instead(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.PNG", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(NoVideos, match=r"left out: 2 pictures; name the pictures.*; left out: 1 other file "):
        names(tmp_path, tmp_path / "out")


def test_a_folder_is_no_place_for_its_own_results(card: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    (link := tmp_path / "link").symlink_to(card)
    settings = UpscaleSettings()
    for out in (card, link, card / "sub" / ".."):
        with pytest.raises(OutputIsInput, match="is the folder of the sources itself; give another folder with -o"):
            upscale_inputs(Request((card,), out), threading.Event())
    with pytest.raises(OutputIsInput, match="s3://bucket/card is"):
        places("s3://bucket/card", "s3://bucket/card/", settings)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, link])


def test_a_list(card: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# mine\nsub/a.MOV\n\n{card}/b.mp4\n")
    assert names(card, tmp_path / "out", names=read_list(listed)) == ["sub/a.MOV", "b.mp4"]
    listed.write_text("gone.mp4\n")
    with pytest.raises(InputMissing, match=r"gone\.mp4"):
        names(card, tmp_path / "out", names=read_list(listed))
    with pytest.raises(InputMissing, match="nowhere"):
        read_list(tmp_path / "nowhere")


def test_a_list_may_spell_a_name_in_several_ways(card: Path, tmp_path: Path) -> None:
    spelled = ("b.mp4", "./b.mp4", "sub/../b.mp4", f"{card}/b.mp4", f"{card}/../card/b.mp4", "sub//a.MOV", "sub/a.MOV")
    assert names(card, tmp_path / "out", names=spelled) == ["b.mp4", "sub/a.MOV"]
    assert names(card / "sub" / "..", tmp_path / "out", names=(f"{card}/b.mp4",)) == ["b.mp4"]


def test_a_list_names_nothing_outside_the_folder(card: Path, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "outside.mp4").write_bytes(b"x")
    for name in ("../outside.mp4", "sub/../../outside.mp4", f"{tmp_path}/outside.mp4"):
        with pytest.raises(SettingsError, match=r"outside\.mp4 is in the list and not below .*card"):
            names(card, tmp_path / "out", names=(name,))
    with pytest.raises(SettingsError, match="not below s3:"):
        find_videos(open_place(bucket), open_place(tmp_path), Selection(names=("a/../../outside.mp4",)))


def test_lists_as_other_programs_write_them(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.mp4\n", encoding="utf-8-sig")
    assert read_list(path) == ("a.mp4",)
    path.write_text("caf\u00e9.mp4\n", encoding="utf-16")
    with pytest.raises(InputUnreadable, match="not UTF-8"):
        read_list(path)


def test_nothing_found(card: Path, tmp_path: Path) -> None:
    with pytest.raises(NoVideos, match="nothing-like-it"):
        names(card, tmp_path / "out", patterns=("nothing-like-it",))


def test_a_whole_bucket_has_no_place_beside_it() -> None:
    with pytest.raises(SettingsError, match=r"is a whole bucket.*say with -o"):
        places("s3://card", None, UpscaleSettings())


def test_one_object_is_no_folder(bucket: str, tmp_path: Path) -> None:
    open_place(bucket).write("card/a.mp4", b"x")
    with pytest.raises(SettingsError, match=r"card/a\.mp4 is one file; give its folder with --pattern 'a\.mp4'"):
        find_videos(open_place(f"{bucket}/card/a.mp4"), open_place(tmp_path), Selection())


def test_result_names() -> None:
    as_mkv = UpscaleSettings(encode=EncodeSettings(container="mkv"))
    assert result_names(["a/b.mp4"], UpscaleSettings()) == {"a/b.mp4": "a/b.mp4"}
    assert result_names(["a.mp4", "a.mov", "b.mp4"], as_mkv) == {
        "a.mp4": "a.mp4.mkv",
        "a.mov": "a.mov.mkv",
        "b.mp4": "b.mkv",
    }
    twins = ["a.avi", "a.mkv", "a.avi.mkv"]
    assert result_names(twins, UpscaleSettings()) == {name: f"{name}.mkv" for name in twins}


def test_a_replaced_source_is_noticed_by_content_alone(tmp_path: Path) -> None:
    import os

    place = open_place(tmp_path)

    def look(content: bytes) -> str:
        (tmp_path / "a.mp4").write_bytes(content)
        os.utime(tmp_path / "a.mp4", ns=(10**18, 10**18))
        entry = place.entry("a.mp4")
        assert entry is not None
        return fingerprint(place, entry)

    assert look(b"one") == look(b"one") != look(b"two")


def test_a_source_that_is_gone_stops_nobody_else(tmp_path: Path) -> None:
    assert fingerprint(open_place(tmp_path), Entry("gone.mp4", 5, 7)) == "5-7-unreadable"


def test_a_folder_that_may_not_be_listed_is_said_to_lack_permission(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputUnreadable, match=r"card may not be read \(Permission denied\); check its permissions"):
        find_videos(open_place(card), open_place(tmp_path / "out"), Selection())


def test_a_store_that_cannot_be_listed_is_one_line(
    bucket: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.storage.PAUSES", ())
    place = open_place(f"{bucket}/videos")
    with pytest.raises(InputMissing, match="no-such-bucket does not exist"):
        find_videos(open_place("s3://no-such-bucket"), open_place(tmp_path), Selection())
    s3.fail_every = 1
    with pytest.raises(InputUnreadable, match=r"videos cannot be listed \(.*\); check the network"):
        find_videos(place, open_place(tmp_path), Selection())
    s3.fail_every = 0


def test_a_store_without_credentials_is_one_line(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's own error, which is no OSError."""
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputUnreadable, match="Unable to locate credentials"):
        find_videos(open_place(bucket), open_place(tmp_path), Selection())
    s3fs.S3FileSystem.clear_instance_cache()
