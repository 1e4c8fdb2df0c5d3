"""Every kind of source through decoder, encoder and muxer: `verify` finds the same file, only larger."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import pytest

from tests.media.clips import CASES, Clip, encodable, make_clip
from tests.media.frames import VIDEOS
from tests.media.pipeline import upscale
from vidsr.describe import info_as_json
from vidsr.media.beside import index_path
from vidsr.media.compare import write_page
from vidsr.media.formats import choose_suffix
from vidsr.media.mux import MuxReport
from vidsr.media.probe import probe
from vidsr.media.verify import verify

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "bt601_full_range.mp4", "h264_10bits.mp4", "h265_10bits.mp4", "juscar-data-track.ts", "nasa_13013_rotated.mp4",
    "no-initial-keyframe.ts", "odd-size-vp9.mp4", "subtitles-ssa.mkv", "test_non_zero_start.mp4",
    "testsrc2_444_10bit_hevc.mp4", "testsrc2_hdr.mp4",
}  # fmt: skip
ELSEWHERE = [
    (case, suffix)
    for case in ("h264-mp4-text", "h264-mkv", "h264-ts", "mpeg2-ts-data", "h264-mp4-data", "h264-mp4-rotated-90",
                 "h264-mp4-late-start", "hevc-mp4", "h264-mkv-short-sound")
    for suffix in ("mp4", "mov", "mkv", "ts")
    if suffix != CASES[case][0]
]  # fmt: skip


def prove(source: Path, suffix: str, folder: Path) -> tuple[MuxReport, Path]:
    result = folder / f"{source.stem}_2x.{suffix}"
    report = upscale(source, result)
    proof = verify(source, result, scale=2)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    return report, result


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_source(case: str, tmp_path: Path) -> None:
    suffix, clip = CASES[case]
    if not encodable(clip):
        pytest.skip(f"this build of FFmpeg has no {clip.codec}")
    source = make_clip(tmp_path / f"source.{suffix}", clip)
    suffix, why = choose_suffix(probe(source), "auto", "libx264")
    report, _ = prove(source, suffix.lstrip("."), tmp_path)
    assert report.not_carried == ()
    assert bool(why) == (source.suffix in (".avi", ".webm")), "libx264 does not go into WebM"


@pytest.mark.parametrize(("case", "suffix"), ELSEWHERE, ids=[f"{case}-to-{suffix}" for case, suffix in ELSEWHERE])
def test_another_container(case: str, suffix: str, tmp_path: Path) -> None:
    """What the other container has no place for is said, and lies beside the result."""
    origin, clip = CASES[case]
    source = make_clip(tmp_path / f"source.{origin}", clip)
    report, result = prove(source, suffix, tmp_path)
    index = json.loads(index_path(result).read_text()) if index_path(result).exists() else {}
    beside = {stream["index"] for stream in index.get("streams", ())}
    attachments = {stream.index for stream in report.left if stream.kind == "attachment"}
    assert {stream.index for stream in report.left} == beside | attachments
    assert bool(report.not_carried) == bool(report.left or "rotation" in str(index.get("stream_tags")))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in VIDEOS])
def test_real_files(name: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "video" / name
    prove(source, source.suffix.lower().lstrip("."), tmp_path)


def test_reordered_frames_in_avi_are_none_lost(tmp_path: Path) -> None:
    """FFmpeg gives each frame the time of another: AVI's packets have no times but their places in the file."""
    clip = Clip(options={"bf": "3", "preset": "veryfast"}, sound=("pcm_s16le",))
    source = make_clip(tmp_path / "source.avi", clip)
    info = probe(source)
    assert info.table.pts == tuple(range(info.table.pts[0], info.table.pts[0] + clip.frames))
    assert not info.missing
    prove(source, "mkv", tmp_path)


def test_private_data_and_side_files_lie_beside(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=8))
    with source.open("ab") as file:
        file.write(b"\0\0\0\x20free[1623057074211]$GPRMC,081" + b"a tail")
    (tmp_path / "clip.GPS").write_bytes(b"log")
    _, result = prove(source, "mp4", tmp_path)
    index = json.loads(index_path(result).read_text())
    assert [block["path"] for block in index["blocks"]] == ["free", "trailer"]
    assert (tmp_path / "clip_2x.GPS").read_bytes() == b"log"


def test_every_row_of_the_page_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:tests/)?test_\w+\.py)::(test_\w+)`", page)
    assert len(names) > 30
    for file, name in names:
        path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "media" / file
        assert f"def {name}(" in path.read_text(encoding="utf-8"), f"{file}::{name}"
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert all("::test_" in row for row in rows)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "ts"])
def test_tags_that_are_not_utf8(suffix: str, tmp_path: Path) -> None:
    """Old cameras write GBK: its bytes are in the result as they are in the source, or beside it."""
    title = "行车记录".encode("gbk").decode("utf-8", "surrogateescape")
    source = make_clip(tmp_path / "source.avi", Clip(codec="mpeg4", sound=("libmp3lame",), tags={"title": title}))
    _, result = prove(source, suffix, tmp_path)
    assert ("title", title) in (*probe(result).tags, *beside_tags(result).items())
    write_page(source, result, tmp_path / "page.html")
    assert json.loads(json.dumps(info_as_json(probe(source)), ensure_ascii=False).encode())


def test_attachments_of_one_name_lie_beside_apart(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(frames=8))
    source = tmp_path / "source.mkv"
    files = {"font.ttf": b"one", "2.font.ttf": b"another", "attachment3": b"no name", "a.ttf": b"of a folder"}
    with av.open(str(clip)) as film, av.open(str(source), "w") as made:
        copied = made.add_stream_from_template(film.streams.video[0])
        for name, content in zip(("font.ttf", "font.ttf", "", "fonts/a.ttf"), files.values(), strict=True):
            made.add_attachment(name, "font/ttf", content)
        for packet in film.demux():
            if packet.size:
                packet.stream = copied
                made.mux(packet)
    _, result = prove(source, "mp4", tmp_path)
    assert {name: (tmp_path / f"{result.name}.{name}").read_bytes() for name in files} == files
    prove(source, "mkv", tmp_path)


def beside_tags(result: Path) -> dict[str, str]:
    if not index_path(result).exists():
        return {}
    tags: dict[str, str] = json.loads(index_path(result).read_bytes()).get("tags", {})
    return tags
