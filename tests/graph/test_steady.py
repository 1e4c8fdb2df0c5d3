"""A stabilised video has the same frames however it is cut into segments, and from wherever it begins."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.graph.infos import info_of
from tests.graph.test_run import frames_of
from tests.media.clips import Clip, make_clip
from vidsr.graph.choose import STABILISED, choose_stabilising
from vidsr.graph.progress import Silent
from vidsr.graph.run import upscale_video
from vidsr.graph.session import Session
from vidsr.settings import EncodeSettings, UpscaleSettings


def test_no_seam(session: Session, nearest: Path, tmp_path: Path) -> None:
    clip = Clip(frames=30, options={"g": "10", "bf": "2", "crf": "30"})
    source = make_clip(tmp_path / "drive.mp4", clip)
    lossless = EncodeSettings(codec="ffv1", container="mkv")
    whole = UpscaleSettings(model=str(nearest), device="cpu", encode=lossless, segment_seconds=9, stabilise_detail=0.5)

    def frames(name: str, **changes: object) -> list[np.ndarray]:
        settings = replace(whole, **changes)  # type: ignore[arg-type]
        outcome = upscale_video(source, tmp_path / f"{name}.mkv", settings, False, session, Silent(), threading.Event())
        assert len(outcome.plan.segments) == (6 if name == "cut" else 1)
        return frames_of(outcome.plan.result)

    uncut, cut, later = frames("uncut"), frames("cut", segment_seconds=0.1), frames("later", start=0.4, end=0.8)
    assert len(uncut) == len(cut) == 30
    np.testing.assert_array_equal(cut, uncut)
    np.testing.assert_array_equal(later, uncut[10:20])
    off = frames("off", stabilise_detail=0.0)
    assert np.abs(np.array(off[1:]) - np.array(uncut[1:], float)).mean(axis=(1, 2)).min() > 0


def test_auto_is_on_but_for_interlaced_video() -> None:
    info = info_of([0, 1], [True, False], Clip.tick)
    assert choose_stabilising(info, UpscaleSettings()) == STABILISED
    assert choose_stabilising(replace(info, interlaced=True), UpscaleSettings()) == 0
    assert choose_stabilising(replace(info, fields=True), UpscaleSettings()) == 0
    assert choose_stabilising(replace(info, interlaced=True), UpscaleSettings(stabilise_detail=0.1)) == 0.1
    assert choose_stabilising(info, UpscaleSettings(stabilise_detail=0.0)) == 0
