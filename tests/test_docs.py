from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.media.clips import Clip, make_clip
from tests.reference import DOCS, PAGES, commands
from training.footage import read_planes
from training.scene.drive import DriveSpec, write_drive
from vidsr.media.probe import probe

PAGES_TO_READ = sorted([*DOCS.glob("**/*.md"), DOCS.parent / "README.md"])


def anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings: small letters, hyphens for spaces, no other signs, -1 for the second."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)? *$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = (f"{slug}-{number}" for number in itertools.count(1))
        found.add(next(name for name in itertools.chain([slug], again) if name not in found))
    return found


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_generated_parts_are_up_to_date(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert PAGES[name](page) == page, f"docs/{name} is out of date; run python -m tests.reference"


def test_every_command_has_a_heading() -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) == {name for name, _ in commands()}


@pytest.mark.parametrize("page", PAGES_TO_READ, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(found), f"{page.name} links to #{anchor}, which {found.name} lacks"


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# What `auto` takes, 2x\n## Flicker\n```sh\n# no heading\n```\n### Flicker ###\n#hash\n## A - b_c\n"
    )
    assert anchors(page) == {"what-auto-takes-2x", "flicker", "flicker-1", "a---b_c"}


@pytest.mark.parametrize("page", PAGES_TO_READ, ids=lambda p: p.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    known = {name for name, _ in commands()}
    for first in re.findall(r"^\s*(?:\$ )?vidsr ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert f"vidsr {first}" in known, f"{page.name} shows vidsr {first}, which is no command"


def test_nobody_is_sent_to_another_project() -> None:
    """`vidsr` on PyPI is not ours."""
    sources = [
        path for folder in ("vidsr", "training", "jobs", "benchmarks") for path in (DOCS.parent / folder).rglob("*.py")
    ]
    for path in [*PAGES_TO_READ, *sources]:
        found = re.search(r"pip install [^\n`]*\bvidsr\b", path.read_text(encoding="utf-8"))
        assert not found or "PyPI" in found[0], f"{path.name}: {found}"


def test_the_readmes_python_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    make_clip(tmp_path / "drive.mp4", Clip(frames=5))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"picture": np.full((48, 64, 3), 90, np.uint8)}
    exec(code, names)
    assert probe(tmp_path / "drive_2x.mp4").width == 2 * probe(tmp_path / "drive.mp4").width
    assert names["large"].shape == (96, 128, 3)


def test_the_example_stage_works(tmp_path: Path, nearest: Path) -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), names)
    drive = write_drive(tmp_path, DriveSpec(seconds=0.2, width=320, height=192, rate=10))
    segment = tmp_path / "segment.mkv"
    assert names["upscale_lightened"](drive.clip, segment, nearest) == 2
    for small, large in zip(read_planes(drive.clip), read_planes(segment), strict=True):
        repeated = small[0].repeat(2, axis=0).repeat(2, axis=1)
        lift = large[0].astype(int) - repeated
        assert lift.min() >= 0
        assert lift[repeated < 60].mean() > lift[repeated > 200].mean() + 5
