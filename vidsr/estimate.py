"""What a run would cost: size, disk, memory and time, from the plan and a trial of some frames."""

from __future__ import annotations

import statistics
import time
from typing import Any

from vidsr.graph.prepare import VideoPlan
from vidsr.media.decode import decode_range
from vidsr.model.upscaler import Upscaler

# A trial is of so many frames at most, after the first, and so many seconds; the median is taken, as others use the
# machine, too.
TRIAL_FRAMES, TRIAL_SECONDS = 8, 3.0
# Most memory of a local run's processes, about, and what it grows by for each pixel of a result's frame: of 1080p and
# 2160p by `python -m benchmarks` (docs/performance.md).
PROCESSES_BYTES, BYTES_PER_PIXEL = 7 << 28, 160


def estimate(plan: VideoPlan) -> dict[str, Any]:
    """The report of `--dry-run`. The trial runs in this process, on one device."""
    settings = plan.settings
    upscaler = Upscaler(
        plan.model.path, settings.device, plan.model.config.scale, settings.backend, fidelity=settings.fidelity
    )
    stop = min(plan.span.first + TRIAL_FRAMES + 1, plan.span.stop)
    batches = list(decode_range(plan.info, plan.span.first, stop, 1))
    job = plan.job(plan.segments[0])
    upscaler.upscale(batches[0], job.size)  # compiles, allocates
    times: list[float] = []
    for batch in batches[1:] or batches:
        started = time.perf_counter()
        upscaler.upscale(batch, job.size)
        times.append(time.perf_counter() - started)
        if sum(times) > TRIAL_SECONDS:
            break
    seconds = statistics.median(times)
    return {
        **plan.outline,
        "segments": len(plan.segments),
        "bits_per_pixel": round(plan.info.bits_per_pixel, 4),
        "model": {"name": plan.model.name, "sha256": plan.model.sha256},
        "backend": upscaler.backend,
        "codec": settings.encode.codec,
        "output_bytes": plan.output_bytes,
        "disk_bytes": plan.disk_bytes,
        "memory_bytes": PROCESSES_BYTES + BYTES_PER_PIXEL * plan.width * plan.height,
        "model_frames_per_second": round(1 / seconds, 3),
        "model_seconds": round(seconds * plan.frames, 1),
        "notes": list(plan.info.notes),
    }
