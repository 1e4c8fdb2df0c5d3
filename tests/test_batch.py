"""Several inputs of one command, without a start of Ray."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import write_segment
from vidsr import batch
from vidsr.batch import upscale_inputs
from vidsr.cli import folder_options, main
from vidsr.errors import (
    SALVAGED,
    ClusterError,
    EncoderError,
    OutputUnwritable,
    SegmentFailed,
    SettingsError,
    SomeFailed,
    VerifyFailed,
    VidsrError,
)
from vidsr.graph.finish import finish
from vidsr.graph.prepare import prepare
from vidsr.graph.progress import Silent
from vidsr.graph.run import open_ledger
from vidsr.graph.session import Session
from vidsr.request import Request
from vidsr.settings import UpscaleSettings


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Two files that pass for videos as long as nobody looks, and a picture."""
    (tmp_path / "a.mp4").write_bytes(b"never read")
    (tmp_path / "c.mp4").write_bytes(b"never read")
    Image.new("RGB", (20, 12)).save(tmp_path / "b.png")
    return sorted(tmp_path.iterdir())


def upscale(inputs: list[Path], model: Path, out: Path | None = None) -> list[dict[str, Any]]:
    settings = UpscaleSettings(model=str(model), device="cpu")
    return upscale_inputs(Request(tuple(inputs), out, settings), threading.Event())


@pytest.mark.parametrize("kind", [SegmentFailed, VerifyFailed, SettingsError, OutputUnwritable, EncoderError])
def test_a_video_that_fails_stops_no_other(
    inputs: list[Path], nearest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    kind: type[VidsrError],
) -> None:  # fmt: skip
    last: list[bool] = []

    def fail(source: Path, out: Path | None, settings: UpscaleSettings, anew: bool, session: Session, *_: Any) -> None:
        last.append(session.last_video)
        raise kind(f"{source.name} failed")

    monkeypatch.setattr(batch, "upscale_video", fail)
    reports = upscale(inputs, nearest)
    assert [list(report.get("failures", {}).values()) for report in reports] == [
        [f"{kind.__name__}: a.mp4 failed"], [], [f"{kind.__name__}: c.mp4 failed"],
    ]  # fmt: skip
    assert Path(reports[1]["result"]).exists()
    said = capsys.readouterr().err
    assert "vidsr: a.mp4 failed" in said and "vidsr: c.mp4 failed" in said
    assert last == [False, True]
    with pytest.raises(kind):
        upscale(inputs[:1], nearest)


def test_what_all_inputs_would_fail_of_ends_the_command(
    inputs: list[Path], nearest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ClusterError("nobody answers")

    monkeypatch.setattr(batch, "upscale_video", fail)
    with pytest.raises(ClusterError):
        upscale(inputs, nearest)
    assert not (inputs[1].parent / "b_2x.png").exists()


def test_what_a_result_does_not_hold_is_said(
    tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_clip(tmp_path / "a.mkv", Clip(frames=6, subtitles=("subrip",)))
    settings = UpscaleSettings(model=str(nearest), device="cpu")
    plan = prepare(source, tmp_path / "large.mp4", settings, overwrite=False, gpu=False)
    plan = replace(plan, info=replace(plan.info, notes=("it is dark",)), damage=("a frame is lost",))
    for segment in open_ledger(plan, Silent()):
        write_segment(plan.ledger.path(segment), plan.info, segment.first, segment.stop, 2, plan.settings.encode)
    outcome = finish(plan, 6, time.time(), Silent())
    monkeypatch.setattr(batch, "upscale_video", lambda *_: outcome)
    (report,) = upscale([source], nearest)
    assert report == outcome.as_json() and "subrip" in report["not_carried"][0]
    said = capsys.readouterr().err.replace("\n", " ")
    beside = "carried beside the result in large.mp4.telemetry.json"
    for sentence in ("it is dark", *outcome.mux.not_carried, "a frame is lost", beside):
        assert f"a.mkv: {sentence}" in said


def test_options_of_folders_reach_the_job(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a.mp4\nday/b.mp4\n")
    given = {"patterns": ("*.mp4",), "list_file": names, "limit": 3, "cache_gb": 1.5}
    for retry, join in ((True, False), (False, True)):
        found = folder_options(given | {"retry_failed": retry, "join": join}, overwrite=retry)
        chosen = found.selection
        assert (chosen.patterns, chosen.names, chosen.limit) == (("*.mp4",), ("a.mp4", "day/b.mp4"), 3)
        assert (found.overwrite, found.retry_failed, found.join) == (retry, retry, join)
        assert found.cache.limit == 1_500_000_000


def test_each_of_several_folders_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Request((Path("card"),), Path("out")).out_of_folder(Path("card")) == Path("out")
    assert Request((Path("card"), Path("b"))).out_of_folder(Path("card")) is None
    inputs = (Path(), "s3://in/card")
    assert [Request(inputs, "s3://out").out_of_folder(each) for each in inputs] == [
        f"s3://out/{tmp_path.name}", "s3://out/card",
    ]  # fmt: skip


def test_several_inputs_need_a_folder_for_their_results(inputs: list[Path], nearest: Path, tmp_path: Path) -> None:
    out = tmp_path / "large.d"
    with pytest.raises(SettingsError, match=r"2 inputs cannot all become .*large\.d; give a folder with -o"):
        upscale(inputs[1:], nearest, out)
    with pytest.raises(SettingsError, match=r"all videos of a folder cannot become .*large\.mp4; give a folder with"):
        Request((tmp_path,), tmp_path / "large.mp4").check()
    Request((tmp_path,), out).check()
    out.mkdir()
    picture, video = upscale(inputs[1:], nearest, out)
    assert picture["result"] == str(out / "b_2x.png") and "NotAVideo" in video["failures"][str(inputs[2])]


def test_a_file_does_not_go_to_an_object_store(inputs: list[Path]) -> None:
    with pytest.raises(SettingsError, match=r"a\.mp4 is one file and s3://out/large a URL; give its folder"):
        upscale_inputs(Request((inputs[0],), "s3://out/large"), threading.Event())


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([{"result": "a"}], 0),
        ([{"salvaged": ["a frame is lost"]}, {"salvaged": []}], SALVAGED),
        ([{"salvaged": ["a frame is lost"]}, {"failures": {"b": "why"}}], SomeFailed.exit_code),
        ([{"join_failures": {"c": "why"}}], SomeFailed.exit_code),
    ],
)
def test_the_exit_code_tells_the_worst(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]], code: int
) -> None:
    monkeypatch.setattr(batch, "upscale_inputs", lambda *_: reports)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    done = CliRunner().invoke(main, ["upscale", "a.mp4", "--json"])
    assert done.exit_code == code, done.output
    assert json.loads(done.stdout) == (reports[0] if len(reports) == 1 else reports)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
