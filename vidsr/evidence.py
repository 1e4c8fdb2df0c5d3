"""The record beside each result, RESULT.vidsr.json: what was made, from what, with what, and how it was checked.

A record lets anyone find out later whether a result or its source has changed by a byte. It is no signature: who
can change the result can write a new record. `vidsr.signing` signs.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os.path import isdir, isfile  # unlike Path's, they take what may not be looked at for not there
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import vidsr
from vidsr.errors import InputError, InputMissing, InputUnreadable
from vidsr.paths import sync, write_output

RECORD_SUFFIX = ".vidsr.json"
FORMAT = 1
PACKAGES = ("av", "numpy", "opencv-python-headless", "torch", "openvino", "ray")


T = TypeVar("T")


@dataclass(frozen=True)
class FileDigest:
    """A file as it was.

    Attributes:
        path: relative to the record's folder, with forward slashes; or a whole path or URL.
        bytes: its size.
        sha256: of its content, in hexadecimal.
    """

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelDigest:
    """The weights: their name, and the sha256 of their file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class FrameCounts:
    """Where the result's frames come from.

    Attributes:
        total: frames in the result.
        computed: made by the run that wrote the record.
        reused: made by an earlier run that was interrupted.
        filled: repeated where damage had lost some.
    """

    total: int
    computed: int
    reused: int = 0
    filled: int = 0


@dataclass(frozen=True)
class Check:
    """One check of `vidsr verify`.

    Attributes:
        name: what was looked at.
        ok: whether it holds.
        detail: what was found, for people.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class EvidenceRecord:
    """All that is known about how a result came to be.

    Attributes:
        source: the video that was enlarged.
        result: the video that was made.
        model: the weights.
        settings: what was asked for, as JSON values.
        frames: where the frames come from.
        checks: outcome of every check that held the result against the source.
        started: when the run began, ISO 8601 in UTC.
        finished: when it ended, ISO 8601 in UTC.
        versions: of Python, the system and the packages that computed.
        salvaged: sentences about what a damaged source did not give; empty for a sound one.
        signature: who signed the result (C2PA), "" where nobody did.
    """

    source: FileDigest
    result: FileDigest
    model: ModelDigest
    settings: dict[str, Any]
    frames: FrameCounts
    checks: tuple[Check, ...]
    started: str
    finished: str
    versions: dict[str, str]
    salvaged: tuple[str, ...] = ()
    signature: str = ""

    @property
    def verified(self) -> bool:
        """Whether there were checks and all of them held."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps({"vidsr_evidence": FORMAT, "verified": self.verified, **asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> EvidenceRecord:
        """Read a record back.

        Raises:
            ValueError: the text is not a record of this format.
        """
        try:
            values = json.loads(text)
            if values.pop("vidsr_evidence") != FORMAT:
                raise ValueError("it has another format; update vidsr")
            values.pop("verified")
            for name, kind in (("source", FileDigest), ("result", FileDigest), ("model", ModelDigest),
                               ("frames", FrameCounts)):  # fmt: skip
                values[name] = _checked(kind(**values[name]))
            values["checks"] = tuple(_checked(Check(**check)) for check in values["checks"])
            values["salvaged"] = tuple(map(str, values["salvaged"]))
            values["versions"] = {str(package): str(found) for package, found in values["versions"].items()}
            return _checked(EvidenceRecord(**values))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _checked(value: T) -> T:
    """A part of a record whose fields have the types that they are declared with, as JSON may hold any.

    Raises:
        TypeError: one has another.
    """
    for name, kind in get_type_hints(type(value)).items():
        if not isinstance(getattr(value, name), get_origin(kind) or kind):
            raise TypeError(f"its {name} is no {kind}")
    return value


def record_path(result: Path) -> Path:
    """Where the record of a result is: RESULT.vidsr.json beside it."""
    return result.with_name(f"{result.name}{RECORD_SUFFIX}")


def enhanced_note(model: ModelDigest, scale: float) -> str:
    """The sentence that the result's own metadata carry."""
    return (
        f"Enhanced: enlarged {scale:g}x by vidsr {vidsr.__version__} with the model {model.name} "
        f"(sha256 {model.sha256[:16]}). Fine detail is estimated, not recorded; the source is the evidence."
    )


def digest(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    total, state = 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total += len(block)
            state.update(block)
    return total, state.hexdigest()


def write_record(
    source: Path,
    result: Path,
    *,
    model: ModelDigest,
    settings: Mapping[str, Any],
    frames: FrameCounts,
    checks: Sequence[Check],
    started: float,
    finished: float,
    salvaged: Sequence[str] = (),
    made: Path | None = None,
    name: str | None = None,
) -> EvidenceRecord:
    """Write the record of a finished result beside it. Both files are read once, for their sha256.

    Args:
        source: the video that was enlarged.
        result: the final name of the finished result.
        model: the weights.
        settings: what was asked for; JSON values (`dataclasses.asdict` of settings is one).
        frames: where the frames come from.
        checks: of `vidsr verify`.
        started, finished: seconds since 1970 UTC.
        salvaged: sentences about what a damaged source did not give.
        made: where the result's file is now, if it does not have its name yet.
        name: what the source is called, if it or the result is a copy that will not stay where it is.

    Raises:
        InputMissing: one of the files is gone.
        OutputUnwritable: the record cannot be written.
    """
    described = _describe(source, result.parent)
    record = EvidenceRecord(
        source=replace(described, path=name) if name else described,
        result=_describe(result, result.parent, made),
        model=model,
        settings=json.loads(json.dumps(settings, default=str)),
        frames=frames,
        checks=tuple(checks),
        started=iso_time(started),
        finished=iso_time(finished),
        versions=_versions(),
        salvaged=tuple(salvaged),
    )
    _save(record, result)
    return record


def replace_result(record: EvidenceRecord, result: Path, signed: Path, signature: str) -> EvidenceRecord:
    """Put a signed file, whose bytes are others, in a result's place and write the record again.

    All that takes time comes first: a death between the two would leave a result that is not what its record says.

    Raises:
        OSError: the file cannot be put there.
        OutputUnwritable: the record cannot be written.
    """
    record = replace(record, result=_describe(result, result.parent, signed), signature=signature)
    sync(signed)
    signed.replace(result)
    _save(record, result)
    return record


def recorded_part(result: Path) -> tuple[float | None, float | None]:
    """(--start, --end) that a result was made with, by the record beside it; None for each that is not known."""
    try:
        settings = read_record(result).settings
    except InputError:
        return None, None
    start, end = (value if isinstance(value := settings.get(name), int | float) else None for name in ("start", "end"))
    return start, end


def read_record(result: Path) -> EvidenceRecord:
    """The record of a result.

    Raises:
        InputMissing: there is none.
        InputError: the file is not a record.
    """
    if isdir(result):  # `.` has no name that one beside it could be made of
        raise InputMissing(f"{result} is a folder; name the result itself")
    path = record_path(result)
    if not isfile(path):
        raise InputMissing(f"no record {path}; it must lie beside the result")
    try:
        return EvidenceRecord.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not an evidence record ({error}); get the original one") from error


def find_source(record: EvidenceRecord, result: Path) -> Path | None:
    """The source where the record says it is, or beside the result; None where it is gone."""
    places = (result.parent / record.source.path, result.with_name(Path(record.source.path).name))
    return next((place for place in places if place != result and isfile(place)), None)  # a folder's have one name


def check_record(result: Path, source: Path | None = None) -> list[str]:
    """Hold a result, and its source if it is there, against the record.

    Args:
        result: the result; its record lies beside it.
        source: the source, if it is not where it was.

    Returns:
        One sentence for everything that is wrong; empty if all is as it was.

    Raises:
        InputMissing: there is no record.
        InputError: the record is not a record.
        InputUnreadable: one of the files may not be read.
    """
    record = read_record(result)
    problems = [f"the check {c.name!r} failed when the result was made: {c.detail}" for c in record.checks if not c.ok]
    if not record.checks:
        problems.append("the result was never verified against its source")
    problems += _compare(result, record.result)
    place = source or find_source(record, result)
    if place is not None:
        problems += _compare(place, record.source)
    return problems


def _compare(path: Path, expected: FileDigest) -> list[str]:
    if not isfile(path):
        return [f"{path} is missing"]
    try:
        size, sha256 = digest(path)
    except OSError as error:
        raise InputUnreadable(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if size != expected.bytes:
        return [f"{path} has {size} bytes and had {expected.bytes} when the record was written"]
    if sha256 != expected.sha256:
        return [f"{path} has changed: its sha256 is {sha256} and was {expected.sha256}"]
    return []


def _describe(path: Path, folder: Path, made: Path | None = None) -> FileDigest:
    try:
        size, sha256 = digest(made or path)
    except OSError as error:
        raise InputMissing(f"{path} cannot be read for its record ({error.strerror}); is it gone?") from error
    # Without links, because ".." of a linked folder is where the link leads to. A file keeps the name it was given.
    relative = os.path.relpath(path.parent.resolve() / path.name, folder.resolve())
    return FileDigest(relative, size, sha256)


def _versions() -> dict[str, str]:
    # A cluster's machines may have been sent the package without its metadata.
    found = {"python": platform.python_version(), "system": platform.platform(), "vidsr": vidsr.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def iso_time(seconds: float) -> str:
    """A time in seconds since 1970 UTC as records say it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _save(record: EvidenceRecord, result: Path) -> None:
    write_output(record_path(result), record.to_json().encode())
