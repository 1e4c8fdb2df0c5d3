from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jobs.cache import NodeCache
from jobs.storage import Entry, Place, open_place
from vidsr.errors import DiskTooSmall


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


def test_a_copy_is_made_once_and_is_the_source(place: Place, tmp_path: Path) -> None:
    cache, source = NodeCache(tmp_path / "cache", 1000), entry(place, "a.mp4")
    paths: list[Path] = []

    def hold() -> None:
        with cache.hold(place, source) as path:
            paths.append(path)
            assert path.read_bytes() == b"a" * 100

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(paths) == {cache.path(place, source)} and len(paths) == 4
    assert paths[0].stat().st_mtime_ns == source.mtime_ns
    assert [p.name for p in paths[0].parent.iterdir()] == ["a.mp4"]


def test_the_oldest_go_and_what_is_held_stays(place: Place, tmp_path: Path) -> None:
    import os

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


def test_too_large_for_the_cache(place: Place, tmp_path: Path) -> None:
    with (
        pytest.raises(DiskTooSmall, match="--cache-gb"),
        NodeCache(tmp_path / "c", 99).hold(place, entry(place, "a.mp4")),
    ):
        pass
