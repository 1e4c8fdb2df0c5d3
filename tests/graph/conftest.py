"""Fixtures of the tests that run a job graph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """A local Ray for two upscalers, which the other runs of a module join."""
    with Session(ClusterSettings(actors=2)) as running:
        running.start()
        yield running
