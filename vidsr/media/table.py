"""The frame table: which frames a video has and when each is shown, from packets or, failing that, from decoding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from vidsr.errors import Encrypted
from vidsr.media.bitstream import NalFormat, PacketFacts, inspect
from vidsr.media.clock import Clock
from vidsr.media.decoders import decode_in_order
from vidsr.media.packets import AnyPacket, demux, new_header

# Codecs each of whose frames stands alone, so that "every packet is a key frame" is no sign of a broken index.
INTRA_CODECS = {"mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "png", "jpeg2000",
                "cfhd", "v210", "magicyuv", "dvvideo", "cllc", "qtrle"}  # fmt: skip
# Frames a second: of a few pictures that are hours apart.
SLOWEST = Fraction(1, 1001)
TELLING_CODECS = {"h264", "hevc", "vp8", "vp9"}


@dataclass(frozen=True)
class FrameTable:
    """Time of each frame, in presentation order.

    Attributes:
        pts: when each frame is shown, in ticks of `time_base`, strictly ascending.
        key: whether decoding can start at the frame; the first frame's is true, as decoding can start with the file.
        durations: how long each frame is shown, in ticks; the last one's counts too.
        time_base: seconds per tick.
    """

    pts: tuple[int, ...]
    key: tuple[bool, ...]
    durations: tuple[int, ...]
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.pts)

    def __repr__(self) -> str:  # what holds it is shown by a session of Python
        return f"<FrameTable of {len(self)} frames, {self.time_base} s a tick>"

    @property
    def end(self) -> int:
        """The tick at which the last frame ends."""
        return self.pts[-1] + self.durations[-1]

    @property
    def duration(self) -> Fraction | None:
        """Seconds from the first frame's start to the last frame's end; None for an empty table."""
        return (self.end - self.pts[0]) * self.time_base if self.pts else None

    def time(self, index: int) -> Fraction:
        """Seconds at which frame `index` is shown; the end of the video for index == len(table)."""
        return (self.pts[index] if index < len(self.pts) else self.end) * self.time_base

    def rate(self, declared: Fraction) -> Fraction:
        """Average frames per second: the declared rate where it is true within 1 %, else what the table says."""
        seconds = self.duration
        if not seconds:
            return declared or Fraction(25)
        measured = len(self.pts) / seconds
        if declared and abs(declared - measured) * 100 <= measured:
            return declared
        return max(Fraction(measured).limit_denominator(1001), SLOWEST)


@dataclass(frozen=True)
class Packets:
    """The packets of the video stream that give pictures, in presentation order, and whether they can be trusted.

    Attributes:
        pts, durations, key: of each packet.
        time_base: seconds per tick.
        distrust: None, or why they do not tell the frames.
        user_data: whether any of them carries user data messages.
        size: bytes of all packets of the stream.
        changes: the times from which on pictures may have another size or format, as a header says it that is new.
        last: where in the file the last of them is; 0 where it does not say.
    """

    pts: tuple[int, ...]
    durations: tuple[int, ...]
    key: tuple[bool, ...]
    time_base: Fraction
    distrust: str | None
    user_data: bool
    size: int
    changes: tuple[int, ...] = ()
    last: int = 0

    def table(self) -> FrameTable:
        """The frame table, trusting the packets."""
        return FrameTable(self.pts, self.key, self.durations, self.time_base)


class _Reader:
    """Collects what matters of each packet, in decode order."""

    def __init__(self, container: str, stream: VideoStream, path: Path) -> None:
        self.container = container
        context = stream.codec_context
        self.path = path
        self.codec = context.codec.canonical_name
        self.form = NalFormat.of(self.codec, context.extradata)
        self.entries: list[tuple[int | None, int, bool]] = []
        self.broken = 0
        self.size = 0
        self.last = 0
        self.user_data = False
        self.begins_with_key: bool | None = None
        self.headers: dict[bytes, int | None] = {}
        self.clock = Clock()

    def read(self, packet: AnyPacket) -> None:
        if not self.entries and packet.has_sidedata("encryption_info"):
            raise Encrypted(f"{self.path}: the video is encrypted; decrypt it first")
        facts = inspect(bytes(packet), self.codec, self.form) if self.codec in TELLING_CODECS else PacketFacts()
        self.size += packet.size
        self.last = packet.pos or 0
        self.broken += packet.is_corrupt or not facts.whole
        self.user_data = self.user_data or facts.user_data
        key = packet.is_keyframe if facts.key is None else facts.key
        if header := new_header(packet) or facts.header:
            self.headers.setdefault(header, packet.pts)
        if self.begins_with_key is None:
            self.begins_with_key = key
        if facts.shown and not packet.is_discard:
            self.entries.append((packet.pts, packet.duration or 0, key))

    def changes(self) -> tuple[int, ...]:
        """The times of the packets with a header that none before had, but for the first packet."""
        begin = self.entries[0][0] if self.entries else None
        return tuple(pts for pts in self.headers.values() if pts is not None and pts != begin)

    def distrust(self) -> str | None:
        """Why the packets do not tell the frames."""
        times = [pts for pts, _, _ in self.entries]
        if not times:
            return "its packets give no picture"
        if self.clock.jumps:
            return f"its clock jumps back ({self.clock.jumps} x), and times go on from there"
        if self.container == "mpeg":
            return "an MPEG programme stream does not give each frame's time"
        if None in times:
            return f"{times.count(None)} packets have no timestamp"
        if len(set(times)) < len(times):
            return f"{len(times) - len(set(times))} packets have the timestamp of another"
        if self.broken:
            return f"{self.broken} packets are damaged"
        if not self.begins_with_key:
            return "it does not begin with a key frame"
        return None


def read_packets(container: InputContainer, stream: VideoStream, path: Path) -> Packets:
    """Read the packets of a stream without decoding them.

    Raises:
        Encrypted: the packets are encrypted.
    """
    reader = _Reader(container.format.name, stream, path)
    for packet in demux(container, stream, clock=reader.clock):
        reader.read(packet)
    entries = sorted((pts, duration, key) for pts, duration, key in reader.entries if pts is not None)
    pts = tuple(entry[0] for entry in entries)
    # An edit list may begin behind the first key frame; the file's beginning is a place to start all the same.
    key = tuple(i == 0 or entry[2] for i, entry in enumerate(entries))
    if all(key) and reader.codec not in INTRA_CODECS | TELLING_CODECS:
        key = tuple(i == 0 for i in range(len(key)))  # an index that calls everything a key frame
    declared, in_mov = [entry[1] for entry in entries], "mov" in container.format.name
    if in_mov and reader.codec == "vp9" and pts and stream.duration:  # FFmpeg's parser replaces durations by guesses
        declared = [0] * (len(pts) - 1) + [pts[0] + stream.duration - pts[-1]]
    durations = _durations(pts, declared, in_mov)
    time_base = Fraction(stream.time_base or Fraction(1, 1000))
    return Packets(
        pts, durations, key, time_base, reader.distrust(), reader.user_data, reader.size, reader.changes(), reader.last
    )


def _durations(pts: tuple[int, ...], declared: list[int], declared_by_sum: bool) -> tuple[int, ...]:
    """How long each frame is shown: until the next one; the last one as its packet says.

    Packets declare the distance to the next packet in decode order. In MP4 their sum is exact and is the length of
    the whole track, which tells the last frame's end even where frames are reordered.
    """
    if not pts:
        return ()
    steps = [after - before for before, after in itertools.pairwise(pts)]
    last = declared[-1]
    if declared_by_sum and all(each > 0 for each in declared):
        last = pts[0] + sum(declared) - pts[-1]
    if last <= 0:
        last = declared[-1]
    if steps and 2 * last < min(steps):  # no duration, or one that the demuxer guessed from a wrong rate
        last = steps[-1]
    last = max(last, 1)
    return (*steps, last)


def disagreement(packets: Packets, first: Sequence[int | None]) -> str | None:
    """Why the timestamps of the first decoded frames contradict the packets, or None."""
    if tuple(first) != packets.pts[: len(first)]:
        return "its first decoded frames are not those that its packets promise"
    return None


def decode_table(
    path: Path, stream_index: int, packets: Packets, rate: Fraction
) -> tuple[FrameTable, tuple[int, ...], tuple[int, ...]]:
    """Build the frame table by decoding the whole video.

    Frames without a timestamp follow the one before at the declared rate (0 where unknown); a frame whose timestamp
    does not come after the one before is moved one tick behind it, so that no frame is lost. Where frames come with all
    the packets' timestamps and only in another order, they are sorted: AVI knows the order of decoding alone, so that
    reordered frames come with each other's.

    Returns:
        the table, the timestamps of packets that gave no frame, and those of frames of another size or format than any
        before them.
    """
    times: list[int] = []
    forms: dict[tuple[int, int, str], int] = {}
    last_duration = 0
    step = max(1, round(1 / (rate * packets.time_base))) if rate else 1
    for frame in decode_in_order(path, stream_index):
        time = frame.pts if frame.pts is not None else frame.dts
        if time is None:
            time = times[-1] + step if times else 0
        forms.setdefault((frame.width, frame.height, frame.format.name), len(times))
        times.append(time)
        last_duration = frame.duration or step
    if sorted(times) == list(packets.pts):
        times.sort()
    pts = tuple(itertools.accumulate(times, lambda before, time: max(time, before + 1)))
    key = tuple(number == 0 for number in range(len(pts)))
    table = FrameTable(pts, key, _durations(pts, [last_duration], False), packets.time_base)
    return table, tuple(sorted(set(packets.pts) - set(pts))), tuple(pts[i] for i in forms.values() if i)
