"""One stage or one peer in a process of its own: `python -m benchmarks.work KIND SOURCE RESULT SCALE MODEL`.

Prints JSON: frames, seconds that the stage itself took, and its CPU seconds. Starting and what feeds the stage are
not counted, except for peers, which are whole loops.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import click

from vidsr.frames import FrameBatch
from vidsr.media.decode import decode_range
from vidsr.media.encoders import rules_of
from vidsr.media.probe import VideoInfo, probe
from vidsr.settings import BATCHES_ON_A_GPU, EncodeSettings

BATCH = 4


class Clock:
    """Wall and CPU time of the parts between `start` and `stop`."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def start(self) -> None:
        """Begin a part."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End it."""
        self.seconds += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu


def _batches(info: VideoInfo) -> Iterator[FrameBatch]:
    return decode_range(info, 0, len(info.table), BATCH)


def decode(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Decode all frames."""
    clock, info = Clock(), probe(source)
    clock.start()
    frames = sum(len(batch) for batch in _batches(info))
    clock.stop()
    return frames, clock


def compute(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Enlarge all frames but those of the first batch, which warms up; on a GPU until the network is compiled."""
    from vidsr.model.backends import COMPILE_AFTER
    from vidsr.model.upscaler import Upscaler

    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    clock, upscaler = Clock(), Upscaler(model, "auto", scale, threads=threads)
    on_gpu = upscaler.device.type == "cuda"
    first, *others = _batches(probe(source))
    with ThreadPoolExecutor(BATCHES_ON_A_GPU if on_gpu else 1) as pool:
        list(pool.map(upscaler.upscale, [first] * (COMPILE_AFTER + 5 if on_gpu else 1)))
        clock.start()
        frames = sum(len(large) for large in pool.map(upscaler.upscale, others))
        clock.stop()
    return frames, clock


def encode(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Encode all frames, enlarged by `fast`, as `vidsr upscale` does."""
    return _encode(probe(source), result.with_suffix(".mkv"), scale)


def _encode(info: VideoInfo, segment: Path, scale: int) -> tuple[int, Clock]:
    from vidsr.graph.stages import ENCODER_THREADS
    from vidsr.media.encode import SegmentEncoder

    clock, size = Clock(), (info.width * scale, info.height * scale)
    with SegmentEncoder(segment, info, *size, EncodeSettings("libx264"), ENCODER_THREADS) as encoder:
        for _, large in _enlarged(info, scale):
            clock.start()
            encoder.write(large)
            clock.stop()
        clock.start()
        frames = encoder.close()
        clock.stop()
    return frames, clock


def prove(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Join what was encoded with the source's other streams, and hold the result against the source."""
    from vidsr.media.mux import mux
    from vidsr.media.proof.verify import verify

    clock, info, segment = Clock(), probe(source), result.with_suffix(".mkv")
    frames, _ = _encode(info, segment, scale)
    clock.start()
    mux(info, [segment], result, 0, frames)
    report = verify(source, result)
    clock.stop()
    if not report.ok:
        raise RuntimeError(f"{result} is not {source}, only larger: {report}")
    return frames, clock


def steady(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Steady the detail of all frames, enlarged by `fast`, as `vidsr upscale` does."""
    from vidsr.graph.choose import STABILISED
    from vidsr.model.steady import stabilise

    clock, frames = Clock(), 0

    def pairs() -> Iterator[tuple[FrameBatch, FrameBatch]]:
        clock.stop()
        for pair in _enlarged(probe(source), scale):
            clock.start()
            yield pair
            clock.stop()
        clock.start()

    clock.start()
    for batch in stabilise(pairs(), STABILISED):
        frames += len(batch)
    clock.stop()
    return frames, clock


def _enlarged(info: VideoInfo, scale: int) -> Iterator[tuple[FrameBatch, FrameBatch]]:
    """All frames, and the same frames enlarged by `fast`, whose detail costs more than the bicubic's."""
    from vidsr.model.upscaler import Upscaler

    upscaler = Upscaler(f"fast-{scale}x", "cpu", scale)
    for batch in _batches(info):
        yield batch, upscaler.upscale(batch)


def lanczos(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Decode, resize with swscale, encode."""
    return _loop(source, result, lambda frame: frame.reformat(
        frame.width * scale, frame.height * scale, format="yuv420p", interpolation="LANCZOS"))  # fmt: skip


def peer(source: Path, result: Path, scale: int, model: str) -> tuple[int, Clock]:
    """Read, infer, write, one frame at a time, as the usual script does; `model` is KIND or KIND:MODEL."""
    from benchmarks.peers import make_peer

    kind, _, weights = model.partition(":")
    enlarge = make_peer(kind, scale, weights)
    return _loop(source, result, lambda frame: av.VideoFrame.from_ndarray(
        enlarge(frame.to_ndarray(format="rgb24")), format="rgb24"))  # fmt: skip


def _loop(source: Path, result: Path, change: Any) -> tuple[int, Clock]:
    clock, frames, stream = Clock(), 0, None
    rules = rules_of("libx264")  # so that every row writes alike
    clock.start()
    with av.open(str(source)) as reader, av.open(str(result), "w") as writer:
        for frame in reader.decode(video=0):
            large = change(frame)
            if stream is None:
                stream = writer.add_stream("libx264", rate=25, options={"crf": str(rules.crf), "preset": rules.preset})
                stream.width, stream.height, stream.pix_fmt = large.width, large.height, "yuv420p"
            large.pts, large.time_base = frames, 1 / stream.codec_context.framerate
            frames += 1
            writer.mux(stream.encode(large))
        if stream is not None:
            writer.mux(stream.encode(None))
    clock.stop()
    return frames, clock


WORK = {
    "decode": decode,
    "model": compute,
    "steady": steady,
    "encode": encode,
    "prove": prove,
    "lanczos": lanczos,
    "peer": peer,
}


def main(arguments: list[str]) -> None:
    """Do one piece of work and print what it took."""
    kind, source, result, scale, model = arguments
    frames, clock = WORK[kind](Path(source), Path(result), int(scale), model)
    click.echo(json.dumps({"frames": frames, "seconds": clock.seconds, "cpu_seconds": clock.cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
