"""What a coded packet says about itself without decoding it: whole, key frame, shown, user data.

H.264 (ITU-T H.264 7.3.1, Annex D), HEVC (H.265 7.3.1, Annex D), VP8 (RFC 6386 9.1), VP9 (bitstream spec 6.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NAL_CODECS = ("h264", "hevc")
START_CODE = b"\0\0\0\1"  # of Annex B
USER_DATA_REGISTERED, USER_DATA_UNREGISTERED = 4, 5
# Closed captions, CEA-608 and CEA-708, as ATSC A/53 part 4 (6.2.3) has them in registered user data.
CAPTIONS = b"\xb5\x00\x31GA94\x03"
MOST_CAPTIONS = 31
RECOVERY_POINT = 6
VP9_HEADER = 9  # bytes of a key frame with its size, of which profile 3 has a bit more, and not yet its filter's level

# Banners that x264 and x265 leave in their own streams. They describe the source's encoder, not its content, and
# decoders choose work-arounds by them, so they must not travel into another encoder's stream.
X264_BANNER = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")
X265_BANNER = bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e")


@dataclass(frozen=True)
class PacketFacts:
    """What was found in one packet.

    Attributes:
        whole: False where the packet's own structure is broken.
        key: whether decoding can start here; None where the bytes do not say.
        shown: whether a picture comes out of it.
        user_data: whether it carries user data messages (other than an encoder's banner).
        header: the part that says the pictures' size and format, empty where it has none.
    """

    whole: bool = True
    key: bool | None = None
    shown: bool = True
    user_data: bool = False
    header: bytes = b""


@dataclass(frozen=True)
class NalFormat:
    """How NAL units are packed.

    Attributes:
        hevc: HEVC, or else H.264.
        length_size: bytes of each unit's length, or 0 for start codes (Annex B).
    """

    hevc: bool
    length_size: int

    @classmethod
    def of(cls, codec: str, extradata: bytes | None) -> NalFormat:
        """The packing that a stream's codec configuration (avcC, hvcC or start codes) declares."""
        hevc = codec == "hevc"
        data = extradata or b""
        position = 21 if hevc else 4
        if len(data) > position and data[0] == 1:
            return cls(hevc, (data[position] & 3) + 1)
        return cls(hevc, 0)

    def kind(self, unit: bytes | memoryview) -> int:
        """The unit's type."""
        return (unit[0] >> 1) & 63 if self.hevc else unit[0] & 31

    def is_picture(self, kind: int) -> bool:
        """Whether a unit of this type holds coded samples (VCL)."""
        return kind <= 31 if self.hevc else 1 <= kind <= 5

    def is_random_access(self, kind: int) -> bool:
        """Whether decoding can start at a picture of this type (IRAP, IDR)."""
        return 16 <= kind <= 23 if self.hevc else kind == 5

    def is_sei(self, kind: int) -> bool:
        """Whether a unit of this type holds (prefix) supplemental enhancement information."""
        return kind == 39 if self.hevc else kind == 6

    @property
    def parameter_sets(self) -> tuple[int, ...]:
        """The types of the units that say how the others are coded: (VPS,) SPS, PPS."""
        return (32, 33, 34) if self.hevc else (7, 8)

    def is_header(self, kind: int) -> bool:
        """Whether a unit of this type says the pictures' size and format (SPS)."""
        return kind == self.parameter_sets[-2]

    @property
    def delimiter(self) -> int:
        """The type of the unit that may stand before each picture (AUD)."""
        return 35 if self.hevc else 9

    def body(self, unit: bytes) -> bytes:
        """The unit without header and emulation prevention bytes."""
        return unit[2 if self.hevc else 1 :].replace(b"\0\0\3", b"\0\0")


def declared_parameter_sets(extradata: bytes, hevc: bool) -> bytes:
    """The parameter sets in a stream's codec configuration, with start codes; empty where it has none.

    Args:
        extradata: avcC or hvcC (ISO/IEC 14496-15, 5.3.3 and 8.3.3), or start codes.
        hevc: HEVC, or else H.264.
    """
    if extradata[:1] != b"\1":
        return extradata if START_CODE[1:] in extradata else b""
    found = b""
    at = 23 if hevc else 5
    arrays = extradata[22] if hevc and len(extradata) > 22 else 2
    for number in range(arrays):
        if hevc:
            count, at = int.from_bytes(extradata[at + 1 : at + 3], "big"), at + 3
        else:
            count, at = int.from_bytes(extradata[at : at + 1], "big") & (31 if number == 0 else 255), at + 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            found += START_CODE + extradata[at + 2 : at + 2 + size]
            at += 2 + size
    return found


def nal_units(data: bytes, form: NalFormat) -> Iterator[bytes]:
    """The NAL units of a packet.

    Raises:
        ValueError: a length points beyond the packet.
    """
    if form.length_size:
        yield from _length_prefixed(data, form.length_size)
    else:
        yield from _start_coded(data)


def _length_prefixed(data: bytes, size: int) -> Iterator[bytes]:
    position = 0
    while position + size <= len(data):
        end = position + size + int.from_bytes(data[position : position + size], "big")
        if end > len(data):
            raise ValueError("a unit is longer than its packet")
        if end > position + size:
            yield data[position + size : end]
        position = end


def _start_coded(data: bytes) -> Iterator[bytes]:
    start = data.find(b"\0\0\1")
    while start >= 0:
        following = data.find(b"\0\0\1", start + 3)
        end = following if following >= 0 else len(data)
        unit = data[start + 3 : end].rstrip(b"\0")
        if unit:
            yield unit
        start = following


def sei_messages(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The (payload type, payload) pairs of a SEI unit's body; a truncated last message is left out."""
    position = 0
    while position + 2 <= len(body) and body[position:] != b"\x80":
        numbers = []  # the type and the size, each in bytes of which all but the last are 255
        for _ in range(2):
            start = position
            while body[position : position + 1] == b"\xff":
                position += 1
            if position >= len(body):
                return
            position += 1
            numbers.append(sum(body[start:position]))
        kind, size = numbers
        if position + size > len(body):
            return
        yield kind, body[position : position + size]
        position += size


def is_banner(message: bytes) -> bool:
    """Whether a user data message (uuid, payload) is an encoder's banner."""
    return message[:16] in (X264_BANNER, X265_BANNER)


def is_captions(message: bytes) -> bool:
    """Whether a message of registered user data holds closed captions."""
    return message.startswith(CAPTIONS)


def captions(triplets: bytes) -> Iterator[bytes]:
    """The messages of registered user data for a frame's captions, three bytes each, as FFmpeg gives them."""
    for at in range(0, len(triplets), 3 * MOST_CAPTIONS):
        some = triplets[at : at + 3 * MOST_CAPTIONS]
        yield CAPTIONS + bytes([0x40 | len(some) // 3, 0xFF]) + some + b"\xff"


def inspect(data: bytes, codec: str, form: NalFormat) -> PacketFacts:
    """Look into one packet of a stream of this codec."""
    if codec in NAL_CODECS:
        return _inspect_nals(data, form)
    if codec == "vp8":
        key = not data[0] & 1
        return PacketFacts(key=key, shown=bool(data[0] & 16), header=data[3:10] if key else b"")
    if codec == "vp9":
        return _inspect_vp9(data)
    return PacketFacts()


def _inspect_nals(data: bytes, form: NalFormat) -> PacketFacts:
    # A recovery point counts as a key frame where its recovery_frame_cnt, ue(v), is 0: one set bit.
    key = pictures = user_data = False
    header = b""
    try:
        for unit in nal_units(data, form):
            kind = form.kind(unit)
            if form.is_picture(kind):
                pictures = True
                key = key or form.is_random_access(kind)
            elif form.is_header(kind):
                header += unit
            elif form.is_sei(kind):
                for payload, message in sei_messages(form.body(unit)):
                    key = key or (payload == RECOVERY_POINT and not form.hevc and message[:1] >= b"\x80")
                    own = payload == USER_DATA_UNREGISTERED and not is_banner(message)
                    user_data = user_data or own or (payload == USER_DATA_REGISTERED and is_captions(message))
    except ValueError:
        return PacketFacts(whole=False, key=False)
    return PacketFacts(whole=pictures, key=key, user_data=user_data, header=header)


def _inspect_vp9(data: bytes) -> PacketFacts:
    first = data[0]
    if data[-1] >> 5 == 6:  # a superframe: hidden frames and the one that is shown
        return PacketFacts()
    profile = (first >> 5 & 1) | (first >> 4 & 1) << 1
    shift = 2 if profile == 3 else 3
    if first >> shift & 1:  # show_existing_frame
        return PacketFacts(key=False)
    kind = shift - 1  # the bit of the frame's type; the next one is whether it is shown
    key = not first >> kind & 1
    return PacketFacts(key=key, shown=bool(first >> kind - 1 & 1), header=data[1:VP9_HEADER] if key else b"")


def insert_user_data(data: bytes, messages: tuple[bytes, ...], form: NalFormat) -> bytes:
    """Add user data messages (uuid, payload) and captions to a start-coded access unit, before its first picture."""
    unit = START_CODE + user_data_unit(messages, form)
    start = data.find(b"\0\0\1")
    while start >= 0:
        if form.is_picture(form.kind(data[start + 3 : start + 4])):
            begin = start - 1 if start and data[start - 1] == 0 else start
            return data[:begin] + unit + data[begin:]
        start = data.find(b"\0\0\1", start + 3)
    return data


def user_data_unit(messages: tuple[bytes, ...], form: NalFormat) -> bytes:
    """A SEI NAL unit, without start code, that holds user data messages."""
    body = bytearray()
    for message in messages:
        kind = USER_DATA_REGISTERED if is_captions(message) else USER_DATA_UNREGISTERED
        body += bytes([kind]) + b"\xff" * (len(message) // 255) + bytes([len(message) % 255])
        body += message
    body += b"\x80"
    return (b"\x4e\x01" if form.hevc else b"\x06") + _with_emulation_prevention(bytes(body))


def _with_emulation_prevention(body: bytes) -> bytes:
    """Break up byte sequences that would look like a start code (H.264 7.4.1)."""
    out = bytearray()
    zeros = 0
    for value in body:
        if zeros >= 2 and value <= 3:
            out.append(3)
            zeros = 0
        out.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return bytes(out)
