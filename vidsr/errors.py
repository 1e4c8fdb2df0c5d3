"""Every error that vidsr raises on purpose, with the exit code of the command that meets it.

    VidsrError                 1    anything below; never raised itself
    ├── SettingsError          2    an option's value makes no sense (click's usage errors share the code)
    ├── InputError            10
    │   ├── InputMissing      11    no such file or folder
    │   ├── InputUnreadable   12    no permission to read it
    │   ├── InputEmpty        13    0 bytes
    │   ├── NotAVideo         14    no decodable container, or nothing in it can be decoded
    │   ├── NoPicture         15    sound only
    │   ├── NoVideos          16    a folder without videos
    │   ├── UnsupportedSize   17    too small or too large for the model or the encoder
    │   ├── Encrypted         18    the samples are encrypted
    │   └── DamagedVideo      19    a frame that the file promises cannot be decoded
    ├── OutputError           20
    │   ├── OutputIsInput     21    the result would replace its source
    │   ├── OutputExists      22    and --overwrite was not given
    │   ├── OutputUnwritable  23    no folder, or no permission to write there
    │   └── DiskTooSmall      24    the estimate does not fit, or the disk became full
    ├── EncoderError          30
    │   ├── UnknownCodec      31    no such encoder anywhere
    │   └── EncoderMissing    32    known, but not in this build of FFmpeg or on this machine
    ├── ModelError            40
    │   ├── UnknownModel      41    neither a bundled name nor a file
    │   ├── WrongScale        42    the model has another scale
    │   └── BadWeights        43    truncated, a pickle, or of another architecture
    ├── DeviceError           50    the device asked for is not there, or has too little memory; or packages are missing
    ├── RunError              60
    │   ├── SegmentFailed     61    one part of the video failed three times
    │   ├── VerifyFailed      62    the result is not the same file, only larger
    │   ├── ClusterError      63    Ray cannot be started or reached
    │   └── SomeFailed        64    a folder is finished, but a video has no result, or --join failed
    └── Interrupted          130    Ctrl-C; finished segments are kept for the next run

A run that made a result from a damaged source exits with SALVAGED (3).
"""

from __future__ import annotations

SALVAGED = 3


def first_line(error: BaseException | None) -> str:
    """The first line of what an error says, or its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class VidsrError(Exception):
    """Base of the tree. `message` is one line that names the file and the remedy."""

    exit_code = 1

    @property
    def message(self) -> str:
        """The error as one line, as the command prints it."""
        return " ".join(str(self).split())


class SettingsError(VidsrError):
    """An option's value makes no sense."""

    exit_code = 2


class InputError(VidsrError):
    """Something is wrong with the source."""

    exit_code = 10


class InputMissing(InputError):
    """No such file or folder."""

    exit_code = 11


class InputUnreadable(InputError):
    """The source may not be read."""

    exit_code = 12


class InputEmpty(InputError):
    """The source has 0 bytes."""

    exit_code = 13


class NotAVideo(InputError):
    """No container that can be read, or no frame in it that can be decoded."""

    exit_code = 14


class NoPicture(InputError):
    """The source has sound but no picture."""

    exit_code = 15


class NoVideos(InputError):
    """The folder holds no videos."""

    exit_code = 16


class UnsupportedSize(InputError):
    """The picture is too small or too large."""

    exit_code = 17


class Encrypted(InputError):
    """The samples are encrypted."""

    exit_code = 18


class DamagedVideo(InputError):
    """A frame that the file promises cannot be decoded."""

    exit_code = 19


class OutputError(VidsrError):
    """Something is wrong with the place of the result."""

    exit_code = 20


class OutputIsInput(OutputError):
    """The result would replace its source, or a page of `compare` one of its videos."""

    exit_code = 21


class OutputExists(OutputError):
    """The result is there already."""

    exit_code = 22


class OutputUnwritable(OutputError):
    """The result's folder may not be written, or cannot be made; `compare` makes none."""

    exit_code = 23


class DiskTooSmall(OutputError):
    """The disk has too little room."""

    exit_code = 24


class EncoderError(VidsrError):
    """The encoder cannot do what was asked."""

    exit_code = 30


class UnknownCodec(EncoderError):
    """No encoder has this name."""

    exit_code = 31


class EncoderMissing(EncoderError):
    """The encoder exists, but not here."""

    exit_code = 32


class ModelError(VidsrError):
    """Something is wrong with the model."""

    exit_code = 40


class UnknownModel(ModelError):
    """Neither a bundled model nor a file."""

    exit_code = 41


class WrongScale(ModelError):
    """The model has another scale than was asked for."""

    exit_code = 42


class BadWeights(ModelError):
    """The weights file cannot be used."""

    exit_code = 43


# Of every place that finds out: before a run, in a cluster, in a process that loads a model.
NO_GPU = "no CUDA GPU can be used here; use --device cpu, and see `vidsr doctor`"


class DeviceError(VidsrError):
    """The device is missing or has too little memory, or packages to compute or export with are missing."""

    exit_code = 50


class RunError(VidsrError):
    """The run itself failed."""

    exit_code = 60


class SegmentFailed(RunError):
    """One segment failed on every try."""

    exit_code = 61


class VerifyFailed(RunError):
    """The result does not hold what its source holds."""

    exit_code = 62


class ClusterError(RunError):
    """Ray cannot be started or reached."""

    exit_code = 63


class SomeFailed(RunError):
    """A folder or several inputs are finished, but a video has no result, or `--join` could not join some."""

    exit_code = 64


class Interrupted(VidsrError):
    """The user stopped the run; what is finished is kept."""

    exit_code = 130
