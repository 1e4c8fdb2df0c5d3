"""Who works on a video: a lease that expires, so that a dead node keeps nothing.

A lease is a file `NAME.GENERATION.json`. The highest generation counts; who finds it expired creates the next one,
which a store lets only one of many do. Nothing is ever replaced by somebody else, so no two jobs can both believe
that they hold a video at the same time, as long as their clocks agree to within three quarters of the lease's length:
it is renewed after one. One that cannot be read may be half written: it holds for as long as one that was written when
it was, or when it was first seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from types import TracebackType
from uuid import getnode, uuid4

import psutil

from jobs.storage import STATE_FOLDER, Entry, Place, read_json
from vidsr.errors import VidsrError

SECONDS = 120.0
FOLDER = f"{STATE_FOLDER}/leases"


@dataclass(frozen=True)
class Owner:
    """A process that holds leases.

    Attributes:
        token: unique.
        host: name of its machine.
        pid: its process there.
        born: when the process began, in seconds since its machine did, since process numbers are used again.
        space: where its number counts: many machines have one name, and so may containers of one machine.
    """

    token: str
    host: str
    pid: int
    born: float
    space: str = ""

    @staticmethod
    def here() -> Owner:
        """This process, under a new token."""
        return Owner(uuid4().hex, socket.gethostname(), os.getpid(), _born(os.getpid()), _space())

    def is_dead(self) -> bool:
        """Whether it surely ended: it ran on this machine, and runs no more."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        try:
            zombie = psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE  # nobody has asked how it ended
            return zombie or abs(_born(self.pid) - self.born) > 1
        except psutil.NoSuchProcess:
            return True


def _born(pid: int) -> float:
    """When a process began: since the machine did, as what the system says since 1970 moves with its clock."""
    return float(psutil.Process(pid).create_time() - psutil.boot_time())


@cache
def _space() -> str:
    """The network card of this machine, and on Linux which of its containers this is."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        container = ""
    return f"{getnode():x} {container}".strip()


class Leases:
    """The leases that this process holds below one output root; a thread keeps them from expiring.

    A context manager: leaving it releases all.
    """

    def __init__(self, place: Place, seconds: float = SECONDS, now: Callable[[], float] = time.time) -> None:
        """Start with none.

        Args:
            place: the output root.
            seconds: how long a lease lasts without being renewed.
            now: the clock, in seconds since 1970.
        """
        self._place, self._seconds, self._now = place, seconds, now
        self._owner = Owner.here()
        self._held: dict[str, str] = {}
        self._unreadable: dict[Entry, float] = {}
        self._lost: set[str] = set()
        self._renewed = now()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_often, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name)

    def acquire(self, name: str) -> bool:
        """Try to get the lease of a video; False if somebody else holds it."""
        found = self._generations(name, self._files())
        latest = max(found, default=0)
        if latest and not self._is_over(found[latest]):
            return False
        mine = self._file(name, latest + 1)
        if not self._place.create(mine, self._content()):
            return False
        after = self._generations(name, self._files())
        if max(after, default=0) != latest + 1:  # somebody was quicker, by two generations
            self._place.delete(mine)
            return False
        for generation in found:
            self._place.delete(found[generation])
        with self._lock:
            self._held[name] = mine
        return True

    def release(self, name: str) -> None:
        """Give a lease back, if it is still held."""
        with self._lock:
            file = self._held.pop(name, None)
            self._lost.discard(name)
        if file is not None:
            self._place.delete(file)

    def holds(self, name: str) -> bool:
        """Whether a lease is held and was not taken over after it expired."""
        if self._is_overdue():
            self.renew()
        with self._lock:
            return name in self._held and name not in self._lost

    def anywhere(self) -> bool:
        """Whether any process, here or elsewhere, holds a lease."""
        return not all(map(self._is_over, self._files()))

    def renew(self) -> None:
        """Make all leases last again, and notice those that were taken over, be it that the others ended since."""
        with self._lock:
            held = dict(self._held)
        overdue, now = self._is_overdue(), self._now()
        files = self._files()
        for name, file in held.items():
            found = self._generations(name, files)
            if found[max(found)] != file if found else overdue:
                with self._lock:
                    self._lost.add(name)
                continue
            with self._lock:  # a lease that is released now must not be written again
                if name in self._held:
                    self._place.write(file, self._content())
        self._renewed = now

    def _is_overdue(self) -> bool:
        """Whether the leases have expired meanwhile: the process was stopped, as on a laptop that sleeps."""
        return self._now() - self._renewed >= self._seconds

    def _renew_often(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            try:
                self.renew()
            except (OSError, VidsrError):
                continue  # a store that fails now may be back before the leases expire

    def _content(self) -> bytes:
        return json.dumps({"owner": asdict(self._owner), "expires": self._now() + self._seconds}).encode()

    def _is_over(self, file: str) -> bool:
        value = read_json(self._place, file) or {}
        try:
            return bool(value["expires"] <= self._now()) or Owner(**value["owner"]).is_dead()
        except (KeyError, TypeError):
            return self._is_old(file)

    def _is_old(self, file: str) -> bool:
        """Whether a lease that cannot be read was not written just now."""
        entry = self._place.entry(file)
        if entry is None:
            return True  # it was released meanwhile
        seen = self._unreadable.setdefault(entry, self._now())  # the store's clock may be ahead, or say nothing
        return min(entry.mtime_ns / 1e9 or seen, seen) + self._seconds <= self._now()

    def _files(self) -> list[str]:
        """All leases, of the videos that are in work; a large cluster has hundreds."""
        return [entry.name for entry in self._place.files(FOLDER)]

    @staticmethod
    def _generations(name: str, files: list[str]) -> dict[int, str]:
        """The leases of one video among some files, by generation."""
        stem = f"{FOLDER}/{_key(name)}."
        found = {}
        for file in files:
            number, _, suffix = file[len(stem) :].partition(".")
            if file.startswith(stem) and number.isdecimal() and suffix == "json":
                found[int(number)] = file
        return found

    def _file(self, name: str, generation: int) -> str:
        return f"{FOLDER}/{_key(name)}.{generation}.json"


def _key(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:24]
