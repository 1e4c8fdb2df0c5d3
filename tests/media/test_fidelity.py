"""Every kind of source through decoder, encoder and muxer: `verify` finds the same file, only larger."""

from __future__ import annotations

import json
import re
import struct
import zlib
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media.clips import CASES, Clip, encodable, make_clip
from tests.media.frames import VIDEOS
from tests.media.pipeline import upscale
from vidsr.describe import info_as_json
from vidsr.errors import SettingsError
from vidsr.media.beside.index import index_path
from vidsr.media.comparison.compare import write_page
from vidsr.media.firstframe import Hdr
from vidsr.media.formats import check_times, choose_suffix
from vidsr.media.matroska import display_size
from vidsr.media.mux import MuxReport
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify
from vidsr.settings import EncodeSettings

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "bt601_full_range.mp4", "h264_10bits.mp4", "h265_10bits.mp4", "juscar-data-track.ts", "nasa_13013_rotated.mp4",
    "no-initial-keyframe.ts", "odd-size-vp9.mp4", "subtitles-ssa.mkv", "test_non_zero_start.mp4",
    "testsrc2_444_10bit_hevc.mp4", "testsrc2_hdr.mp4",
}  # fmt: skip
ELSEWHERE = [
    (case, suffix)
    for case in ("h264-mp4-text", "h264-mkv", "h264-ts", "mpeg2-ts-data", "h264-mp4-data", "h264-mp4-rotated-90",
                 "h264-mp4-late-start", "hevc-mp4", "h264-mkv-short-sound", "h264-m2ts")
    for suffix in ("mp4", "mov", "mkv", "ts")
    if suffix != CASES[case][0]
]  # fmt: skip


def prove(source: Path, suffix: str, folder: Path) -> tuple[MuxReport, Path]:
    result = folder / f"{source.stem}_2x.{suffix}"
    report = upscale(source, result)
    proof = verify(source, result)
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


@pytest.mark.parametrize(
    ("suffix", "case"),
    [("360", "h264-mp4"), ("f4v", "h264-mp4"), ("qt", "h264-mov"), ("m2t", "h264-ts"), ("tp", "h264-ts"),
     ("trp", "h264-ts")],
)  # fmt: skip
def test_another_name_of_a_container(suffix: str, case: str, tmp_path: Path) -> None:
    made, clip = CASES[case]
    source = make_clip(tmp_path / f"made.{made}", clip).rename(tmp_path / f"source.{suffix}")
    assert choose_suffix(probe(source), "auto", "libx264") == (f".{suffix}", "")
    report, _ = prove(source, suffix, tmp_path)
    assert report.not_carried == ()


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
    lost = report.left or "rotation" in str(index.get("stream_tags")) or "chapters" in index
    assert bool(report.not_carried) == bool(lost)


@pytest.mark.parametrize(
    ("suffix", "clip", "codec", "container", "found"),
    [
        ("wmv", Clip(codec="wmv2"), "auto", "mkv", "left"),
        ("mov", Clip(codec="dnxhd", pix_fmt="yuv422p10le", options={"profile": "dnxhr_hqx"}, width=256, height=128),
         "auto", "mov", "left"),
        ("mov", Clip(codec="mjpeg", pix_fmt="yuvj422p", colour=(6, 2, 2, 2)), "auto", "mov", "cannot say"),
        ("mp4", Clip(), "ffv1", "mp4", "left"),
        ("mp4", Clip(), "libvpx-vp9", "mp4", "left"),
        ("mp4", Clip(options={"chroma_sample_location": "topleft"}), "ffv1", "mp4", "cannot say"),
        ("mp4", Clip(options={"chroma_sample_location": "topleft"}), "auto", "mp4", "topleft"),
        ("mp4", Clip(options={"chroma_sample_location": "topleft"}), "libsvtav1", "mp4", "topleft"),
        ("avi", Clip(codec="mjpeg", pix_fmt="yuvj420p", colour=(6, 2, 2, 2)), "libx265", "mp4", "center"),
        ("avi", Clip(codec="mjpeg", pix_fmt="yuvj420p", colour=(6, 2, 2, 2)), "libsvtav1", "mp4", "cannot say"),
    ],
    ids=["wmv2", "dnxhr-422", "mjpeg-422", "to-ffv1", "to-vp9", "topleft-to-ffv1", "topleft", "topleft-to-av1",
         "center", "center-to-av1"],
)  # fmt: skip
def test_chroma_location_is_kept_where_codecs_can_say_it(
    suffix: str, clip: Clip, codec: str, container: str, found: str, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / f"source.{suffix}", replace(clip, frames=4))
    result = tmp_path / f"result.{container}"
    upscale(source, result, settings=EncodeSettings(codec))
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert next(c.detail for c in proof.checks if c.name == "colour chroma location").endswith(found)


@pytest.mark.parametrize("colour", [(5, 2, 2, 1), (2, 9, 16, 1), (2, 2, 2, 2)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_colour_of_which_only_some_is_said(colour: tuple[int, int, int, int], suffix: str, tmp_path: Path) -> None:
    """FFV1 says none itself."""
    source = make_clip(tmp_path / "source.mkv", Clip(codec="ffv1", frames=4, colour=colour))
    result = tmp_path / f"result.{suffix}"
    upscale(source, result)
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]


@pytest.mark.parametrize(
    ("mode", "aspect"),
    [("left_right", Fraction(2)), ("col_interleaved_rl", Fraction(2)), ("top_bottom", Fraction(1, 2)),
     ("row_interleaved_lr", Fraction(1, 2)), ("checkerboard_lr", Fraction(1))],
)  # fmt: skip
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
def test_stereoscopic_pixels(mode: str, aspect: Fraction, half: bool, suffix: str, tmp_path: Path) -> None:
    """Matroska says how large one eye sees the picture: of films with half the columns of each, as large as both."""
    plain = make_clip(tmp_path / "plain.mp4", Clip(frames=4))
    source = tmp_path / "source.mkv"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.metadata["stereo_mode"] = mode
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    if half:
        content = source.read_bytes()
        source.write_bytes(re.sub(rb"\x54\xb0\x81.\x54\xba\x81.", b"\x54\xb0\x81\x60\x54\xba\x81\x40", content))
    assert probe(source).sample_aspect == (aspect if half else 1) and probe(source).notes == ()
    result = tmp_path / f"result.{suffix}"
    upscale(source, result, settings=EncodeSettings("libvpx-vp9" if suffix == "webm" else "libx264"))
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    assert suffix != "mkv" or dict(probe(result).stream.tags)["stereo_mode"] == mode


@pytest.mark.parametrize(
    ("codec", "suffix", "aspect"),
    [("ffv1", "mkv", Fraction(8, 9)), ("libvpx-vp9", "webm", Fraction(4, 3)), ("libx264", "mkv", Fraction(16, 11)),
     ("libsvtav1", "mkv", Fraction(4055, 1367))],
)  # fmt: skip
@pytest.mark.parametrize("title", ["", "Rückblick"])
def test_pixels_that_are_not_square(codec: str, suffix: str, aspect: Fraction, title: str, tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mp4", Clip(frames=8, aspect=aspect))
    source = tmp_path / "source.mkv"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        if title:
            stream.metadata["TITLE"] = title
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    result = tmp_path / f"result.{suffix}"
    upscale(source, result, settings=EncodeSettings(codec))
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]
    if suffix == "mkv":  # WebM has no checksums
        checksum, tracks = _tracks(result)
        assert zlib.crc32(tracks) == checksum
    with av.open(str(result)) as container:
        stream = container.streams.video[0]
        assert Fraction(stream.sample_aspect_ratio) == aspect
        assert stream.metadata.get("title", "") == title
        assert sum(packet.size > 0 for packet in container.demux(stream)) == 8


def _tracks(path: Path) -> tuple[int, bytes]:
    """The checksum of a Matroska file's list of tracks, and what it is of."""
    data = path.read_bytes()
    size = data.rindex(b"\x16\x54\xae\x6b", 0, data.index(b"\x1f\x43\xb6\x75")) + 4  # the first is in the index
    begin = data.index(b"\xbf\x84", size)
    end = begin + int.from_bytes(data[size:begin], "big") - (1 << 7 * (begin - size))
    return int.from_bytes(data[begin + 2 : begin + 6], "little"), data[begin + 6 : end]


def test_a_display_size_is_of_the_pictures_shape() -> None:
    assert display_size(1440, 1080, Fraction(4, 3)) == (1920, 1080)
    assert display_size(704, 480, Fraction(10, 11)) == (640, 480)
    for width, height, aspect in ((1440, 960, Fraction(8, 9)), (97, 63, Fraction(2)), (640, 360, Fraction(4055, 1367))):
        across, down = display_size(width, height, aspect)
        assert Fraction(across, down) == aspect * width / height and down >= height


@pytest.mark.parametrize(
    ("coded", "read"),
    [(b"\0\0\3\0\0", None), (b"\x03\xe8\0\0", Hdr(light_level=(1000, 0)))],  # \3 lest it looks like a start code
)
def test_light_levels_that_are_not_known(coded: bytes, read: Hdr | None, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none:max-cll=1000,400"}
    source = make_clip(tmp_path / "source.hevc", Clip(codec="libx265", options=options, frames=4))
    stream, message = source.read_bytes(), b"\x90\x04%s\x80"
    assert message % b"\x03\xe8\x01\x90" in stream
    source.write_bytes(stream.replace(message % b"\x03\xe8\x01\x90", message % coded))
    assert probe(source).hdr == read
    prove(source, "mkv", tmp_path)


COLOURS, LIGHT = (
    "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(0,0)",
    "G(0,0)B(0,0)R(0,0)WP(0,0)L(9999999,50)",
)


@pytest.mark.parametrize(
    ("known", "codec"),
    [(COLOURS, "libx264"), (COLOURS, "libx265"), (LIGHT, "libx264"), (LIGHT, "libx265"), (LIGHT, "libsvtav1")],
)
def test_a_mastering_display_of_which_only_colours_or_light_are_known(known: str, codec: str, tmp_path: Path) -> None:
    options = {"x265-params": f"log-level=none:master-display={known}"}
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", colour=(9, 9, 16, 1), options=options, frames=4)
    source, result = make_clip(tmp_path / "source.mp4", clip), tmp_path / "result.mkv"
    hdr = probe(source).hdr
    assert hdr is not None and bool(hdr.primaries) == (known == COLOURS) != bool(hdr.luminance)
    upscale(source, result, settings=EncodeSettings(codec=codec))
    proof = verify(source, result)
    assert proof.ok, [check for check in proof.checks if not check.ok]


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


@pytest.mark.parametrize("rate", [1000, 3000])
def test_frames_that_matroska_cannot_tell_apart(rate: int, tmp_path: Path) -> None:
    """Cameras for experiments write thousands a second into AVI, which becomes MOV then."""
    source = make_clip(tmp_path / "source.avi", Clip(codec="mpeg4", frames=30, rate=Fraction(1000)))
    content = bytearray(source.read_bytes())
    at = content.index(b"vids") + 20  # the stream's ticks a frame and ticks a second
    struct.pack_into("<II", content, at, 1, rate)
    source.write_bytes(content)
    suffix, _ = choose_suffix(probe(source), "auto", "libx264")
    assert suffix == (".mkv" if rate == 1000 else ".mov")
    prove(source, suffix.removeprefix("."), tmp_path)
    with nullcontext() if rate == 1000 else pytest.raises(SettingsError, match="--container mov"):
        check_times(".mkv", probe(source))


def test_every_row_of_the_page_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:\w+/)*test_\w+\.py)::(test_\w+)`", page)
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


def test_attachments_lie_beside_under_names_of_their_own(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(frames=8))
    source = tmp_path / "source.mkv"
    files = {"font.ttf": b"one", "2.font.ttf": b"another", "attachment3": b"no name", "a.ttf": b"of a folder",
             "5.vidsr.json": b"no record", "6.telemetry.json": b"no index", f"{'e' * 96}.ttf": b"long"}  # fmt: skip
    names = ("font.ttf", "font.ttf", "", "fonts/a.ttf", "vidsr.json", "telemetry.json", f"{'e' * 250}.ttf")
    with av.open(str(clip)) as film, av.open(str(source), "w") as made:
        copied = made.add_stream_from_template(film.streams.video[0])
        for name, content in zip(names, files.values(), strict=True):
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
