"""Where the files of a job are: a path that every node sees, or an object store through fsspec.

A file that is there is whole: paths are written by rename, and object stores show an object when its upload ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import fsspec

from vidsr.errors import InputMissing, InputUnreadable, OutputUnwritable, SettingsError, VidsrError, first_line

T = TypeVar("T")
STATE_FOLDER = ".vidsr"  # below the output root: all that a job keeps for itself
# Bytes of a name that leave room for a suffix among the 255 that file systems take, and those that a longer one keeps.
LONGEST_STEM, KEPT_BYTES = 240, 200
PAUSES = (0.2, 0.5, 1.0, 2.0)
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True)
class Entry:
    """One file of a place.

    Attributes:
        name: path below the place, with forward slashes.
        size: in bytes.
        mtime_ns: when it was written, in nanoseconds since 1970; 0 where the store does not say.
        tag: the store's own hash of the content, or "".
    """

    name: str
    size: int
    mtime_ns: int
    tag: str = ""


class Place(Protocol):
    """A folder of files. Names are relative, with forward slashes. Picklable, so that tasks can have it."""

    @property
    def url(self) -> str:
        """The folder's path or URL."""

    @property
    def folder(self) -> Path | None:
        """The folder as a path, if all nodes see it as one."""

    def url_of(self, name: str) -> str:
        """A name's whole path or URL."""

    def files(self, below: str = "") -> Iterator[Entry]:
        """All files below a name, however deep."""

    def entry(self, name: str) -> Entry | None:
        """One file, or None if there is none."""

    def read(self, name: str) -> bytes | None:
        """A small file's content, or None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file whole."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless it is there. Of many callers at once, one gets True."""

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a path of this machine, by rename."""

    def upload(self, path: Path, name: str) -> None:
        """Copy a file of this machine here; it appears whole."""


def open_place(url: str | Path) -> Place:
    """The place of a path or URL: `folder`, `file:///folder`, `s3://bucket/folder`, `gs://...`, `az://...`.

    Raises:
        SettingsError: no such protocol, or its library is not installed; or the URL is that of no folder.
    """
    text = str(url)
    protocol, found, rest = text.partition("://")
    if not found or protocol in ("file", "local"):
        return FolderPlace(str(Path(rest or text).absolute()))
    if protocol in ("http", "https"):  # their listings tell neither sizes nor times
        raise SettingsError(
            f"{text} is an address of the web, which has no folders; download the video and name its file"
        )
    if "?versionId=" in rest:
        raise SettingsError(f"{text} names one version of an object, and not a folder; leave out what follows its name")
    try:
        fsspec.get_filesystem_class(protocol)
    except (ValueError, ImportError) as error:
        raise SettingsError(f"{text} cannot be reached ({error}); install the library or use a path") from error
    return ObjectPlace(text.rstrip("/"))


def stays_below(name: str) -> bool:
    """Whether a name, taken as a path in a folder, is one below that folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def read_json(place: Place, name: str) -> dict[str, Any] | None:
    """A JSON object, or None if the file is missing or is none."""
    content = place.read(name)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class FolderPlace:
    """A folder that every node sees under one path."""

    url: str

    @property
    def folder(self) -> Path | None:
        """See Place."""
        return Path(self.url)

    def url_of(self, name: str) -> str:
        """See Place."""
        return str(self._path(name))

    def _path(self, name: str) -> Path:
        if not stays_below(name):  # the key of an object store may be any text, and so may what a record says
            raise SettingsError(f"{name!r} is no name below {self.url}; rename that file, or leave it out by --pattern")
        return Path(self.url, name)

    def files(self, below: str = "") -> Iterator[Entry]:
        """See Place."""
        for folder, names in _folders(self._path(below)):
            for name in sorted(names):
                path = folder / name
                try:
                    status = path.stat()
                except OSError:
                    continue  # removed meanwhile, or a link to nothing
                if S_ISREG(status.st_mode):  # a pipe would never end
                    yield Entry(path.relative_to(self.url).as_posix(), status.st_size, status.st_mtime_ns)

    def entry(self, name: str) -> Entry | None:
        """See Place."""
        path = self._path(name)
        if not path.is_file():
            return None
        status = path.stat()
        return Entry(name, status.st_size, status.st_mtime_ns)

    def read(self, name: str) -> bytes | None:
        """See Place."""
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """See Place."""
        part = self._part(name)
        try:
            part.write_bytes(content)
            part.replace(self._path(name))
        finally:
            part.unlink(missing_ok=True)

    def create(self, name: str, content: bytes) -> bool:
        """See Place. A hard link is atomic on NFS too, and never shows a file half written.

        exFAT, some shares and mounted buckets have none; there others may see the file before its content.
        """
        part = self._part(name)
        part.write_bytes(content)
        try:
            os.link(part, self._path(name))
        except FileExistsError:
            return False
        except OSError:
            return self._create_in_place(name, content)
        finally:
            part.unlink()
        return True

    def _create_in_place(self, name: str, content: bytes) -> bool:
        path = self._path(name)
        try:
            file = path.open("xb")
        except FileExistsError:
            return self.read(name) == content  # of a link that was answered with an error and yet made
        try:
            with file:
                file.write(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return True

    def _part(self, name: str) -> Path:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _part(path)

    def delete(self, name: str) -> None:
        """See Place."""
        self._path(name).unlink(missing_ok=True)

    def download(self, name: str, path: Path) -> None:
        """See Place."""
        _copy(self._path(name), path)

    def upload(self, path: Path, name: str) -> None:
        """See Place."""
        _copy(path, self._path(name))


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it with their files' names, each once however many links lead to it.

    By its own way if it has one here, unless that is hidden and a link's is not.
    """

    def unreadable(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if error.filename == str(root):
            raise error
        logging.getLogger(__name__).warning("%s is left out (%s)", error.filename, error.strerror)

    seen: set[str] = set()
    links, hidden = deque([root]), deque[Path]()
    while links or hidden:
        for parent, folders, names in os.walk((links or hidden).popleft(), onerror=unreadable):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            below = [Path(parent, name) for name in sorted(folders)]
            folders.clear()
            for path in below:
                if path.name.startswith("."):
                    hidden.append(path)
                elif path.is_symlink():
                    links.append(path)
                else:
                    folders.append(path.name)
            yield Path(parent), names


def _part(path: Path) -> Path:
    """Another name for a file while it is written; a short one, for the file's own may be as long as names can be."""
    return path.with_name(f".{uuid4().hex}.part")


def short_name(name: str) -> str:
    """A name to which a suffix can be added: its last part is cut if it is too long, and a hash tells it apart."""
    folder, slash, last = name.rpartition("/")
    whole = os.fsencode(last)
    if len(whole) <= LONGEST_STEM:
        return name
    return f"{folder}{slash}{whole[:KEPT_BYTES].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:16]}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class ObjectPlace:
    """A prefix of an object store. Every request is repeated a few times where the store fails."""

    url: str

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    @cached_property
    def _found(self) -> tuple[Any, str]:
        files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        return files, str(root).rstrip("/")

    @property
    def folder(self) -> Path | None:
        """See Place."""
        return None

    def url_of(self, name: str) -> str:
        """See Place."""
        return f"{self.url}/{name}"

    def _read(self, name: str, request: Callable[[Any, str], T]) -> T:
        return self._request(name, request, InputUnreadable, "read")

    def _write(self, name: str, request: Callable[[Any, str], object]) -> None:
        self._request(name, request, OutputUnwritable, "written")

    def _request(self, name: str, request: Callable[[Any, str], T], refusal: type[VidsrError], done: str) -> T:
        """Ask the store for something of a name; what it does not allow is named."""
        files, root = self._found
        try:
            return _insist(lambda: request(files, f"{root}/{name}".rstrip("/")))
        except PermissionError as error:
            if error.filename is not None:
                raise  # of a file of this machine
            raise refusal(
                f"{self.url_of(name)} may not be {done} ({first_line(error)}); check what the credentials allow"
            ) from error

    def files(self, below: str = "") -> Iterator[Entry]:
        """See Place."""
        _, root = self._found
        found = self._read(below, lambda files, start: files.find(start, detail=True))
        for path in sorted(found):
            if path.startswith(f"{root}/") and not path.endswith("/"):
                yield _entry(path[len(root) + 1 :], found[path])

    def entry(self, name: str) -> Entry | None:
        """See Place."""
        try:
            found = self._read(name, lambda files, path: files.info(path))
        except FileNotFoundError:
            return None
        return _entry(name, found) if found.get("type") == "file" else None

    def read(self, name: str) -> bytes | None:
        """See Place."""
        try:
            return bytes(self._read(name, lambda files, path: files.cat_file(path)))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See Place."""
        self._write(name, lambda files, path: files.pipe_file(path, content))

    def create(self, name: str, content: bytes) -> bool:
        """See Place."""
        try:
            self._write(name, lambda files, path: files.pipe_file(path, content, mode="create"))
        except FileExistsError:
            return self.read(name) == content  # of a request that was answered with an error and yet done
        return True

    def delete(self, name: str) -> None:
        """See Place."""
        with suppress(FileNotFoundError):
            self._write(name, lambda files, path: files.rm_file(path))

    def download(self, name: str, path: Path) -> None:
        """See Place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part(path)
        try:
            self._read(name, lambda files, start: files.get_file(start, str(part)))
            part.replace(path)
        except FileNotFoundError as error:
            raise InputMissing(f"{self.url_of(name)} does not exist; check the name") from error
        finally:
            part.unlink(missing_ok=True)

    def upload(self, path: Path, name: str) -> None:
        """See Place."""
        self._write(name, lambda files, target: files.put_file(str(path), target))


def _insist(request: Callable[[], T]) -> T:
    """Repeat a request of a store that fails, with growing pauses.

    Raises:
        OSError: the last one; at once where another try cannot help, and of what a store's library raises instead
            (no credentials, no connection) after tries of its own.
    """
    for pause in PAUSES:
        try:
            return _ask(request)
        except (*_FINAL, _LibraryError):
            raise
        except OSError:
            time.sleep(pause)
    return _ask(request)


class _LibraryError(OSError):
    """An error of a class that only the store's library knows."""


def _ask(request: Callable[[], T]) -> T:
    try:
        return request()
    except OSError:
        raise
    except Exception as error:
        raise _LibraryError(first_line(error)) from error


def _entry(name: str, found: dict[str, Any]) -> Entry:
    """What a store's listing says; every store has other words for it."""
    written = next((found[k] for k in ("LastModified", "last_modified", "updated", "mtime") if found.get(k)), None)
    if isinstance(written, str):
        written = datetime.fromisoformat(written.replace("Z", "+00:00"))
    seconds = written.timestamp() if isinstance(written, datetime) else float(written or 0)
    tag = next((str(found[k]) for k in ("ETag", "etag", "md5Hash", "content_md5") if found.get(k)), "")
    return Entry(name, int(found["size"]), int(seconds * 1e9), tag.strip('"'))
