"""Chapters in containers that can say less of them than the source's: the rest lies beside."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from tests.media.test_parts import cut_out
from vidsr.media.beside.index import index_path
from vidsr.media.proof.verify import verify

WHOLE = [(0, 700), (700, 2000)]
GAPS = [(0, 400), (800, 1200), (1500, 2000)]
LATE = [(500, 1000), (1000, 2000)]
OVERLAP = [(0, 1000), (400, 600), (1000, 2000)]


def film_with(path: Path, chapters: list[tuple[int, int]], tag: str = "title") -> Path:
    """A film of 2 s with chapters from and to so many milliseconds, and a tag of each."""
    plain = make_clip(path.with_name("plain.mkv"), Clip(frames=50, options={"g": "10"}))
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        new.set_chapters(
            [
                {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {tag: f"No. {i}"}}
                for i, (a, b) in enumerate(chapters, 1)
            ]
        )
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    return path


def check_of(source: Path, result: Path, **part: int) -> tuple[bool, str]:
    return next((c.ok, c.detail) for c in verify(source, result, **part).checks if c.name == "chapters")


def chapters(path: Path) -> list[tuple[float, str]]:
    with av.open(str(path)) as container:
        return [
            (round(float(chapter["start"] * chapter["time_base"]), 3), chapter["metadata"]["title"])
            for chapter in container.chapters()
        ]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("times", [WHOLE, GAPS, LATE, OVERLAP], ids=["whole", "gaps", "late", "overlap"])
def test_chapters_are_in_the_file_or_beside_it(times: list[tuple[int, int]], suffix: str, tmp_path: Path) -> None:
    source, result = film_with(tmp_path / "source.mkv", times), tmp_path / f"result.{suffix}"
    report = upscale(source, result)
    kept = suffix == "mkv" or (suffix != "ts" and times == WHOLE)
    written = 0 if suffix == "ts" else len(times)
    said = f"{len(times)} kept" if kept else f"{len(times)} beside the result, {written} in it"
    assert check_of(source, result) == (True, said)
    assert bool(report.not_carried) == index_path(result).exists() == (not kept)
    if not kept:
        index = json.loads(index_path(result).read_text())
        beside = [(entry["start"], entry["end"], entry["title"]) for entry in index["chapters"]]
        assert beside == [(a / 1000, b / 1000, f"No. {i}") for i, (a, b) in enumerate(times, 1)]
        index["chapters"][1]["end"] += 0.1
        index_path(result).write_text(json.dumps(index))
        assert not check_of(source, result)[0]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_chapters_whose_title_is_a_tag_of_matroska_keep_it(suffix: str, tmp_path: Path) -> None:
    source, result = film_with(tmp_path / "source.mkv", WHOLE, "TITLX"), tmp_path / f"result.{suffix}"
    source.write_bytes(source.read_bytes().replace(b"TITLX", b"TITLE"))  # which the muxer would write elsewhere
    upscale(source, result)
    assert check_of(source, result) == (True, "2 kept")
    assert chapters(result) == [(0, "No. 1"), (0.7, "No. 2")]


@pytest.mark.parametrize(
    ("first", "stop", "kept", "said"),
    [
        (3, 15, [(0.0, "No. 1")], "1 kept"),
        (22, 45, [(0.0, "No. 2"), (0.62, "No. 3")], "3 beside the result, 2 in it"),
        (40, 50, [(0.0, "No. 3")], "1 kept"),
    ],
)
def test_a_part_of_chapters_with_gaps_in_mp4(
    first: int, stop: int, kept: list[tuple[float, str]], said: str, tmp_path: Path
) -> None:
    source, result = film_with(tmp_path / "source.mkv", GAPS), tmp_path / "part.mp4"
    cut_out(source, result, first, stop)
    assert chapters(result) == kept
    assert check_of(source, result, first=first, stop=stop) == (True, said)


def test_wrong_chapters_are_found_though_the_right_ones_lie_beside(tmp_path: Path) -> None:
    source, other = film_with(tmp_path / "source.mkv", GAPS), film_with(tmp_path / "other.mkv", OVERLAP)
    upscale(source, tmp_path / "result.mp4")
    index = index_path(tmp_path / "result.mp4").read_text()
    upscale(other, tmp_path / "result.mp4")
    index_path(tmp_path / "result.mp4").write_text(index)
    assert check_of(source, tmp_path / "result.mp4")[0] is False
