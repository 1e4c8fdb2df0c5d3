"""Private data of a container: what no stream holds and no tag says, above all the GPS of dashcams.

MP4 and MOV: boxes that the format does not define (`gps `, vendors' boxes in `udta`, `uuid`, in fragments too), the
wall clock of fragments (`prft`), `free` and `skip` boxes that are not empty, `meta` boxes that say what no tag does,
the blocks that a `gps ` box points at, GPS blocks between the samples of `mdat`, what follows the last box, and of
tracks the references and sample descriptions that no muxer writes. MPEG-TS: packets whose identifier no programme lists
(GPS, when it was broadcast), and what the programme map says of data that no muxer does. Matroska: `matroska_private`.
Other containers have no such places.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.stream import DataStream
from numpy.typing import NDArray

from vidsr.errors import NotAVideo
from vidsr.media.beside.index import PrivateBlock
from vidsr.media.beside.matroska_private import is_matroska, private_of_matroska
from vidsr.media.boxes import Box, children, descend, is_mp4, track_number
from vidsr.media.container import open_input
from vidsr.media.mpegts import TS_PACKET, map_entries, payload_start, pids_of, programme_pids, ts_layout, ts_packets

# Boxes that the result's muxer writes anew or whose content travels as streams and tags.
_TOP = {"ftyp", "styp", "moov", "moof", "mdat", "mfra", "sidx", "ssix", "pdin", "wide", "meta"}
_MOOV = {"mvhd", "trak", "mvex", "iods", "udta", "meta", "pssh", "ctab", "clip", "prfl"}
_MOOF, _TRAF = {"mfhd", "traf", "pssh"}, {"tfhd", "tfdt", "trun", "sbgp", "sgpd", "subs", "saiz", "saio", "senc"}
_TRAK = {"tkhd", "edts", "mdia", "load", "imap", "txas", "tapt", "matt", "udta"}
_MDIA = {"mdhd", "hdlr", "minf"}
# References that the muxer makes: to the track of the timecode and to that of the chapters' titles.
_TREF = {"tmcd", "chap"}
_TIMECODE = b"tmcd"
# What a sample description may say that FFmpeg does not read: how ambisonic sound lies in space, a timecode's reel.
_UNREAD = {b"mp4a": b"SA3D", b"Opus": b"SA3D", _TIMECODE: b"name"}
_UDTA = {"meta", "loci", "hnti", "hinf", "chpl", "name", "manu", "modl", "cprt", "albm", "keyw"}
# QuickTime's texts that FFmpeg gives as tags (tried: every box of a copyright sign and three letters or digits).
_UDTA |= {
    f"\xa9{name}"
    for name in (
        "ART PRD alb aut chp cmt com cpy day dir dis ed1 enc fmt gen grp hst inf lyr mak mod nam ope prd prf req src"
        " st3 swr too trk url wrn wrt xyz"
    ).split()
}
# Types of values in Apple's key list that FFmpeg gives as tags (tried): texts, some whole numbers, single precision.
_READ_TYPES = {0, 1, 3, 21, 22, 23}
_ENTRY_KIND = slice(12, 16)  # of the first entry, after version, count and its size
_GPS_SIGNS = (b"freeGPS", b"GPS ", b"LIGOGPS", b"$GP", b"$GN")
_SIGN_WITHIN = 64
_LARGEST_GAP = 1 << 20
# Of MPEG-TS itself (ISO/IEC 13818-1, table 2-3; EN 300 468, table 1), but for DVB's clock, which dates a broadcast.
_RESERVED_PIDS = set(range(0x20)) - {0x14}
_NULL_PID = 0x1FFF
# Stream type and descriptors of data that FFmpeg's muxer writes: private data, and asynchronous KLV.
_PLAIN_DATA = ((0x06, b""), (0x06, b"\x05\x04KLVA"))


def private_data(path: Path) -> list[PrivateBlock]:
    """The private data of a file, in file order; empty where there is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if is_mp4(file, size):
            return _of_mp4(path, file, size)
        if is_matroska(file):
            return list(private_of_matroska(file, size))
        layout = ts_layout(file)
        return _of_ts(path, file, *layout) if layout else []


def _of_mp4(path: Path, file: BinaryIO, size: int) -> list[PrivateBlock]:
    blocks: list[PrivateBlock] = []
    media: list[Box] = []
    for box in children(file, 0, size):
        if box.kind == "moov":
            blocks.extend(_of_moov(file, box, _unknown_tracks(path)))
        elif box.kind == "mdat":
            media.append(box)
        elif box.kind == "moof":
            blocks.extend(_of_fragment(file, box))
        elif _is_private(file, box, _TOP):
            blocks.append(_block(box, box.kind or "trailer"))
    covered = [span for block in blocks for span in block.spans]
    pointed = [b for block in blocks if block.path == "moov/gps " for b in _pointed_at(file, block, size)]
    pointed = [b for b in pointed if not any(a <= b.offset < a + n for a, n in covered)]
    gaps = _between_samples(path, file, media, [span for block in pointed for span in block.spans])
    return sorted([*blocks, *pointed, *gaps], key=lambda block: block.offset)


def _block(box: Box, path: str) -> PrivateBlock:
    return PrivateBlock(path, ((box.start, box.stop - box.start),))


def _is_private(file: BinaryIO, box: Box, known: set[str]) -> bool:
    """Whether a box holds something, and nothing that travels otherwise."""
    if box.kind in known:
        return box.kind == "meta" and _is_unread(file, box)
    return not _is_empty(file, box.body, box.stop)


def _is_unread(file: BinaryIO, meta: Box) -> bool:
    """Whether a `meta` box says what no tag does: XML of Sony's cameras, or numbers of phones' in Apple's key list."""
    file.seek(meta.body)
    version = 0 if file.read(8)[4:] == b"hdlr" else 4  # QuickTime's has none
    contents = {}
    for box in children(file, meta.body + version, meta.stop):
        file.seek(box.body)
        contents[box.kind] = file.read(min(box.stop - box.body, _LARGEST_GAP))
    handler, values, at = contents.get("hdlr", b"")[8:12], contents.get("ilst", b""), 0
    while handler == b"mdta" and at + 20 <= len(values):  # size, key, and a box: size, "data", type ...
        if int.from_bytes(values[at + 16 : at + 20], "big") not in _READ_TYPES:
            return True
        at += max(int.from_bytes(values[at : at + 4], "big"), 8)
    return handler not in (b"mdta", b"mdir") and not _is_empty(file, meta.body, meta.stop)


def _is_empty(file: BinaryIO, begin: int, end: int) -> bool:
    file.seek(begin)
    while begin < end:
        piece = file.read(min(end - begin, 1 << 20))
        if not piece or piece.strip(b"\0"):
            return not piece
        begin += len(piece)
    return True


def _of_moov(file: BinaryIO, moov: Box, unknown: set[int]) -> Iterator[PrivateBlock]:
    track = 0
    for box in children(file, moov.body, moov.stop):
        path = f"moov/{box.kind}"
        if box.kind == "trak":
            yield from _of_track(file, box, f"moov/trak[{track}]", unknown)
            track += 1
        elif box.kind == "udta":
            yield from _of_user_data(file, box, path)
        elif _is_private(file, box, _MOOV):
            yield _block(box, path)


def _of_fragment(file: BinaryIO, moof: Box) -> Iterator[PrivateBlock]:
    for box in children(file, moof.body, moof.stop):
        if box.kind == "traf":
            for inner in children(file, box.body, box.stop):
                if _is_private(file, inner, _TRAF):
                    yield _block(inner, f"moof/traf/{inner.kind or 'rest'}")
        elif _is_private(file, box, _MOOF):
            yield _block(box, f"moof/{box.kind or 'rest'}")


def _of_track(file: BinaryIO, track: Box, path: str, unknown: set[int]) -> Iterator[PrivateBlock]:
    number = 0
    for box in children(file, track.body, track.stop):
        if box.kind == "udta":
            yield from _of_user_data(file, box, f"{path}/udta")
        elif box.kind == "tref":
            if any(reference.kind not in _TREF for reference in children(file, box.body, box.stop)):
                yield _block(box, f"{path}/tref")
        elif _is_private(file, box, _TRAK):
            yield _block(box, f"{path}/{box.kind}")
        elif box.kind == "tkhd":
            number = track_number(file, box)
        elif box.kind == "mdia":
            yield from _of_description(file, box, f"{path}/mdia", number in unknown)
            for inner in children(file, box.body, box.stop):
                if _is_private(file, inner, _MDIA):
                    yield _block(inner, f"{path}/mdia/{inner.kind or 'rest'}")


def _of_description(file: BinaryIO, media: Box, path: str, unknown: bool) -> Iterator[PrivateBlock]:
    """A track's sample description where the result's does not say the same; timecode's is made anew."""
    box = descend(file, media, "minf", "stbl", "stsd")
    if box is None:
        return
    file.seek(box.body)
    content = file.read(min(box.stop - box.body, _LARGEST_GAP))
    entry = content[_ENTRY_KIND]
    if (unknown and entry != _TIMECODE) or (entry in _UNREAD and _UNREAD[entry] in content):
        yield _block(box, f"{path}/minf/stbl/stsd")


def _of_user_data(file: BinaryIO, udta: Box, path: str) -> Iterator[PrivateBlock]:
    for box in children(file, udta.body, udta.stop):
        if _is_private(file, box, _UDTA):
            yield _block(box, f"{path}/{box.kind or 'rest'}")


def _pointed_at(file: BinaryIO, atom: PrivateBlock, size: int) -> Iterator[PrivateBlock]:
    """The blocks that a Novatek `gps ` box lists: after its header and 8 bytes, pairs of offset and length."""
    content = atom.read(file)
    for at in range(16, len(content) - 7, 8):
        offset, length = int.from_bytes(content[at : at + 4], "big"), int.from_bytes(content[at + 4 : at + 8], "big")
        if 0 < length <= _LARGEST_GAP and offset > 0 and offset + length <= size:
            yield PrivateBlock("gps block", ((offset, length),))


def _between_samples(
    path: Path, file: BinaryIO, media: list[Box], known: list[tuple[int, int]]
) -> Iterator[PrivateBlock]:
    """Bytes of `mdat` that no sample and no known (offset, length) uses and that begin like GPS data."""
    samples = _samples(path) if media else []
    if samples:
        samples = sorted([*samples, *((offset, offset + length) for offset, length in known)])
    for box in media:
        position = box.body
        for begin, end in samples:
            if end <= box.body or begin >= box.stop:
                continue
            yield from _gap(file, position, min(begin, position + _LARGEST_GAP))
            position = max(position, end)
        if samples:
            yield from _gap(file, position, min(box.stop, position + _LARGEST_GAP))


def _gap(file: BinaryIO, begin: int, end: int) -> Iterator[PrivateBlock]:
    if end - begin < 16:
        return
    file.seek(begin)
    head = file.read(min(_SIGN_WITHIN, end - begin))
    if any(sign in head for sign in _GPS_SIGNS):
        yield PrivateBlock("mdat between samples", ((begin, end - begin),))


def _unknown_tracks(path: Path) -> set[int]:
    """The identifiers of tracks that FFmpeg does not know or has no decoder of, and so does not describe."""
    try:
        with open_input(path) as container:
            unread = [stream for stream in container.streams if stream.codec_context is None]
            return {stream.id for stream in unread if not (isinstance(stream, DataStream) and stream.name)}
    except NotAVideo:
        return set()


def _samples(path: Path) -> list[tuple[int, int]]:
    """Where samples lie; none where the file is fragmented and so has no table of them."""
    try:
        with open_input(path, options={"ignore_editlist": "1"}) as container:
            return [(e.pos, e.pos + e.size) for s in container.streams for e in s.index_entries]
    except NotAVideo:
        return []


def _of_ts(path: Path, file: BinaryIO, first: int, stride: int) -> list[PrivateBlock]:
    spans: dict[int, list[tuple[int, int]]] = {}
    streams = _ts_streams(path)
    listed, maps = {_NULL_PID, *streams}, _ProgrammeMaps({pid for pid, is_data in streams.items() if is_data})
    for offset, packets in ts_packets(file, first, stride):
        pids = pids_of(packets)
        for row in np.nonzero(pids == 0)[0].tolist():
            maps.pids |= programme_pids(packets[row].tobytes())
        for row in np.nonzero(np.isin(pids, list(maps.pids)))[0].tolist() if maps.data else ():
            maps.take(int(pids[row]), packets[row], offset + row * stride)
        listed |= maps.pids
        for pid in set(np.unique(pids).tolist()) - listed - _RESERVED_PIDS:
            for row in np.nonzero(pids == pid)[0].tolist():
                start = payload_start(packets[row])
                if start < TS_PACKET:
                    spans.setdefault(pid, []).append((offset + row * stride + start, TS_PACKET - start))
    unlisted = [
        PrivateBlock(f"pid {pid:#x}", tuple(found)) for pid, found in sorted(spans.items()) if pid not in listed
    ]
    return [*maps.blocks.values(), *unlisted]


def _ts_streams(path: Path) -> dict[int, bool]:
    """The identifiers of streams, and whether they are neither picture nor sound nor subtitles."""
    try:
        with open_input(path) as container:
            return {stream.id: stream.type not in ("video", "audio", "subtitle") for stream in container.streams}
    except NotAVideo:
        return {}


class _ProgrammeMaps:
    """What the programme maps of an MPEG-TS file say of its data (ISO/IEC 13818-1, 2.4.4.9), once for each.

    Attributes:
        data: the identifiers of data.
        pids: those of the maps.
        blocks: an entry of a map for each of `data` that is not plain, with its type and its descriptors.
    """

    def __init__(self, data: set[int]) -> None:
        self.data = data
        self.pids: set[int] = set()
        self.blocks: dict[int, PrivateBlock] = {}

    def take(self, number: int, packet: NDArray[np.uint8], offset: int) -> None:
        """Look at a packet of a map; what lies in a further packet of the same map is not found."""
        content = packet.tobytes()
        for pid, at, end in map_entries(content):
            plain = (content[at], content[at + 5 : end]) in _PLAIN_DATA
            if pid in self.data and not plain:
                path = f"programme map {number:#x}/pid {pid:#x}"
                self.blocks.setdefault(pid, PrivateBlock(path, ((offset + at, end - at),)))
