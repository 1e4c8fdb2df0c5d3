"""Keys, and the ledger of what is finished."""

import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tests.graph.infos import info_of
from tests.media.clips import Clip, make_clip
from tests.nearest import nearest_model
from vidsr.errors import OutputUnwritable
from vidsr.graph.ledger import Ledger, changed_parts, run_key
from vidsr.graph.prepare import prepare
from vidsr.graph.segments import Segment
from vidsr.model.ranges import Ranges
from vidsr.model.weights import add_ranges
from vidsr.paths import write_whole
from vidsr.settings import EncodeSettings, UpscaleSettings


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "drive.mp4"
    path.write_bytes(os.urandom(300_000))
    return path


def key_of(path: Path, settings: UpscaleSettings | None = None, weights: Sequence[str] = ("w",)) -> dict[str, object]:
    status = path.stat()
    info = replace(
        info_of([0, 1], [True, True], Fraction(1, 10)),
        path=path,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    return run_key(info, settings or UpscaleSettings(), weights, "torch")


def test_the_key_knows_what_a_segment_depends_on(source: Path) -> None:
    key = key_of(source)
    assert key == key_of(source)
    assert key == key_of(source, UpscaleSettings(gpx=True))
    assert key != key_of(source, UpscaleSettings(encode=EncodeSettings(crf=20)))
    assert key != key_of(source, weights=["other"])
    assert key != key_of(source, weights=["w", "partner"])
    data, times = bytearray(source.read_bytes()), source.stat()
    data[150_000] ^= 1
    source.write_bytes(data)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert key != key_of(source)


def test_a_ledger_trusts_whole_segments_only(tmp_path: Path) -> None:
    ledger, segment = Ledger(tmp_path / "work"), Segment(3, 10, 20)
    assert ledger.open({"a": 1}) is None
    assert not ledger.is_finished(segment)
    ledger.path(segment).write_bytes(b"frames")
    assert not ledger.is_finished(segment)
    ledger.record(segment)
    assert Ledger(tmp_path / "work", ledger.key).is_finished(segment)
    assert not ledger.is_finished(Segment(3, 10, 21))
    ledger.path(segment).write_bytes(b"frame")
    assert not ledger.is_finished(segment)


def test_what_an_earlier_run_finishes_late_is_not_this_runs(tmp_path: Path) -> None:
    """A killed run's task may end some seconds after it, when another run with other settings has begun."""
    ledger, segment = Ledger(tmp_path / "work"), Segment(0, 0, 5)
    ledger.open({"crf": 1})
    late = Ledger(ledger.folder, ledger.key)
    ledger.open({"crf": 2})
    late.path(segment).write_bytes(b"frames")
    late.record(segment)
    assert late.is_finished(segment) and not ledger.is_finished(segment)


def test_a_ledger_is_held_by_one_run(tmp_path: Path) -> None:
    ledger, result = Ledger(tmp_path / "work"), tmp_path / "a.mp4"
    with ledger.held(result):
        ledger.open({"a": 1})
        with pytest.raises(OutputUnwritable, match=r"a\.mp4 is being made by another run"), ledger.held(result):
            pass
        ledger.open({"a": 2})  # starts over, and is still held
        with pytest.raises(OutputUnwritable), Ledger(ledger.folder).held(result):
            pass
        ledger.remove()
    with ledger.held(result):
        assert ledger.folder.exists()


def test_a_changed_key_starts_over_and_says_why(tmp_path: Path) -> None:
    ledger, segment = Ledger(tmp_path / "work"), Segment(0, 0, 5)
    ledger.open({"weights": 1, "settings": 2})
    ledger.path(segment).write_bytes(b"x")
    ledger.record(segment)
    assert ledger.open({"weights": 1, "settings": 2}) is None
    assert ledger.is_finished(segment)
    assert ledger.open({"weights": 9, "settings": 2}) == "weights"
    assert not ledger.is_finished(segment)
    ledger.remove()
    assert not ledger.folder.exists()


def test_a_ledger_goes_with_what_others_put_into_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "work")
    ledger.open({"a": 1})
    (ledger.folder / "@eaDir" / "thumbs").mkdir(parents=True)  # as network drives do
    ledger.remove()
    assert not ledger.folder.exists()


@pytest.mark.parametrize("left", [b"", b"\0" * 40, b"[]", b"\xff\xfe", b'{"a": '])
def test_what_a_power_loss_leaves_counts_as_absent(tmp_path: Path, left: bytes) -> None:
    ledger, segments = Ledger(tmp_path / "work"), [Segment(0, 0, 5), Segment(1, 5, 9)]
    ledger.open({"a": 1})
    for segment in segments:
        ledger.path(segment).write_bytes(b"frames")
        ledger.record(segment)
    ledger.path(segments[0]).with_suffix(".json").write_bytes(left)
    assert [ledger.is_finished(segment) for segment in segments] == [False, True]
    (ledger.folder / "run.json").write_bytes(left)
    assert ledger.open({"a": 1}) == "run.json"
    assert not ledger.is_finished(segments[1])
    assert ledger.open({"a": 1}) is None


def test_a_segment_is_on_the_disk_before_its_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, segment, synced = Ledger(tmp_path / "work"), Segment(0, 0, 5), []
    ledger.open({"a": 1})
    ledger.path(segment).write_bytes(b"frames")
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    ledger.record(segment)
    assert synced == [ledger.path(segment).with_suffix(suffix).stat().st_ino for suffix in (".mkv", ".json")]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "run.json", []

    def sync(number: int) -> None:
        assert os.fstat(number).st_size == 5
        assert not path.exists()
        synced.append(number)

    monkeypatch.setattr(os, "fsync", sync)
    assert write_whole(path, b"whole") == path
    assert (path.read_bytes(), len(synced)) == (b"whole", 1)


def test_the_key_tells_int8_from_other_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = nearest_model(tmp_path)
    add_ranges(weights, Ranges(((-1.0, 1.0),), 0.01, 1.5))
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=2))

    def key(gpu: bool = False, **settings: object) -> dict[str, object]:
        wanted = UpscaleSettings(model=str(weights), **settings)  # type: ignore[arg-type]
        return prepare(source, tmp_path / "large.mp4", wanted, False, gpu).key

    monkeypatch.setattr("vidsr.model.ranges.has_amx", lambda: False)
    monkeypatch.setattr("vidsr.model.ranges.has_native_int8", lambda: True)
    here, asked, gpu = key(), key(backend="openvino"), key(gpu=True)
    monkeypatch.setattr("vidsr.model.ranges.has_native_int8", lambda: False)
    elsewhere = key()
    assert [k["backend"] for k in (here, asked, gpu, elsewhere)] == [
        "openvino int8 on CPUs", "openvino on CPUs", "auto on GPUs", "auto on CPUs"
    ]  # fmt: skip
    assert changed_parts(here, elsewhere) == "backend"
