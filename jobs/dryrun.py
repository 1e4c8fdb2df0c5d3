"""What a folder would cost, without doing it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from jobs.find import find_videos, result_names
from jobs.folder import FolderOptions, places
from jobs.travel import Travel
from vidsr.errors import VidsrError
from vidsr.estimate import estimate
from vidsr.graph.prepare import prepare
from vidsr.settings import UpscaleSettings


def estimate_folder(
    folder: str | Path, output: str | Path | None, settings: UpscaleSettings, options: FolderOptions, gpu: bool
) -> dict[str, Any]:
    """What a folder would cost, for `--dry-run`: every video is probed, the model is tried on the first.

    Raises:
        NoVideos: the folder has none.
    """
    inputs, results = places(folder, output, settings)
    found = find_videos(inputs, results, options.selection)
    entries = found.videos
    first: dict[str, Any] | None = None
    report: dict[str, Any] = {
        "input": inputs.url, "output": results.url, "videos": len(entries),
        "results_left_out": found.results, "other_files": found.others, "frames": 0, "seconds": 0.0,
        "output_bytes": 0, "unreadable": {},
    }  # fmt: skip
    pixels = 0
    names = result_names([entry.name for entry in entries], settings)
    with tempfile.TemporaryDirectory() as nowhere:
        for entry in entries:
            travel = Travel(inputs, entry, results, names[entry.name], options.cache)
            try:
                with travel.source() as path:
                    plan = prepare(path, travel.result_path, settings, True, gpu, scratch=Path(nowhere))
                    first = first or {**estimate(plan), "pixels": plan.info.width * plan.info.height}
            except VidsrError as error:
                report["unreadable"][entry.name] = error.message
                continue
            report["frames"] += plan.frames
            report["seconds"] += float(plan.info.duration or 0)
            report["output_bytes"] += plan.output_bytes
            pixels += plan.frames * plan.info.width * plan.info.height
    if first is not None:
        rate = first["model_frames_per_second"]
        report["model"], report["model_seconds"] = first["model"], round(pixels / first["pixels"] / rate, 1)
    return report
