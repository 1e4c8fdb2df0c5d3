"""What a folder would cost, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.folder import FolderJob, FolderOptions
from vidsr.errors import VidsrError
from vidsr.estimate import estimate
from vidsr.graph.prepare import preview
from vidsr.paths import own_files
from vidsr.settings import UpscaleSettings


def estimate_folder(
    folder: str | Path, output: str | Path | None, settings: UpscaleSettings, options: FolderOptions, gpu: bool
) -> dict[str, Any]:
    """What the videos that are left to do would cost, for `--dry-run`: each is probed, the model is tried on one.

    Raises:
        VidsrError: as `run_folder` before it begins.
    """
    with own_files(output or folder):
        job = FolderJob(folder, output, settings, options)
        videos = job.videos_to_do()
    summary = job.summary
    first: dict[str, Any] | None = None
    report: dict[str, Any] = {
        "input": summary.input, "output": summary.output, "videos": summary.videos,
        "done_before": summary.earlier, "failed_before": len(summary.failures) - len(job.refused),
        "results_left_out": summary.results_left_out, "other_files": summary.other_files,
        "frames": 0, "seconds": 0.0, "output_bytes": 0, "refused": job.refused, "unreadable": {},
    }  # fmt: skip
    pixels = 0
    for video in videos:
        travel = video.travel
        try:
            with travel.source() as path, preview(path, travel.result_path, settings, True, gpu) as plan:
                first = first or {**estimate(plan), "pixels": plan.info.width * plan.info.height}
        except VidsrError as error:
            report["unreadable"][video.name] = error.message
            continue
        report["frames"] += plan.frames
        report["seconds"] += float(plan.info.duration or 0)
        report["output_bytes"] += plan.output_bytes
        pixels += plan.frames * plan.info.width * plan.info.height
    if first is not None:
        rate = first["model_frames_per_second"]
        report["model"], report["model_seconds"] = first["model"], round(pixels / first["pixels"] / rate, 1)
    return report
