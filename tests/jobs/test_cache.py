from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from jobs.cache import NodeCache
from jobs.storage import Entry, FolderPlace, Place, open_place
from vidsr.errors import DiskTooSmall, OutputUnwritable


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "far"
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.mp4").write_bytes(name.encode() * 100)
    return open_place(folder)


def entry(place: Place, name: str) -> Entry:
    found = place.entry(name)
    assert found is not None
    return found


def test_copies_lie_where_no_other_user_can_put_files(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, source = NodeCache(tmp_path / "own" / "sources", 1000), entry(place, "a.mp4")
    with cache.hold(place, source):
        assert (tmp_path / "own").stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(OutputUnwritable, match="belongs to another user"), cache.hold(place, source):
        pass


def test_a_copy_is_made_once_and_is_the_source(place: Place, tmp_path: Path) -> None:
    cache, source = NodeCache(tmp_path / "cache", 1000), entry(place, "a.mp4")
    paths: list[Path] = []
    fetched: list[int] = []

    def fetch() -> None:
        fetched.append(1)
        time.sleep(0.1)  # the others come

    def hold() -> None:
        with cache.hold(Watched(place.url, fetch), source) as path:
            paths.append(path)
            assert path.read_bytes() == b"a" * 100

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(paths) == {cache.path(place, source)} and len(paths) == 4
    assert len(fetched) == 1
    assert paths[0].stat().st_mtime_ns == source.mtime_ns
    assert [p.name for p in paths[0].parent.iterdir()] == ["a.mp4"]


def test_the_oldest_go_and_what_is_held_stays(place: Place, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 250)
    sources = {name: entry(place, f"{name}.mp4") for name in "abcd"}
    with cache.hold(place, sources["a"]) as held:
        os.utime(held.parent, (1, 1))  # used longest ago
        with cache.hold(place, sources["b"]):
            pass
        with cache.hold(place, sources["c"]):
            assert not cache.path(place, sources["b"]).exists()
            assert held.exists()
    with cache.hold(place, sources["d"]):
        assert sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.mp4")) <= 250


def test_what_was_used_last_stays(place: Place, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 350)
    sources = {name: entry(place, f"{name}.mp4") for name in "abcd"}
    for used, name in enumerate("abc", 1):
        with cache.hold(place, sources[name]) as path:
            pass
        os.utime(path.parent, (used, used))
    with cache.hold(place, sources["a"]):
        pass
    with cache.hold(place, sources["d"]):
        assert [cache.path(place, sources[name]).exists() for name in "abcd"] == [True, False, True, True]


def test_another_version_of_a_source_is_another_copy(place: Place, tmp_path: Path) -> None:
    cache, source = NodeCache(tmp_path / "cache", 1000), entry(place, "a.mp4")
    versions = [source, replace(source, mtime_ns=1), replace(source, tag="another"), replace(source, size=99)]
    assert len({cache.path(place, version) for version in versions}) == 4


def test_too_large_for_the_cache(place: Place, tmp_path: Path) -> None:
    with (
        pytest.raises(DiskTooSmall, match="--cache-gb"),
        NodeCache(tmp_path / "c", 99).hold(place, entry(place, "a.mp4")),
    ):
        pass


def hold_until_all_hold(cache: NodeCache, place: Place, source: Entry, barrier: Barrier) -> None:
    with cache.hold(place, source):
        barrier.wait(60)


def test_processes_hold_a_copy_together(place: Place, tmp_path: Path) -> None:
    cache, source = NodeCache(tmp_path / "cache", 1000), entry(place, "a.mp4")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    holders = [context.Process(target=hold_until_all_hold, args=(cache, place, source, barrier)) for _ in range(2)]
    for holder in holders:
        holder.start()
    for holder in holders:
        holder.join()
    assert [holder.exitcode for holder in holders] == [0, 0]


@dataclass(frozen=True)
class Watched(FolderPlace):
    """A place whose files come when they may."""

    may_come: Callable[[], object]

    def download(self, name: str, path: Path) -> None:
        self.may_come()
        super().download(name, path)


@pytest.mark.parametrize("held", [True, False])
def test_room_that_others_hold_or_fill_is_waited_for(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """With room for one copy at a time, the second comes after the first, which is held or still on its way."""
    cache = NodeCache(tmp_path / "cache", 150)
    first, second = entry(place, "a.mp4"), entry(place, "b.mp4")
    came, go_on, news = threading.Event(), threading.Event(), threading.Event()
    copies: list[int] = []

    def count() -> None:
        copies.append(len(list((tmp_path / "cache").rglob("*.mp4"))))

    def hold_first() -> None:
        wait = (lambda: None) if held else (lambda: (came.set(), go_on.wait(60)))
        with cache.hold(Watched(place.url, wait), first):
            came.set()
            go_on.wait(60)

    def hold_second() -> None:
        with cache.hold(place, second):
            count()
        news.set()

    def waiting(seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        news.set()
        sleep(0.01)

    monkeypatch.setattr("jobs.cache.time.sleep", waiting)
    threads = [threading.Thread(target=hold_first), threading.Thread(target=hold_second)]
    threads[0].start()
    assert came.wait(60)
    threads[1].start()
    assert news.wait(60)
    assert not cache.path(place, second).exists(), "it waits"
    go_on.set()
    for thread in threads:
        thread.join()
    assert copies == [1], "the first has gone for it"


def test_a_copy_that_was_not_ended_takes_no_room(place: Place, tmp_path: Path) -> None:
    class Lost(Exception):
        pass

    def lose() -> None:
        raise Lost

    cache, source = NodeCache(tmp_path / "cache", 100), entry(place, "a.mp4")
    with suppress(Lost), cache.hold(Watched(place.url, lose), source):
        pass
    left = cache.path(place, source).parent
    (left / "a.mp4.part").write_bytes(b"half")
    (left / ".reserved").write_bytes(b"x" * 100)  # as the end of the process leaves it
    with cache.hold(place, source) as path:
        assert [each.name for each in path.parent.iterdir()] == ["a.mp4"]


def test_several_are_held_together(place: Place, tmp_path: Path) -> None:
    """Two that each want both copies, with room for these alone, do not wait for each other for ever."""
    cache = NodeCache(tmp_path / "cache", 250)
    both = threading.Barrier(2)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)  # for the other, who does not come: each would have one copy and wait for room

    first = Watched(place.url, meet)
    pair: list[tuple[Place, Entry]] = [(first, entry(place, "a.mp4")), (place, entry(place, "b.mp4"))]
    others: list[tuple[Place, Entry]] = [(first, entry(place, "c.mp4")), (place, entry(place, "d.mp4"))]
    done: list[list[str]] = []

    def hold(wanted: list[tuple[Place, Entry]]) -> None:
        with cache.hold_all(wanted) as paths:
            done.append([path.read_text()[0] for path in paths])

    threads = [threading.Thread(target=hold, args=(wanted,), daemon=True) for wanted in (pair, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == [["a", "b"], ["c", "d"]]
    with pytest.raises(DiskTooSmall, match=r"d\.mp4.*--cache-gb"), cache.hold_all([*pair, *others]):
        pass
