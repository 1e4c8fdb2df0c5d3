"""One segment of the result: frames in, an encoded Matroska file out, under its name only when it is whole."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from uuid import uuid4

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from vidsr.errors import EncoderError, UnsupportedSize
from vidsr.frames import FrameBatch
from vidsr.media.bitstream import NAL_CODECS, NalFormat, insert_user_data
from vidsr.media.container import reason_of, url_of
from vidsr.media.encoders import calm_threads, encoder_for, encoder_options, own_rules, pix_fmt_for, quieten
from vidsr.media.packets import AnyPacket, VideoPacket
from vidsr.media.pixels import empty_planes, fill_planes, rearranged, source_format
from vidsr.media.probe import VideoInfo
from vidsr.paths import temporary_folder, write_error
from vidsr.settings import EncodeSettings

LOWEST_RATE, HIGHEST_RATE = Fraction(1), Fraction(500)
LARGEST_RATE_TERM = 65535  # MPEG-4 Part 2 stores the rate in 16 bits


class SegmentEncoder:
    """Encodes frames of one size into one segment.

    The segment begins with a key frame and refers to nothing outside, so segments can be joined. Its timestamps only
    count frames at the average rate; the true ones are put in when segments are joined. The same frames give the same
    bytes as long as `threads` is the same.

    Use as a context manager: `close` gives the file its name, leaving by an exception removes what was written.
    """

    def __init__(
        self, path: Path, info: VideoInfo, width: int, height: int, settings: EncodeSettings, threads: int
    ) -> None:
        """Open the encoder.

        Args:
            path: the segment's file; while it grows it has another name, which ends in .part.
            info: the source, for colour, aspect, rate and HDR metadata.
            width, height: of the frames that will be written, in pixels.
            settings: codec ("auto" chooses by the source), crf and preset.
            threads: of the encoder.

        Raises:
            UnknownCodec, EncoderMissing: by the codec's name.
            SettingsError: the codec cannot code the layout or does not have that crf or preset.
            UnsupportedSize: the codec cannot code that size.
        """
        self.path = path
        self.codec = encoder_for(info, settings)
        self.frames = 0
        self._info = info
        self._size = (width, height)
        self._part = path.with_name(f"{path.name}.{uuid4().hex}.part")  # another run may make the same segment
        self._user_data: dict[int, tuple[bytes, ...]] = {}
        pix_fmt = pix_fmt_for(self.codec, info.layout, info.colour.full_range)
        options = encoder_options(self.codec, settings, info, threads)
        quieten()
        try:
            self._container = av.open(url_of(self._part), "w", format="matroska")
        except av.error.FFmpegError as error:
            raise write_error(self._part, error) from error
        try:
            self._stream = self._open_stream(pix_fmt, options, threads)
        except av.error.FFmpegError as error:
            self._discard()
            raise UnsupportedSize(
                f"{self.codec} cannot code {width}x{height} {pix_fmt} ({reason_of(error)}); "
                "use another --codec, --scale or --height"
            ) from error

    def _open_stream(self, pix_fmt: str, options: dict[str, str], threads: int) -> VideoStream:
        info, colour = self._info, self._info.colour
        rate = _coding_rate(info.rate)
        stream = self._container.add_stream(self.codec, rate=rate, options=options)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = pix_fmt
        context.time_base = 1 / rate
        context.thread_count = threads
        context.sample_aspect_ratio = info.sample_aspect
        context.colorspace = colour.matrix
        context.color_primaries = colour.primaries
        context.color_trc = colour.transfer
        limited = ColorRange.MPEG if colour.tagged_range else ColorRange.UNSPECIFIED
        context.color_range = ColorRange.JPEG if colour.full_range else limited
        context.open(strict=False)
        if self.codec == "libsvtav1":
            calm_threads()
        return stream

    def write(self, batch: FrameBatch) -> None:
        """Encode a batch of frames.

        Args:
            batch: planes (N, height, width) in the source's layout, uint8 or uint16.

        Raises:
            ValueError: the frames have another size or layout than was announced.
            EncoderError: the encoder fails.
            OutputError: the file cannot be written.
        """
        if (batch.width, batch.height) != self._size or batch.layout != self._info.layout:
            raise ValueError(f"{self.path}: {batch.width}x{batch.height} {batch.layout} is not what was announced")
        for at in range(len(batch)):
            frame = _frame(batch, at, self._stream.codec_context.pix_fmt or "")
            frame.pts = self.frames
            frame.time_base = self._stream.codec_context.time_base
            if batch.user_data and batch.user_data[at]:
                self._user_data[self.frames] = batch.user_data[at]
            self.frames += 1
            self._encode(frame)

    def _encode(self, frame: VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(frame)
            try:
                for packet in packets:
                    self._container.mux(self._with_user_data(packet))
            except OSError as error:  # FFmpeg's too, where the system gives the reason
                raise write_error(self.path, error) from error
        except av.error.FFmpegError as error:
            raise EncoderError(f"{self.path}: {self.codec} failed ({reason_of(error)})") from error

    def _with_user_data(self, packet: VideoPacket) -> AnyPacket:
        """The packet with its frame's user data messages, which PyAV cannot hand to the encoder."""
        messages = self._user_data.pop(packet.pts, ()) if packet.pts is not None else ()
        family = self._stream.codec_context.codec.canonical_name
        if not messages or family not in NAL_CODECS:
            return packet
        fuller: AnyPacket = Packet(insert_user_data(bytes(packet), messages, NalFormat(family == "hevc", 0)))
        fuller.stream = packet.stream
        fuller.pts, fuller.dts, fuller.duration = packet.pts, packet.dts, packet.duration
        fuller.time_base = packet.time_base
        fuller.is_keyframe = packet.is_keyframe
        return fuller

    def close(self) -> int:
        """Drain the encoder, give the file its name, and return the number of frames.

        Raises:
            EncoderError: the encoder fails, or nothing was written.
            OutputError: the file cannot be written.
        """
        if not self.frames:
            self._discard()
            raise EncoderError(f"{self.path}: no frame was written to the segment")
        self._encode(None)
        try:
            self._container.close()
            self._part.replace(self.path)
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error
        return self.frames

    def _discard(self) -> None:
        with suppress(av.error.FFmpegError):  # of a full disk
            self._container.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> SegmentEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._part.exists():
            self._discard()


def check_size(info: VideoInfo, width: int, height: int, settings: EncodeSettings) -> None:
    """Code one frame with an encoder that has no rules of its own, to see whether it can: some open and then fail.

    Raises:
        UnsupportedSize: it cannot.
    """
    if own_rules(encoder_for(info, settings)):
        return
    planes = empty_planes(info.layout, width, height, 1)
    for plane in planes:
        plane.fill(0)
    try:
        with TemporaryDirectory(dir=temporary_folder()) as folder:
            path = Path(folder, "trial.mkv")
            with SegmentEncoder(path, info, width, height, settings, 1) as encoder:
                encoder.write(FrameBatch(planes, info.layout, info.colour, (0,)))
                encoder.close()
    except UnsupportedSize as error:
        raise UnsupportedSize(f"{info.path}: {error.message}") from error
    except EncoderError as error:
        reason = error.message.partition(": ")[2]
        raise UnsupportedSize(f"{info.path}: {reason}; use --codec libx264 or libx265") from error


def _coding_rate(rate: Fraction) -> Fraction:
    """A rate that every encoder takes and Matroska's milliseconds can tell apart."""
    bounded = min(max(rate, LOWEST_RATE), HIGHEST_RATE)
    if max(bounded.numerator, bounded.denominator) <= LARGEST_RATE_TERM:
        return bounded
    return bounded.limit_denominator(LARGEST_RATE_TERM // int(HIGHEST_RATE))


def _frame(batch: FrameBatch, at: int, pix_fmt: str) -> VideoFrame:
    """Frame `at` of a batch in the encoder's pixel format."""
    direct = source_format(pix_fmt).convert is None
    frame = VideoFrame(batch.width, batch.height, pix_fmt if direct else batch.layout.pix_fmt)
    fill_planes(frame, batch.planes, at)
    colour = batch.colour
    frame.color_range = ColorRange.JPEG if colour.full_range else ColorRange.MPEG
    frame.colorspace, frame.color_primaries, frame.color_trc = colour.matrix, colour.primaries, colour.transfer
    return frame if direct else rearranged(frame, pix_fmt)
