"""Cores, instructions and memory that this process may use; in a container less than the machine has."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_features__ as _cpu_features

# Where containers see the limits of their own control group, of version 2 or 1:
# https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """CPU cores: those that processes here may run on, or what their time is limited to where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (_read("cpu.max").split() or [_read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")])[:2]
    if not (quota.isdecimal() and period.isdecimal()):  # "max", -1, or nothing
        return cores
    return max(min(cores, int(quota) // int(period)), 1)


def has_avx512() -> bool:
    """Whether the CPU has the foundation of AVX-512 (AVX512F)."""
    return bool(_cpu_features.get("AVX512F"))


def has_native_int8() -> bool:
    """Whether the CPU sums products of bytes in 32 bits (AVX512-VNNI).

    Others were not measured, and some of them clip sums of two products to 16 bits.
    """
    return bool(_cpu_features.get("AVX512VNNI"))


@cache
def has_amx() -> bool:
    """Whether the CPU multiplies tiles of bfloat16 (AMX); only Linux tells."""
    try:
        return " amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def free_memory() -> int:
    """Bytes of memory that can still be used without swapping."""
    import psutil  # a machine that only trains need not have it

    available = psutil.virtual_memory().available
    for limit, used, stat, cached in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        if _read(limit).isdecimal():
            counts = dict(line.split() for line in _read(stat).splitlines())
            # The kernel counts files that it keeps in memory as used, and gives them up when memory is wanted.
            available = min(available, int(_read(limit)) - int(_read(used)) + int(counts.get(cached, 0)))
    return max(available, 0)


def _read(name: str) -> str:
    """The text of a file of the control group; empty where there is none."""
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""
