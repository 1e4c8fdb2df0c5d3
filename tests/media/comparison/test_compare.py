from __future__ import annotations

import errno
import json
import math
import re
import shutil
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
from PIL import Image

from tests.media.clips import MILLISECOND, Clip, frame_of, make_clip, picture
from tests.media.numbered import TIMES, write_numbered
from tests.media.pipeline import upscale
from vidsr import paths
from vidsr.errors import DiskTooSmall, InputMissing, NotAVideo, OutputIsInput, OutputUnwritable, SettingsError
from vidsr.media.comparison.compare import thumbnail_pair, write_page, write_still
from vidsr.media.comparison.excerpt import luma, open_clip, pair_frames, psnr_and_shift, read_frames
from vidsr.media.comparison.proxy import ProxyEncoder, copy_packets, to_picture, to_rgb
from vidsr.media.comparison.still import GAP, PANEL, busiest_places, compose
from vidsr.media.probe import probe
from vidsr.settings import EncodeSettings


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return write_numbered(folder / "a.mp4", 96, 64), write_numbered(folder / "a_2x.mp4", 192, 128, lift=3)


def page_data(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found
    data: dict[str, object] = json.loads(found[1])
    return data


def test_the_pages_numbers_are_of_these_frames(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page(*pair, page, start=0.4, seconds=0.5)
    data = page_data(page)
    times = [t / 90_000 for t in TIMES if 0.4 <= t / 90_000 < 0.9]
    assert data["start"] == pytest.approx(times[0], abs=1e-5)
    assert data["times"] == pytest.approx([t - times[0] for t in times], abs=1e-5)
    assert data["shift"] == pytest.approx([3] * len(times), abs=0.3)
    # The difference is 3 code values, so PSNR is 10 log10(255^2 / 9) = 38.6 dB, less what the bars' edges cost.
    assert data["psnr"] == pytest.approx([37.6] * len(times), abs=2)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_frame_that_one_video_lacks_is_passed_over(tmp_path: Path) -> None:
    whole = write_numbered(tmp_path / "a.mp4", 96, 64)
    lacking = write_numbered(tmp_path / "b.mp4", 192, 128, times=[t for i, t in enumerate(TIMES) if i not in (4, 5)])
    found = [round(p.time * 90_000) for p in pair_frames(open_clip(whole), open_clip(lacking), 0, 10)]
    assert found == [t for i, t in enumerate(TIMES) if i not in (4, 5)]


def number_of(frame: av.VideoFrame) -> int:
    bars = luma(frame)[frame.height // 2, [frame.width * (2 * bit + 1) // 12 for bit in range(6)]] > 128
    return sum(1 << bit for bit, bright in enumerate(bars) if bright)


def test_at_240_frames_a_second_each_time_has_its_own_frame(tmp_path: Path) -> None:
    """The result's times are rounded to milliseconds, a quarter of a frame."""
    ticks = range(0, 40 * 375, 375)
    source = open_clip(write_numbered(tmp_path / "a.mp4", 96, 64, ticks))
    result = open_clip(write_numbered(tmp_path / "a_2x.mkv", 192, 128, ticks))
    assert [number_of(pair.result) for pair in pair_frames(source, result, 0, 1)] == list(range(40))
    for number, tick in enumerate(ticks):
        (pair,) = pair_frames(source, result, tick / 90_000, 0)
        assert (number_of(pair.source), number_of(pair.result)) == (number, number)


def write_untimed(path: Path) -> Path:
    """Writes a video whose container does not give each frame a time of its own, by the suffix."""
    if path.suffix == ".ts":
        once = write_numbered(path.with_suffix(".once.ts"), 96, 64).read_bytes()
        path.write_bytes(once + once)
    elif path.suffix == ".mkv":
        origin = make_clip(path.with_suffix(".mp4"), Clip(codec="mpeg4"))
        with av.open(str(origin)) as source, av.open(str(path), "w") as made:
            copied = made.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(p for p in source.demux() if p.size):
                packet.stream, packet.time_base = copied, MILLISECOND
                packet.pts = packet.dts = 40 * (number - (number % 3 == 2))
                made.mux(packet)
    else:
        write_numbered(path, 96, 64, times=range(0, 40 * 3600, 3600))
    return path


@pytest.mark.parametrize("name", ["raw.h264", "b-frames.avi", "twice.ts", "equal.mkv"])
def test_frames_without_times_of_their_own_are_compared(name: str, tmp_path: Path) -> None:
    source = write_untimed(tmp_path / name)
    result = tmp_path / f"result{source.suffix if source.suffix == '.ts' else '.mkv'}"
    upscale(source, result)
    page = tmp_path / "page.html"
    for videos in ((source, result), (result, result)):
        write_page(*videos, page)
        psnr = page_data(page)["psnr"]
        assert isinstance(psnr, list) and len(psnr) == probe(source).frames
        assert all(each is None or each > 30 for each in psnr), "every frame beside its own"
    write_still(source, result, tmp_path / "still.png", time=0)


def test_the_same_picture_agrees_exactly() -> None:
    large = np.full((64, 64), 100, np.float32)
    assert psnr_and_shift(np.full((32, 32), 100, np.float32), large) == (None, 0.0)
    psnr, shift = psnr_and_shift(np.full((32, 32), 98, np.float32), large)
    assert (psnr, shift) == (pytest.approx(10 * np.log10(255**2 / 4)), 2.0)


def test_the_still_shows_the_frame_that_was_asked_for(pair: tuple[Path, Path], tmp_path: Path) -> None:
    png = tmp_path / "still.png"
    write_still(*pair, png, time=TIMES[21] / 90_000 + 0.001)
    with Image.open(png) as still:
        pixels = np.asarray(still.convert("L"))
    for left in (16, 16 + 960 + 16):
        bars = [pixels[400, left + 960 * (2 * bit + 1) // 12] > 128 for bit in range(6)]
        assert sum(bright << bit for bit, bright in enumerate(bars)) == 21


@pytest.mark.parametrize("pix_fmt", ["yuyv422", "uyvy422", "nv12", "gbrp", "rgb24", "bgr0", "gray"])
def test_agreement_does_not_depend_on_how_samples_lie(pix_fmt: str, tmp_path: Path) -> None:
    """A result with every sample of its source repeated agrees but for what the bicubic smooths."""
    source, result = tmp_path / "source.nut", tmp_path / "result.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        for number in range(3):
            frame = frame_of(picture(Clip(pix_fmt="yuv444p"), number), "yuv444p", 96, 64).reformat(format=pix_fmt)
            frame.pts = number
            container.mux(stream.encode(frame))
    upscale(source, result, settings=EncodeSettings(codec="ffv1"))
    pairs = list(pair_frames(open_clip(source), open_clip(result), 0, 10))
    assert len(pairs) == 3
    for pair in pairs:
        psnr, shift = psnr_and_shift(luma(pair.source), luma(pair.result))
        assert psnr is not None and psnr > 60 and abs(shift) < 0.01


def test_names_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_numbered(tmp_path / "12:30.mp4", 96, 64)
    write_numbered(tmp_path / "12:30_2x.mp4", 192, 128)
    source, result, page = Path("12:30.mp4"), Path("12:30_2x.mp4"), Path("12:30.html")
    write_page(source, result, page, seconds=0.5)
    assert page_data(page)["times"]
    clip = open_clip(result)
    copy_packets(clip, Path("12:31.mp4"), 0)
    with ProxyEncoder(Path("12:32.mp4"), clip, 192, 128) as proxy:
        for time, frame in read_frames(clip, 0, 10):
            proxy.write(frame, time)
    for copy in ("12:31.mp4", "12:32.mp4"):
        assert len(list(read_frames(open_clip(Path(copy)), 0, 10))) == len(TIMES)


def test_thumbnails_are_small_jpegs_of_both(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidsr.media.comparison.compare.THUMBNAIL_SIDE", 48)
    for jpeg in thumbnail_pair(*pair):
        with Image.open(BytesIO(jpeg)) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (48, 32)


def test_the_crops_are_where_the_edges_are() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[60:80:2, 150:170] = 255
    assert busiest_places(Image.fromarray(pixels), 50, 50, 1) == [(150, 50, 200, 100)]


def test_the_crops_of_a_tiny_picture_lie_within_it() -> None:
    assert busiest_places(Image.new("RGB", (128, 96)), 154, 115, 3) == [(0, 0, 128, 96)]


def test_videos_of_one_name_are_told_apart_by_their_folders(pair: tuple[Path, Path], tmp_path: Path) -> None:
    source, result = pair
    (tmp_path / "large").mkdir()
    same = Path(shutil.copy(result, tmp_path / "large" / source.name))
    write_page(source, same, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f"<title>{source.parent.name}/{source.name} and large/{source.name}</title>" in page


def test_a_long_name_stays_over_its_own_picture() -> None:
    picture = Image.new("RGB", (96, 64))
    short, long = (np.asarray(compose(picture, picture, ("a" * n, "", ""))) for n in (3, 250))
    other_half = slice(GAP + PANEL, None)
    assert np.array_equal(short[:44, other_half], long[:44, other_half])
    assert not np.array_equal(short, long)


def test_a_turned_video_is_upright_and_ten_bits_are_read(shared_data: Path) -> None:
    clip = open_clip(shared_data / "video" / "rotated.mp4")
    pair = next(pair_frames(clip, clip, 0, 1))
    picture = to_picture(pair.source, clip, clip.width // 4, clip.height // 4)
    assert picture.height > picture.width
    assert luma(pair.source).shape == (clip.height, clip.width)
    deep = open_clip(shared_data / "video" / "h264_10bits.mp4")
    plane = luma(next(pair_frames(deep, deep, 0, 1)).source)
    assert 100 < plane.max() < 256


def test_wrong_inputs_name_the_file_and_leave_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    source, result = pair
    page = tmp_path / "page.html"
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    with pytest.raises(InputMissing, match=r"gone\.mp4"):
        write_page(tmp_path / "gone.mp4", result, page)
    with pytest.raises(NotAVideo, match=r"broken\.mp4"):
        write_page(source, broken, page)
    with pytest.raises(NotAVideo, match="common frame"):
        write_page(source, result, page, start=100)
    with pytest.raises(SettingsError, match="not an enlargement"):
        write_page(source, write_numbered(tmp_path / "square.mp4", 128, 128), page)
    with pytest.raises(SettingsError, match=r"a\.mp4 \(96x64\) is smaller than .*; name the source first"):
        write_page(result, source, page)
    with pytest.raises(SettingsError, match=r"still\.jpg would be a PNG.*ends in \.png"):
        write_still(source, result, tmp_path / "still.jpg", 0)
    for name in ("still.png", "side by side.mp4"):  # as other programs would make; another's video became a page
        with pytest.raises(SettingsError, match=rf"{name} would be a page of .*ends in \.html"):
            write_page(source, result, tmp_path / name)
    for start, seconds in ((0, 0), (-1, 10), (math.inf, 10), (0, math.nan)):
        with pytest.raises(SettingsError, match="empty"):
            write_page(source, result, page, start, seconds)
    for time in (math.inf, math.nan):
        with pytest.raises(SettingsError, match="--time"):
            write_still(source, result, page, time)
    with pytest.raises(OutputUnwritable, match=r"page\.html"):
        write_page(source, result, tmp_path / "no folder" / "page.html")
    with pytest.raises(OutputUnwritable, match="too long"):
        write_page(source, result, tmp_path / ("n" * 300))
    assert not page.exists()


def test_neither_video_is_overwritten(pair: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "link.html"
    link.symlink_to(pair[0])
    before = [video.read_bytes() for video in pair]
    for target in (*pair, link):
        with pytest.raises(OutputIsInput, match=target.name):
            write_page(*pair, target)
        with pytest.raises(OutputIsInput, match=target.name):
            write_still(*pair, target, 0)
    assert [video.read_bytes() for video in pair] == before


def test_a_full_disk_is_called_so(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "write_whole", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DiskTooSmall, match=r"still\.png cannot be written, the disk is full"):
        write_still(*pair, tmp_path / "still.png", 0)


@pytest.mark.parametrize("matrix", [1, 4, 5, 7, 9])
def test_stills_have_the_colours_of_their_matrix(matrix: int) -> None:
    colour = (200, 40, 90)
    rgb = av.VideoFrame.from_ndarray(np.full((16, 16, 3), colour, np.uint8))
    picture = to_rgb(rgb.reformat(format="yuv444p", dst_colorspace=matrix), matrix)
    assert picture[8, 8].tolist() == pytest.approx(colour, abs=2)


@pytest.mark.parametrize("height", [96, 720])
def test_rgb_video_is_shown_in_its_colours(height: int, tmp_path: Path) -> None:
    """What is untagged and has 720 lines is taken for BT.709, which swscale does not convert RGB to."""
    colour = (200, 40, 90)
    path = tmp_path / "screen.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, height, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((height, 64, 3), colour, np.uint8))))
        container.mux(stream.encode(None))
    clip = open_clip(path)
    frame = next(pair_frames(clip, clip, 0, 1)).source
    assert to_picture(frame, clip, 64, height).getpixel((32, 48)) == pytest.approx(colour, abs=4)
