"""What a session holds, and what it takes for a GPU, without one."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

from vidsr.errors import DeviceError, SettingsError
from vidsr.graph.session import Session
from vidsr.graph.stages import TASK_CPUS, UpscalerSpec
from vidsr.graph.upscalers import Upscalers, beside_gpus
from vidsr.model.upscaler import SOURCES_ON_A_GPU
from vidsr.settings import ClusterSettings


def test_a_cluster_does_not_take_the_number_of_a_gpu() -> None:
    with pytest.raises(SettingsError, match=r"cuda:1 names a GPU of one machine.*--device cuda"):
        Session(ClusterSettings(address="127.0.0.1:1"), "cuda:1").start()


def test_upscalers_of_another_kind_take_the_place_of_those_that_are_there() -> None:
    session, ended = Session(ClusterSettings()), []
    specs = [UpscalerSpec(f"{name}.safetensors", 2, "cpu", "auto", 1.0) for name in ("a", "a", "b")]
    for number, spec in enumerate(specs):
        session._upscalers = session._upscalers or cast("Any", SimpleNamespace(close=lambda n=number: ended.append(n)))
        session.load(spec)
        assert session._loaded == spec
    assert ended == [0, 1] and session._upscalers is None


def test_an_address_of_rays_client_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"ray://head:10001 .*`vidsr submit`.*HOST:PORT"):
        ClusterSettings(address="ray://head:10001")


def on_machines(machines: list[tuple[float, float]]) -> Upscalers:
    """As upscalers are on all GPUs of machines with so many (CPUs, GPUs)."""
    upscalers = Upscalers.__new__(Upscalers)
    upscalers.on_gpus, upscalers._machines = True, machines
    upscalers._members = [
        cast("Any", SimpleNamespace(state="ALIVE", handle=None)) for _, n in machines for _ in range(int(n))
    ]
    return upscalers


@pytest.mark.parametrize(
    ("machines", "expected"),
    [([(16.0, 1.0)], 1.0), ([(16.0, 8.0), (64.0, 0.0)], 1.0), ([(4.0, 4.0)], 0.5), ([(1.0, 3.0)], 0.1666), ([], 1.0)],
)
def test_upscalers_on_gpus_leave_cpus_to_encoders(machines: list[tuple[float, float]], expected: float) -> None:
    """One GPU beside one CPU once waited for ever."""
    assert beside_gpus(machines) == expected


def test_segments_beside_gpus_have_room_on_their_machines() -> None:
    session = Session(ClusterSettings(encoder_cpus=2.0))
    session._upscalers = on_machines([(6.0, 1.0)] * 4 + [(15.0, 0.0)] * 8)
    assert session.parallel_segments == 4 * 2 + 8 * 7


@pytest.mark.parametrize(("visible", "expected"), [(None, True), ("", False), ("0", True), ("NoDevFiles", False)])
def test_gpus_that_are_hidden_are_not_there(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: bool
) -> None:
    monkeypatch.setattr(NvidiaGPUAcceleratorManager, "get_current_node_num_accelerators", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    session = Session(ClusterSettings(), "cuda")
    assert session.uses_gpus("auto") is expected
    with nullcontext() if expected else pytest.raises(DeviceError, match="doctor"):
        session.check_device()
    Session(ClusterSettings(address="127.0.0.1:1"), "cuda").check_device()  # whose GPUs are elsewhere


@pytest.mark.parametrize(
    ("gpus", "cpus", "encoder_cpus", "expected"),
    [(1, 4.0, 0.0, 4), (1, 16.0, 0.0, 10), (8, 16.0, 0.0, 32), (1, 64.0, 4.0, 15), (1, 8.0, 4.0, 4)],
)
def test_segments_beside_gpus_fill_the_cores(gpus: int, cpus: float, encoder_cpus: float, expected: int) -> None:
    """One H200 beside 16 cores waited for four encoders."""
    session = Session(ClusterSettings(encoder_cpus=encoder_cpus))
    session._upscalers = on_machines([(cpus, gpus)])
    assert session.parallel_segments == expected


def test_a_gpu_remembers_the_last_frame_of_every_segment_in_flight() -> None:
    """Else nothing of parked footage would be reused."""
    session = Session(ClusterSettings())
    session._upscalers = on_machines([(48.0, 1)])
    assert session.parallel_segments <= SOURCES_ON_A_GPU


@pytest.mark.parametrize(
    ("on_gpus", "wanted", "expected"), [(True, 2.0, 2.0), (True, 0.0, TASK_CPUS), (False, 2.0, TASK_CPUS)]
)
def test_encoders_reserve_what_was_asked_for_beside_gpus_alone(on_gpus: bool, wanted: float, expected: float) -> None:
    session = Session(ClusterSettings(encoder_cpus=wanted))
    session._upscalers = cast("Upscalers", SimpleNamespace(on_gpus=on_gpus))
    assert session.encoder_cpus == expected


def test_upscalers_on_cpus_work_on_two_segments_each() -> None:
    session = Session(ClusterSettings())
    session._upscalers = cast("Upscalers", SimpleNamespace(on_gpus=False, handles=[None] * 3))
    assert session.parallel_segments == 6
