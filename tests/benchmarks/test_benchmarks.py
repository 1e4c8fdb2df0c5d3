"""The benchmark command runs, and its arithmetic is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import machine, presets
from benchmarks.__main__ import main
from benchmarks.clips import parked
from benchmarks.measure import Plan, Row, Task, measured
from benchmarks.peers import PeerMissing, make_peer
from benchmarks.process import CommandFailed, watch
from benchmarks.report import goals, keep, reached, slower
from training.footage import read_planes
from vidsr.errors import NotAVideo

MACHINE = {"machine": "A CPU, 2 cores", "commit": "abc", "load": [0.1, 0.1, 0.1]}


def row(name: str, fps: float, lines: int = 540, scale: int = 2, **more: float | int) -> Row:
    values = {"frames": 10, "cpu": 0.1, "busy": 1.0, "peak_mb": 100, **more}
    return Row(name, lines, scale, fps=fps, **values)  # type: ignore[arg-type]


def test_a_quick_run_prints_a_table_and_keeps_it(tmp_path: Path) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["--quick", "--results", str(tmp_path), "--only", "decode", "--only", "prove"]
    )
    assert result.exit_code == 0, result.output
    assert "decode 96p 1x" in result.stdout and "prove 96p 2x" in result.stdout
    kept = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert kept["rows"]["decode 96p 1x"]["fps"] > 0
    assert {"machine", "versions", "commit", "load"} <= kept.keys()


def test_rows_take_turns(tmp_path: Path) -> None:
    said: list[str] = []
    plan = Plan(tmp_path, 2, (96,), (2,), 0.1, 8, (), said.append)
    tasks = [
        Task(name, [sys.executable, "-c", f"print({name!r})"], lambda runs: row(runs[0].stdout.strip(), len(runs)))
        for name in ("decode", "encode")
    ]
    assert [(each.name, each.fps) for each in measured(plan, tasks)] == [("decode", 2), ("encode", 2)]
    assert said == ["decode, run 1 of 2", "encode, run 1 of 2", "decode, run 2 of 2", "encode, run 2 of 2"]


@pytest.mark.slow
def test_every_row_of_a_quick_run(tmp_path: Path) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["--quick", "--results", str(tmp_path)])
    assert result.exit_code == 0, result.output
    kept = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert {"vidsr fast 96p 2x", "model fast 96p 2x", "plain loop fast 96p 2x", "parked 96p 2x"} <= kept["rows"].keys()
    assert kept["rows"]["vidsr fast 96p 2x"]["first"] > 0


def test_presets_are_compared(tmp_path: Path) -> None:
    source = str(parked(tmp_path, 96, 8))
    words = [source, "--preset", "ultrafast", "--crf", "16", "--crf", "40", "--frames", "8"]
    result = CliRunner().invoke(presets.main, words)
    assert result.exit_code == 0, result.output
    fine, coarse = (
        [float(cell) for cell in line.split("│")[2:6]] for line in result.stdout.splitlines() if "ultra" in line
    )
    assert fine[2] > coarse[2] and fine[3] > coarse[3] + 5, "more bits, and truer"


def test_the_whole_tree_is_watched() -> None:
    child = "import time\nwhile time.process_time() < 1.5: pass"
    start = f"subprocess.run([sys.executable, '-c', {child!r}])"
    parent = f"import subprocess, sys; print('said'); sys.stderr.write('begun\\n'); {start}"
    usage = watch([sys.executable, "-c", parent], Path.cwd(), "begun")
    assert usage.stdout == "said\n"
    assert usage.first_seconds is not None and 0 < usage.first_seconds < usage.seconds
    assert usage.cpu_seconds > 1 and usage.peak_bytes > 1 << 20
    with pytest.raises(CommandFailed, match="exited with 3"):
        watch([sys.executable, "-c", "raise SystemExit(3)"], Path.cwd())


def test_a_run_of_some_rows_leaves_the_others_of_its_commit(tmp_path: Path) -> None:
    machine = {**MACHINE, "commit": "a"}
    keep([row("decode", 100.0), row("encode", 10.0)], {"help": 0.2}, machine, tmp_path)
    kept = json.loads(keep([row("encode", 20.0)], {}, machine, tmp_path).read_text())
    assert {key: value["fps"] for key, value in kept["rows"].items()} == {
        "decode 540p 2x": 100.0,
        "encode 540p 2x": 20.0,
    }
    assert kept["start"] == {"help": 0.2}


def test_a_regression_is_reported(tmp_path: Path) -> None:
    keep([row("decode", 100.0), row("encode", 10.0)], {}, {**MACHINE, "commit": "old"}, tmp_path)
    keep([row("encode", 20.0)], {}, {**MACHINE, "date": "2026-01-01", "commit": "b"}, tmp_path)
    keep([row("encode", 10.0)], {}, {**MACHINE, "date": "2026-01-02", "commit": "a"}, tmp_path)
    keep(
        [row("encode", 30.0)], {}, {**MACHINE, "date": "2026-01-03", "machine": f"{MACHINE['machine']}, GPU"}, tmp_path
    )
    now = [row("decode", 95.0), row("encode", 8.5), row("new", 1.0)]
    (worse,) = slower(now, {**MACHINE, "commit": "def"}, tmp_path)
    assert worse.startswith("encode 540p 2x: 8.50 fps, -15% since a")
    (worse,) = slower([row("decode", 50.0)], {**MACHINE, "commit": "def"}, tmp_path)
    assert worse.startswith("decode 540p 2x: 50.00 fps, -50% since old"), "the newer ones did not measure it"
    assert slower(now, {**MACHINE, "machine": "another"}, tmp_path) == []


def test_processors_that_a_virtual_machine_names_alike_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    found = []
    for model in (17, 2):
        core = f"processor\t: 0\ncpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\nflags\t\t: fpu\n\n"
        machine.CPUINFO.write_text(core * 2)
        found.append(machine.describe_machine()["machine"])
    assert [name[:30] for name in found] == ["AMD EPYC (family 25, model 17)", "AMD EPYC (family 25, model 2),"]
    machine.CPUINFO.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert "None" not in machine.describe_machine()["machine"]


def test_goals_are_computed_from_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    rows = [
        row("decode", 100.0, scale=1, cpu=0.02), row("model fast", 10.0, cpu=0.1), row("encode", 20.0, cpu=0.05),
        row("steady", 20.0, cpu=0.03), row("prove", 100.0, cpu=0.02),
        row("vidsr fast", 5.0, after=9.0, first=6.0), row("plain loop fast", 3.0),
        row("parked", 4.0, after=12.0), row("driving", 1.0, after=2.0),
        row("memory 30 s", 1.0, peak_mb=200), row("memory 600 s", 1.0, peak_mb=202),
    ]  # fmt: skip
    found = {name: value for name, value, _ in goals(rows, {"help": 0.2, "bare": 5.0})}
    assert found == pytest.approx(
        {
            "fast, 540p 2x, frames/s": 9.0,
            "fast, 540p 2x, wall over the stages' CPU time": (1 / 9) / 0.1,
            "fast, 540p 2x, the same with the proof": (1 / 9) / 0.11,
            "fast, 540p 2x, against the plain loop": 3.0,
            "parked against driving": 6.0,
            "memory, long against short": 1.01,
            "vidsr --help, s": 0.2,
            "first frame over a bare start": 1.2,
        }
    )
    assert reached(9.0, ">= 8.0") and not reached(7.9, ">= 8.0") and reached(1.0, "<= 1.05")


def test_goals_on_a_gpu_are_those_of_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    rows = [
        row("decode", 300.0, 1080, 1, cpu=0.02), row("steady", 8.0, 1080, cpu=0.2), row("encode", 20.0, 1080, cpu=0.1),
        row("model quality", 40.0, 1080), row("vidsr quality", 15.0, 1080, after=18.0),
        row("plain loop quality", 3.0, 1080),
    ]  # fmt: skip
    assert goals(rows, {}) == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    found = {name: value for name, value, _ in goals(rows, {})}
    assert found == pytest.approx(
        {"quality, 1080p 2x, whole over the slowest stage": 18 / 20, "quality, 1080p 2x, against the plain loop": 6.0}
    )


def test_in_a_parked_clip_only_the_clock_changes(tmp_path: Path) -> None:
    frames = list(read_planes(parked(tmp_path, 96, 27)))
    assert (frames[0][0] == frames[24][0]).all()
    changed = frames[24][0] != frames[25][0]
    assert 0 < changed.sum() < 0.05 * changed.size


def test_a_peer_that_is_not_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PeerMissing, match="ncnn is not installed"):
        make_peer("realesr", 2, "")


def test_an_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    command = [sys.executable, "-m", "benchmarks.presets", str(tmp_path / "notes.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == NotAVideo.exit_code
    assert "notes.mp4: not a video" in done.stderr and "Traceback" not in done.stderr
