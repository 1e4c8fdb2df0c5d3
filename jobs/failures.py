"""What an error of a task says about its video: whose fault it is, and whether another try may help."""

from __future__ import annotations

from dataclasses import dataclass

from ray.exceptions import RayError

from vidsr.errors import DamagedVideo, SegmentFailed, VidsrError, first_line
from vidsr.graph.pool import CRASHES
from vidsr.graph.stages import TRIES, root_cause


@dataclass(frozen=True)
class Failure:
    """Why a video was not done.

    Attributes:
        kind: name of the error's class.
        message: the error in one line.
        crashes: workers that it took down.
        passing: whether another try may help: the machines failed, not the video.
        damaged: whether the source promised frames that cannot be decoded.
    """

    kind: str
    message: str
    crashes: int = 0
    passing: bool = False
    damaged: bool = False


def explain(error: BaseException, crashed: bool = False) -> Failure:
    """What an error of a task means.

    Args:
        error: as Ray raised it, or as SegmentPool explained it.
        crashed: whether a worker went down with it on every one of Ray's tries.
    """
    cause = root_cause(error)
    crashed = crashed or isinstance(cause, CRASHES)
    message = cause.message if isinstance(cause, VidsrError) else first_line(cause)
    return Failure(
        kind=type(cause).__name__,
        message=message,
        crashes=TRIES if crashed else 0,
        passing=isinstance(cause, (RayError, OSError, SegmentFailed)),
        damaged=isinstance(cause, DamagedVideo),
    )
