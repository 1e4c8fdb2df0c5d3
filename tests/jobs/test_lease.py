from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from jobs.lease import FOLDER, Leases
from jobs.storage import Entry, FolderPlace, Place, open_place
from tests.jobs.test_storage import refuse_links
from vidsr.errors import InputUnreadable


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
    assert len(list(place.files(FOLDER))) == 1, "the old one is gone"
    one.renew()
    assert not one.holds("a.mp4")
    one.release("a.mp4")
    assert not Leases(place, 60, clock).acquire("a.mp4"), "a loser's release must not free the winner's lease"
    two.release("a.mp4")
    assert one.acquire("a.mp4") and one.holds("a.mp4"), "what was lost once can be had again"


def test_who_was_stopped_sees_what_others_did_meanwhile(place: Place) -> None:
    """A laptop that slept: what it said of a video that another had finished replaced the other's record."""
    clock = Clock()
    one, two = Leases(place, 60, clock), Leases(place, 60, clock)
    assert one.acquire("a.mp4") and one.acquire("b.mp4") and one.holds("a.mp4")
    clock.now += 61
    assert two.acquire("a.mp4")
    two.release("a.mp4")
    assert not one.holds("a.mp4") and one.holds("b.mp4")
    one.release("a.mp4")
    assert two.acquire("a.mp4")


@dataclass(frozen=True)
class Late(FolderPlace):
    """A folder of which much happens before a file is created in it."""

    meanwhile: Callable[[], object]

    def create(self, name: str, content: bytes) -> bool:
        self.meanwhile()
        return super().create(name, content)


def test_who_comes_two_generations_late_gets_nothing(tmp_path: Path) -> None:
    place, clock = open_place(tmp_path), Clock()
    assert Leases(place, 60, clock).acquire("a.mp4")
    clock.now += 61
    two, three = Leases(place, 60, clock), Leases(place, 60, clock)

    def meanwhile() -> None:
        assert two.acquire("a.mp4")
        clock.now += 61
        assert three.acquire("a.mp4")

    assert not Leases(Late(str(tmp_path), meanwhile), 60, clock).acquire("a.mp4")
    three.renew()
    assert three.holds("a.mp4")
    assert len(list(place.files(FOLDER))) == 1


def test_the_latest_of_two_leases_counts(tmp_path: Path) -> None:
    """As between the making of one and the end of the one before."""
    leases = Leases(open_place(tmp_path))
    assert leases.acquire("a.mp4")
    first = next(tmp_path.rglob("*.json"))
    shutil.copy(first, first.with_name(first.name.replace(".1.", ".2.")))
    leases.renew()
    assert not leases.holds("a.mp4")


def test_whether_anybody_works_is_known_of_leases_that_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    one, two = (Leases(open_place(tmp_path), 60, clock) for _ in range(2))
    assert not two.anywhere()
    assert one.acquire("a.mp4")
    clock.now += 50
    assert one.acquire("b.mp4") and two.anywhere()
    clock.now += 20
    assert two.anywhere(), "of one, the lease has ended"
    clock.now += 50
    assert not two.anywhere()
    listed = two._files()
    for name in ("a.mp4", "b.mp4"):
        one.release(name)
    with monkeypatch.context() as late:
        late.setattr(two, "_files", lambda: listed)  # before they were released
        assert not two.anywhere()


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


def test_a_dead_process_keeps_nothing_while_nobody_asks_how_it_ended(tmp_path: Path) -> None:
    """Of a script that had started two jobs, the one that was left waited for two minutes."""
    place = open_place(tmp_path)
    code = (
        "import os, sys; from jobs.lease import Leases; from jobs.storage import open_place; "
        "assert Leases(open_place(sys.argv[1])).acquire('a.mp4'); os._exit(0)"
    )
    ended = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert Leases(place).acquire("a.mp4")
    ended.wait()


@pytest.mark.parametrize("where", [{"host": "another"}, {"space": "another"}])
def test_a_process_of_another_machine_is_not_looked_for_here(tmp_path: Path, where: dict[str, str]) -> None:
    clock = Clock()
    assert Leases(open_place(tmp_path), 60, clock).acquire("a")
    file = next(tmp_path.rglob("*.json"))
    lease = json.loads(file.read_text())
    lease["owner"] |= {**where, "pid": 2**22 + 1, "born": 0.0}  # no process of this machine
    file.write_text(json.dumps(lease))
    assert not Leases(open_place(tmp_path), 60, clock).acquire("a")
    clock.now += 61
    assert Leases(open_place(tmp_path), 60, clock).acquire("a")


def test_a_container_with_its_machines_name_takes_nothing_from_the_living(tmp_path: Path) -> None:
    """Those with the network of their machine have its name, and processes of their own."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("processes of their own are not allowed here")
    with Leases(open_place(tmp_path)) as leases:
        assert leases.acquire("a")
        code = f"from jobs.lease import *; from jobs.storage import *; place = open_place({str(tmp_path)!r})"
        take = [*inside, sys.executable, "-c", f"{code}; print(Leases(place).acquire('a'))"]
        taken = subprocess.run(take, capture_output=True, text=True, check=True)
    assert taken.stdout == "False\n"


def test_a_clock_that_is_set_takes_nothing_from_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place(tmp_path)
    one, two = Leases(place), Leases(place)
    assert one.acquire("a.mp4")
    moved = psutil.boot_time() + 100  # by which Linux says when each process began
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: moved)
    assert not two.acquire("a.mp4")


def test_a_lease_that_is_released_while_others_are_renewed_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(open_place(tmp_path))
    look = leases._files

    def files() -> list[str]:
        found = look()
        leases.release("a.mp4")
        return found

    assert leases.acquire("a.mp4")
    monkeypatch.setattr(leases, "_files", files)
    leases.renew()
    assert not list(tmp_path.rglob("*.json"))


def test_a_lease_outlasts_a_renewal_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases, waits = Leases(open_place(tmp_path), seconds=60), []
    monkeypatch.setattr(leases._ended, "wait", lambda seconds: waits.append(seconds) or True)
    with leases:
        pass
    assert [0 < seconds <= 20 for seconds in waits] == [True]


def wait_for_renewal(folder: Path, expires: float) -> None:
    """Wait until the one lease below a folder lasts until some time."""
    limit = time.monotonic() + 60
    while not any(expires <= json.loads(path.read_text())["expires"] for path in folder.rglob("*.json")):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_the_thread_renews_and_the_end_releases(tmp_path: Path) -> None:
    place, clock = open_place(tmp_path), Clock()
    with Leases(place, seconds=0.4, now=clock) as leases:
        assert leases.acquire("a")
        clock.now += 0.3
        wait_for_renewal(tmp_path, clock.now + 0.4)
        clock.now += 0.3
        assert not Leases(place, now=clock).acquire("a")
    assert list(place.files(FOLDER)) == []


def test_leases_outlive_a_store_that_refuses_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, look, refused, clock = open_place(tmp_path), FolderPlace.files, threading.Event(), Clock()

    def files(place: FolderPlace, below: str = "") -> Iterator[Entry]:
        if not refused.is_set():
            refused.set()
            raise InputUnreadable("the token is being renewed")
        return look(place, below)

    with Leases(place, seconds=1.2, now=clock) as leases:
        assert leases.acquire("a")
        monkeypatch.setattr(FolderPlace, "files", files)
        assert refused.wait(60)
        clock.now += 1.0
        wait_for_renewal(tmp_path, clock.now + 1.2)
        clock.now += 1.0
        assert not Leases(place, now=clock).acquire("a")


@pytest.mark.parametrize("content", ["", '{"owner": {"tok', "{}"])
def test_a_lease_that_cannot_be_read_holds_as_long_as_others(tmp_path: Path, content: str) -> None:
    """It may be half written; who never finished it keeps nothing."""
    assert Leases(open_place(tmp_path)).acquire("a")
    file = next(tmp_path.rglob("*.json"))
    file.write_text(content)
    written = file.stat().st_mtime
    assert not Leases(open_place(tmp_path), 60, lambda: written + 59).acquire("a")
    assert Leases(open_place(tmp_path), 60, lambda: written + 61).acquire("a")


def test_a_lease_that_cannot_be_read_ends_whatever_the_stores_clock_says(tmp_path: Path) -> None:
    clock = Clock()  # decades behind the file's
    leases = Leases(open_place(tmp_path), 60, clock)
    assert leases.acquire("a")
    next(tmp_path.rglob("*.json")).write_text("{")
    two = Leases(open_place(tmp_path), 60, clock)
    assert not two.acquire("a")
    clock.now += 59
    assert not two.acquire("a")
    clock.now += 2
    assert two.acquire("a")


def test_two_share_a_folder_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)
    one, two = Leases(open_place(tmp_path)), Leases(open_place(tmp_path))
    assert one.acquire("a") and not two.acquire("a")
    one.release("a")
    assert two.acquire("a")
