"""Which videos of a folder a job does, and where their results go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os.path import relpath
from pathlib import Path, PurePosixPath

from jobs.storage import STATE_FOLDER, Entry, Place
from vidsr.console import counted
from vidsr.errors import InputMissing, InputUnreadable, NoVideos, SettingsError, first_line
from vidsr.evidence import RECORD_SUFFIX
from vidsr.graph.ledger import content_sample
from vidsr.media.formats import FORMATS
from vidsr.paths import VIDEO_SUFFIXES, is_image
from vidsr.settings import UpscaleSettings

JOINED = f"{STATE_FOLDER}/joined"


@dataclass(frozen=True)
class Selection:
    """Which files of the input folder.

    Attributes:
        patterns: shell patterns of the relative name; none takes all videos.
        names: exactly these names, as a list file gives them, each once; None takes what is there.
        limit: at most so many, the first by name or of the list; None is all.
    """

    patterns: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    limit: int | None = None


def read_list(path: Path) -> tuple[str, ...]:
    """The names in a list file: one a line; empty lines and lines that begin with # are left out.

    Raises:
        InputMissing: no such file.
        InputUnreadable: it is not text in UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputUnreadable(f"{path} is not UTF-8 text; save the list as UTF-8") from error
    except OSError as error:
        raise InputMissing(f"{path} cannot be read ({error.strerror}); check the name of the list") from error
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        videos: to do, by name or in the order of the list.
        results: how many are left out because vidsr made them: the record of each lies beside it, or is that of a join.
        others: how many files are no videos by their names; hidden ones and records are not counted.
        pictures: how many of these are pictures.
    """

    videos: list[Entry]
    results: int = 0
    others: int = 0
    pictures: int = 0

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is left out, for the user."""
        unknown = self.others - self.pictures
        kinds = (
            (self.results, "video", " that vidsr made; --list takes them too"),
            (self.pictures, "picture", "; name the pictures instead of their folder"),
            (unknown, "other file", " without a video's name; --list takes them too"),
        )
        return tuple(f"left out: {counted(n, kind)}{why}" for n, kind, why in kinds if n)


def find_videos(inputs: Place, output: Place, selection: Selection) -> Found:
    """The videos of a folder, without those below the output root, hidden ones, and results of vidsr.

    Raises:
        InputMissing: the list names a file that is not there, or the store has no such bucket.
        InputUnreadable: the store cannot be reached or does not let us look.
        SettingsError: the list names a file outside the folder, or the URL is that of one file.
        NoVideos: nothing is left.
    """
    try:
        there = list(inputs.files()) if selection.names is None else _listed(inputs, selection.names)
    except FileNotFoundError as error:
        raise InputMissing(f"{inputs.url} does not exist; check the bucket's name") from error
    except OSError as error:
        if inputs.folder is not None:
            raise InputUnreadable(f"{inputs.url} may not be read ({error.strerror}); check its permissions") from error
        raise InputUnreadable(
            f"{inputs.url} cannot be listed ({first_line(error)}); check the network, the credentials and the endpoint"
        ) from error
    inside = _below(inputs, output)
    fitting = [
        entry
        for entry in there
        if (not selection.patterns or any(fnmatch(entry.name, pattern) for pattern in selection.patterns))
        and not (inside and entry.name.startswith(inside))
    ]
    found = Found(fitting) if selection.names is not None else _sources(fitting, {entry.name for entry in there})
    if not found.videos:
        if inputs.folder is None and inputs.entry(""):
            name = PurePosixPath(inputs.url).name
            raise SettingsError(f"{inputs.url} is one file; give its folder with --pattern '{name}'")
        wanted, check = "", "the folder's name"
        if selection.patterns:
            wanted, check = f" that fit {', '.join(selection.patterns)}", "--pattern"
        left_out = "".join(f"; {sentence}" for sentence in found.sentences)
        raise NoVideos(f"{inputs.url} holds no videos{wanted}; check {check}{left_out}")
    return replace(found, videos=found.videos[: selection.limit])


def _sources(entries: list[Entry], there: set[str]) -> Found:
    """The videos among some files of a folder in which there are files of these names."""
    shown = [entry for entry in entries if not any(part.startswith(".") for part in PurePosixPath(entry.name).parts)]
    videos = sorted((e for e in shown if PurePosixPath(e.name).suffix.lower() in VIDEO_SUFFIXES), key=lambda e: e.name)
    sources = [e for e in videos if f"{e.name}{RECORD_SUFFIX}" not in there and not _is_joined(e.name, there)]
    records = sum(entry.name.endswith(RECORD_SUFFIX) for entry in shown)
    pictures = sum(is_image(Path(entry.name)) for entry in shown)
    return Found(sources, len(videos) - len(sources), len(shown) - len(videos) - records, pictures)


def _is_joined(name: str, there: set[str]) -> bool:
    """Whether a job below whose output a video lies, noted that it joined it."""
    path = PurePosixPath(name)
    return any(f"{root / JOINED / path.relative_to(root)}.json" in there for root in path.parents)


def _listed(inputs: Place, names: Iterable[str]) -> list[Entry]:
    return [_entry(inputs, name) for name in dict.fromkeys(_below_inputs(inputs, name) for name in names)]


def _below_inputs(inputs: Place, name: str) -> str:
    """A listed name as the folder's listing has it. Keys of object stores are no paths: they have one spelling."""
    if inputs.folder is not None:
        name = Path(relpath(inputs.folder / name, inputs.folder)).as_posix()
    if ".." in PurePosixPath(name).parts:  # its result would not be below the output root either
        raise SettingsError(f"{name} is in the list and not below {inputs.url}; name the folder that holds all of them")
    return name


def _entry(inputs: Place, name: str) -> Entry:
    entry = inputs.entry(name)
    if entry is None:
        raise InputMissing(f"{inputs.url_of(name)} is in the list and does not exist; correct the list")
    return entry


def _below(inputs: Place, output: Place) -> str:
    outer, inner = inputs.url.rstrip("/") + "/", output.url.rstrip("/") + "/"
    return inner[len(outer) :] if inner.startswith(outer) else ""


def result_names(names: Iterable[str], settings: UpscaleSettings) -> dict[str, str]:
    """The result's name below the output root for each source: the same, with another suffix where `--container`
    asks for one or the source's container cannot be written (AVI becomes Matroska). Two sources that would share a
    name keep their suffix in it: `a.mov.mkv`."""  # fmt: skip
    suffixes = {name: result_suffix(name, settings.encode.container) for name in names}
    wanted = {name: str(PurePosixPath(name).with_suffix(suffix)) for name, suffix in suffixes.items()}
    while twins := {result for result, sources in Counter(wanted.values()).items() if sources > 1}:
        wanted |= {name: f"{name}{suffixes[name]}" for name, result in wanted.items() if result in twins}
    return wanted


def result_suffix(name: str, container: str) -> str:
    """The suffix of a source's result, as far as its name and `--container` tell."""
    own = PurePosixPath(name).suffix
    writable = own.lower().lstrip(".") in FORMATS
    if container == "same" or (container == "auto" and writable):
        return own
    return ".mkv" if container == "auto" else f".{container}"


def fingerprint(inputs: Place, entry: Entry) -> str:
    """Size, time and a sample of the content (the store's own hash where there is one) of a source."""
    sample = entry.tag
    if not sample and inputs.folder is not None:
        try:
            sample = content_sample(inputs.folder / entry.name)[:32]
        except OSError:
            sample = "unreadable"  # which is said of this video once it is its turn
    return f"{entry.size}-{entry.mtime_ns}-{sample}"


def without_time(key: str) -> str:
    """A fingerprint, or what begins with one, without the time."""
    return re.sub(r"^(\d+)--?\d+-", r"\1-", key)


def longest_first(entries: Sequence[Entry]) -> list[Entry]:
    """By size, which stands for length before a video is probed; equal ones by name."""
    return sorted(entries, key=lambda entry: (-entry.size, entry.name))
