import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vidsr import machine
from vidsr.machine import free_memory, usable_cores

AS_READ = {  # of each version: a limit of 1.5 GiB, of which 1 GiB is used, 256 MiB of that for files
    2: {
        "memory.max": f"{3 << 29}\n",
        "memory.current": f"{1 << 30}\n",
        "memory.stat": f"anon {3 << 28}\nactive_file 4096\ninactive_file {1 << 28}\n",
    },
    1: {
        "memory/memory.limit_in_bytes": f"{3 << 29}\n",
        "memory/memory.usage_in_bytes": f"{1 << 30}\n",
        "memory/memory.stat": f"inactive_file 4096\ntotal_inactive_file {1 << 28}\n",
    },
}


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the control group's; without files, as outside of containers."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory").mkdir()
    return tmp_path


@pytest.fixture
def allowed() -> Iterator[set[int]]:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two cores")
    yield before
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("group")
def test_cores_are_those_that_the_process_may_run_on(allowed: set[int]) -> None:
    assert usable_cores() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    assert usable_cores() == 1


@pytest.mark.parametrize(("quota", "fewer"), [("100000", True), ("50000", True), ("max", False), ("900000000", False)])
@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_quota_counts_where_it_is_less(
    group: Path, allowed: set[int], quota: str, fewer: bool, version: int
) -> None:
    if version == 2:
        (group / "cpu.max").write_text(f"{quota} 100000\n")
    else:
        (group / "cpu/cpu.cfs_quota_us").write_text(f"{quota.replace('max', '-1')}\n")
        (group / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == (1 if fewer else len(allowed))


@pytest.mark.parametrize("version", [1, 2])
def test_memory_is_what_the_containers_limit_leaves(group: Path, version: int) -> None:
    for name, text in AS_READ[version].items():
        (group / name).write_text(text)
    assert free_memory() == min(psutil.virtual_memory().available, 3 << 28)


def test_without_a_limit_memory_is_the_machines(group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    assert free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
