"""Cutting into segments, ranges, keys and the ledger."""

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.infos import info_of
from tests.media.clips import Clip, make_clip
from tests.nearest import nearest_model
from vidsr.errors import OutputUnwritable, SettingsError, UnsupportedSize
from vidsr.frames import PixelLayout
from vidsr.graph.choose import choose_size
from vidsr.graph.plan import FrameRange, Ledger, Segment, changed_parts, choose_range, cut, run_key
from vidsr.graph.prepare import prepare
from vidsr.model.ranges import Ranges
from vidsr.model.weights import add_ranges
from vidsr.paths import write_whole
from vidsr.settings import EncodeSettings, UpscaleSettings


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.booleans()), min_size=1, max_size=200),
    st.floats(0.1, 20),
)
def test_segments_cover_the_range_once(steps: list[tuple[int, bool]], seconds: float) -> None:
    pts, key, now = [], [], 0
    for step, is_key in steps:
        pts.append(now)
        key.append(is_key or not now)
        now += step
    info = info_of(pts, key, Fraction(1, 1000))
    segments = cut(info, FrameRange(0, len(pts)), seconds)
    assert [k for s in segments for k in range(s.first, s.stop)] == list(range(len(pts)))
    assert [s.number for s in segments] == list(range(len(segments)))
    for segment in segments[:-1]:
        length = (pts[segment.stop] - pts[segment.first]) / 1000
        assert length >= seconds
        assert key[segment.stop] or length >= 2 * seconds


def test_cuts_at_key_frames_where_they_are_near() -> None:
    pts = list(range(0, 10_000, 100))
    info = info_of(pts, [k % 25 == 0 for k in range(100)], Fraction(1, 1000))
    assert [s.first for s in cut(info, FrameRange(0, 100), 3.0)] == [0, 50]


def test_cuts_between_key_frames_that_are_far_apart() -> None:
    info = info_of(list(range(100)), [k == 0 for k in range(100)], Fraction(1, 10))
    assert [s.first for s in cut(info, FrameRange(0, 100), 2.0)] == [0, 40, 80]


def test_what_must_be_decoded_in_one_go_is_one_segment() -> None:
    info = replace(info_of(list(range(100)), [True] * 100, Fraction(1, 10)), sequential="no key frames")
    assert cut(info, FrameRange(3, 90), 1.0) == (Segment(0, 3, 90),)


def test_ranges_count_from_the_first_frame() -> None:
    info = info_of([500, 540, 580, 620], [True] * 4, Fraction(1, 1000))
    assert choose_range(info, UpscaleSettings(end=0.08)) == FrameRange(0, 2)
    assert choose_range(info, UpscaleSettings(start=0.03)) == FrameRange(1, 4)
    with pytest.raises(SettingsError, match="no frame"):
        choose_range(info, UpscaleSettings(start=5))
    for start, end in ((math.nan, None), (math.inf, None), (0, math.nan), (0, math.inf)):  # JSON has none of them
        with pytest.raises(SettingsError, match="do not make a range"):
            UpscaleSettings(start=start, end=end)


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


def test_tasks_are_told_whole_paths(tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that was started elsewhere has workers with another current folder."""
    make_clip(tmp_path / "a.mp4", Clip(frames=4))
    shutil.copy(nearest, tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    settings = UpscaleSettings(model="weights.safetensors")
    plan = prepare(Path("a.mp4"), None, settings, overwrite=False, gpu=False)
    job = plan.job(plan.segments[0])
    assert job.info.path == tmp_path / "a.mp4"
    assert job.folder == tmp_path / ".a_2x.mp4.vidsr"
    assert plan.upscaler.model == str(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(("rotation", "size"), [(0, (2, 144, 96)), (90, (2, 96, 64)), (-90, (2, 96, 64))])
def test_the_height_is_that_which_players_show(rotation: int, size: tuple[int, int, int]) -> None:
    info = replace(info_of([0, 1], [True, True], Fraction(1, 10)), rotation=rotation, width=72, height=48)
    assert choose_size(info, UpscaleSettings(scale=None, height=96)) == size


@pytest.mark.parametrize(
    ("width", "reason"),
    [(96, "rv10 failed .*; use --codec libx264 or libx265"), (100, "rv10 cannot code 200x128 .*; use another --codec")],
)
def test_an_encoder_that_fails_is_known_before_the_work(width: int, reason: str, tmp_path: Path) -> None:
    """FFmpeg's rv10 opens with whole macroblocks alone, and then fails with its first frame."""
    source = make_clip(tmp_path / "clip.mkv", Clip(frames=2, width=width))
    settings = UpscaleSettings(model="fast", encode=EncodeSettings("rv10"))
    with pytest.raises(UnsupportedSize, match=f"clip.mkv: {reason}"):
        prepare(source, None, settings, False, False)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize(("rotation", "size"), [(0, (72, 48)), (90, (48, 72))])
def test_an_odd_height_is_refused_where_rows_share_their_colour(rotation: int, size: tuple[int, int]) -> None:
    info = replace(info_of([0, 1], [True, True], Fraction(1, 10)), rotation=rotation, width=size[0], height=size[1])
    odd = UpscaleSettings(scale=None, height=97)
    with pytest.raises(SettingsError, match=r"--height 97 is odd.*use an even one"):
        choose_size(info, odd)
    assert choose_size(replace(info, layout=PixelLayout(8, 0, 0)), odd)[1:] in [(146, 97), (97, 146)]


def test_a_matrix_that_players_guess_otherwise_is_said(tmp_path: Path) -> None:
    clips = {
        lines: make_clip(tmp_path / f"{lines}.mp4", Clip(width=32, height=lines, frames=2)) for lines in (352, 368)
    }
    notes = {lines: prepare(clip, None, UpscaleSettings(), False, False).info.notes for lines, clip in clips.items()}
    assert notes[352] == ()
    assert [("BT.601 for the source" in note, "BT.709 for the result" in note) for note in notes[368]] == [(True, True)]


def test_a_lossless_source_goes_into_the_container_that_is_settled(tmp_path: Path, nearest: Path) -> None:
    """Of a folder the names are settled before the files are opened; MOV does not hold FFV1."""
    clip = Clip(codec="v210", pix_fmt="yuv422p10le", frames=3)
    source = make_clip(tmp_path / "a.mov", clip)
    settings = UpscaleSettings(model=str(nearest))

    def plan(out: Path | None, **encode: str) -> tuple[str, str, str]:
        made = prepare(source, out, replace(settings, encode=EncodeSettings(**encode)), False, gpu=False)  # type: ignore[arg-type]
        return made.settings.encode.codec, made.result.suffix, " ".join(made.info.notes)

    assert plan(None)[:2] == ("ffv1", ".mkv")
    assert plan(tmp_path / "large.mkv")[:2] == ("ffv1", ".mkv")
    for codec, suffix, said in (plan(tmp_path / "large.mov"), plan(None, container="mov")):
        assert (codec, suffix) == ("libx264", ".mov")
        assert ".mov files cannot hold ffv1 video, and libx264 loses a little; --container mkv takes ffv1" in said
    with pytest.raises(SettingsError, match="cannot hold ffv1 video; use --container mkv"):
        plan(tmp_path / "large.mov", codec="ffv1")


def test_a_result_without_sound_is_said_before_the_work(tmp_path: Path, nearest: Path) -> None:
    source = make_clip(tmp_path / "a.avi", Clip(codec="mpeg4", sound=("pcm_mulaw",), frames=4))
    settings = UpscaleSettings(model=str(nearest))
    for name, silent in (("large.mp4", True), ("large.mov", False), ("large.mkv", False)):
        notes = prepare(source, tmp_path / name, settings, overwrite=False, gpu=False).info.notes
        assert any(note.startswith("the result has no sound") for note in notes) == silent
