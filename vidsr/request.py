"""What one `vidsr upscale` is asked for, and what is wrong with it that can be said before any work."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from os.path import isdir, splitext
from pathlib import Path

from jobs.find import result_suffix
from jobs.folder import FolderOptions, places
from vidsr.errors import InputEmpty, InputError, InputUnreadable, OutputUnwritable, SettingsError
from vidsr.graph.prepare import VideoPlan, preview
from vidsr.paths import VIDEO_SUFFIXES, by_name, check_name, check_source, default_result, is_image, is_output_folder
from vidsr.settings import ClusterSettings, UpscaleSettings
from vidsr.signing import Credentials, open_signer

# Settings that a picture has no use for.
_OF_VIDEOS = (
    "hwaccel", "stabilise_detail", "codec", "crf", "preset", "container", "start", "end", "segment_seconds",
    "deinterlace", "fill_gaps", "gpx",
)  # fmt: skip


def is_folder(source: Path | str) -> bool:
    """Whether an input is a folder; every URL is taken for one."""
    return isinstance(source, str) or isdir(source)


@dataclass(frozen=True)
class Request:
    """What a command is to do.

    Attributes:
        inputs: videos, pictures and folders.
        out: file or folder of the results; None is beside each input.
        settings: what to make.
        cluster: where the work runs.
        options: how folders are gone through; whether results may be replaced, of files too.
        credentials: who signs the results; None is nobody.
        dry_run: check and estimate, do nothing.
    """

    inputs: tuple[Path | str, ...]
    out: Path | str | None = None
    settings: UpscaleSettings = field(default_factory=UpscaleSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    options: FolderOptions = field(default_factory=FolderOptions)
    credentials: Credentials | None = None
    dry_run: bool = False

    @property
    def is_single(self) -> bool:
        """Whether there is but one input."""
        return len(self.inputs) == 1

    @property
    def out_of_files(self) -> Path | None:
        """`out`, as it is for inputs that are files: `check` refuses a URL for these."""
        assert not isinstance(self.out, str)
        return self.out

    def out_of_folder(self, folder: Path | str) -> Path | str | None:
        """The output root of an input that is a folder: one of several has its own below `out`. None is beside it."""
        return self.out if self.out is None or self.is_single else f"{self.out}/{by_name(Path(folder)).name}"

    def preview(self, source: Path, overwrite: bool = True, gpu: bool = False) -> AbstractContextManager[VideoPlan]:
        """The plan of an input that is a video, as `prepare.preview`."""
        return preview(source, self.out_of_files, self.settings, overwrite, gpu)

    def check(self) -> None:
        """Say what is wrong with the command as a whole; of what is wrong with one input, only that it is missing.

        Raises:
            VidsrError: of the class of whatever is wrong.
        """
        if self.credentials:
            with open_signer(self.credentials):
                pass
        if isinstance(self.out, Path) and not is_output_folder(self.out):
            if not self.is_single:
                raise SettingsError(f"{len(self.inputs)} inputs cannot all become {self.out}; give a folder with -o")
            if self.out.suffix.lower() in VIDEO_SUFFIXES and is_folder(self.inputs[0]):
                raise SettingsError(f"all videos of a folder cannot become {self.out}; give a folder with -o")
        self._refuse_missing()
        self._refuse_odd_names()
        self._refuse_without_folder()
        self._refuse_without_video()
        self._refuse_shared_results()

    def _refuse_missing(self) -> None:
        """An input that does not exist: most likely its name is wrong."""
        for source in self.inputs:
            if isinstance(source, Path):
                with suppress(InputEmpty, InputUnreadable):  # of one file, which stops no other
                    check_source(source)

    def _refuse_odd_names(self) -> None:
        """Names with which Ray would not start, nor in such a folder or none."""
        for source in self.inputs:
            check_name(source, InputUnreadable)
        if self.out is not None:
            check_name(self.out, OutputUnwritable, "give another with -o")
        try:
            check_name(Path.cwd(), SettingsError, "rename it, or run the command in another folder")
        except FileNotFoundError as error:
            raise SettingsError("the folder that the command runs in is gone; run it in another") from error

    def _refuse_without_folder(self) -> None:
        """Options of folders where no input is one: whoever gave them expects something else than will happen."""
        if any(map(is_folder, self.inputs)):
            return
        selection = self.options.selection
        given = {
            "--pattern": bool(selection.patterns), "--list": selection.names is not None,
            "--limit": selection.limit is not None, "--retry-failed": self.options.retry_failed,
            "--join": self.options.join,
        }  # fmt: skip
        if vain := [name for name, is_given in given.items() if is_given]:
            raise SettingsError(
                f"{self.inputs[0]} is no folder, and only folders take {' and '.join(vain)}; leave that out, "
                "or name its folder"
            )

    def _refuse_without_video(self) -> None:
        """Options of videos where all inputs are pictures, which have no place for what they ask for."""
        if any(is_folder(source) or not is_image(Path(source)) for source in self.inputs):
            return
        asked, usual = ({**vars(each), **vars(each.encode)} for each in (self.settings, UpscaleSettings()))
        if vain := [f"--{name.replace('_', '-')}" for name in _OF_VIDEOS if asked[name] != usual[name]]:
            raise SettingsError(
                f"{self.inputs[0]} is a picture, and only videos take {' and '.join(vain)}; leave that out"
            )

    def _refuse_shared_results(self) -> None:
        """Inputs whose results would replace each other, or another input."""
        results = [self._result(source) for source in self.inputs]
        self._refuse_twins(results)
        stems = Counter(splitext(result)[0] for result in results)
        for number, source in enumerate(self.inputs):
            if stems[splitext(results[number])[0]] > 1 and self._may_become_matroska(source):
                # one that cannot be read has no result
                with suppress(InputError), self.preview(Path(source)) as plan:
                    results[number] = _whole_name(plan.result)
        self._refuse_twins(results)

    def _refuse_twins(self, results: list[str]) -> None:
        made: dict[str, Path | str] = {}
        given = {_whole_name(source): source for source in self.inputs if isinstance(source, Path)}
        for source, result in zip(self.inputs, results, strict=True):
            if given.get(result, source) != source:
                raise SettingsError(f"{source} would become {result}, which is an input too; leave that out, or use -o")
            if result in made:
                raise SettingsError(
                    f"{made[result]} and {source} would both become {result}; do one at a time, each with its own -o"
                )
            made[result] = source

    def _result(self, source: Path | str) -> str:
        """The result of an input, as far as names tell."""
        if is_folder(source):
            return places(source, self.out_of_folder(source), self.settings)[1].url
        if isinstance(self.out, str):
            raise SettingsError(f"{source} is one file and {self.out} a URL; give its folder with --pattern")
        file = Path(source)
        suffix = file.suffix if is_image(file) else result_suffix(file.name, self.settings.encode.container)
        return _whole_name(default_result(file, self.out, self.settings, suffix))

    def _may_become_matroska(self, source: Path | str) -> bool:
        """Whether it depends on a video's content which container its result has."""
        return not is_folder(source) and not is_image(Path(source)) and self.settings.encode.container == "auto"


def _whole_name(result: Path) -> str:
    return str(result.parent.resolve() / result.name)
