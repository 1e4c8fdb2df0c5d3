"""What a job tells Prometheus through Ray's own metrics agent."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram


class Metrics:
    """A job's metrics; Ray's agent on the driver's node serves them beside Ray's own."""

    def __init__(self) -> None:
        self._frames = Counter("vidsr_frames", "Frames that were upscaled and encoded.")
        self._retries = Counter("vidsr_retries", "Videos that were begun again after a failure.")
        self._videos = Counter("vidsr_videos", "Videos that became final, by their state.", ("state",))
        self._seconds = Histogram(
            "vidsr_stage_seconds",
            "Seconds from the begin to the end of a stage: prepare and finish of a video, and one segment.",
            boundaries=[0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000],
            tag_keys=("stage",),
        )
        self._waiting = Gauge("vidsr_waiting_videos", "Videos that were not begun yet.")
        self._planned = Gauge("vidsr_waiting_segments", "Segments that are planned and wait for an upscaler.")
        self._flying = Gauge("vidsr_segments_in_flight", "Segments that are being computed.")

    def frames(self, count: int) -> None:
        """So many more frames are done."""
        self._frames.inc(count)

    def retry(self) -> None:
        """A video is begun again."""
        self._retries.inc()

    def final(self, state: str) -> None:
        """A video is final."""
        self._videos.inc(tags={"state": state})

    def stage(self, stage: str, seconds: float) -> None:
        """A stage (prepare, segment or finish) took so long."""
        self._seconds.observe(seconds, tags={"stage": stage})

    def queue(self, videos: int, segments: int, flying: int) -> None:
        """How many videos and segments wait, and how many segments are in flight."""
        self._waiting.set(videos)
        self._planned.set(segments)
        self._flying.set(flying)
