"""Upscalers that tell how many frames each of them was given."""

from collections.abc import Hashable

import ray

from vidsr.frames import FrameBatch
from vidsr.graph.session import Session
from vidsr.graph.stages import LoadedUpscaler


class Counting(LoadedUpscaler):
    frames = 0

    def upscale(self, batch: FrameBatch, size: tuple[int, int] | None, source: Hashable) -> FrameBatch:
        self.frames += len(batch)
        return super().upscale(batch, size, source)

    def count(self) -> int:
        return self.frames


def frames_given(session: Session) -> list[int]:
    """To each upscaler of a session that has such as these in the place of `UpscalerActor`."""
    return list(ray.get([each.count.remote() for each in session.upscalers.handles]))
