"""Damaged files never hang, crash or pass for whole: bit flips, cuts and shuffled boxes over ten seed files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzzing import damage
from tests.media.clips import Clip, make_clip
from vidsr.media.proof.verify import verify

CASES = 150
MANY_CASES = 4000
PER_PROCESS = 50
SECONDS_PER_CASE = 20
GOP = {"g": "6", "bf": "2", "preset": "veryfast"}
SMALL = {"frames": 12, "width": 64, "height": 48}
SEEDS = {
    "plain.mp4": Clip(**SMALL, options=GOP, sound=("aac",), chapters=1),
    "plain.mov": Clip(**SMALL, options=GOP, sound=("pcm_s16le",), subtitles=("mov_text",)),
    "fragmented.mp4": Clip(**SMALL, options=GOP, sound=("aac",), muxer={"movflags": "frag_keyframe+empty_moov"}),
    "plain.mkv": Clip(**SMALL, options=GOP, sound=("flac",), subtitles=("subrip",), attachment=b"font"),
    "plain.webm": Clip(**SMALL, codec="libvpx-vp9", options={"deadline": "realtime"}, sound=("libopus",)),
    "plain.ts": Clip(**SMALL, options=GOP, sound=("aac",), data="bin_data"),
    "plain.m2ts": Clip(**SMALL, codec="libx265"),
    "plain.avi": Clip(**SMALL, codec="mpeg4", sound=("libmp3lame",)),
    "plain.3gp": Clip(**SMALL, codec="mpeg4"),
    "mjpeg.mov": Clip(**SMALL, codec="mjpeg", pix_fmt="yuvj420p", colour=(6, 2, 2, 2)),
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for name, clip in SEEDS.items():
        make_clip(folder / f"seed-{name}", clip)
    return folder


def run_cases(folder: Path, first: int, stop: int) -> list[dict[str, str]]:
    """The outcomes of a child; fails with the case where it crashed, hung or raised what it must not."""
    command = [sys.executable, "-m", "tests.fuzzing", str(folder), str(first), str(stop)]
    root = Path(__file__).resolve().parents[1]
    try:
        child = subprocess.run(
            command, cwd=root, capture_output=True, text=True, errors="replace", check=False,
            timeout=SECONDS_PER_CASE * (stop - first) / 5,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        last = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
        pytest.fail(f"hung at {last}")
    if child.returncode:
        pytest.fail(f"ended with {child.returncode}: {child.stderr[-3000:]}")
    return [json.loads(line) for line in child.stdout.splitlines()]


def assert_sane(outcomes: list[dict[str, str]]) -> None:
    counts = Counter(outcome["outcome"].split(":")[0] for outcome in outcomes)
    # A result that verify rejects gets no name; with damage in times or sizes that cannot always be avoided.
    rejected = [outcome for outcome in outcomes if outcome["outcome"].startswith("rejected")]
    assert 100 * len(rejected) <= len(outcomes), rejected
    assert counts["decoded"] and counts["proved"] and counts["NotAVideo"], counts


def test_damaged_files(seeds: Path) -> None:
    outcomes = [o for first in range(0, CASES, PER_PROCESS) for o in run_cases(seeds, first, first + PER_PROCESS)]
    assert len(outcomes) == CASES
    assert_sane(outcomes)


def test_a_folder_of_damaged_files_through_the_command(seeds: Path, nearest: Path, tmp_path: Path) -> None:
    files = sorted(seeds.glob("seed-*"))
    sources, results = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    results.mkdir()
    for case in range(1000, 1005):
        suffix = files[case % len(files)].suffix
        damage(files, case, sources / f"case-{case}{suffix}")
    command = [sys.executable, "-m", "vidsr", "upscale", str(sources), "-o", str(results), "--model", str(nearest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert 0 <= done.returncode < 130, done.stderr
    made = [path for path in results.iterdir() if path.suffix in {file.suffix for file in files} | {".mkv"}]
    assert made, done.stderr
    for path in made:
        source = next(each for each in sources.iterdir() if path.stem.startswith(each.stem))
        assert verify(source, path).ok, path
    assert not [path for path in tmp_path.rglob("*.part") if path.parent in (sources, results)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_damaged_files(seeds: Path) -> None:
    span = range(CASES, MANY_CASES, PER_PROCESS)
    assert_sane([o for first in span for o in run_cases(seeds, first, first + PER_PROCESS)])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_cut_at_200_places(seeds: Path, tmp_path: Path, suffix: str) -> None:
    content = (seeds / f"seed-plain.{suffix}").read_bytes()
    for place in range(200):
        # a seed of its own each, which the child cuts, flips or shuffles further
        (tmp_path / f"seed-{place:03}.{suffix}").write_bytes(content[: len(content) * place // 200] or b"\0")
    outcomes = [o for first in range(0, 200, 50) for o in run_cases(tmp_path, first, first + 50)]
    assert len(outcomes) == 200


def test_the_same_case_is_the_same_damage(seeds: Path, tmp_path: Path) -> None:
    files = sorted(seeds.glob("seed-*"))
    assert damage(files, 7, tmp_path / "a") == damage(files, 7, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
