"""What a job does for one video beside its segments, in this process and without Ray."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from jobs.cache import NodeCache
from jobs.storage import open_place
from jobs.tasks import Prepared, finish_video, prepare_video
from jobs.travel import Travel
from tests.media.clips import Clip, make_clip
from tests.media.pipeline import write_segment
from vidsr.errors import InputMissing, OutputExists
from vidsr.evidence import EvidenceRecord, iso_time
from vidsr.graph.ledger import Ledger
from vidsr.settings import UpscaleSettings


@pytest.fixture(params=["folder", "object store"])
def travel(request: pytest.FixtureRequest, tmp_path: Path) -> Travel:
    """The way of one clip from Matroska to MP4, which cannot hold its subtitles, in a folder or a store in memory."""
    root = str(tmp_path) if request.param == "folder" else f"memory://{tmp_path}"
    card, out = open_place(f"{root}/card"), open_place(f"{root}/out")
    clip = Clip(frames=11, options={"g": "6", "bf": "0"}, subtitles=("subrip",))
    card.upload(make_clip(tmp_path / "clip.mkv", clip), "day/a.mkv")
    entry = card.entry("day/a.mkv")
    assert entry is not None
    return Travel(card, entry, out, "day/a.mp4", NodeCache(tmp_path / "node" / "cache", 1 << 30))


@pytest.fixture
def settings(nearest: Path) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), device="cpu", segment_seconds=0.2)


def planned(travel: Travel, settings: UpscaleSettings, overwrite: bool = False, decode: bool = False) -> Prepared:
    return prepare_video(travel, settings, overwrite, True, False, decode)


def compute(prepared: Prepared, count: int) -> None:
    """Make so many of the missing segments."""
    for segment in prepared.missing[:count]:
        job = prepared.plan.job(segment)
        ledger = Ledger(job.folder, job.key)
        ledger.folder.mkdir(parents=True, exist_ok=True)
        write_segment(ledger.path(segment), job.info, segment.first, segment.stop, 2, job.encode)
        ledger.record(segment)
        prepared.travel.deliver(ledger, segment)
        if prepared.travel.output.folder is None:
            assert not list(ledger.folder.iterdir())
            *_, before, last = MemoryFileSystem.store
            assert (before, last) == (last.replace(".json", ".mkv"), before.replace(".mkv", ".json"))


def test_segments_of_an_earlier_run_are_taken_if_nothing_changed(travel: Travel, settings: UpscaleSettings) -> None:
    first = planned(travel, settings)
    assert (len(first.missing), first.sentences) == (2, ())
    compute(first, 1)
    assert planned(travel, settings).missing == first.missing[1:]
    (segment,) = (entry.name for entry in travel.output.files() if entry.name.endswith(".mkv"))
    travel.output.write(segment, b"torn")
    assert planned(travel, settings).missing == first.missing
    other = replace(settings, fidelity=0.5, model="balanced")
    for decode in (False, True):
        compute(planned(travel, settings), 1)
        again = planned(travel, other, decode=decode)
        assert sum(segment.frames for segment in again.missing) == 11
        assert left_by(travel) == {"run.json"}
        # What the first try of this very run left is no news.
        assert [" starting over, because settings, weights changed" in said for said in again.sentences] == (
            [] if decode else [True]
        )


def test_a_result_is_made_once_with_its_record(travel: Travel, settings: UpscaleSettings) -> None:
    out, begun = travel.output, time.time() - 5
    if out.folder is None:
        travel.result_path.parent.mkdir(parents=True)
        travel.result_path.write_bytes(b"of a try that was lost before it was published")
    begin = planned(travel, settings)
    compute(begin, 1)
    prepared = planned(travel, settings)
    compute(prepared, 1)
    plan = replace(prepared.plan, damage=("a frame is lost",))
    plan = replace(plan, info=replace(plan.info, notes=("it is dark",)))
    finished = finish_video(travel, plan, 5, begun)
    beside = "a.mp4.telemetry.json"
    assert finished.notes[0] == "it is dark" and "subrip" in finished.notes[1]
    assert (finished.notes[-1], finished.salvaged) == (f"carried beside the result in {beside}", ("a frame is lost",))
    result = out.entry("day/a.mp4")
    assert result is not None and result.size == finished.result_bytes
    if out.folder is None:
        assert [*MemoryFileSystem.store][-1].endswith("/day/a.mp4")
    record = EvidenceRecord.from_json((out.read("day/a.mp4.vidsr.json") or b"").decode())
    assert (record.started, record.frames.computed, record.frames.reused) == (iso_time(begun), 5, 6)
    assert record.source.path == ("../../card/day/a.mkv" if out.folder else f"{travel.inputs.url}/day/a.mkv")
    widths = [Image.open(io.BytesIO(out.read(name) or b"")).width for name in finished.thumbnails]
    assert widths == [96, 192]
    whole = {"a.mp4", "a.mp4.vidsr.json", beside, "a.mp4.telemetry.bin"}
    assert left_by(travel) == whole, "nothing that it was made of is left"

    compute(prepared, 1)  # as it was when a try was lost between the result and its end
    again = finish_video(travel, plan, 5, begun)
    assert again == replace(finished, notes=("it is dark",), seconds=again.seconds)
    assert (left_by(travel), out.entry("day/a.mp4")) == (whole, result)
    out.delete(finished.thumbnails[1])
    assert finish_video(travel, plan, 5, begun).thumbnails == ()

    with pytest.raises(InputMissing):  # for another run, that is no result
        finish_video(travel, plan, 5, begun + 1)
    assert out.entry("day/a.mp4") == result
    out.delete("day/a.mp4")  # its record comes before it
    compute(begin, 2)
    assert finish_video(travel, plan, 5, begun).thumbnails == finished.thumbnails
    assert left_by(travel) == whole


def left_by(travel: Travel) -> set[str]:
    """What lies in the output, but for thumbnails; what the node keeps of it besides is named too."""
    names = {Path(entry.name).name for entry in travel.output.files() if not entry.name.endswith(".jpg")}
    on_node = travel.result_path.parent.rglob("*") if travel.output.folder is None else ()
    return names | {f"on the node: {path}" for path in on_node if path.is_file()}


def test_a_result_of_an_earlier_run_is_taken_where_that_is_asked_for(travel: Travel, settings: UpscaleSettings) -> None:
    """In an object store what is there is not read again."""
    prepared = planned(travel, settings)
    compute(prepared, 2)
    finish_video(travel, prepared.plan, 11, time.time())
    kept, anew = (prepare_video(travel, settings, True, keep, False, False) for keep in (True, False))
    assert (kept.made, len(kept.missing)) == ((True, 0) if travel.output.folder else (False, 2))
    assert (anew.made, len(anew.missing)) == (False, 2)


def test_a_result_of_an_earlier_run_that_no_job_knows_is_taken(travel: Travel, settings: UpscaleSettings) -> None:
    """Where the job's folder was deleted, all that had been done was called failed, for it existed."""
    prepared = planned(travel, settings)
    compute(prepared, 2)
    finish_video(travel, prepared.plan, 11, time.time())
    if travel.output.folder:
        assert planned(travel, settings).made
        settings = replace(settings, fill_gaps=True)
    with pytest.raises(OutputExists, match=r"day/a\.mp4 exists; use --overwrite"):
        planned(travel, settings)


def test_another_result_is_replaced_only_where_that_is_asked_for(travel: Travel, settings: UpscaleSettings) -> None:
    travel.output.write("day/a.mp4", b"of somebody else")
    with pytest.raises(OutputExists, match=r"day/a\.mp4 exists; use --overwrite"):
        planned(travel, settings)
    prepared = planned(travel, settings, overwrite=True)
    compute(prepared, 2)
    assert finish_video(travel, prepared.plan, 11, time.time()).result_bytes > 100


def test_nothing_is_left_of_a_recovered_source_whose_result_is_refused(
    tmp_path: Path, settings: UpscaleSettings
) -> None:
    """Its frames, hundreds of MB of them, stayed beside what somebody else had put there."""
    card, out = open_place(tmp_path / "card"), open_place(tmp_path / "out")
    options = {"x264-params": "repeat-headers=1"}
    content = make_clip(tmp_path / "clip.mp4", Clip(frames=11, options=options)).read_bytes()
    card.write("a.mp4", content[: content.rindex(b"moov") - 4])
    out.write("a.mp4", b"of somebody else")
    entry = card.entry("a.mp4")
    assert entry is not None
    with pytest.raises(OutputExists, match=r"a\.mp4 exists; use --overwrite"):
        planned(Travel(card, entry, out, "a.mp4", NodeCache(tmp_path / "cache", 1 << 30)), settings)
    assert [entry.name for entry in out.files()] == ["a.mp4"]
