"""The child of the fuzz test: damages seed files and goes through the media code with them.

    python -m tests.fuzzing FOLDER FIRST STOP

FOLDER holds the seed files. For each case it prints one line of JSON: {"case", "did", "outcome"}. An exception other
than VidsrError ends it with a traceback, a crash of a library with a signal; the parent sees to hangs.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tests.media.pipeline import upscale
from vidsr.errors import DamagedVideo, VidsrError
from vidsr.media.beside.gps import gpx_track
from vidsr.media.beside.private import private_data
from vidsr.media.boxes import children
from vidsr.media.decode import decode_range
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.proof.verify import verify
from vidsr.media.recover import lacks_index, recover
from vidsr.media.salvage import assess

LARGEST_PICTURE = 1 << 20  # pixels; a damaged header may promise any size
PIPELINE_EVERY = 6


def flip_bits(content: bytearray, rng: random.Random) -> str:
    """Flips 1 to 64 bits, near each other or anywhere."""
    count = 2 ** rng.randrange(7)
    begin = rng.randrange(len(content))
    reach = rng.choice((64, 4096, len(content)))
    for _ in range(count):
        content[(begin + rng.randrange(reach)) % len(content)] ^= 1 << rng.randrange(8)
    return f"{count} bits flipped within {reach} bytes from {begin}"


def truncate(content: bytearray, rng: random.Random) -> str:
    """Cuts the file anywhere."""
    length = rng.randrange(len(content))
    del content[length:]
    return f"cut to {length} bytes"


def shuffle_boxes(content: bytearray, rng: random.Random) -> str:
    """Puts the top-level boxes into another order, or doubles or drops one; other containers lose a stretch."""
    import io

    boxes = [bytes(content[b.start : b.stop]) for b in children(io.BytesIO(content), 0, len(content))]
    if len(boxes) < 2:
        begin = rng.randrange(len(content))
        del content[begin : begin + rng.randrange(1, 5000)]
        return f"a stretch from {begin} removed"
    action = rng.choice(("shuffled", "doubled", "dropped"))
    if action == "shuffled":
        rng.shuffle(boxes)
    elif action == "doubled":
        boxes.insert(rng.randrange(len(boxes)), rng.choice(boxes))
    else:
        boxes.remove(rng.choice(boxes))
    content[:] = b"".join(boxes)
    return f"boxes {action}"


def damage(seeds: list[Path], case: int, target: Path) -> str:
    """Writes the damaged file of a case, the same on every machine, and says what was done."""
    rng = random.Random(case)
    seed = seeds[case % len(seeds)]
    content = bytearray(seed.read_bytes())
    did = rng.choice((flip_bits, flip_bits, truncate, shuffle_boxes))(content, rng)
    target.write_bytes(content)
    return f"{seed.name}: {did}"


def go_through(path: Path, whole: bool) -> str:
    """Everything that the media code does with a source; `whole` also makes and proves a result."""
    try:
        info = probe(path)
    except VidsrError as error:
        _recover(path)
        return type(error).__name__
    private_data(path)
    for look in (assess, _decode):
        try:
            look(info)
        except VidsrError as error:
            return type(error).__name__
    try:
        gpx_track(path)
        if whole and info.width * info.height <= LARGEST_PICTURE:
            return _make(info)
    except VidsrError as error:
        return type(error).__name__
    return "decoded"


def _decode(info: VideoInfo) -> None:
    if info.width * info.height > LARGEST_PICTURE:
        return
    try:
        for _ in decode_range(info, 0, info.frames, 16, threads=1):
            pass
    except DamagedVideo:
        counted = probe(info.path, decode=True)
        for _ in decode_range(counted, 0, counted.frames, 16, threads=1):
            pass


def _recover(path: Path) -> None:
    try:
        if lacks_index(path):
            recover(path, path.with_suffix(".recovered.ts"))
    except VidsrError:
        pass


def _make(info: VideoInfo) -> str:
    result = info.path.with_name("result.mkv")
    upscale(info.path, result, info=info)
    proof = verify(info.path, result)
    return "proved" if proof.ok else f"rejected: {[check.name for check in proof.checks if not check.ok]}"


def main() -> None:
    """Goes through the cases FIRST to STOP."""
    folder, first, stop = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    seeds = sorted(folder.glob("seed-*"))
    for case in range(first, stop):
        path = folder / f"case{seeds[case % len(seeds)].suffix}"
        did = damage(seeds, case, path)
        sys.stderr.write(f"case {case}, {did}\n")
        outcome = go_through(path, case % PIPELINE_EVERY == 0)
        sys.stdout.write(json.dumps({"case": case, "did": did, "outcome": outcome}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
