"""The Python API: one function that does what `vidsr upscale` does."""

from __future__ import annotations

import threading
from pathlib import Path

from vidsr.graph.run import Outcome, Progress, Silent, upscale_video
from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings, EncodeSettings, UpscaleSettings


def upscale(
    source: str | Path,
    result: str | Path | None = None,
    *,
    scale: int = 2,
    height: int | None = None,
    model: str = "auto",
    device: str = "auto",
    codec: str = "auto",
    crf: int | None = None,
    start: float | None = None,
    end: float | None = None,
    overwrite: bool = False,
    address: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Make a video larger: `vidsr.upscale("drive.mp4", scale=2)` writes `drive_2x.mp4` beside it.

    One run at a time in a process, because a process has one Ray.

    Args:
        source: a video file.
        result: its name or folder; None is beside the source.
        scale: 2 or 4.
        height: exact height of the result as it is shown, in pixels, instead of a scale.
        model: a bundled model's name, a weights file, or "auto".
        device: auto, cpu, cuda or cuda:N.
        codec: an FFmpeg encoder's name, or "auto" for one of the source's family.
        crf: constant rate factor.
        start, end: range of the source, in seconds from its first frame.
        overwrite: whether a result that is there may be replaced.
        address: HOST:PORT of a Ray cluster's head, or "auto" on one of its machines; None starts a Ray on this machine.
        progress: who watches; None is nobody.

    Raises:
        VidsrError: of the class of whatever is wrong; the tree is in vidsr.errors.
    """
    settings = UpscaleSettings(
        scale=scale, height=height, model=model, device=device, start=start, end=end,
        encode=EncodeSettings(codec=codec, crf=crf),
    )  # fmt: skip
    with Session(ClusterSettings(address=address), settings.device) as session:
        session.last_video = True
        return upscale_video(
            Path(source), None if result is None else Path(result), settings, overwrite,
            session, progress or Silent(), threading.Event(),
        )  # fmt: skip
