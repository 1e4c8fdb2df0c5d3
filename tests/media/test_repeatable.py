"""Coding the same frames again gives the same bits: what makes a resumed run equal to an uninterrupted one."""

import os
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, make_clip
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.probe import probe
from vidsr.settings import EncodeSettings


def test_the_same_frames_give_the_same_bits(tmp_path: Path) -> None:
    """Also with x264's macroblock trees on CPUs with AVX-512, whose code is not repeatable."""
    source = make_clip(tmp_path / "drive.mp4", Clip(frames=20, width=192, height=128))
    info = probe(source)
    coded = []
    for number in range(5):
        with SegmentEncoder(tmp_path / f"{number}.mkv", info, 192, 128, EncodeSettings("libx264"), 4) as encoder:
            for batch in decode_range(info, 0, 20, 8):
                encoder.write(batch)
            encoder.close()
        with av.open(str(tmp_path / f"{number}.mkv")) as container:
            coded.append([bytes(packet) for packet in container.demux(video=0)])
    assert all(each == coded[0] for each in coded)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="scheduling policies are Linux's")
def test_av1_does_not_leave_real_time_priority(tmp_path: Path) -> None:
    """As root, SVT-AV1 takes it for the caller's thread too, and child processes inherit it."""
    info = probe(make_clip(tmp_path / "drive.mp4", Clip(frames=4)))
    with SegmentEncoder(tmp_path / "av1.mkv", info, 96, 64, EncodeSettings("libsvtav1"), 2) as encoder:
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        for batch in decode_range(info, 0, 4, 4):
            encoder.write(batch)
        encoder.close()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
