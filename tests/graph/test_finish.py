"""The end of a run: what is written beside a result, in which order, and what stays when something fails."""

from __future__ import annotations

import os
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import vidsr
from tests.media.clips import Clip, frame_of, make_clip
from tests.media.pipeline import write_segment
from vidsr.batch import upscale_inputs
from vidsr.errors import OutputExists, OutputUnwritable, VerifyFailed
from vidsr.evidence import Check, FrameCounts, check_record, read_record, record_path
from vidsr.graph.finish import finish
from vidsr.graph.ledger import Ledger
from vidsr.graph.prepare import prepare
from vidsr.graph.progress import Silent
from vidsr.graph.run import open_ledger, upscale_video
from vidsr.graph.session import Session
from vidsr.media.probe import probe
from vidsr.media.proof.verify import VerifyReport, verify
from vidsr.request import Request
from vidsr.settings import ClusterSettings, UpscaleSettings

OLD = b"of an older result"

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A clip with a side file."""
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "drive.gps").write_bytes(b"positions")
    return make_clip(tmp_path / "card" / "drive.mp4", Clip(frames=6))


def test_a_failed_proof_leaves_an_older_result_with_its_files(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = tmp_path / "large.mp4"
    old = [result, tmp_path / "large.gps", tmp_path / "large.mp4.telemetry.json"]
    for path in old:
        path.write_bytes(OLD)
    failed = VerifyReport((Check("frames", False, "5 instead of 6"),))
    monkeypatch.setattr("vidsr.graph.finish.verify", lambda *_, **__: failed)
    with pytest.raises(VerifyFailed, match="5 instead of 6"):
        vidsr.upscale(drive, result, model=str(nearest), overwrite=True)
    assert [path.read_bytes() for path in old] == [OLD] * 3
    monkeypatch.undo()
    outcome = vidsr.upscale(drive, result, model=str(nearest), overwrite=True)
    assert outcome.computed_frames == 0
    assert old[1].read_bytes() == b"positions"
    assert tmp_path / "large.gps" in outcome.mux.beside
    shown = outcome.as_json()
    assert (shown["computed_frames"], shown["frames_per_second"], shown["verified"]) == (0, 0, True)
    assert shown["beside"] == [str(path) for path in outcome.mux.beside]
    assert [(c["name"], c["ok"]) for c in shown["checks"]] == [(c.name, True) for c in outcome.verify.checks]
    assert check_record(result) == []
    assert not (tmp_path / ".large.mp4.vidsr").exists()


def test_what_changes_in_mid_stream_is_told(nearest: Path, tmp_path: Path) -> None:
    """Television goes from 4:3 to 16:9."""
    source, options = tmp_path / "source.ts", {"g": "5", "bf": "0"}
    halves = (Clip(frames=6, options=options, aspect=Fraction(16, k)) for k in (15, 11))
    source.write_bytes(b"".join(make_clip(tmp_path / "half.ts", half).read_bytes() for half in halves))
    (told,) = vidsr.upscale(source, model=str(nearest)).mux.not_carried
    assert "on its pixels are 16/11 as wide as high, not 16/15, which the result does not say" in told


def test_a_result_never_lacks_its_record(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = tmp_path / "large.mp4"

    def full(*_: object, **__: object) -> None:
        raise OutputUnwritable("the disk is full")

    monkeypatch.setattr("vidsr.graph.finish.write_record", full)
    with pytest.raises(OutputUnwritable):
        vidsr.upscale(drive, result, model=str(nearest))
    assert not result.exists()
    monkeypatch.undo()
    assert vidsr.upscale(drive, result, model=str(nearest)).computed_frames == 0
    assert check_record(result) == []
    (note,) = (value for key, value in probe(result).tags if key.lower() == "comment")
    assert note.startswith("Enhanced: enlarged 2x by vidsr")


def test_a_result_is_on_the_disk_before_it_has_its_name(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss must not leave the name without what it names: the segments are gone then."""
    result, synced, sync = tmp_path / "large.mp4", [], os.fsync

    def watched(number: int) -> None:
        sync(number)
        if not result.exists():
            synced.append(os.fstat(number).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    drive.with_suffix(".gps").write_bytes(b"$GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998,011.3,E*62")
    settings = UpscaleSettings(model=str(nearest), device="cpu", gpx=True)
    stop = threading.Event()
    with Session(ClusterSettings()) as session:
        outcome = upscale_video(drive, result, settings, False, session, Silent(), stop)
    track = tmp_path / "large.mp4.gpx"
    assert {path.stat().st_ino for path in (result, record_path(result), track)} <= set(synced)
    assert track in outcome.mux.beside and b'lat="-37.86' in track.read_bytes()


def test_a_file_that_took_the_name_meanwhile_is_not_replaced(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = tmp_path / "large.mp4"

    def late(*arguments: Any, **options: Any) -> VerifyReport:
        result.write_bytes(OLD)
        return verify(*arguments, **options)

    monkeypatch.setattr("vidsr.graph.finish.verify", late)
    with pytest.raises(OutputExists, match=r"large\.mp4 appeared during the run; move it away"):
        vidsr.upscale(drive, result, model=str(nearest))
    assert result.read_bytes() == OLD
    assert {path.name for path in tmp_path.glob("large*")} == {"large.mp4"}
    monkeypatch.undo()
    result.unlink()
    assert vidsr.upscale(drive, result, model=str(nearest)).computed_frames == 0


def test_a_run_that_was_killed_after_the_rename_is_done(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request((drive,), tmp_path / "large.mp4", UpscaleSettings(model=str(nearest), device="cpu"))
    monkeypatch.setattr(Ledger, "remove", lambda _: sys.exit("killed"))
    with pytest.raises(SystemExit):
        upscale_inputs(request, threading.Event())
    monkeypatch.undo()
    assert (tmp_path / ".large.mp4.vidsr").exists()
    (report,) = upscale_inputs(request, threading.Event())
    assert (report["computed_frames"], report["verified"]) == (0, True)
    assert not (tmp_path / ".large.mp4.vidsr").exists()
    with pytest.raises(OutputExists):
        upscale_inputs(request, threading.Event())


def test_a_source_that_changes_during_the_run_has_no_result(
    drive: Path, nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def changing(*arguments: Any, **options: Any) -> VerifyReport:
        report = verify(*arguments, **options)
        drive.write_bytes(drive.read_bytes() + b"more")
        return report

    monkeypatch.setattr("vidsr.graph.finish.verify", changing)
    with pytest.raises(VerifyFailed, match=r"drive\.mp4 changed during the run"):
        vidsr.upscale(drive, tmp_path / "large.mp4", model=str(nearest))
    assert not list(tmp_path.glob("large*"))


def test_gaps_that_are_filled_are_proved_and_counted(nearest: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4", Clip(codec="libvpx-vp9", frames=20))
    with av.open(str(source)) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.size][9]
    content = bytearray(source.read_bytes())
    content[at + 3] ^= 1  # the decoder gives nothing for a packet that looks whole
    source.write_bytes(content)
    settings = UpscaleSettings(model=str(nearest), device="cpu", fill_gaps=True)
    plan = prepare(source, None, settings, overwrite=False, gpu=False, decode=True)
    (segment,) = open_ledger(plan, Silent())
    write_segment(plan.ledger.path(segment), plan.info, segment.first, segment.stop, 2, plan.settings.encode)
    outcome = finish(plan, 20, 0.0, Silent())
    assert outcome.verify.ok and probe(outcome.plan.result).frames == 20
    record = read_record(outcome.plan.result)
    assert record.frames == FrameCounts(20, 20, reused=0, filled=1)
    assert record.salvaged == outcome.salvaged and "1 frame is lost" in record.salvaged[0]


def test_dense_patterns_pass_the_proof(tmp_path: Path) -> None:
    """This model made checks of single pixels 70 of 255 darker."""
    y, x = np.mgrid[:64, :96]
    with av.open(str(tmp_path / "checks.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "gray"
        for number in range(8):
            checks = ((x + y) % 2 * 255 * (x > number)).astype(np.uint8)
            container.mux(stream.encode(frame_of([checks], "gray", 96, 64)))
        container.mux(stream.encode(None))
    outcome = vidsr.upscale(tmp_path / "checks.mp4", tmp_path / "large.mp4", model="balanced-2x-sharp")
    assert outcome.verify.ok


def test_segments_that_cannot_be_kept_are_one_line(drive: Path, nearest: Path, tmp_path: Path) -> None:
    (tmp_path / ".large.mp4.vidsr").write_text("a file in its place")
    with pytest.raises(OutputUnwritable, match=r"\.large\.mp4\.vidsr cannot be read or written"):
        vidsr.upscale(drive, tmp_path / "large.mp4", model=str(nearest))


def test_other_side_files_are_not_replaced_without_asking(drive: Path, nearest: Path, tmp_path: Path) -> None:
    other = tmp_path / "large.gps"
    other.write_bytes(b"of another drive")
    with pytest.raises(OutputExists, match=r"large\.gps exists and drive\.gps would replace it; use --overwrite"):
        vidsr.upscale(drive, tmp_path / "large.mp4", model=str(nearest))
    other.write_bytes(b"positions")
    assert vidsr.upscale(drive, tmp_path / "large.mp4", model=str(nearest)).verify.ok
