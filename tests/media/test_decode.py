"""Frames of any range are those of a whole decode, sample by sample."""

from __future__ import annotations

import gc
import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.frame import VideoFrame
from PIL import Image
from PIL.ExifTags import Base as Tag

from tests.media.clips import CASES, Clip, encodable, frame_of, make_clip, picture
from tests.media.frames import VIDEOS, decoded, digests
from vidsr.errors import DamagedVideo, NotAVideo
from vidsr.frames import PixelLayout
from vidsr.media.decode import decode_range
from vidsr.media.pixels import copy_planes, empty_planes, fill_planes, rgb_to_yuv, source_format, to_planar
from vidsr.media.probe import probe

LARGE = {
    "drive-yellow.mp4", "dashcam-360p.mp4", "vfr-odd.mp4", "thinkware-1080p-gps.mp4", "rotated.mp4",
    "drive-960x540.mp4", "bt709_full_range.mp4", "loop-70mai/NO20260101-120000-000001F.MP4", "edit-list.mp4",
}  # fmt: skip
SYNTAX = {
    "open-gop.mp4": Clip(frames=50, codec="libx265", options={
        "x265-params": "log-level=none:open-gop=1:keyint=12:min-keyint=12:bframes=3", "preset": "fast"}),
    "open-gop.ts": Clip(frames=50, options={"x264-params": "open-gop=1:keyint=12:min-keyint=12", "preset": "fast"}),
    "pyramid.mkv": Clip(frames=50, options={
        "x264-params": "keyint=12:min-keyint=12:bframes=7:b-adapt=0:b-pyramid=normal:ref=6", "preset": "fast"}),
    "gradual-refresh.mp4": Clip(frames=50, options={"x264-params": "intra-refresh=1:keyint=12", "preset": "fast"}),
    "interlaced.ts": Clip(frames=50, codec="mpeg2video", options={"flags": "+ildct+ilme", "g": "12", "bf": "2"}),
    "program.mpg": Clip(frames=50, codec="mpeg2video", options={"g": "12", "bf": "2"}),
    "hidden-frames.webm": Clip(frames=50, codec="libvpx", options={
        "deadline": "good", "cpu-used": "4", "auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}),
    "forward-key-frames.mp4": Clip(frames=50, codec="libsvtav1", options={
        "g": "16", "svtav1-params": "irefresh-type=1"}),
    "edited.mp4": Clip(frames=50, start=Fraction(-1, 5), options={"bf": "2", "g": "12", "preset": "fast"}),
    "late.ts": Clip(frames=50, start=Fraction(3600 * 26), options={"bf": "2", "g": "12", "preset": "fast"}),
    "raw.h264": Clip(frames=30, options={"g": "12"}),
}  # fmt: skip


def assert_ranges_are_exact(path: Path) -> None:
    info = probe(path)
    whole = list(decoded(path))
    if info.sequential:
        whole = [(time, digest) for time, (_, digest) in zip(info.table.pts, whole, strict=True)]
    chance = random.Random(1)
    cuts = {0, info.frames, *(i for i in range(info.frames) if info.table.key[i] and chance.random() < 0.5)}
    cuts |= {chance.randrange(info.frames) for _ in range(3)}
    ordered = sorted(cuts)
    joined = []
    for first, stop in itertools.pairwise(ordered):
        joined += digests(info, first, stop, batch_frames=chance.randrange(1, 9))
    assert joined == whole


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in VIDEOS])
def test_ranges_of_real_files(shared_data: Path, name: str) -> None:
    assert_ranges_are_exact(shared_data / "video" / name)


@pytest.mark.parametrize("case", CASES)
def test_ranges_of_synthetic_files(tmp_path: Path, case: str) -> None:
    suffix, clip = CASES[case]
    if not encodable(clip):
        pytest.skip(f"no encoder {clip.codec} here")
    assert_ranges_are_exact(make_clip(tmp_path / f"clip.{suffix}", clip))


@pytest.mark.parametrize("name", SYNTAX)
def test_ranges_of_difficult_streams(tmp_path: Path, name: str) -> None:
    clip = SYNTAX[name]
    if not encodable(clip):
        pytest.skip(f"no encoder {clip.codec} here")
    assert_ranges_are_exact(make_clip(tmp_path / name, clip))


def test_batches(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mkv", Clip(codec="ffv1", pix_fmt="yuv422p10le", width=97, height=63)))
    batches = list(decode_range(info, 3, 14, 4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert [i for batch in batches for i in batch.index] == list(range(3, 14))
    assert [plane.shape for plane in batches[0].planes] == [(4, 63, 97), (4, 63, 49), (4, 63, 49)]
    assert {plane.dtype for plane in batches[0].planes} == {np.dtype(np.uint16)}
    assert batches[0].layout.pix_fmt == "yuv422p10le"


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv411p", "yuv440p", "yuv444p16le", "yuv420p9le", "gray", "gray12le"])
def test_samples_are_the_sources(tmp_path: Path, pix_fmt: str) -> None:
    clip = Clip(codec="ffv1", pix_fmt=pix_fmt, width=97, height=63, frames=3)
    info = probe(make_clip(tmp_path / "clip.mkv", clip))
    batch = next(decode_range(info, 0, 3, 3))
    for at in range(3):
        for plane, samples in zip(batch.planes, picture(clip, at), strict=True):
            np.testing.assert_array_equal(plane[at], samples)


def _write(path: Path, codec: str, frames: list[av.VideoFrame]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_semi_planar_is_rearranged_without_loss(tmp_path: Path) -> None:
    clip = Clip(codec="rawvideo", frames=2)
    planes = picture(clip, 0)
    frame = frame_of(planes, "yuv420p", clip.width, clip.height).reformat(format="nv12")
    info = probe(_write(tmp_path / "clip.nut", "rawvideo", [frame]))
    assert info.pix_fmt == "nv12" and "without loss" in info.notes[0]
    batch = next(decode_range(info, 0, 1, 1))
    for plane, samples in zip(batch.planes, planes, strict=True):
        np.testing.assert_array_equal(plane[0], samples)


@pytest.mark.parametrize("pix_fmt", ["p210le", "p016le"])
def test_rows_are_whole_at_any_width(pix_fmt: str) -> None:
    """Threads of swscale, where they share one picture, write over the end of their last row, now and then too late."""
    width, height = 170, 96
    source = source_format(pix_fmt)
    samples = np.random.default_rng(1).integers(0, 1 << source.layout.depth, (height, width), np.uint16)
    shapes = source.layout.plane_shapes(width, height)
    planar = VideoFrame(width, height, source.layout.pix_fmt)
    fill_planes(planar, tuple(samples[None, :h, :w] for h, w in shapes), 0)
    packed = [planar.reformat(format=pix_fmt, threads=1) for _ in range(8)]

    def wrong(frame: VideoFrame) -> int:
        made = empty_planes(source.layout, width, height, 1)
        count = 0
        for _ in range(100):
            copy_planes(to_planar(frame, source), made, 0)
            count += any((plane[0] != samples[:h, :w]).any() for plane, (h, w) in zip(made, shapes, strict=True))
        return count

    with ThreadPoolExecutor(len(packed)) as pool:
        assert sum(pool.map(wrong, packed)) == 0


def test_rgb_becomes_full_range_444(tmp_path: Path) -> None:
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:, :24], rgb[:, 24:] = (255, 255, 255), (255, 0, 0)
    info = probe(_write(tmp_path / "clip.mkv", "ffv1", [av.VideoFrame.from_ndarray(rgb).reformat(format="bgr0")]))
    batch = next(decode_range(info, 0, 1, 1))
    assert batch.layout.pix_fmt == "yuv444p" and batch.colour.full_range and batch.colour.matrix == 6
    luma, blue, red = (plane[0] for plane in batch.planes)
    assert abs(int(luma[8, 8]) - 255) <= 1 and abs(int(blue[8, 8]) - 128) <= 1
    assert abs(int(luma[8, 40]) - 76) <= 2 and abs(int(red[8, 40]) - 255) <= 2  # BT.601: 0.299 of 255


@pytest.mark.parametrize(("pix_fmt", "depth"), [("bgr0", 8), ("gbrp10le", 10), ("gbrap12le", 12), ("rgb48le", 16)])
def test_rgb_is_rounded_to_the_nearest(pix_fmt: str, depth: int) -> None:
    top = 2**depth - 1
    rgb = np.random.default_rng(1).integers(0, top + 1, (48, 64, 3)).astype(np.uint16)
    if pix_fmt == "bgr0":
        frame = av.VideoFrame.from_ndarray(rgb.astype(np.uint8)).reformat(format=pix_fmt)
    elif pix_fmt == "rgb48le":
        frame = av.VideoFrame.from_ndarray(rgb, format=pix_fmt)
    else:
        clear = np.zeros((1, 48, 64), np.uint16)
        frame = av.VideoFrame(64, 48, pix_fmt)
        fill_planes(frame, (*(rgb[None, ..., channel] for channel in (1, 2, 0)), clear), 0)
    red, green, blue = rgb.astype(np.float64).transpose(2, 0, 1)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    exact = (y, (blue - y) / 1.772 + (top + 1) / 2, (red - y) / 1.402 + (top + 1) / 2)
    made = empty_planes(PixelLayout(depth, 0, 0), 64, 48, 1)
    copy_planes(rgb_to_yuv(frame, PixelLayout(depth, 0, 0).pix_fmt), made, 0)
    for plane, values in zip(made, exact, strict=True):
        assert np.abs(plane[0] - values.clip(0, top)).max() <= 0.51


def test_a_frame_with_exif_is_read(tmp_path: Path) -> None:
    """Motion JPEG of time-lapse cameras; its EXIF is side data that PyAV has no name for."""
    exif = Image.Exif()
    exif[Tag.Orientation] = 6
    jpeg = BytesIO()
    Image.new("RGB", (48, 32), "red").save(jpeg, "JPEG", exif=exif)
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10, width=48, height=32, pix_fmt="yuvj420p")
        for number in range(3):
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    info = probe(path)
    assert info.frames == 3 and info.rotation == -90
    assert next(decode_range(info, 0, 3, 3)).user_data == ((), (), ())


def test_deinterlacing_gives_one_frame_per_frame_and_any_range(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "interlaced=1", "g": "6"}
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(options=options)))
    assert info.interlaced
    whole = digests(info, 0, 24, deinterlace=True)
    parts = [d for a, b in [(0, 1), (1, 6), (6, 13), (13, 24)] for d in digests(info, a, b, deinterlace=True)]
    assert parts == whole
    assert [time for time, _ in whole] == list(info.table.pts)
    assert whole != digests(info, 0, 24)


@pytest.mark.parametrize(
    ("name", "parity", "clip"),
    [
        ("clip.mp4", "bff", Clip(frames=6, options={"flags": "+ildct+ilme"})),
        ("clip.mkv", "tff", Clip(frames=6, codec="ffv1", options={"field_order": "tt"})),
    ],
)
def test_fields_are_taken_in_their_own_order(tmp_path: Path, name: str, parity: str, clip: Clip) -> None:
    info = probe(make_clip(tmp_path / name, clip))
    graph = Graph()
    with av.open(str(info.path)) as container:
        source = graph.add_buffer(template=container.streams.video[0])
        bwdif = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint=all")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        for frame in container.decode(video=0):
            graph.vpush(frame)
        graph.vpush(None)
    expected = [graph.vpull().to_ndarray()[: info.height] for _ in range(6)]
    (batch,) = decode_range(info, 0, 6, 6, deinterlace=True)
    np.testing.assert_array_equal(batch.planes[0], np.stack(expected))


def test_user_data_of_each_frame(shared_data: Path) -> None:
    info = probe(shared_data / "video" / "drive-720p-short.mp4")
    messages = [m for batch in decode_range(info, 0, info.frames, 8) for frame in batch.user_data for m in frame]
    assert messages and all(len(message) >= 16 for message in messages)


def test_a_change_of_size_is_named(tmp_path: Path) -> None:
    small = make_clip(tmp_path / "small.h264", Clip(frames=10)).read_bytes()
    large = make_clip(tmp_path / "large.h264", Clip(frames=10, width=128)).read_bytes()
    both = tmp_path / "both.h264"
    both.write_bytes(small + large)
    info = probe(both)
    assert info.frames == 20
    with pytest.raises(NotAVideo, match=r"96x64 yuv420p to 128x64 yuv420p at frame 10"):
        list(decode_range(info, 0, 20, 4))


def test_a_frame_that_cannot_be_decoded_is_an_error_until_it_is_left_out(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=30, codec="libvpx-vp9", options={"g": "10", "cpu-used": "8"}))
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][17]
    content = bytearray(path.read_bytes())
    assert packet.pos is not None
    content[packet.pos + 1 : packet.pos + packet.size] = bytes(packet.size - 1)
    path.write_bytes(content)
    info = probe(path)
    assert len(digests(info, 0, 17)) == 17
    with pytest.raises(DamagedVideo, match="frame 17"):
        digests(info, 10, 30)
    counted = probe(path, decode=True)
    assert counted.missing
    assert len(digests(counted, 0, counted.frames)) == counted.frames


@pytest.mark.parametrize(("first", "stop", "size"), [(-1, 3, 1), (3, 3, 1), (0, 25, 1), (0, 3, 0)])
def test_impossible_ranges(tmp_path: Path, first: int, stop: int, size: int) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip()))
    with pytest.raises(ValueError, match="frames"):
        next(decode_range(info, first, stop, size))


def test_frames_are_freed_at_once(tmp_path: Path) -> None:
    """Cycles of references would keep hundreds of them until Python looks for cycles."""
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=20)))
    gc.collect()
    gc.disable()
    try:
        for _ in decode_range(info, 0, 20, 4):
            pass
        assert not any(isinstance(thing, VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
