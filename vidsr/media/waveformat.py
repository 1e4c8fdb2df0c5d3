"""Sound as AVI, WMV and WAV describe it: WAVEFORMATEX, which names hundreds of codecs that have no other name.

Like Matroska it often says how many channels there are, and not which.
"""

from __future__ import annotations

import io
import struct

import av
from av.audio.stream import AudioStream
from av.stream import Stream

_FORMAT_CHUNK = b"fmt "


def wave_format(stream: Stream) -> bytes:
    """The WAVEFORMATEX of a sound stream: 18 bytes and what its decoder needs besides. Empty where it has none.

    It also says what PyAV does not tell: the bytes of a block and the bits of a coded sample. FFmpeg's WAV muxer makes
    it.
    """
    file = io.BytesIO()
    if not isinstance(stream, AudioStream):
        return b""
    try:
        with av.open(file, "w", format="wav") as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return b""
    made = file.getvalue()
    begin = made.index(_FORMAT_CHUNK) + 8
    (size,) = struct.unpack_from("<I", made, begin - 4)
    return made[begin : begin + size]


def name_channels(stream: AudioStream) -> None:
    """Give the usual channels of that number to a new stream whose source does not say which it has.

    MP4 has no PCM without (ISO/IEC 23003-5, ChannelLayout).

    Raises:
        ValueError: so many channels have no usual layout.
    """
    layout = stream.codec_context.layout
    if layout.name == f"{layout.nb_channels} channels":
        stream.codec_context.layout = f"{layout.nb_channels}c"
