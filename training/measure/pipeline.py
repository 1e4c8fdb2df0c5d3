"""The real command, run as a user runs it: training measures what people get, not a shortcut to the model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidsr.errors import SALVAGED, RunError


def upscale_files(sources: Sequence[Path], target: Path, scale: int, options: Sequence[str] = ()) -> list[Any]:
    """Run `vidsr upscale` on the sources, its progress going to this process's stderr.

    Args:
        sources: the videos, at least one.
        target: the result's file for one source, a folder for several.
        scale: 2 or 4.
        options: more of the command's options.

    Returns:
        The command's report of each source.

    Raises:
        RunError: the command failed; its own message stands on stderr.
    """
    command = [sys.executable, "-m", "vidsr", "upscale", *map(str, sources), "-o", str(target)]
    command += ["--scale", str(scale), "--overwrite", "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, SALVAGED):
        names = ", ".join(path.name for path in sources)
        raise RunError(f"vidsr upscale ended with exit code {done.returncode} on {names}; its message is above")
    reports = json.loads(done.stdout)
    return reports if isinstance(reports, list) else [reports]
