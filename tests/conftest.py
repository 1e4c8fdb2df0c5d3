"""Fixtures that several test modules use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.browser import Browser, find_chromium
from tests.nearest import nearest_model
from vidsr.media.encoders import calm_threads

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ.setdefault("RAY_worker_niceness", "0")  # else Ray's processes wait behind everything else on the machine
hypothesis.settings.register_profile("vidsr", deadline=None, derandomize=True)
hypothesis.settings.load_profile("vidsr")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test files beside the checkout; the test is skipped where it is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data with real test files is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights file of a 2x model that repeats pixels."""
    return nearest_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; the test is skipped where none is installed."""
    programs = find_chromium()
    if programs is None:
        pytest.skip("no chromium and chromedriver on this machine (Debian: apt install chromium-driver)")
    opened = Browser(*programs, tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 is allowed, and afterwards as it was."""
    import torch

    flags = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = True
    yield
    for flag, was in zip(flags, before, strict=True):
        flag.allow_tf32 = was


@pytest.fixture(autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """Processes that tests start must not inherit real-time priority from an AV1 encoder in this one."""
    yield
    calm_threads()
