"""What the commands of this package share: a console, and errors as one line with the project's exit codes."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from vidsr.errors import OutputUnwritable, SettingsError, VidsrError
from vidsr.paths import is_full, write_error, write_whole

# A file or pipe has no width; 80 columns would cut the tables.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
_errors = Console(stderr=True, highlight=False)
noise_option = click.option(
    "--noise", type=click.FloatRange(0, 64), default=0.0, help="Deviation of noise in the clips before they are coded."
)


def run(command: click.Command) -> NoReturn:
    """Run a click command; an error of the project is printed as one line and decides the exit code."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except VidsrError as error:
        _errors.print(f"error: {error.message}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    sys.exit(0)


def whole_numbers(option: str, text: str, largest: int) -> list[int]:
    """Whole numbers from 0 to `largest`, separated by commas, as an option's text gives them.

    Raises:
        SettingsError: they are not.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number <= largest for number in numbers):
        raise SettingsError(f"{option} is {text!r}; give whole numbers from 0 to {largest}, such as 18,23,28")
    return numbers


def write_file(path: Path, content: bytes) -> None:
    """Write a file, by rename.

    Raises:
        OutputUnwritable: its folder is missing or may not be written.
        DiskTooSmall: the disk is full.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        if is_full(error):
            raise write_error(path, error) from error
        raise OutputUnwritable(f"{path} cannot be written ({error.strerror}); choose another place") from error


def write_json(path: Path, values: Any) -> None:
    """Write JSON values as `write_file` does; numbers that are not finite become null."""
    write_file(path, (json.dumps(_finite(values), indent=2) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
