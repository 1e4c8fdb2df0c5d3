"""Python on a machine on which only some packages are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

# What docs/training.md says that a run needs.
TRAINING_NEEDS = ["torch", "numpy", "click", "pillow", "safetensors", "rich", "tensorboard", "pytorch-msssim"]

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = """
import sys
for name in sys.argv.pop().split():
    sys.modules.setdefault(name, None)  # importing it raises ImportError, and find_spec finds nothing
"""


def run_with_only(packages: list[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that can import this project, some packages and what those require, and nothing else."""
    allowed, waiting = {"vidsr"}, list(packages)
    while waiting:
        name = _normal(waiting.pop())
        if name not in allowed:
            allowed.add(name)
            waiting += [r for r in _required(name) if "extra ==" not in r]
    blocked = [
        module
        for module, owners in packages_distributions().items()
        if module.isidentifier() and not allowed & {_normal(owner) for owner in owners}
    ]
    command = [sys.executable, "-c", _BLOCK + code, *arguments, " ".join(blocked)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def _normal(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def _required(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another system or version of Python
        return []
