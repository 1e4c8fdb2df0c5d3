"""Frames of an MP4 or MOV file without its index (`moov`): a recording that was never finished.

The samples lie in `mdat` without any table; `carving.py` finds those of H.264 and HEVC. What the index alone knows is
lost: the sound's borders, the times, and often the parameter sets. Those are taken from the stream itself where the
camera repeats them, else from a sound file of the same camera in the same folder; frames are then timed at that file's
rate. Without either there is no picture.

A decoder takes foreign parameter sets with few complaints: with those of a smaller picture it stops once that is full
and leaves the rest of each slice unread, with those of a larger one it leaves the picture's rest empty. So key pictures
are decoded once more with the end of each slice changed: this must show, and at the picture's end.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.packet import Packet

from vidsr.errors import InputError, NotAVideo
from vidsr.frames import Plane
from vidsr.media.bitstream import NAL_CODECS, START_CODE, NalFormat, declared_parameter_sets
from vidsr.media.boxes import Box, children, is_mp4
from vidsr.media.carving import Unit, carved_parameter_sets, carved_samples
from vidsr.media.container import find_video, open_input, url_of
from vidsr.media.packets import demux
from vidsr.media.pixels import planes_of, source_format
from vidsr.media.probe import VideoInfo, probe
from vidsr.paths import is_still, write_whole

FALLBACK_RATE = Fraction(30)
MOST_NEIGHBOURS = 8
# Parameter sets are those of another stream if with them more than this share of the pictures has errors, or more than
# this share of the key pictures is not read.
MOST_ERRORS, MOST_UNREAD = 0.5, 0.25
KEY_PICTURES = 4
# Long enough to hold coded samples: the last two bytes of a slice may say no more than that it ends.
SLICE_END = 8
# Lines that the end of the last slice may change: a pair of macroblocks or a coding tree, and what deblocking mixes.
_LAST_LINES = {False: 32 + 8, True: 64 + 8}


@dataclass(frozen=True)
class _Model:
    """How the lost stream was coded, as far as is known."""

    hevc: bool
    parameter_sets: bytes
    rate: Fraction
    origin: str

    @property
    def decoder(self) -> Literal["h264", "hevc"]:
        """FFmpeg's name of it."""
        return "hevc" if self.hevc else "h264"

    @property
    def form(self) -> NalFormat:
        """How its units lie in the file."""
        return NalFormat(self.hevc, 4)


@dataclass(frozen=True)
class _Find:
    """What one model makes of the stream.

    Attributes:
        model: how the stream is decoded.
        samples: the units of each picture.
        order: for each sample that can be decoded, by its number: its place in the order of presentation.
        misfit: the share of pictures with errors and that of key pictures that is not read, together.
    """

    model: _Model
    samples: list[list[Unit]]
    order: dict[int, int]
    misfit: float


def lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 or MOV with media and without the index of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if not is_mp4(file, size) or is_still(path):
            return False
        kinds = [box.kind for box in children(file, 0, size) if not (box.kind == "moov" and box.cut)]
    return "mdat" in kinds and not {"moov", "moof"} & set(kinds)


def recover(path: Path, target: Path) -> tuple[str, ...]:
    """Finds the frames of an MP4 or MOV file without its index and writes them as MP4.

    Args:
        path: the damaged file.
        target: the file to write; only if frames are found.

    Returns:
        Sentences about what was found and what is lost, for people.

    Raises:
        NotAVideo: no frame can be found; the message says why.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        media = [box for box in children(file, 0, size) if box.kind == "mdat" and box.stop > box.body]
        if not lacks_index(path) or not media:
            raise NotAVideo(f"{path}: it has no frames that could be found without its index")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            find = _best_find(_models(path, content, media), content, media)
            if find is not None:
                _write(target, content, find)
                return _sentences(find)
    raise NotAVideo(
        f"{path}: its index is missing (the recording was not finished) and the stream does not repeat what is needed "
        "to decode it; put a sound video of the same camera and resolution into the same folder and try again"
    )


def probe_or_recover(source: Path, target: Path, decode: bool = False) -> tuple[VideoInfo, tuple[str, ...]]:
    """The source as `probe` reads it, and nothing more to say; or, without its index, what was recovered of it.

    Args:
        source: the file.
        target: where to write recovered frames; a file of an earlier run is used again.
        decode: as `probe` takes it.

    Raises:
        InputError: as `probe` and `recover` say.
    """
    try:
        return probe(source, decode), ()
    except NotAVideo:
        if not lacks_index(source):
            raise
    notes = _notes(target)
    if not (target.exists() and notes.exists() and target.stat().st_mtime > source.stat().st_mtime):
        write_whole(notes, "\n".join(recover(source, target)).encode())
    return probe(target, decode), tuple(notes.read_text(encoding="utf-8").splitlines())


def _notes(target: Path) -> Path:
    return target.with_name(f"{target.name}.txt")


def remove_recovered(target: Path) -> None:
    """Removes what `probe_or_recover` wrote, once it is not needed any more."""
    target.unlink(missing_ok=True)
    _notes(target).unlink(missing_ok=True)


def _sentences(find: _Find) -> tuple[str, ...]:
    return (
        f"the file's index is missing; {len(find.order)} frames were found without it, decoded by {find.model.origin}",
        f"their times are lost: they are shown at {float(find.model.rate):.3f} frames per second",
        "sound and other tracks cannot be found without the index; they are lost",
    )


def _models(path: Path, content: mmap.mmap, media: list[Box]) -> Iterator[_Model]:
    """What the stream may be: by its own parameter sets, then like each of a few neighbours."""
    neighbours = list(_neighbours(path))
    for hevc in (False, True):
        if sets := carved_parameter_sets(content, media, hevc):
            rates = [model.rate for model in neighbours if model.hevc == hevc]
            yield _Model(hevc, sets, rates[0] if rates else FALLBACK_RATE, "the parameters in the stream")
    yield from neighbours


def _alike(each: Path, path: Path) -> bool:
    """Whether a file may be of the same camera; hidden ones are our own."""
    return each == path or (each.suffix.lower() == path.suffix.lower() and not each.name.startswith("."))


def _neighbours(path: Path) -> Iterator[_Model]:
    """Sound videos of the same kind in the same folder, those with the nearest names first."""
    names = sorted(each for each in path.parent.iterdir() if _alike(each, path))
    place = names.index(path) if path in names else 0
    nearest = sorted(range(len(names)), key=lambda i: abs(i - place))
    for each in [names[i] for i in nearest if names[i] != path][:MOST_NEIGHBOURS]:
        try:
            with open_input(each) as container:
                stream = find_video(container, each)
                codec = stream.codec_context.codec.canonical_name
                sets = declared_parameter_sets(stream.codec_context.extradata or b"", codec == "hevc")
                rate = Fraction(stream.average_rate or FALLBACK_RATE)
        except InputError:
            continue  # empty, not readable, a folder, or sound only
        if codec in NAL_CODECS and sets:
            yield _Model(codec == "hevc", sets, rate, f"the parameters of {each.name}")


def _packet(content: mmap.mmap, sample: list[Unit], before: bytes = b"") -> Packet[Any]:
    return Packet(before + b"".join(START_CODE + content[offset : offset + size] for offset, size in sample))


def _best_find(models: Iterator[_Model], content: mmap.mmap, media: list[Box]) -> _Find | None:
    """What the fittest model finds, of equal ones the first; None if all are those of other streams."""
    best: _Find | None = None
    tried: set[tuple[bool, bytes]] = set()
    for model in models:
        if (model.hevc, model.parameter_sets) in tried:
            continue  # most files of a camera have the same
        tried.add((model.hevc, model.parameter_sets))
        find = _find(model, content, media)
        if find and (best is None or find.misfit < best.misfit):
            best = find
        if best and best.misfit == 0:
            break
    return best


def _find(model: _Model, content: mmap.mmap, media: list[Box]) -> _Find | None:
    """What a model makes of the stream; None if it is another stream's."""
    samples = list(carved_samples(content, media, model.hevc))
    shown, concealed = _presentation_order(samples, content, model)
    whole = [samples[number] for number in sorted(set(shown) - concealed)]
    if not whole or len(whole) < (1 - MOST_ERRORS) * len(samples):
        return None
    form = model.form
    keys = [s for s in whole if any(form.is_random_access(form.kind(content[at : at + 1])) for at, _ in s)]
    keys = keys[:KEY_PICTURES] or whole[:1]
    unread = sum(_unread(sample, content, model) for sample in keys) / len(keys)
    if unread > MOST_UNREAD:
        return None
    order = {number: place for place, number in enumerate(shown)}
    return _Find(model, samples, order, 1 - len(whole) / len(samples) + unread)


def _presentation_order(samples: list[list[Unit]], content: mmap.mmap, model: _Model) -> tuple[list[int], set[int]]:
    """The numbers of the samples that can be decoded, in the order of presentation; and which only with errors."""
    context = av.CodecContext.create(model.decoder, "r")
    shown: list[int] = []
    concealed: set[int] = set()
    for number, sample in itertools.chain(enumerate(samples), [(0, None)]):
        packet = _packet(content, sample, b"" if shown else model.parameter_sets) if sample else None
        if packet is not None:
            packet.pts = packet.dts = number
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is not None:
                shown.append(frame.pts)
                concealed.update([frame.pts] if frame.is_corrupt else [])
    return shown, concealed


def _unread(sample: list[Unit], content: mmap.mmap, model: _Model) -> float:
    """The share of a sample's slices whose end changes nothing, and that of the picture below all that the ends change.

    Sound that looks like a slice counts as one that changes nothing; it is small beside a key picture.
    """
    form = model.form
    slices = [unit for unit in sample if form.is_picture(form.kind(content[unit[0] : unit[0] + 1]))]
    picture = _planes(sample, content, model)
    unread, last = 0, 0.0
    for unit in slices:
        first = _first_difference(picture, _planes(sample, content, model, changed=unit))
        unread += unit[1] if first is None else 0
        last = max(last, first or 0.0)
    height = picture[0].shape[0] if picture else 1
    below = max(0.0, 1 - last - _LAST_LINES[model.hevc] / height)
    return unread / sum(size for _, size in slices) + below


def _first_difference(planes: list[Plane], others: list[Plane]) -> float | None:
    """How far down two pictures begin to differ, as a share of their height; None where they do not."""
    if len(planes) != len(others):
        return 1.0
    rows = [np.flatnonzero((a != b).any(axis=1)) for a, b in zip(planes, others, strict=True)]
    return min((found[0] / len(plane) for found, plane in zip(rows, planes, strict=True) if len(found)), default=None)


def _planes(sample: list[Unit], content: mmap.mmap, model: _Model, changed: Unit | None = None) -> list[Plane]:
    """The planes (h, w) of a sample that is decoded alone; none where it cannot be.

    Args:
        sample: its units.
        content: the file.
        model: how it is coded.
        changed: a slice at whose end other bytes are to stand.
    """
    data = bytearray(model.parameter_sets)
    for offset, size in sample:
        unit = content[offset : offset + size]
        data += START_CODE + (_with_another_end(unit) if (offset, size) == changed else unit)
    context = av.CodecContext.create(model.decoder, "r")
    with suppress(av.error.FFmpegError):
        frames = [*context.decode(Packet(bytes(data))), *context.decode(None)]
        if frames:
            return [plane[0] for plane in planes_of(frames[0], source_format(frames[0].format.name).layout)]
    return []


def _with_another_end(unit: bytes) -> bytes:
    end = len(unit.rstrip(b"\0\3"))  # without cabac_zero_words, which only fill up (H.264, 7.3.2.8)
    start = max(end - SLICE_END, end // 2)
    return unit[:start] + bytes(byte ^ 255 for byte in unit[start:])


def _write(target: Path, content: mmap.mmap, find: _Find) -> None:
    """Writes the decodable samples at a constant rate; by way of MPEG-TS, which takes them as they are."""
    model, samples, order = find.model, find.samples, find.order
    decoded = sorted(order)
    delay = max(0, *(place - order[number] for place, number in enumerate(decoded)))
    stream_file = target.with_name(f"{target.name}.stream.part")
    part = target.with_name(f"{target.name}.part")
    try:
        with av.open(url_of(stream_file), "w", format="mpegts", options={"mpegts_copyts": "1"}) as out:
            stream = out.add_mux_stream(model.decoder, rate=model.rate)
            for place, number in enumerate(decoded):
                packet = _packet(content, samples[number], b"" if place else model.parameter_sets)
                packet.stream = stream
                packet.time_base = 1 / model.rate
                packet.pts, packet.dts, packet.duration = order[number] + delay, place, 1
                packet.is_keyframe = place == 0
                out.mux(packet)
        with open_input(stream_file) as container, av.open(url_of(part), "w", format="mp4") as out:
            source = find_video(container, stream_file)
            copy = out.add_stream_from_template(source, opaque=True)
            shift = round(delay / model.rate / (source.time_base or 1))
            for coded in demux(container, source):
                if coded.pts is None or coded.dts is None:
                    continue  # bytes behind a picture that look like one more: no decoder made one of them
                coded.stream = copy
                coded.pts, coded.dts = coded.pts - shift, coded.dts - shift
                out.mux(coded)
        part.replace(target)
    finally:
        stream_file.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
