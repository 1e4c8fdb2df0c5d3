"""Data of MPEG-TS keeps its times where it has them, and its place among the pictures where that is all it has."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.media.clips import Clip, make_clip
from tests.media.pipeline import upscale
from vidsr.media.beside.index import bin_path, index_path
from vidsr.media.beside.private import private_data
from vidsr.media.mpegts import TS_PACKET
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify

DATA = 0x102  # FFmpeg's identifier of the third stream
PRIVATE, METADATA = 0xBD, 0xFC
CRC_32 = 0x04C11DB7


def retold(path: Path, kind: int, timed: bool, data: str = "klv", frames: int = 24) -> Path:
    """A film with four packets of data of that kind of PES packets, with or without times."""
    film = make_clip(path.with_name("film.ts"), Clip(frames=frames, sound=("aac",), data=data))
    content = bytearray(film.read_bytes())
    for at in range(0, len(content), TS_PACKET):
        begin = content.find(b"\0\0\1", at, at + TS_PACKET)
        if content[at + 1] & 0x40 and int.from_bytes(content[at + 1 : at + 3], "big") & 0x1FFF == DATA:
            content[begin + 3] = kind
            if not timed:
                content[begin + 7] &= 0x3F
                content[begin + 9 : begin + 14] = b"\xff" * 5
    path.write_bytes(content)
    return path


def described(path: Path, kind: int, descriptors: bytes) -> Path:
    """The file with another entry of the data in its programme map."""
    content = bytearray(path.read_bytes())
    at = 0
    while (at := content.find(b"\x06\xe1\x02\xf0", at)) >= 0:
        packet = at - at % TS_PACKET
        table = content.index(b"\0\2\xb0", packet) + 1
        entry = bytes((kind, 0xE1, 0x02, 0xF0, len(descriptors))) + descriptors
        made = content[table:at] + entry
        made[2] = len(made) - 3 + 4
        made += checksum(made).to_bytes(4, "big")
        content[table : packet + TS_PACKET] = made.ljust(packet + TS_PACKET - table, b"\xff")
        at = packet + TS_PACKET
    path.write_bytes(content)
    return path


def checksum(content: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (CRC_32 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def data_times(path: Path) -> list[float | None]:
    """When each packet of data holds, in seconds after the first picture."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.data
        begin = min(packet.pts for packet in container.demux(video=0) if packet.pts is not None) / 90000
        container.seek(0)
        packets = [packet for packet in container.demux(stream) if packet.size]
    return [None if packet.pts is None else round(packet.pts / 90000 - begin, 6) for packet in packets]


def places(path: Path) -> list[int]:
    """How many pictures begin before each packet of data in the file."""
    with av.open(str(path)) as container:
        found = sorted((packet.pos or 0, packet.stream.type) for packet in container.demux() if packet.size)
    kinds = [kind for _, kind in found if kind != "audio"]
    return [kinds[:at].count("video") for at, kind in enumerate(kinds) if kind == "data"]


def test_klv_of_private_packets_keeps_its_times(tmp_path: Path) -> None:
    source, result = retold(tmp_path / "source.ts", PRIVATE, timed=True), tmp_path / "result.ts"
    upscale(source, result)
    assert data_times(source) == data_times(result) == [0, 0.2, 0.4, 0.6]
    assert verify(source, result).ok


@pytest.mark.parametrize(("kind", "data"), [(PRIVATE, "klv"), (METADATA, "klv"), (PRIVATE, "bin_data")])
def test_data_without_times_stays_with_its_pictures(kind: int, data: str, tmp_path: Path) -> None:
    source, result = retold(tmp_path / "source.ts", kind, timed=False, data=data), tmp_path / "result.ts"
    upscale(source, result)
    assert verify(source, result).ok
    if data == "klv":
        assert data_times(result) == [None] * 4, "none is made up"
    assert all(later - earlier > 3 for earlier, later in pairwise(places(source)))
    for there, here in zip(places(source), places(result), strict=True):
        assert abs(there - here) <= 3  # frames that the result's decoder waits for


def test_data_without_times_beside_the_result_tells_its_picture(tmp_path: Path) -> None:
    source, result = retold(tmp_path / "source.ts", PRIVATE, timed=False), tmp_path / "result.mkv"
    upscale(source, result)
    (stream,) = json.loads(index_path(result).read_text())["streams"]
    info = probe(source)
    shown = [info.table.pts[place - 1] for place in places(source)]
    assert [packet[:2] for packet in stream["packets"]] == [[None, time] for time in shown]


def test_data_that_lost_its_times_is_found(tmp_path: Path) -> None:
    source, result = retold(tmp_path / "source.ts", PRIVATE, timed=True), tmp_path / "result.ts"
    upscale(source, result)
    content = result.read_bytes()
    for at in range(0, len(content), TS_PACKET):
        head = b"\0\0\1\xfc"
        begin = content.find(head, at, at + TS_PACKET)
        if begin >= 0:
            content = content[: begin + 7] + b"\0" + content[begin + 8 :]
    result.write_bytes(content)
    faults = [check.detail for check in verify(source, result).checks if not check.ok]
    assert faults == ["KLVA: packet 0 has lost its time"]


@pytest.mark.parametrize(
    ("kind", "descriptors"), [(0x15, b"\x26\x09\1\0\xffKLVA\0\x0f"), (0x06, b"\5\4GPSX"), (0xFA, b"")]
)
def test_what_a_programme_says_of_its_data_lies_beside(kind: int, descriptors: bytes, tmp_path: Path) -> None:
    """Metadata that is in step with the picture, private data of a format of its own."""
    source, result = retold(tmp_path / "source.ts", METADATA, timed=True), tmp_path / "result.ts"
    assert private_data(source) == []
    described(source, kind, descriptors)
    upscale(source, result)
    assert verify(source, result).ok
    (block,) = json.loads(index_path(result).read_text())["blocks"]
    assert block["path"] == "programme map 0x1000/pid 0x102"
    entry = bytes((kind, 0xE1, 0x02, 0xF0, len(descriptors))) + descriptors
    assert bin_path(result).read_bytes()[block["offset"] :][: block["length"]] == entry
