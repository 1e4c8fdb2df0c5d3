"""One pass over a file for the check of a result: every decoded frame, and what every other stream holds.

Packets of other streams are compared by digest. Containers frame the same coded data differently, so that some
codecs are brought to one form first: AAC loses its ADTS header, H.264 and HEVC become NAL units without start
codes, lengths, delimiters and parameter sets (`normalised`).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidsr.media.beside.index import coding_of
from vidsr.media.bitstream import NAL_CODECS, NalFormat, nal_units
from vidsr.media.chapters import chapters_of
from vidsr.media.container import attachments_of, data_of, dispositions, open_input
from vidsr.media.decoders import decode_packet, decoder_threads, frames_of
from vidsr.media.description import codec_tag, description_of, tags_of
from vidsr.media.packets import Cuts, demux, moment_of
from vidsr.media.streamheaders import StreamHeaders, begins_with_adts
from vidsr.media.tags import begun_later

NO_TIME = -(2**63)
DIGEST_BYTES = 16


@dataclass
class Contents:
    """What one stream other than the picture holds; filled packet by packet.

    Attributes:
        index: its number in the file.
        kind: video, audio, subtitle, data or attachment.
        codec: FFmpeg's name of its codec, or "".
        tag: its four-character code in the container, or "".
        language: ISO 639-2 code; "und" where the file does not say.
        disposition: the names of its flags, sorted.
        tags: its metadata.
        time_base: seconds per tick.
        form: how its NAL units are packed; of other codecs it says nothing.
        times: presentation time of each packet in `time_base`, NO_TIME where it has none.
        durations: how long each packet is played or shown, in `time_base`; 0 where it does not say.
        digests: DIGEST_BYTES per packet; one for the whole stream where packets have no fixed borders (PCM).
        coding: what a decoder has to know (`coding_of`).
        changes: the numbers of packets from which on a decoder has to know something else, and the header that says it.
    """

    index: int
    kind: str
    codec: str
    tag: str
    language: str
    disposition: tuple[str, ...]
    tags: dict[str, str]
    time_base: Fraction
    form: NalFormat
    times: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    digests: list[bytes] = field(default_factory=list)
    coding: dict[str, Any] = field(default_factory=dict)
    changes: dict[int, bytes] = field(default_factory=dict)
    _header: bytes | None = None
    _running: Any = field(default_factory=hashlib.sha256)

    @property
    def borderless(self) -> bool:
        """Whether the codec's packets may be cut anywhere, as PCM."""
        return self.codec.startswith("pcm_")

    @property
    def attached(self) -> bool:
        """Whether it is a cover picture, which a part has whole and at no time."""
        return "attached_pic" in self.disposition

    def add(self, packet: Packet[Any], header: bytes = b"") -> None:
        """Takes one packet in, and the header that it is coded with (`StreamHeaders`)."""
        if self._header not in (None, header):
            self.changes[len(self.times)] = header
        self._header = header
        payload = normalised(bytes(packet), self.codec, self.form)
        moment = moment_of(packet)
        self.times.append(NO_TIME if moment is None else moment)
        self.durations.append(packet.duration or 0)
        if self.borderless:
            self._running.update(payload)
            self.digests = [self._running.digest()[:DIGEST_BYTES]]
        else:
            self.digests.append(hashlib.sha256(payload).digest()[:DIGEST_BYTES])


def normalised(payload: bytes, codec: str, form: NalFormat) -> bytes:
    """The coded data of a packet without what belongs to the container."""
    if codec == "aac" and len(payload) > 7 and begins_with_adts(payload):
        return payload[7 if payload[1] & 1 else 9 :]
    if codec in NAL_CODECS:
        left_out = (*form.parameter_sets, form.delimiter)
        try:
            units = [u.rstrip(b"\0") for u in nal_units(payload, form) if form.kind(u) not in left_out]
        except ValueError:
            return payload
        return b"\0".join(units)
    return payload


class Inventory:
    """Reads one file: iterate over `frames()`, then `others` is complete.

    `attachments` has the name and the hash of each attached file, under its name beside a result.

    Args:
        path: the file.
        stream_index: which stream is the picture.
        damaged: read the picture apart from the other streams and on one thread, as the frame table of a damaged
            source is made: with more threads, or in one go, other frames may come out.

    Raises:
        InputError: as `open_input` says.
    """

    def __init__(self, path: Path, stream_index: int, damaged: bool = False) -> None:
        self._path, self._apart = path, damaged
        self._container = open_input(path)
        self._picture = self._container.streams.video[0]
        for stream in self._container.streams.video:
            if stream.index == stream_index:
                self._picture = stream
        self._decoder = context = self._picture.codec_context
        context.thread_type = "AUTO"
        context.thread_count = decoder_threads(context.codec.canonical_name, 0)
        self.tags = tags_of(self._container)
        self.chapters = chapters_of(self._container)
        self.attachments = {
            name: (s.metadata.get("filename", ""), hashlib.sha256(data_of(s)).hexdigest())
            for name, s in attachments_of(self._container).items()
        }
        self.others = {
            s.index: _contents(self._container, s)
            for s in self._container.streams
            if s.index != stream_index and s.type != "attachment"
        }
        self._cuts, self._headers = Cuts(path), StreamHeaders()
        self._begin: Fraction | None = None
        self._end: Fraction | None = None
        self.decoding = True
        self.concealed = 0  # frames that the decoder gave with errors

    @property
    def aspect(self) -> Fraction:
        """Width to height of a pixel, as the last decoded frames have it; 1 where they do not say."""
        return Fraction(self._decoder.sample_aspect_ratio or 1)

    def begin_later(self, frames: int, rate: Fraction) -> None:
        """Give the tags that the part from that frame on has."""
        self.tags = dict(begun_later(self.tags.items(), frames, rate))
        for contents in self.others.values():
            contents.tags = dict(begun_later(contents.tags.items(), frames, rate))

    def keep_part(self, begin: Fraction | None, end: Fraction | None) -> None:
        """Of streams without packet borders, take in only what a part has: packets from `begin` on and before `end`."""
        self._begin, self._end = begin, end

    def frames(self, begin: int | None = None) -> Iterator[VideoFrame]:
        """Every frame in presentation order, the decoder drained; packets that cannot be decoded are passed over.

        Args:
            begin: timestamp of the key frame to begin with; packets before it are read and not decoded.

        Once `decoding` is set to False the rest of the file is read, and no more frames are given.
        """
        if self._apart:
            yield from self._frames_apart()
            return
        for packet in demux(self._container, *self._container.streams):
            if packet.stream_index != self._picture.index:
                self._take(packet)
                continue
            if begin is not None and packet.pts != begin:
                continue
            begin = None
            yield from self._decoded(packet)
        yield from self._decoded(None)

    def _frames_apart(self) -> Iterator[VideoFrame]:
        with open_input(self._path) as container:
            stream = container.streams[self._picture.index]
            assert isinstance(stream, VideoStream)
            self._decoder = stream.codec_context
            for frame in frames_of(container, stream):
                if not self.decoding:
                    break
                self.concealed += frame.is_corrupt
                yield frame
        for packet in demux(self._container, *(s for s in self._container.streams if s.index in self.others)):
            self._take(packet)

    def _take(self, packet: Packet[Any]) -> None:
        contents, header = self.others.get(packet.stream_index), self._headers.take(packet)
        if contents and not self._cuts.drops(packet) and (self._has(packet) or not contents.borderless):
            contents.add(packet, header)

    def _has(self, packet: Packet[Any]) -> bool:
        moment = moment_of(packet)
        if moment is None:
            return True
        time = moment * packet.time_base
        return (self._begin is None or time >= self._begin) and (self._end is None or time < self._end)

    def _decoded(self, packet: Packet[Any] | None) -> Iterator[VideoFrame]:
        for frame in decode_packet(self._picture, packet) if self.decoding else ():
            self.concealed += frame.is_corrupt
            yield frame

    def __enter__(self) -> Inventory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()


def _contents(container: InputContainer, stream: Any) -> Contents:
    context, description = stream.codec_context, description_of(container, stream)
    return Contents(
        index=stream.index,
        kind=stream.type,
        codec=context.codec.canonical_name if context else "",
        tag=codec_tag(description),
        language=stream.language or "und",
        disposition=dispositions(stream),
        tags=dict(stream.metadata),
        time_base=stream.time_base or Fraction(1),
        form=NalFormat.of(context.codec.canonical_name, context.extradata) if context else NalFormat(False, 0),
        coding=coding_of(stream, description),
    )
