"""Right results pass and wrong ones are found, each by the check that is meant to find it."""

from __future__ import annotations

from array import array
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any, TypeAlias

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media.clips import VFR, Clip, frame_of, make_clip, rotate
from tests.media.enlarge import Frames, Packets, enlarge
from tests.media.pipeline import SETTINGS, upscale, write_segment
from tests.media.test_encode import HDR
from vidsr.errors import InputMissing, NotAVideo
from vidsr.evidence import Check
from vidsr.media.beside.index import SideIndex
from vidsr.media.bitstream import NalFormat
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.proof import verify as verifying
from vidsr.media.proof.carried import Timing
from vidsr.media.proof.inventory import DIGEST_BYTES, Contents
from vidsr.media.proof.picture import Grid, PictureJudge, grid_of
from vidsr.media.proof.streams import check_streams
from vidsr.media.proof.verify import VerifyReport, _check_description, verify

SOUND = Clip(sound=("aac", "aac"), chapters=2, tags={"title": "A drive", "creation_time": "2024-05-06T07:08:09Z"})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("verify") / "source.mp4", SOUND)


def faults(report: VerifyReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.ok}


def assert_only(report: VerifyReport, *names: str) -> None:
    assert set(faults(report)) == set(names), faults(report)


@pytest.mark.parametrize(
    ("suffix", "clip"),
    [
        ("mp4", SOUND),
        ("mp4", replace(SOUND, times=VFR)),
        ("mp4", Clip(options={"bf": "2", "g": "6", "preset": "veryfast"}, start=Fraction(12, 25), sound=("aac",))),
        ("mp4", Clip(still=True)),
        ("mp4", Clip(pix_fmt="yuv444p", width=97, height=63)),
        ("mp4", Clip(pix_fmt="yuv420p10le", colour=(9, 9, 16, 1))),
        ("mkv", replace(SOUND, subtitles=("subrip",))),
        ("mov", replace(SOUND, subtitles=("mov_text",))),
    ],
    ids=["sound", "vfr", "late-start", "still", "odd-444", "10-bit", "mkv", "mov"],
)
@pytest.mark.parametrize("scale", [2, 4])
def test_right_result_passes(tmp_path: Path, suffix: str, clip: Clip, scale: int) -> None:
    original = make_clip(tmp_path / f"source.{suffix}", clip)
    result = enlarge(original, tmp_path / f"result.{suffix}", scale)
    info = probe(original)
    report = verify(original, result, (info.width * scale, info.height * scale))
    assert report.ok, faults(report)
    assert {"frames", "times", "picture", "size", "tags", "chapters"} <= {check.name for check in report.checks}


Rgb: TypeAlias = tuple[int, int, int]


def write_square(path: Path, codec: str, pix_fmt: str, ground: Rgb, square: Rgb) -> None:
    """A square of one colour that moves over another: four frames of 64 x 48."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, width=64, height=48, pix_fmt=pix_fmt)
        for number in range(4):
            rgb = np.full((48, 64, 3), ground, np.uint8)
            rgb[8:24, 8 + number : 24 + number] = square
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb).reformat(format=pix_fmt)))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("ffv1", "bgr0"), ("qtrle", "rgb24"), ("rawvideo", "bgr24"), ("gif", "rgb8")]
)
@pytest.mark.parametrize("value", [0, 255])
def test_dark_and_bright_rgb_passes(tmp_path: Path, codec: str, pix_fmt: str, value: int) -> None:
    """RGB that does not say its range: the result has the full one."""
    original = tmp_path / f"source.{'gif' if codec == 'gif' else 'mov' if codec == 'qtrle' else 'avi'}"
    write_square(original, codec, pix_fmt, (value, value, value), (0, 0, 255))
    result = tmp_path / "result.mkv"
    upscale(original, result)
    report = verify(original, result, (128, 96))
    assert report.ok, faults(report)


@pytest.mark.parametrize("pix_fmt", ["ya8", "ya16be", "monob"])
def test_grey_with_transparency_or_of_one_bit_passes(tmp_path: Path, pix_fmt: str) -> None:
    original = tmp_path / "source.mov"
    write_square(original, "png", pix_fmt, (0, 0, 0), (255, 255, 255))
    result = tmp_path / "result.mkv"
    upscale(original, result)
    report = verify(original, result, (128, 96))
    assert report.ok, faults(report)


def test_the_order_of_bytes_is_heeded() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (16, 16), np.uint16)
    little, big = (grid_of(av.VideoFrame.from_ndarray(samples, f"gray16{end}"), 4, 4) for end in ("le", "be"))
    np.testing.assert_array_equal(little.planes[0], big.planes[0])
    assert little.planes[0][0, 0] == pytest.approx(samples[:4, :4].mean() / 256)


def write_fields(path: Path, fields: list[NDArray[np.uint8]]) -> Path:
    """Interlaced video of so many fields of grey, in turn those of the even and of the odd lines."""
    height, width = fields[0].shape
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "12"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options, width=width, height=height)
        for even, odd in zip(fields[::2], fields[1::2], strict=True):
            luma, chroma = even.copy(), np.full((height // 2, width // 2), 128)
            luma[1::2] = odd[1::2]
            container.mux(stream.encode(frame_of((luma, chroma, chroma), "yuv420p", width, height)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("kind", "mistakes"), [("cut", ((6, 5),)), ("flash", ()), ("pan", ((5, 6), (6, 5)))], ids=["cut", "flash", "pan"]
)
def test_deinterlaced_video_shows_one_field_of_each_frame(
    kind: str, mistakes: tuple[tuple[int, int], ...], tmp_path: Path
) -> None:
    """Between the two fields of a frame there may be a cut, a flash or fast motion: together they are neither."""
    noise = np.random.default_rng(0).integers(40, 200, (2, 12, 50), np.uint8).repeat(8, 1).repeat(16, 2)
    scenes = {
        "cut": [noise[int(k > 10)][:, :128] for k in range(20)],
        "flash": [noise[0][:, :128] + np.uint8(50 * (k == 11)) for k in range(20)],
        "pan": [noise[0][:, 24 * k : 24 * k + 128] for k in range(20)],
    }
    source = write_fields(tmp_path / "source.mp4", scenes[kind])
    assert probe(source).interlaced

    def deinterlaced(frames: Frames) -> Frames:
        return [(pts, [plane[::2].repeat(2, axis=0) for plane in planes]) for pts, planes in frames]

    report = verify(source, enlarge(source, tmp_path / "result.mp4", frames=deinterlaced))
    assert report.ok, faults(report)
    for number, other in mistakes:
        wrong = enlarge(
            source, tmp_path / "wrong.mp4", frames=lambda f, n=number, o=other: _show(deinterlaced(f), n, o)
        )
        assert_only(verify(source, wrong), "picture")


def test_coarse_quality_still_passes(source: Path, tmp_path: Path) -> None:
    report = verify(source, enlarge(source, tmp_path / "r.mp4", options={"crf": "40"}))
    assert report.ok, faults(report)


def _plane(value: int, like: Any) -> Any:
    return np.full_like(like, value)


def _paint(frames: Frames, number: int, values: tuple[int, int, int]) -> Frames:
    pts, planes = frames[number]
    frames[number] = (pts, [_plane(v, p) for v, p in zip(values, planes, strict=True)])
    return frames


def _show(frames: Frames, number: int, other: int) -> Frames:
    frames[number] = (frames[number][0], frames[other][1])
    return frames


def _swap(frames: Frames) -> Frames:
    (a, first), (b, second) = frames[7], frames[8]
    frames[7], frames[8] = (a, second), (b, first)
    return frames


def _shift(frames: Frames, by: int) -> Frames:
    last = len(frames) - 1
    return [(pts, frames[min(max(i + by, 0), last)][1]) for i, (pts, _) in enumerate(frames)]


def _hue(frames: Frames) -> Frames:
    return [(pts, [y, np.clip(u.astype(int) + 20, 0, 255).astype(u.dtype), v]) for pts, (y, u, v) in frames]


def _hole(frames: Frames) -> Frames:
    y = frames[5][1][0].copy()
    y[16:32, 32:64] = 16
    frames[5] = (frames[5][0], [y, *frames[5][1][1:]])
    return frames


def _late(frames: Frames) -> Frames:
    frames[9] = (frames[9][0] + 1, frames[9][1])
    return frames


@pytest.mark.parametrize(
    ("sabotage", "caught"),
    [
        (lambda f: [x for i, x in enumerate(f) if i != 10], {"frames", "times", "picture"}),
        (lambda f: f[:-1], {"frames", "end"}),
        (lambda f: [*f, (f[-1][0] + 512, f[-1][1])], {"frames", "end"}),
        (lambda f: _show(f, 10, 9), {"picture"}),
        (lambda f: _show(f, 10, 11), {"picture"}),
        (_swap, {"picture"}),
        (lambda f: _paint(f, 4, (16, 128, 128)), {"picture"}),
        (lambda f: _paint(f, 4, (0, 0, 0)), {"picture"}),
        (lambda f: _shift(f, 1), {"picture"}),
        (lambda f: _shift(f, -1), {"picture"}),
        (_hue, {"picture"}),
        (_hole, {"picture"}),
        (lambda f: [(pts, [p[::-1] for p in planes]) for pts, planes in f], {"picture"}),
        (_late, {"times"}),
        (lambda f: [(pts + 40, planes) for pts, planes in f], {"times", "audio 1", "audio 2", "end"}),
    ],
    ids=["dropped", "last-dropped", "one-more", "repeated", "early", "swapped", "black", "green", "all-early",
         "all-late", "hue", "hole", "upside-down", "one-pts-off", "all-pts-off"],
)  # fmt: skip
def test_wrong_picture_is_found(source: Path, tmp_path: Path, sabotage: Any, caught: set[str]) -> None:
    report = verify(source, enlarge(source, tmp_path / "r.mp4", frames=sabotage))
    assert_only(report, *caught)


def test_a_small_hole_in_a_still_picture_is_found(tmp_path: Path) -> None:
    """Where nothing moves, and too little is wrong for the mean, the worst blocks alone tell of it."""

    def small_hole(frames: Frames) -> Frames:
        y = frames[5][1][0].copy()
        y[16:28, 32:44] = 16
        frames[5] = (frames[5][0], [y, *frames[5][1][1:]])
        return frames

    still = make_clip(tmp_path / "still.mp4", Clip(still=True))
    report = verify(still, enlarge(still, tmp_path / "r.mp4", frames=small_hole))
    assert_only(report, "picture")
    assert "frame 5 shows another picture" in faults(report)["picture"]


def test_a_picture_that_is_moved_in_matroska_is_found(tmp_path: Path) -> None:
    """A whole file may be moved where it would begin before 0, by no more than that."""
    original = make_clip(tmp_path / "source.mkv", Clip())
    assert verify(original, enlarge(original, tmp_path / "right.mkv")).ok
    moved = enlarge(original, tmp_path / "moved.mkv", frames=lambda f: [(pts + 40, planes) for pts, planes in f])
    assert_only(verify(original, moved), "times", "end")


def judged(motion: float, shown: float, error: float, frames: int = 40) -> list[str]:
    """What is said of a video whose pictures change by `motion` a frame, up here and down there, if the result has gone
    a share `shown` of the way to the next one and has errors of its own of a deviation of `error`."""
    random, judge = np.random.default_rng(0), PictureJudge()
    wave = np.where(np.indices((12, 16)).sum(0) % 2, 1, -1)

    def grid(time: float, noise: float = 0.0) -> Grid:
        return Grid(((128 + wave * motion * time + random.normal(0, noise, wave.shape)).astype(np.float32),))

    for number in range(frames):
        before, source, after = (grid(number + step) for step in (-1, 0, 1))
        judge.compare(number, grid(number + shown, error), before, source, after)
    judge.finish()
    return judge.faults


def test_what_is_weaker_than_the_errors_of_coding_says_nothing() -> None:
    """Frames of little motion, a video of hardly any, and errors that motion explains badly."""
    assert "frame 0 shows the frame after its own" in judged(0.6, 1, 0)
    assert judged(0.4, 1, 0) == ["the frames show the picture of one frame later"]
    assert judged(0.09, 1, 0) == []
    assert judged(0.4, 0.9, 0.5) == []


def test_slow_motion_shift_is_found_over_the_whole_video(tmp_path: Path) -> None:
    """A change too small to judge one frame by: brightness waves of less than half a code value per frame."""

    def slow(frames: Frames) -> Frames:
        y, u, v = frames[0][1]
        ramp = np.linspace(-1, 1, y.shape[1])
        return [(pts, [(y + 9 + ramp * i * 0.6).astype(y.dtype), u, v]) for i, (pts, _) in enumerate(frames)]

    still = make_clip(tmp_path / "still.mp4", Clip(still=True, frames=40))
    lossless = {"qp": "0"}
    original = enlarge(still, tmp_path / "slow.mp4", 1, frames=slow, options=lossless)
    right = enlarge(original, tmp_path / "right.mp4", options=lossless)
    wrong = enlarge(original, tmp_path / "wrong.mp4", frames=lambda f: _shift(f, -1), options=lossless)
    assert verify(original, right).ok
    assert_only(verify(original, wrong), "picture")


def _without(packets: Packets, number: int) -> Packets:
    return packets[:number] + packets[number + 1 :]


def _damage(packets: Packets) -> Packets:
    import av

    old = packets[12]
    new = av.Packet(bytes(old)[:-1] + b"\x55")
    new.pts, new.dts, new.time_base, new.duration, new.stream = (
        old.pts, old.dts, old.time_base, old.duration, old.stream)  # fmt: skip
    return [*packets[:12], new, *packets[13:]]


def _delay(packets: Packets, ticks: int) -> Packets:
    for packet in packets:
        if packet.stream_index == 1:
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packets


@pytest.mark.parametrize(
    ("sabotage", "caught"),
    [
        (lambda p: _without(p, 20), 1),
        (lambda p: p[:-1], 1),
        (lambda p: p[1:], 1),
        (lambda p: [x for x in p if x.stream_index != 2], 1),
        (_damage, 1),
        (lambda p: _delay(p, 480), 1),
        (lambda p: _delay(p, 2), 1),
    ],
    ids=[
        "packet-missing",
        "last-missing",
        "first-missing",
        "track-silent",
        "packet-changed",
        "delayed-10-ms",
        "delayed-2-samples",
    ],
)
def test_wrong_sound_is_found(source: Path, tmp_path: Path, sabotage: Any, caught: int) -> None:
    report = verify(source, enlarge(source, tmp_path / "r.mp4", packets=sabotage))
    assert len(faults(report)) == caught, faults(report)
    assert all(name.startswith("audio") for name in faults(report))


def test_lost_description_is_found(source: Path, tmp_path: Path) -> None:
    dates = {"creation_time": "2024-05-06T07:08:09Z"}
    assert_only(verify(source, enlarge(source, tmp_path / "t.mp4", tags=dates)), "tags")
    assert_only(verify(source, enlarge(source, tmp_path / "c.mp4", chapters=False)), "chapters")
    colours = faults(verify(source, enlarge(source, tmp_path / "m.mp4", colour=(1, 1, 1, 2))))
    assert set(colours) == {"colour matrix", "colour primaries", "colour transfer", "colour range"}


@pytest.mark.parametrize(
    ("clip", "caught"),
    [
        (Clip(frames=6, aspect=Fraction(4, 3)), {"sample aspect"}),
        (Clip(frames=6, rotation=90), {"rotation"}),
        (Clip(frames=6, rotation=-1), {"rotation"}),
        (Clip(frames=6, pix_fmt="yuv444p"), {"pixel format"}),
    ],
    ids=["anamorphic", "turned", "mirrored", "colour-halved"],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_picture_that_is_shown_otherwise_is_found(tmp_path: Path, clip: Clip, caught: set[str], suffix: str) -> None:
    plain = make_clip(tmp_path / "plain.mp4", replace(clip, aspect=None, rotation=0, pix_fmt="yuv420p"))
    original = make_clip(tmp_path / "source.mp4", clip)
    report = verify(original, enlarge(plain, tmp_path / f"r.{suffix}"))
    assert set(faults(report)) - {"picture"} == caught, faults(report)


def test_a_turned_picture_that_is_moved_elsewhere_is_found(tmp_path: Path) -> None:
    original = make_clip(tmp_path / "source.mp4", Clip(frames=6, rotation=90))
    result = enlarge(original, tmp_path / "r.mp4")
    rotate(result, 90, 2 * 96, 2 * 64)
    report = verify(original, result)
    assert report.ok and [check.detail for check in report.checks if check.name == "rotation"] == ["-90 degrees"]
    rotate(result, 90, 96, 64)
    assert_only(verify(original, result), "rotation")


def test_lost_hdr_metadata_are_found(tmp_path: Path) -> None:
    plain = probe(make_clip(tmp_path / "plain.mp4", Clip(frames=4, pix_fmt="yuv420p10le", colour=(9, 9, 16, 1))))
    original, result = tmp_path / "source.mkv", tmp_path / "r.mkv"
    write_segment(original, replace(plain, hdr=HDR), 0, 4, 1, SETTINGS)
    info = probe(original)
    assert info.hdr is not None
    for hdr in (None, replace(info.hdr, light_level=(1000, 401))):
        upscale(original, result, info=replace(info, hdr=hdr))
        assert_only(verify(original, result), "HDR metadata")


@pytest.mark.parametrize("key", ["language", "title"])
def test_a_lost_tag_of_the_picture_is_found(tmp_path: Path, key: str) -> None:
    original = tmp_path / "source.mkv"
    with (
        av.open(str(make_clip(tmp_path / "plain.mkv", Clip(frames=6)))) as old,
        av.open(str(original), "w") as new,
    ):
        copy = new.add_stream_from_template(old.streams.video[0], opaque=True)
        copy.metadata[key] = "fra"
        for packet in old.demux():
            if packet.size:
                packet.stream = copy
                new.mux(packet)
    report = verify(original, enlarge(tmp_path / "plain.mkv", tmp_path / "r.mkv"))
    assert faults(report) == {"picture's tags": f"{key}='fra' lost"}


def test_a_wrong_chroma_location_is_found(source: Path, tmp_path: Path) -> None:
    corner = make_clip(tmp_path / "corner.mp4", Clip(options={"chroma_sample_location": "topleft"}))
    silent = make_clip(tmp_path / "silent.wmv", Clip(codec="wmv2"))
    for original, said in ((corner, "left"), (source, "topleft"), (silent, "center")):
        options = {"chroma_sample_location": said}
        report = verify(original, enlarge(original, tmp_path / "r.mkv", options=options))
        assert "colour chroma location" in faults(report), (original, said)


def test_wrong_size_is_found(source: Path, tmp_path: Path) -> None:
    info = probe(source)
    result = enlarge(source, tmp_path / "r.mp4", 2)
    for width, height in ((4, 4), (2, 4), (4, 2)):
        assert_only(verify(source, result, (info.width * width, info.height * height)), "size")
    for name, width, height in (
        ("square", 2 * info.width, 2 * info.width),
        ("wide", 2 * info.width + 2, 2 * info.height),
    ):
        other = make_clip(tmp_path / f"{name}.mp4", replace(SOUND, width=width, height=height))
        assert "size" in faults(verify(source, other)), name


def test_a_file_is_not_larger_than_itself(source: Path) -> None:
    assert_only(verify(source, source), "size")


def test_side_files_are_those_of_the_users_file(tmp_path: Path) -> None:
    """And not of what was recovered of it."""
    source = make_clip(tmp_path / "recovered.mp4", Clip(frames=6))
    (tmp_path / "card").mkdir()
    for name in ("drive.mp4", "drive.gps"):
        (tmp_path / "card" / name).write_bytes(b"positions")
    result = enlarge(source, tmp_path / "r.mp4")
    assert verify(source, result).ok
    assert_only(verify(source, result, original=tmp_path / "card" / "drive.mp4"), "side files")


def test_a_source_whose_packets_promise_too_much_is_decoded_to_know_its_frames(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def promising(path: Path, decode: bool = False) -> VideoInfo:
        info = probe(path, decode=decode)
        if Path(path) != source or decode:
            return info
        asked.append(True)
        table = info.table
        more = replace(table, pts=(*table.pts, table.end), key=(*table.key, False), durations=(*table.durations, 1))
        return replace(info, table=more)

    monkeypatch.setattr(verifying, "probe", promising)
    report = verify(source, enlarge(source, tmp_path / "r.mp4"))
    assert report.ok and asked, faults(report)


@pytest.mark.parametrize(("ticks", "ok"), [(0, True), (-9, True), (9, True), (-11, False), (11, False)])
def test_the_shape_of_pixels_may_be_rounded(source: Path, ticks: int, ok: bool) -> None:
    info = replace(probe(source), sample_aspect=Fraction(4, 3))
    made = replace(info, sample_aspect=info.sample_aspect * (1 + Fraction(ticks, 100_000)))
    (check,) = (each for each in _check_description(info, made, SideIndex()) if each.name == "sample aspect")
    assert check.ok is ok


def test_part_of_the_source(tmp_path: Path) -> None:
    def part(frames: Frames) -> Frames:
        return [(pts - frames[6][0], planes) for pts, planes in frames[6:18]]

    def sound(packets: Packets) -> Packets:
        kept = [p for p in packets if 0.24 <= p.pts * p.time_base < 0.72]
        for packet in kept:
            moved = int(Fraction(24, 100) / packet.time_base)
            packet.pts, packet.dts = packet.pts - moved, packet.dts - moved
        return kept

    source = make_clip(tmp_path / "source.mp4", replace(SOUND, chapters=0))
    result = enlarge(source, tmp_path / "part.mp4", frames=part, packets=sound)
    report = verify(source, result, first=6, stop=18)
    assert report.ok, faults(report)
    assert "picture" in faults(verify(source, result, first=7, stop=19))
    assert "frames" in faults(verify(source, result))


def test_uncompressed_sound_of_a_part_is_held_against_the_range(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mov", Clip(sound=("pcm_s16le",)))
    info = probe(source)
    begin, end = info.table.time(6), info.table.time(18)

    def result_with(less: int) -> VerifyReport:
        def part(frames: Frames) -> Frames:
            return [(pts - frames[6][0], planes) for pts, planes in frames[6:18]]

        def sound(packets: Packets) -> Packets:
            kept = [p for p in packets if begin <= p.pts * p.time_base < end][: -less or None]
            for packet in kept:
                moved = int(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - moved, packet.dts - moved
            return kept

        result = enlarge(source, tmp_path / f"part{less}.mov", frames=part, packets=sound)
        return verify(source, result, first=6, stop=18)

    assert result_with(0).ok, faults(result_with(0))
    assert "other sound" in str(faults(result_with(1)))


def test_unreadable_files(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        verify(source, tmp_path / "nothing.mp4")
    (tmp_path / "text.mp4").write_text("not a video at all")
    with pytest.raises(NotAVideo):
        verify(source, tmp_path / "text.mp4")


def check_part(whole: list[bytes], part: list[bytes], first: int = 0) -> Check:
    """The check of a sound stream that is a part of another from packet `first` on, of which each lasts 1 ms."""

    def file_of(digests: list[bytes]) -> Any:
        times, ones = array("q", range(len(digests))), array("q", [1] * len(digests))
        form = NalFormat(False, 4)
        stream = Contents(1, "audio", "aac", "", "und", (), {}, Fraction(1, 1000), form, times, ones, digests)
        return SimpleNamespace(others={1: stream})

    start = Fraction(first, 1000)
    timing = Timing(start, Fraction(0), start, start + Fraction(len(part), 1000))
    return next(check_streams(file_of(whole), file_of(part), timing, SideIndex()))


def test_a_part_is_found_where_its_packets_are() -> None:
    packets = [bytes([number % 7, number % 3]) * (DIGEST_BYTES // 2) for number in range(30)]
    for first, stop in ((0, 30), (0, 8), (5, 25), (21, 30)):
        assert check_part(packets, packets[first:stop], first % 21).ok, (first, stop)
    for other in (packets[5:8] + packets[9:25], [*packets, packets[0]], packets[::-1], [packets[0][1:] + b"x"]):
        assert check_part(packets, other).detail.endswith("its packets are not a run of the source's")


def test_a_part_does_not_begin_within_a_packet() -> None:
    half = DIGEST_BYTES // 2
    left, right = b"l" * half, b"r" * half
    across, whole = left + right, [right + left, right + left]
    assert not check_part(whole, [across]).ok
    assert check_part([*whole, across], [across], 2).ok


def test_a_part_of_hours_is_found_at_once() -> None:
    silence, spoken = [bytes(DIGEST_BYTES)] * 200_000, [b"s" * DIGEST_BYTES]
    began = process_time()
    assert check_part(silence + spoken, silence[:100_000] + spoken, 100_000).ok
    assert process_time() - began < 5


def test_what_changes_in_mid_stream_is_said(tmp_path: Path) -> None:
    options = {"g": "5", "bf": "0"}
    halves = (
        Clip(frames=10, options=options, colour=(6, 6, 6, 1)),
        Clip(frames=10, options={**options, "flags": "+ildct+ilme", "x264-params": "tff=1"}, colour=(1, 1, 1, 1),
             aspect=Fraction(4, 3)),
    )  # fmt: skip
    source = tmp_path / "source.ts"
    source.write_bytes(b"".join(make_clip(tmp_path / f"{k}.ts", half).read_bytes() for k, half in enumerate(halves)))
    upscale(source, tmp_path / "result.ts")
    report = verify(source, tmp_path / "result.ts")
    (found,) = [check.detail for check in report.checks if check.name == "changes"]
    assert "from frame 10 on it is interlaced" in found
    assert "from frame 10 on its colours are tagged otherwise" in found
    assert "on its pixels are 4/3 as wide as high, not 1, which the result does not say" in found
