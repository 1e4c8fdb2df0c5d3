from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from tests.media.clips import Clip, make_clip
from training import footage
from training.footage import (
    Planes,
    PlaneWriter,
    code,
    count_frames,
    crop_to_multiple,
    frame_rate,
    middle,
    planes_to_rgb,
    read_planes,
    resize,
    rgb_to_planes,
)
from vidsr.errors import InputMissing, NotAVideo, UnsupportedSize


def picture(height: int = 64, width: int = 96) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / (height, width)[0]
    channels = [110 + 80 * np.sin(4 * x + k) * np.cos(3 * y) for k in range(3)]
    return np.rint(np.stack(channels, axis=2)).astype(np.uint8)


def write(path: Path, frames: list[Planes], rate: Fraction = Fraction(25)) -> None:
    size = (frames[0][0].shape[1], frames[0][0].shape[0])
    with PlaneWriter(path, size, rate, {"qp": "0"}) as writer:
        for frame in frames:
            writer.write(frame)


def test_known_colours_have_their_bt709_code_values() -> None:
    patches = np.zeros((4, 8, 3), np.uint8)
    patches[:, :4] = 255
    patches[:, 4:] = (255, 0, 0)
    y, u, v = rgb_to_planes(patches)
    assert (y[0, 0], u[0, 0], v[0, 0]) == (235, 128, 128)
    assert (y[0, -1], u[0, -1], v[0, -1]) == (63, 102, 240)


def test_colours_come_back() -> None:
    rgb = picture()
    assert np.abs(planes_to_rgb(rgb_to_planes(rgb)).astype(int) - rgb).mean() < 1.0


def test_chroma_is_sited_on_the_left_column_of_its_pair() -> None:
    rgb = np.full((4, 16, 3), 128, np.uint8)
    rgb[:, 8:] = (228, 28, 128)
    v = rgb_to_planes(rgb)[2][0].astype(int)
    flat, step = v[0], v[-1]
    assert v[3] == flat  # columns 5 to 7
    assert v[4] == pytest.approx(flat + 0.75 * (step - flat), abs=1)  # columns 7 to 9


def test_odd_sides_are_refused() -> None:
    with pytest.raises(UnsupportedSize, match="5x4"):
        rgb_to_planes(np.zeros((4, 5, 3), np.uint8))


def test_frames_are_written_and_read_without_loss(tmp_path: Path) -> None:
    frames = [rgb_to_planes(np.roll(picture(), k, axis=1)) for k in range(6)]
    write(tmp_path / "clip.mp4", frames, Fraction(30000, 1001))
    back = list(read_planes(tmp_path / "clip.mp4", 2, 3))
    assert len(back) == 3
    for read, written in zip(back, frames[2:5], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(read, written, strict=True))
    assert frame_rate(tmp_path / "clip.mp4") == Fraction(30000, 1001)
    assert count_frames(tmp_path / "clip.mp4") == 6
    assert [middle(tmp_path / "clip.mp4", frames) for frames in (2, 5, 9)] == [2, 0, 0]


def test_an_exception_leaves_no_file(tmp_path: Path) -> None:
    # Only once the encoder has looked ahead far enough it gives packets, and there is a file.
    broken = [*[rgb_to_planes(picture())] * 80, rgb_to_planes(picture(32, 96))]
    with pytest.raises(UnsupportedSize, match="96x32"):
        write(tmp_path / "a.mp4", broken)
    assert list(tmp_path.iterdir()) == []


def test_cropping_and_resizing_keep_the_planes_together() -> None:
    planes = crop_to_multiple(rgb_to_planes(picture(70, 100)), 8)
    assert all(plane.flags.c_contiguous for plane in planes)
    assert [p.shape for p in planes] == [(64, 96), (32, 48), (32, 48)]
    assert [p.shape for p in resize(planes, 48, 32)] == [(32, 48), (16, 24), (16, 24)]


def test_files_that_are_no_video_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(NotAVideo, match=r"text\.mp4"):
        list(read_planes(tmp_path / "text.mp4"))
    with pytest.raises(NotAVideo, match=r"text\.mp4"):
        frame_rate(tmp_path / "text.mp4")
    deep = make_clip(tmp_path / "deep.mkv", Clip(codec="ffv1", pix_fmt="yuv422p", frames=1))
    with pytest.raises(NotAVideo, match=r"deep\.mkv is yuv422p; give a clip of 8-bit 4:2:0"):
        list(read_planes(deep))
    with pytest.raises(InputMissing, match=r"nothing\.mp4: no such clip"):
        list(read_planes(tmp_path / "nothing.mp4"))


def moving(step: int) -> list[Planes]:
    """Seven frames that pan so many pixels each."""
    return [rgb_to_planes(np.roll(picture(128, 192), step * k, axis=1)) for k in range(7)]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_coding_is_real_and_keeps_order(codec: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    frames = moving(6)
    errors = []
    for crf in (18, 34):
        coded = code(frames, codec, {**options, "crf": str(crf), "preset": "veryfast"})
        assert len(coded) == 7
        for k, planes in enumerate(coded):  # each is nearest to its own original
            assert [p.shape for p in planes] == [(128, 192), (64, 96), (64, 96)]
            distances = [np.abs(planes[0].astype(int) - original[0]).mean() for original in frames]
            assert int(np.argmin(distances)) == k
        errors.append(np.mean([np.abs(a[0].astype(int) - b[0]).mean() for a, b in zip(coded, frames, strict=True)]))
    assert 0 < errors[0] < errors[1]


def test_clips_are_coded_with_p_and_b_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[bytes] = []

    class Kept(io.BytesIO):
        def seek(self, *where: int) -> int:
            if not files and where == (0,) and self.getvalue():
                files.append(self.getvalue())
            return super().seek(*where)

    monkeypatch.setattr(footage.io, "BytesIO", Kept)
    code(moving(2), "libx264", {"crf": "23", "preset": "medium"})
    with av.open(io.BytesIO(files[0])) as clip:
        kinds = {PictureType(frame.pict_type).name for frame in clip.decode(video=0)}
    assert kinds == {"I", "P", "B"}
