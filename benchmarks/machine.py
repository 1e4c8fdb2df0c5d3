"""The machine that is measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = ("torch", "openvino", "av", "ray", "numpy", "opencv-contrib-python-headless", "ncnn")
CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Processor, memory, system, versions, commit, date, and how busy the machine is with other things now."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB{_gpu()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": [round(value, 2) for value in psutil.getloadavg()],
    }


def slug(machine: str) -> str:
    """The machine as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")


def _processor() -> str:
    """Its name, with family and model: virtual machines name many processors alike."""
    said = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", CPUINFO.read_text(), re.MULTILINE)) if CPUINFO.exists() else {}
    if "model name" not in said:
        return platform.processor() or platform.machine()
    return f"{said['model name']} (family {said.get('cpu family')}, model {said.get('model')})"


def _gpu() -> str:
    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
