"""Decoding on a GPU: its frames' layout, what happens where it fails, and with a GPU the samples themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame

from tests.media.clips import Clip, make_clip
from tests.media.frames import decoded, digests
from vidsr.errors import NotAVideo
from vidsr.media import decode, nvdec
from vidsr.media.container import open_input
from vidsr.media.decoders import decode_packet
from vidsr.media.pixels import SEMI_PLANAR, planes_of, source_format
from vidsr.media.probe import probe

GPU = torch.cuda.is_available()
FORMATS = [("h264", "yuv420p"), ("hevc", "yuv420p10le")]


def semi_planar(frame: VideoFrame) -> VideoFrame:
    """The frame as a hardware decoder gives it."""
    layout = source_format(frame.format.name).layout
    planes = planes_of(frame, layout)
    made = VideoFrame(frame.width, frame.height, SEMI_PLANAR[frame.format.name])
    made.pts = frame.pts
    y, u, v = (plane[0] << (6 if layout.depth == 10 else 0) for plane in planes)
    for plane, samples in zip(made.planes, (y, np.stack((u, v), axis=-1).reshape(u.shape[0], -1)), strict=True):
        rows = np.zeros((samples.shape[0], plane.line_size), np.uint8)
        rows[:, : samples.shape[1] * samples.itemsize] = np.ascontiguousarray(samples).view(np.uint8)
        plane.update(rows.tobytes())
    return made


class StandIn:
    """A decoder that gives semi-planar frames, and after some of them fails in one way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, frames: int, fails: str) -> None:
        self.left, self.fails, self.given = frames, fails, 0
        monkeypatch.setattr(decode, "accelerator", lambda codec, pix_fmt: self)
        monkeypatch.setattr(decode, "open_input", self._open)
        monkeypatch.setattr(decode, "_decode_on", self._decode)
        self._real = decode._decode_on

    def _open(self, path: Path, hwaccel: Any = None) -> InputContainer:
        if hwaccel is self and self.fails == "opening":
            raise NotAVideo(f"{path}: no room on the GPU")
        return open_input(path)

    def _decode(self, stream: Any, packet: Any, due: int) -> Iterator[VideoFrame]:
        for frame in decode_packet(stream, packet):
            if self.left:
                self.left, self.given = self.left - 1, self.given + 1
                yield semi_planar(frame)
            elif self.fails == "cropping":
                yield frame.reformat(width=frame.width + 2)
            elif self.fails == "decoding":
                yield from self._real(Broken(), packet, due)


class Broken:
    def decode(self, packet: Any) -> list[VideoFrame]:
        raise av.error.ExternalError(1, "no decoder surfaces left")


@pytest.mark.parametrize(("codec", "pix_fmt"), FORMATS)
@pytest.mark.parametrize(
    ("gives", "fails"), [(1000, "never"), (7, "giving"), (7, "decoding"), (7, "cropping"), (0, "opening")]
)
def test_the_frames_are_those_of_software(
    codec: str, pix_fmt: str, gives: int, fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the hardware stops in the middle, in whatever way, and where it cannot even be opened."""
    options = {"g": "8", "bf": "2", "preset": "fast", "x265-params": "log-level=none"}
    encoder = {"h264": "libx264", "hevc": "libx265"}[codec]
    clip = make_clip(tmp_path / "clip.mp4", Clip(encoder, pix_fmt, 98, 66, frames=30, options=options))
    info, stand_in = probe(clip), StandIn(monkeypatch, gives, fails)
    expected = list(decoded(clip))
    assert digests(info, 0, 30, nvdec=True) == expected
    assert stand_in.given == min(gives, 30)
    stand_in.left = gives
    assert digests(info, 11, 21, nvdec=True) == expected[11:21]


def test_only_what_is_asked_for_and_known_to_be_exact_is_decoded_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(nvdec, "is_exact", lambda *what: bool(asked.append(what)))
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(frames=4)))
    expected = digests(info, 0, 4)
    assert asked == []
    assert digests(info, 0, 4, nvdec=True) == expected and asked == [("h264", "yuv420p")]


@pytest.mark.parametrize("same", [True, False])
def test_a_card_that_gives_other_samples_is_not_taken(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        def __init__(self, kind: str, allow_software_fallback: bool) -> None:
            assert kind == "cuda" and not allow_software_fallback

        def create(self, codec: object) -> None: ...

    read = nvdec._planes

    def planes(sample: bytes, pix_fmt: str, accel: Card | None = None) -> list[bytes]:
        found = read(sample, pix_fmt)
        if accel and not same:
            found[-1] = bytes([found[-1][0] ^ 1]) + found[-1][1:]
        return found

    monkeypatch.setattr(nvdec, "HWAccel", Card)
    monkeypatch.setattr(nvdec, "_planes", planes)
    nvdec.is_exact.cache_clear()
    try:
        assert [nvdec.is_exact(*known) for known in FORMATS] == [same] * 2
        assert not nvdec.is_exact("prores", "yuv422p10le")
    finally:
        nvdec.is_exact.cache_clear()


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_without_a_card_software_decodes() -> None:
    assert nvdec.accelerator("h264", "yuv420p") is None


@pytest.mark.skipif(not GPU, reason="no GPU")
@pytest.mark.parametrize("name", ["drive-960x540.mp4", "h265_10bits.mp4", "bt709_full_range.mp4", "vfr-odd.mp4"])
def test_a_card_gives_every_sample(name: str, shared_data: Path) -> None:
    info = probe(shared_data / "video" / name)
    assert digests(info, 0, info.frames, nvdec=True) == digests(info, 0, info.frames)
