from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs.lease import FOLDER, Leases
from jobs.storage import Place, open_place


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return open_place(request.getfixturevalue("bucket") if request.param == "s3" else tmp_path)


def test_one_holds_until_it_is_released(place: Place) -> None:
    one, two = Leases(place), Leases(place)
    assert one.acquire("a.mp4")
    assert one.holds("a.mp4")
    assert not two.acquire("a.mp4")
    assert two.acquire("b.mp4"), "another video is another lease"
    one.release("a.mp4")
    assert not one.holds("a.mp4")
    assert two.acquire("a.mp4")
    two.release("a.mp4")
    two.release("b.mp4")
    assert list(place.files(FOLDER)) == []


def test_an_expired_lease_is_taken_over_and_its_holder_notices(place: Place) -> None:
    clock = Clock()
    one, two = Leases(place, 60, clock), Leases(place, 60, clock)
    assert one.acquire("a.mp4")
    clock.now += 59
    assert not two.acquire("a.mp4")
    one.renew()
    clock.now += 59
    assert not two.acquire("a.mp4"), "it was renewed"
    clock.now += 2
    assert two.acquire("a.mp4")
    one.renew()
    assert not one.holds("a.mp4")
    one.release("a.mp4")
    assert not Leases(place, 60, clock).acquire("a.mp4"), "a loser's release must not free the winner's lease"


def test_many_at_once_after_expiry(tmp_path: Path) -> None:
    place, clock = open_place(tmp_path), Clock()
    assert Leases(place, 60, clock).acquire("a.mp4")
    clock.now += 61
    all_leases = [Leases(place, 60, clock) for _ in range(12)]
    start, got = threading.Barrier(len(all_leases)), []

    def take(leases: Leases) -> None:
        start.wait()
        if leases.acquire("a.mp4"):
            got.append(leases)

    threads = [threading.Thread(target=take, args=(leases,)) for leases in all_leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_dead_process_of_this_machine_keeps_nothing(tmp_path: Path) -> None:
    code = f"from jobs.lease import *; from jobs.storage import *; Leases(open_place({str(tmp_path)!r})).acquire('a')"
    subprocess.run([sys.executable, "-c", code], check=True)
    (lease,) = (json.loads(p.read_text()) for p in tmp_path.rglob("*.json"))
    assert lease["owner"]["host"] == socket.gethostname()
    assert Leases(open_place(tmp_path)).acquire("a")


def test_the_thread_renews_and_the_end_releases(tmp_path: Path) -> None:
    place = open_place(tmp_path)
    with Leases(place, seconds=0.4) as leases:
        assert leases.acquire("a")
        threading.Event().wait(1.0)
        assert not Leases(place).acquire("a")
    assert list(place.files(FOLDER)) == []


def test_a_damaged_lease_counts_as_none(tmp_path: Path) -> None:
    leases = Leases(open_place(tmp_path))
    assert leases.acquire("a")
    next(tmp_path.rglob("*.json")).write_text("{")
    assert Leases(open_place(tmp_path)).acquire("a")
