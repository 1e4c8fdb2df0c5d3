"""The GPS track of a video as GPX, from the formats that cameras write.

    GoPro        GPS5 and GPS9 in the `gpmd` track (GPMF, github.com/gopro/gpmf-parser)
    NMEA 0183    RMC sentences in text tracks, private boxes (BlackVue, Thinkware) and side files
    Novatek      binary records in private blocks, with the fix, the hemispheres and ddmm.mmmm as floats
    LigoGPS      lines of text "2026/05/12 15:08:21 N:12.345678 W:1.234567 30.0 km/h" in MPEG-TS data tracks

Cameras that state no time zone are taken to write UTC. Records without a fix are left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from math import isfinite
from operator import xor
from pathlib import Path

from vidsr.media.beside.private import private_data
from vidsr.media.beside.sidefiles import side_files
from vidsr.media.container import open_input
from vidsr.media.packets import demux

KNOT = 1852 / 3600
_LARGEST_BLOCK = 64 << 20
_NMEA = re.compile(rb"\$[A-Z]{2}RMC,[^*$\r\n\0]{10,90}\*[0-9A-Fa-f]{2}")
_LIGO = re.compile(
    rb"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) ([NS]):(\d+\.\d+) ([EW]):(\d+\.\d+) (\d+\.\d+) km/h",
)
_NOVATEK = struct.Struct("<6I4s4f")
_NOVATEK_MARK = re.compile(rb"A[NS][EW]\0")
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Fix:
    """One position: UTC, degrees (WGS 84), and metres, metres per second and degrees where the camera says them."""

    time: datetime
    latitude: float
    longitude: float
    elevation: float | None = None
    speed: float | None = None
    course: float | None = None


def gpx_track(path: Path, original: Path | None = None) -> str | None:
    """The GPS track of a video as a GPX 1.1 document, or None where none of its data can be read as one.

    Needs gpxpy (the extra `gpx`).

    Args:
        path: the video.
        original: the user's file, where `path` was recovered from it.

    Raises:
        InputError: the video cannot be opened.
    """
    fixes = sorted(
        {fix.time: fix for fix in _plausible(_fixes(path, original or path))}.values(), key=lambda fix: fix.time
    )
    if not fixes:
        return None
    from gpxpy import gpx

    document = gpx.GPX()
    document.creator = "vidsr"
    track = gpx.GPXTrack(name=_NOT_XML.sub("", (original or path).name))
    segment = gpx.GPXTrackSegment()
    for fix in fixes:
        point = gpx.GPXTrackPoint(fix.latitude, fix.longitude, fix.elevation, fix.time)
        point.course = fix.course  # type: ignore[assignment]
        if fix.speed is not None:
            point.comment = f"{fix.speed:.2f} m/s"
        segment.points.append(point)
    track.segments.append(segment)
    document.tracks.append(track)
    return str(document.to_xml(version="1.1"))


def _plausible(fixes: Iterable[Fix]) -> Iterator[Fix]:
    """Without positions that cannot be, and 0, 0: that is how cameras write "no fix". GPX ends before 180 degrees."""
    for fix in fixes:
        if abs(fix.latitude) <= 90 and abs(fix.longitude) <= 180 and (fix.latitude or fix.longitude):
            longitude = -180.0 if fix.longitude == 180 else fix.longitude
            elevation, speed, course = (
                None if each is None or not isfinite(each) else each for each in (fix.elevation, fix.speed, fix.course)
            )
            yield replace(fix, longitude=longitude, elevation=elevation, speed=speed, course=course)


def _fixes(path: Path, original: Path) -> Iterator[Fix]:
    with open_input(path) as container:
        tracks = [stream for stream in container.streams if stream.type in ("data", "subtitle")]
        if tracks:
            for packet in demux(container, *tracks):
                yield from parse(bytes(packet))
    with original.open("rb") as file:
        for block in private_data(original):
            if block.length <= _LARGEST_BLOCK:
                yield from parse(block.read(file))
    for each in side_files(original):
        if each.stat().st_size <= _LARGEST_BLOCK:
            yield from parse(each.read_bytes())


def parse(content: bytes) -> Iterator[Fix]:
    """The positions in one packet, private block or side file, whatever its format."""
    if content[:4] == b"DEVC":
        yield from parse_gpmf(content)
        return
    yield from parse_nmea(content)
    yield from parse_ligo(content)
    yield from parse_novatek(content)


def parse_nmea(content: bytes) -> Iterator[Fix]:
    """RMC sentences with a right checksum and a fix; cameras put time stamps and other sentences between them."""
    for sentence in _NMEA.findall(content):
        body, checksum = sentence[1:].split(b"*")
        if reduce(xor, body) != int(checksum, 16):
            continue
        fields = body.decode("ascii", "replace").split(",")
        if len(fields) < 10 or fields[2] != "A":
            continue
        try:
            moment = datetime.strptime(fields[9] + fields[1][:6], "%d%m%y%H%M%S").replace(tzinfo=UTC)
            fraction = float("0" + fields[1][6:]) if len(fields[1]) > 6 else 0.0
            yield Fix(
                moment + timedelta(seconds=fraction),
                _degrees(float(fields[3]), fields[4] == "S"),
                _degrees(float(fields[5]), fields[6] == "W"),
                speed=float(fields[7]) * KNOT if fields[7] else None,
                course=float(fields[8]) if fields[8] else None,
            )
        except (ValueError, OverflowError):
            continue


def _degrees(value: float, negative: bool) -> float:
    """Degrees from ddmm.mmmm, as NMEA and Novatek write them."""
    whole = int(value / 100)
    degrees = whole + (value - whole * 100) / 60
    return -degrees if negative else degrees


def parse_ligo(content: bytes) -> Iterator[Fix]:
    """LigoGPS lines."""
    for moment, north, latitude, east, longitude, speed in _LIGO.findall(content):
        try:
            time = datetime.strptime(moment.decode(), "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        yield Fix(
            time,
            float(latitude) * (-1 if north == b"S" else 1),
            float(longitude) * (-1 if east == b"W" else 1),
            speed=float(speed) / 3.6,
        )


def parse_novatek(content: bytes) -> Iterator[Fix]:
    """Novatek records: six numbers of time and date, "A", hemispheres, latitude, longitude, knots, course."""
    for mark in _NOVATEK_MARK.finditer(content):
        start = mark.start() - 24
        if start < 0 or start + _NOVATEK.size > len(content):
            continue
        *clock, flags, latitude, longitude, speed, course = _NOVATEK.unpack_from(content, start)
        hour, minute, second, year, month, day = clock
        try:
            yield Fix(
                datetime(year + 2000 * (year < 100), month, day, hour, minute, second, tzinfo=UTC),
                _degrees(latitude, flags[1:2] == b"S"),
                _degrees(longitude, flags[2:3] == b"W"),
                speed=speed * KNOT,
                course=course % 360,
            )
        except (ValueError, OverflowError):
            continue


def parse_gpmf(content: bytes) -> Iterator[Fix]:
    """GPS9 of one GoPro payload, which covers about a second, or GPS5: a camera that has both says the same twice."""
    for key, _, body in _klv(content):
        if key == b"DEVC":
            streams = [
                {k: (kind, data) for k, kind, data in _klv(stream)}
                for inner, _, stream in _klv(body)
                if inner == b"STRM"
            ]
            newer = [fix for entries in streams for fix in _gps9(entries)]
            yield from newer or (fix for entries in streams if b"GPS5" in entries for fix in _gps5(entries))


Entries = dict[bytes, tuple[bytes, bytes]]


def _klv(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(key, type, data) of each entry; data is padded to 4 bytes in the file, not here."""
    at = 0
    while at + 8 <= len(content):
        key, kind, size, repeat = struct.unpack_from(">4scBH", content, at)
        yield key, kind, content[at + 8 : at + 8 + size * repeat]
        at += 8 + (size * repeat + 3 & ~3)


def _scales(entries: Entries) -> list[float]:
    kind, data = entries.get(b"SCAL", (b"l", b""))
    number = struct.Struct(">h" if kind == b"s" else ">i")
    whole = data[: len(data) // number.size * number.size]
    return [float(value) or 1.0 for (value,) in number.iter_unpack(whole)]


def _gps5(entries: Entries) -> Iterator[Fix]:
    """Latitude, longitude, height, speed over ground and in space; one time (GPSU) for the whole payload."""
    scales = _scales(entries)
    fix = int.from_bytes(entries.get(b"GPSF", (b"", b"\0\0\0\0"))[1][:4], "big")
    try:
        start = datetime.strptime(entries[b"GPSU"][1].decode("ascii"), "%y%m%d%H%M%S.%f").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return
    rows = list(struct.iter_unpack(">5i", entries[b"GPS5"][1][: len(entries[b"GPS5"][1]) // 20 * 20]))
    if fix not in (2, 3) or len(scales) != 5:
        return
    for number, row in enumerate(rows):
        latitude, longitude, height, speed, _ = (value / scale for value, scale in zip(row, scales, strict=True))
        yield Fix(start + timedelta(seconds=number / len(rows)), latitude, longitude, height, speed)


def _gps9(entries: Entries) -> Iterator[Fix]:
    """As GPS5, then days since 2000, seconds since midnight, dilution of precision and fix of each row."""
    data, scales = entries.get(b"GPS9", (b"", b""))[1], _scales(entries)
    if len(scales) != 9:
        return
    for row in struct.iter_unpack(">7i2H", data[: len(data) // 32 * 32]):
        latitude, longitude, height, speed, _, days, seconds, _, fix = (
            value / scale for value, scale in zip(row, scales, strict=True)
        )
        if int(fix) not in (2, 3):
            continue
        try:
            time = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=days, seconds=seconds)
        except OverflowError:
            continue
        yield Fix(time, latitude, longitude, height, speed)
