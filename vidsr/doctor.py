"""What this machine can do, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from vidsr import __version__
from vidsr.errors import EncoderError, OutputUnwritable
from vidsr.machine import free_memory, has_native_int8, usable_cores
from vidsr.media.encoders import check_encoder
from vidsr.media.nvdec import TRIED_WITH, is_exact
from vidsr.model.backends import has_native_bf16
from vidsr.model.registry import bundled_models
from vidsr.model.upscaler import find_device
from vidsr.paths import temporary_folder

PACKAGES = ("torch", "av", "ray", "numpy")
EXTRAS = {"openvino": "faster on CPUs", "gpxpy": "GPS tracks as GPX", "s3fs": "folders on S3"}
ENCODERS = ("libx264", "libx265", "libsvtav1", "ffv1", "h264_nvenc", "hevc_nvenc", "av1_nvenc")
LEAST_MEMORY = 4 << 30
LEAST_DISK = 5 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        what: the part examined.
        found: what was found.
        ok: whether it is as it should be; what is optional counts as ok.
        remedy: what to do, or "".
    """

    what: str
    found: str
    ok: bool = True
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at versions, devices, encoders, memory, disk and models."""
    return [*_versions(), *_devices(), *_decoders(), *_encoders(), *_room(), _models()]


def _versions() -> list[Finding]:
    findings = [Finding("vidsr", f"{__version__} on Python {platform.python_version()}, {platform.machine()}")]
    findings += [Finding(name, importlib.metadata.version(name)) for name in PACKAGES]
    for name, use in EXTRAS.items():
        try:
            findings.append(Finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, f"not installed ({use})", remedy=f"pip install {name}"))
    return findings


def _devices() -> list[Finding]:
    import torch

    native = {"bfloat16": has_native_bf16(), "int8": has_native_int8()}
    cores = ", ".join(
        [f"{usable_cores()} core(s)", *(f"{'' if has else 'no '}native {name}" for name, has in native.items())]
    )
    findings = [Finding("CPU", cores)]
    if find_device("auto").type == "cuda":
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            findings.append(Finding(f"cuda:{number}", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"))
    else:
        remedy = "with an NVIDIA card: install its driver and a CUDA build of torch"
        findings.append(Finding("GPU", "none that torch can use", remedy=remedy))
    return findings


def _decoders() -> list[Finding]:
    exact = [f"{codec} {pix_fmt}" for codec, pix_fmt in TRIED_WITH if is_exact(codec, pix_fmt)]
    if exact:
        return [Finding("NVDEC", f"gives the samples of FFmpeg's decoders: {', '.join(exact)}")]
    return [
        Finding("NVDEC", "not here", remedy="optional: the CPU decodes; in a container, allow the capability `video`")
    ]


def _encoders() -> list[Finding]:
    findings = []
    for name in ENCODERS:
        try:
            check_encoder(name)
            findings.append(Finding(name, "works"))
        except EncoderError as error:
            findings.append(Finding(name, "not here", ok="nvenc" in name, remedy=error.message))
    return findings


def _room() -> list[Finding]:
    memory = free_memory()
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else memory
    return [
        Finding("memory", f"{memory / 1e9:.1f} GB available", memory >= LEAST_MEMORY,
                "" if memory >= LEAST_MEMORY else "close other programs; at least 4 GB are needed"),
        Finding("shared memory", f"{shared / 1e9:.1f} GB in /dev/shm", shared >= 1 << 30,
                "" if shared >= 1 << 30 else "give the container more (docker run --shm-size=2g)"),
        _temporary_disk(),
    ]  # fmt: skip


def _temporary_disk() -> Finding:
    try:
        disk = shutil.disk_usage(temporary_folder()).free
    except OutputUnwritable as error:
        return Finding("temporary disk", "not here", ok=False, remedy=error.message)
    remedy = "" if disk >= LEAST_DISK else "free some; Ray stops working on a full disk"
    return Finding("temporary disk", f"{disk / 1e9:.1f} GB free", disk >= LEAST_DISK, remedy)


def _models() -> Finding:
    names = ", ".join(model.name for model in bundled_models())
    return Finding("models", names or "none", bool(names), "" if names else "reinstall vidsr; the weights are missing")


def findings_table(findings: list[Finding]) -> Table:
    """The findings for people."""
    table = Table("", "", "found", "remedy", box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]!![/]"
        table.add_row(mark, *map(escape, (finding.what, finding.found, finding.remedy)))
    return table
