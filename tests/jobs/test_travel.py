from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cache import NodeCache
from jobs.storage import Entry, open_place
from jobs.travel import Travel


@pytest.mark.parametrize(
    ("inputs", "output", "far"),
    [
        ("memory://card", "memory://large", "memory://card/day/a.mp4"),
        ("memory://card", "/large", "memory://card/day/a.mp4"),
        ("/card", "memory://large", "/card/day/a.mp4"),
        ("/card", "/large", None),
    ],
)
def test_a_copy_on_a_node_is_called_by_the_sources_name(
    tmp_path: Path, inputs: str, output: str, far: str | None
) -> None:
    entry, cache = Entry("day/a.mp4", 1, 0), NodeCache(tmp_path, 1 << 20)
    travel = Travel(open_place(inputs), entry, open_place(output), "day/a.mp4", cache)
    with_copy = cache.path(travel.inputs, entry) if inputs != "/card" else Path("/card/day/a.mp4")
    assert travel.far_name == far
    assert travel.with_name(f"{with_copy}: no video") == f"{inputs}/day/a.mp4: no video"
