"""Small synthetic source clips, made with real encoders and muxers: the seeds of the media tests.

`make_clip(path, Clip(...))` writes one; `CASES` names the combinations that table tests go through.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec import Codec
from numpy.typing import NDArray

from vidsr.media.encoders import calm_threads

AUDIO_RATE = 48000
MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Clip:
    """What a synthetic clip holds.

    Attributes:
        times: presentation times of the frames in `tick`s; empty for `frames` of constant `rate`.
        start: seconds by which every stream but the sound is moved.
        sound: one audio encoder per track; the second track starts 40 ms later and is Spanish.
        sound_options: of the audio encoders.
        silent: every sample of the sound is 0.
        subtitles: codecs of subtitle tracks; samples are written as they are, without an encoder.
        data: one data track of four packets, as the container calls it (``bin_data``, ``klv``); or None.
        options: of the video encoder. ``bf`` and ``g`` are the interesting ones.
        still: every frame is the same picture.
    """

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    width: int = 96
    height: int = 64
    frames: int = 24
    rate: Fraction = Fraction(25)
    times: tuple[int, ...] = ()
    tick: Fraction = Fraction(1, 90000)
    start: Fraction = Fraction(0)
    options: dict[str, str] = field(default_factory=dict)
    colour: tuple[int, int, int, int] = (2, 2, 2, 0)
    aspect: Fraction | None = None
    rotation: int = 0
    sound: tuple[str, ...] = ()
    sound_options: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    subtitles: tuple[str, ...] = ()
    data: str | None = None
    chapters: int = 0
    attachment: bytes = b""
    tags: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    still: bool = False

    @property
    def seconds(self) -> tuple[Fraction, ...]:
        """The presentation time of every frame."""
        if self.times:
            return tuple(self.start + t * self.tick for t in self.times)
        return tuple(self.start + i / self.rate for i in range(self.frames))


VFR = (0, 3000, 6000, 12000, 13000, 21000, 24000, 27000, 36000, 37500, 39000, 45000, 54000, 54500, 60000, 66000)
FAST = {"preset": "ultrafast", "crf": "20"}


def picture(clip: Clip, number: int) -> tuple[NDArray[np.uint16], ...]:
    """The planes of frame `number`: a smooth texture that drifts, so that every frame differs from the others."""
    layout = av.VideoFormat(clip.pix_fmt)
    depth = layout.components[0].bits
    grey = layout.components[0].is_luma and len(layout.components) == 1
    planes = []
    for plane in range(1 if grey else 3):
        width = layout.chroma_width(clip.width) if plane else clip.width
        height = layout.chroma_height(clip.height) if plane else clip.height
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        x, y = x * clip.width / width, y * clip.height / height
        step = 0 if clip.still else number
        wave = np.sin((x + 3 * step) / 9 + plane) + np.sin((y - 2 * step) / 7 + 2 * plane) + np.sin((x + y) / 13 + step)
        values = (126 + (24 if plane == 0 else 12) * wave) * 2 ** (depth - 8)
        planes.append(values.astype(np.uint16))
    return tuple(planes)


def frame_of(planes: Sequence[NDArray[Any]], pix_fmt: str, width: int, height: int) -> av.VideoFrame:
    """An av frame with these planes."""
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        wide = av.VideoFormat(pix_fmt).components[0].bits > 8
        rows = np.frombuffer(memoryview(plane), np.uint16 if wide else np.uint8)
        rows = rows.reshape(plane.height, -1)
        rows[:, : plane.width] = samples.astype(rows.dtype)
    return frame


def _video_packets(stream: Any, clip: Clip) -> Iterator[Any]:
    context = stream.codec_context
    for number, second in enumerate(clip.seconds):
        frame = frame_of(picture(clip, number), clip.pix_fmt, clip.width, clip.height)
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = clip.colour
        frame.time_base = context.time_base
        frame.pts = round(second / context.time_base)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound_packets(stream: Any, seconds: Fraction, start: Fraction, silent: bool) -> Iterator[Any]:
    context = stream.codec_context
    context.open()
    size = context.frame_size or 1024
    for first in range(0, int(seconds * AUDIO_RATE), size):
        angle = np.arange(first, first + size) * (440 + 110 * stream.index) * 2 * np.pi / AUDIO_RATE
        kind = context.format.name.removesuffix("p")
        peak, dtype = {"s16": (2**13, np.int16), "s32": (2**29, np.int32), "flt": (0.3, np.float32)}[kind]
        samples = (np.sin(angle) * (0 if silent else peak)).astype(dtype)
        frame = av.AudioFrame.from_ndarray(samples[None], format=context.format.name, layout="mono")
        frame.sample_rate = AUDIO_RATE
        frame.time_base = Fraction(1, AUDIO_RATE)
        frame.pts = first + int(start * AUDIO_RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sample_packets(stream: Any, samples: Sequence[bytes], start: Fraction) -> Iterator[Any]:
    for number, payload in enumerate(samples):
        packet = av.Packet(payload)
        packet.stream = stream
        packet.time_base = MILLISECOND
        packet.pts = packet.dts = int(start * 1000) + number * 200
        packet.duration = 200
        yield packet


def _subtitle_samples(codec: str) -> list[bytes]:
    if codec == "hdmv_pgs_subtitle":  # each takes what is shown off the screen
        screen = (struct.pack(">HHBHBBBB", 96, 64, 0x10, number, 0x80, 0, 0, 0) for number in range(4))
        return [b"\x16" + struct.pack(">H", len(shown)) + shown + b"\x80\0\0" for shown in screen]
    if codec == "dvb_subtitle":  # an empty page, and the end of what is shown
        return [b"\x0f\x10\0\1\0\2\x1e" + bytes([number]) + b"\x0f\x80\0\1\0\0" for number in range(4)]
    if codec == "dvd_subtitle":  # its length, where its commands are, and none
        return [struct.pack(">HHxxxxxxxxBx", 14, 4, number) for number in range(4)]
    lines = [f"line {i}: km/h {i * 7}".encode() for i in range(4)]
    return [struct.pack(">H", len(line)) + line for line in lines] if codec == "mov_text" else lines


def _add_streams(container: Any, clip: Clip) -> list[Iterator[Any]]:
    """Adds every stream of the clip to the container and returns the packets of each."""
    rate = clip.rate
    quick = {"libx264": FAST, "libx265": {**FAST, "x265-params": "log-level=none"}, "libsvtav1": {"preset": "12"}}
    video = container.add_stream(clip.codec, rate=rate, options={**quick.get(clip.codec, {}), **clip.options})
    video.width, video.height, video.pix_fmt = clip.width, clip.height, clip.pix_fmt
    context = video.codec_context
    context.time_base = clip.tick if clip.times else 1 / rate
    context.thread_count = 1
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = clip.colour
    if clip.aspect:
        context.sample_aspect_ratio = clip.aspect
    sources = [_video_packets(video, clip)]
    length = clip.seconds[-1] - clip.seconds[0] + 1 / rate
    for number, codec in enumerate(clip.sound):
        sound = container.add_stream(codec, rate=AUDIO_RATE, layout="mono", options=clip.sound_options)
        sound.metadata["language"] = ("eng", "spa", "fra")[number]
        sources.append(_sound_packets(sound, length, number * Fraction(40, 1000), clip.silent))
    for codec in clip.subtitles:
        text = container.add_mux_stream(codec)
        text.metadata["language"] = "deu"
        sources.append(_sample_packets(text, _subtitle_samples(codec), clip.start))
    if clip.data:
        track = container.add_data_stream(clip.data)
        sources.append(_sample_packets(track, [b"sample %d of the track" % i for i in range(4)], clip.start))
    return sources


def make_clip(path: Path, clip: Clip) -> Path:
    """Writes the clip in the container that the name's suffix says."""
    with av.open(str(path), "w", options=clip.muxer, metadata_errors="surrogateescape") as container:
        container.metadata.update(clip.tags)
        sources = _add_streams(container, clip)
        if clip.attachment:
            container.add_attachment("font.ttf", "application/x-truetype-font", clip.attachment)
        if clip.chapters:
            length = int(1000 * (clip.seconds[-1] - clip.seconds[0]) / clip.chapters)
            container.set_chapters(
                [
                    {"id": i, "start": i * length, "end": (i + 1) * length, "time_base": MILLISECOND,
                     "metadata": {"title": f"Part {i}"}}
                    for i in range(clip.chapters)
                ]
            )  # fmt: skip
        packets = [packet for source in sources for packet in source]
        for packet in sorted(packets, key=lambda p: (p.dts if p.dts is not None else 0) * p.time_base):
            container.mux(packet)
    calm_threads()
    if clip.rotation:
        rotate(path, clip.rotation, clip.width, clip.height)
    return path


def join_streams(path: Path, *sources: Path) -> Path:
    """Writes the packets of several files into one that has the streams of all."""
    with ExitStack() as stack:
        made = stack.enter_context(av.open(str(path), "w"))
        packets = []
        for source in (stack.enter_context(av.open(str(each))) for each in sources):
            copies = {each.index: made.add_stream_from_template(each, opaque=True) for each in source.streams}
            for packet in source.demux():
                if packet.size:
                    packet.stream = copies[packet.stream_index]
                    packets.append(packet)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            made.mux(packet)
    return path


def rotate(path: Path, degrees: int, width: int, height: int) -> None:
    """Writes a display matrix (clockwise degrees) into the first track header of an MP4 or MOV.

    The turned picture is moved to where it was, as phones do.
    """
    one = 0x10000
    cells = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0), -1: (-one, 0, 0, one)}[degrees]
    x, y = {90: (height, 0), 180: (width, height), 270: (0, width), -1: (width, 0)}[degrees]
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", content, matrix, cells[0], cells[1], 0, cells[2], cells[3], 0, x * one, y * one, 0x40000000)
    path.write_bytes(content)


def encodable(clip: Clip) -> bool:
    """Whether this build of FFmpeg has the clip's encoder."""
    try:
        Codec(clip.codec, "w")
    except ValueError:
        return False
    return True


_BASE = Clip()
_AUDIO = replace(_BASE, sound=("aac",))
_FULL = replace(
    _BASE,
    sound=("aac", "aac"),
    chapters=2,
    tags={"title": "A drive", "creation_time": "2024-05-06T07:08:09.000000Z", "comment": "kept"},
)
_HDR = (9, 9, 16, 1)

CASES: dict[str, tuple[str, Clip]] = {
    "h264-mp4": ("mp4", _AUDIO),
    "h264-mp4-b-frames": ("mp4", replace(_AUDIO, options={"bf": "3", "g": "8", "preset": "veryfast"})),
    "h264-mp4-open-gop": (
        "mp4",
        replace(_AUDIO, frames=40, options={"bf": "2", "g": "8", "preset": "veryfast", "x264-params": "open-gop=1"}),
    ),
    "h264-mp4-intra": ("mp4", replace(_BASE, options={"g": "1"})),
    "h264-mp4-one-key-frame": ("mp4", replace(_BASE, frames=60, options={"g": "999", "bf": "2"})),
    "h264-mp4-vfr": ("mp4", replace(_AUDIO, times=VFR)),
    "h264-mp4-vfr-b-frames": ("mp4", replace(_BASE, times=VFR, options={"bf": "2", "preset": "veryfast"})),
    "h264-mp4-ntsc": ("mp4", replace(_AUDIO, rate=Fraction(30000, 1001))),
    "h264-mp4-late-start": ("mp4", replace(_AUDIO, start=Fraction(12, 25))),
    "h264-mp4-rotated-90": ("mp4", replace(_AUDIO, rotation=90)),
    "h264-mp4-rotated-180": ("mp4", replace(_BASE, rotation=180)),
    "h264-mp4-rotated-270": ("mp4", replace(_BASE, rotation=270)),
    "h264-mp4-mirrored": ("mp4", replace(_BASE, rotation=-1)),
    "h264-mp4-anamorphic": ("mp4", replace(_BASE, aspect=Fraction(4, 3))),
    "h264-mp4-fragmented": ("mp4", replace(_AUDIO, muxer={"movflags": "frag_keyframe+empty_moov"})),
    "h264-mp4-text": ("mp4", replace(_FULL, subtitles=("mov_text",))),
    "h264-mp4-data": ("mp4", replace(_AUDIO, data="bin_data")),
    "h264-mp4-still": ("mp4", replace(_BASE, still=True)),
    "h264-mp4-odd-size": ("mp4", replace(_BASE, width=97, height=63, pix_fmt="yuv444p")),
    "h264-mp4-422": ("mp4", replace(_BASE, pix_fmt="yuv422p")),
    "h264-mp4-10-bit": ("mp4", replace(_BASE, pix_fmt="yuv420p10le")),
    "h264-mp4-full-range-601": ("mp4", replace(_BASE, colour=(6, 6, 6, 2))),
    "h264-mp4-709": ("mp4", replace(_BASE, colour=(1, 1, 1, 1))),
    "hevc-mp4": ("mp4", replace(_FULL, codec="libx265")),
    "hevc-mp4-hdr10": ("mp4", replace(_BASE, codec="libx265", pix_fmt="yuv420p10le", colour=_HDR)),
    "hevc-mkv-12-bit": ("mkv", replace(_BASE, codec="libx265", pix_fmt="yuv420p12le")),
    "hevc-mkv-444": ("mkv", replace(_BASE, codec="libx265", pix_fmt="yuv444p10le")),
    "mpeg4-mp4": ("mp4", replace(_AUDIO, codec="mpeg4", options={"bf": "2"})),
    "mjpeg-mov": ("mov", replace(_BASE, codec="mjpeg", pix_fmt="yuvj420p", sound=("pcm_s16le",), colour=(6, 2, 2, 2))),
    "h264-mov": ("mov", replace(_FULL, subtitles=("mov_text",))),
    "h264-mkv": ("mkv", replace(_FULL, subtitles=("subrip",), attachment=b"not really a font" * 9)),
    "h264-mkv-vfr": ("mkv", replace(_AUDIO, times=VFR)),
    "h264-mkv-short-sound": ("mkv", replace(_BASE, sound=("flac",), sound_options={"frame_size": "40"})),
    "vp9-webm": ("webm", replace(_BASE, codec="libvpx-vp9", sound=("libopus",), options={"deadline": "realtime"})),
    "vp8-webm": ("webm", replace(_BASE, codec="libvpx", options={"deadline": "realtime"})),
    "av1-mp4": ("mp4", replace(_BASE, codec="libsvtav1")),
    "ffv1-mkv": ("mkv", replace(_BASE, codec="ffv1", pix_fmt="yuv422p10le", sound=("flac",))),
    "ffv1-mkv-grey": ("mkv", replace(_BASE, codec="ffv1", pix_fmt="gray")),
    "h264-ts": ("ts", replace(_AUDIO, options={"bf": "2", "preset": "veryfast"})),
    "hevc-ts": ("ts", replace(_AUDIO, codec="libx265")),
    "h264-m2ts": ("m2ts", replace(_BASE, sound=("pcm_bluray", "ac3"), subtitles=("hdmv_pgs_subtitle",))),
    "mpeg2-ts-data": ("ts", replace(_BASE, codec="mpeg2video", sound=("mp2",), data="bin_data")),
    "mpeg4-avi": ("avi", replace(_BASE, codec="mpeg4", sound=("libmp3lame",))),
    "mjpeg-avi": ("avi", replace(_BASE, codec="mjpeg", pix_fmt="yuvj420p", sound=("pcm_s16le",), colour=(6, 2, 2, 2))),
}
