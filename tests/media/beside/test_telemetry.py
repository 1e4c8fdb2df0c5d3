"""Private data, refused streams, side files and GPS tracks."""

from __future__ import annotations

import errno
import json
import os
import struct
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from functools import reduce
from operator import xor
from pathlib import Path

import av
import gpxpy
import pytest

from tests.media.clips import Clip, make_clip
from tests.media.enlarge import enlarge
from tests.media.pipeline import SETTINGS, upscale
from vidsr.errors import DiskTooSmall
from vidsr.media.beside import gps
from vidsr.media.beside.index import SideIndex, bin_path, index_path
from vidsr.media.beside.private import private_data
from vidsr.media.beside.write import carry_beside, place_beside
from vidsr.media.decode import decode_range
from vidsr.media.encode import SegmentEncoder
from vidsr.media.mpegts import TS_PACKET
from vidsr.media.probe import probe
from vidsr.media.proof.verify import verify
from vidsr.settings import EncodeSettings


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def novatek_record(second: int = 34) -> bytes:
    return struct.pack("<6I4s4f", 15, 39, second, 21, 3, 18, b"ANW\0", 5012.5, 830.25, 36.0, 70.5)


NMEA = b"$GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998,011.3,E*62"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", Clip(frames=4))


def contents(path: Path) -> dict[str, bytes]:
    with path.open("rb") as file:
        return {block.path: block.read(file) for block in private_data(path)}


def test_ordinary_file_has_no_private_data(clip: Path, tmp_path: Path) -> None:
    assert private_data(clip) == []
    assert private_data(make_clip(tmp_path / "clip.mkv", Clip(frames=4))) == []
    assert private_data(make_clip(tmp_path / "clip.ts", Clip(frames=4))) == []
    assert carry_beside(clip, tmp_path / "result.mp4") == ()


def test_a_full_disk_is_called_so(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    clip.with_suffix(".gps").write_bytes(b"positions")
    with pytest.raises(DiskTooSmall, match=r"large\.mp4: a file beside it cannot be written, the disk is full"):
        carry_beside(clip, tmp_path / "large.mp4")
    with pytest.raises(DiskTooSmall, match=r"large\.mp4: a file beside it cannot be written, the disk is full"):
        place_beside([tmp_path / "staged.gps"], clip, tmp_path / "large.mp4")


def test_boxes_and_trailer(clip: Path) -> None:
    blackvue = box(b"free", box(b"gps ", b"[1623057074211]" + NMEA) + box(b"3gf ", b"\1\2\3"))
    vendor = box(b"uuid", b"0123456789abcdef" + b"vendor")
    with clip.open("ab") as file:
        file.write(blackvue + box(b"skip", bytes(200)) + vendor + b"tail that is no box")
    assert contents(clip) == {"free": blackvue, "uuid": vendor, "trailer": b"tail that is no box"}


def add_to_moov(path: Path, added: bytes, udta: bytes = b"") -> None:
    """Grows the last box, which is `moov`; within it the last, which is `udta`."""
    content = bytearray(path.read_bytes())
    for kind, grown in ((b"moov", len(added) + len(udta)), (b"udta", len(udta))):
        at = content.rindex(kind) - 4
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + grown)
    path.write_bytes(bytes(content) + udta + added)


def test_gps_box_and_the_blocks_that_it_lists(clip: Path) -> None:
    """Novatek: `gps ` in `moov` lists blocks that lie outside of every track."""
    block = box(b"free", b"GPS " + b"\x4c\0\0\0" + bytes(32) + novatek_record() + bytes(100))
    hidden = bytes(16) + b"freeGPS " + novatek_record(35) + bytes(60)
    content = clip.read_bytes()
    mdat = content.index(b"mdat") - 4
    # grown at its end, so that no sample moves
    size = struct.unpack_from(">I", content, mdat)[0]
    grown = struct.pack(">I", size + len(block) + len(hidden)) + content[mdat + 4 : mdat + size]
    clip.write_bytes(content[:mdat] + grown + block + hidden + content[mdat + size :])
    offset = mdat + size
    listed = box(b"gps ", struct.pack(">QII", 1 << 32 | 1, offset, len(block)))
    vendor = box(b"GPMF", b"settings")
    add_to_moov(clip, listed, vendor)
    assert probe(clip).frames == 4
    assert contents(clip) == {
        "moov/gps ": listed,
        "moov/udta/GPMF": vendor,
        "gps block": block,
        "mdat between samples": hidden,
    }
    track = gpxpy.parse(gps.gpx_track(clip))
    assert [(round(p.latitude, 4), round(p.longitude, 4), p.time) for p in track.walk(only_points=True)] == [
        (50.2083, -8.5042, datetime(2021, 3, 18, 15, 39, second, tzinfo=UTC)) for second in (34, 35)
    ]


def test_quicktime_texts_that_ffmpeg_does_not_read_are_private(clip: Path) -> None:
    """DJI's drones write their speed and attitude so."""
    speed, place = (box(kind, struct.pack(">HH", 5, 0x15C7) + b"+1.20") for kind in (b"\xa9xsp", b"\xa9xyz"))
    add_to_moov(clip, b"", speed + place)
    assert contents(clip) == {"moov/udta/\xa9xsp": speed}
    assert probe(clip).frames == 4


def test_what_fragments_hold_is_private(tmp_path: Path) -> None:
    """When each was recorded (`prft`), and boxes that the format does not define within them."""
    muxer = {"movflags": "frag_keyframe+empty_moov", "write_prft": "wallclock"}
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=4, muxer=muxer))
    content, mine = bytearray(clip.read_bytes()), box(b"uuid", bytes(16) + b"GPS 48.1 11.5")
    for kind in (b"traf", b"moof"):
        at = content.index(kind) - 4
        (size,) = struct.unpack_from(">I", content, at)
        content[at + size : at + size] = mine
        struct.pack_into(">I", content, at, size + len(mine))
        if kind == b"traf":
            outer = content.index(b"moof") - 4
            struct.pack_into(">I", content, outer, struct.unpack_from(">I", content, outer)[0] + len(mine))
    clip.write_bytes(content)
    found = contents(clip)
    assert found.pop("moof/traf/uuid") == found.pop("moof/uuid") == mine
    assert list(found) == ["prft"] and found["prft"][4:8] == b"prft"


def key_list(kind: int, value: bytes) -> bytes:
    """A `meta` box as Apple writes it, with one key."""
    key = b"com.apple.quicktime.x"
    keys = struct.pack(">II", 0, 1) + box(b"mdta", key)
    item = box(b"\0\0\0\1", box(b"data", struct.pack(">II", kind, 0) + value))
    return box(b"meta", box(b"hdlr", bytes(8) + b"mdta" + bytes(12)) + box(b"keys", keys) + box(b"ilst", item))


def test_metadata_that_ffmpeg_does_not_read_is_private(clip: Path) -> None:
    """Apple's phones say numbers of a film and the lens of a track; Sony's cameras write XML."""
    xml = box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"nrtm" + bytes(13)) + box(b"xml ", bytes(4) + b"<Lens/>"))
    text, number = key_list(1, b"Apple"), key_list(67, struct.pack(">i", 1))
    for added, private in ((text, {}), (number, {"moov/meta": number}), (xml, {"moov/meta": xml})):
        film = clip.with_name("film.mp4")
        film.write_bytes(clip.read_bytes())
        add_to_moov(film, added)
        assert contents(film) == private
    content = bytearray(clip.read_bytes())
    track = content.rindex(b"trak") - 4
    (size,) = struct.unpack_from(">I", content, track)
    content[track + size : track + size] = text
    struct.pack_into(">I", content, track, size + len(text))
    moov = content.rindex(b"moov") - 4
    struct.pack_into(">I", content, moov, struct.unpack_from(">I", content, moov)[0] + len(text))
    film.write_bytes(content + xml)
    assert contents(film) == {"moov/trak[0]/meta": text, "meta": xml}
    assert probe(film).frames == 4


def test_private_data_of_a_name_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = make_clip(tmp_path / "12:30.mp4", Clip(frames=4)).read_bytes()
    hidden = bytes(16) + b"freeGPS " + novatek_record() + bytes(60)
    end = content.index(b"moov") - 4
    mdat = content.index(b"mdat") - 4
    grown = struct.pack(">I", end - mdat + len(hidden))
    Path("12:30.mp4").write_bytes(content[:mdat] + grown + content[mdat + 4 : end] + hidden + content[end:])
    assert contents(Path("12:30.mp4")) == {"mdat between samples": hidden}
    make_clip(tmp_path / "12:30.ts", Clip(frames=4))
    assert private_data(Path("12:30.ts")) == []


def test_record_beside_holds_every_byte(clip: Path, tmp_path: Path) -> None:
    vendor = box(b"free", b"GPS log " * 1000)
    with clip.open("ab") as file:
        file.write(vendor + b"tail without a box")
    result = enlarge(clip, tmp_path / "big.mp4")
    report = verify(clip, result)
    assert [check.name for check in report.checks if not check.ok] == ["private data"]
    written = carry_beside(clip, result, made=result)
    assert written == (bin_path(result), index_path(result))
    assert bin_path(result).read_bytes() == vendor + b"tail without a box"
    index = json.loads(index_path(result).read_text())
    assert [(b["path"], b["source_offset"], b["length"]) for b in index["blocks"]] == [
        ("free", clip.stat().st_size - 18 - len(vendor), len(vendor)),
        ("trailer", clip.stat().st_size - 18, 18),
    ]
    assert verify(clip, result).ok
    damaged = bytearray(bin_path(result).read_bytes())
    damaged[77] ^= 1
    bin_path(result).write_bytes(damaged)
    assert not verify(clip, result).ok


def test_refused_streams_tags_and_chapters(tmp_path: Path) -> None:
    """A TS result has no place for tags and chapters; here it also lacks the second sound track."""
    tags = {"title": "A drive", "comment": "north"}
    source = make_clip(tmp_path / "source.mkv", Clip(frames=8, sound=("aac", "aac"), tags=tags, chapters=2,
                                                     attachment=b"font" * 50))  # fmt: skip
    result = enlarge(
        source, tmp_path / "result.ts", packets=lambda p: [x for x in p if x.stream_index == 1], chapters=False
    )
    lost = {check.name for check in verify(source, result).checks if not check.ok}
    assert {"audio 2", "tags", "chapters", "attachments"} <= lost
    info = probe(source)
    refused = [s for s in info.streams if s.index == 2 or s.kind == "attachment"]
    written = carry_beside(source, result, refused, made=result)
    assert {path.name for path in written} == {
        "result.ts.font.ttf", "result.ts.telemetry.bin", "result.ts.telemetry.json"}  # fmt: skip
    assert (tmp_path / "result.ts.font.ttf").read_bytes() == b"font" * 50
    left = {check.name: check.detail for check in verify(source, result).checks if not check.ok}
    assert not left, left
    stream = json.loads(index_path(result).read_text())["streams"][0]
    assert (stream["index"], stream["codec"], stream["language"]) == (2, "aac", "spa")
    content = bin_path(result).read_bytes()
    assert [packet[:3:2] for packet in stream["packets"][:2]] == [[19, 21], [40, 21]]
    _, _, _, offset, length = stream["packets"][3]
    assert len(content[offset : offset + length]) == length > 0


def test_webvtt_beside_keeps_where_its_lines_are_shown(tmp_path: Path) -> None:
    plain, cue = make_clip(tmp_path / "plain.mkv", Clip(frames=4)), b"c1\nalign:left\nhello"
    source, text = tmp_path / "source.mkv", b"0123456789abcdefg"  # as long as the cue, less two lines of nothing
    with av.open(str(plain)) as film, av.open(str(source), "w") as made:
        picture, lines = made.add_stream_from_template(film.streams.video[0]), made.add_mux_stream("webvtt")
        line = av.Packet(text)
        line.stream, line.time_base, line.pts, line.dts, line.duration = lines, Fraction(1, 1000), 0, 0, 100
        made.mux(line)
        for packet in film.demux():
            if packet.size:
                packet.stream = picture
                made.mux(packet)
    content = source.read_bytes()
    assert content.count(b"\n\n" + text) == 1
    source.write_bytes(content.replace(b"\n\n" + text, cue))
    refused = [stream for stream in probe(source).streams if stream.kind == "subtitle"]
    carry_beside(source, tmp_path / "result.mp4", refused)
    (packet,) = json.loads(index_path(tmp_path / "result.mp4").read_text())["streams"][0]["packets"]
    assert packet == [0, 0, 100, 0, 5, "c1", "align:left"]


def test_side_files_are_copied_whatever_their_case(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "CLIP.GPS").write_bytes(NMEA + b"\r\n")
    os.utime(tmp_path / "CLIP.GPS", (1e9, 1e9))
    (tmp_path / "clip.3gf").write_bytes(b"\1\2")
    (tmp_path / "clip.txt").write_bytes(b"no side file")
    (tmp_path / "other.gpx").write_bytes(b"another video's")
    result = tmp_path / "result.mp4"
    written = carry_beside(clip, result)
    assert {path.name for path in written} == {"result.GPS", "result.3gf", "result.mp4.telemetry.json"}
    assert (tmp_path / "result.GPS").read_bytes() == NMEA + b"\r\n"
    assert (tmp_path / "result.GPS").stat().st_mtime == 1e9
    enlarge(clip, result)
    assert verify(clip, result).ok
    (tmp_path / "result.3gf").unlink()
    assert [c.name for c in verify(clip, result).checks if not c.ok] == ["side files"]
    track = gpxpy.parse(gps.gpx_track(clip))
    (point,) = track.walk(only_points=True)
    assert (round(point.latitude, 4), round(point.longitude, 4)) == (-37.8608, 145.1227)


def test_a_side_file_of_another_case_is_another_videos_where_there_is_one_of_this_case(
    clip: Path, tmp_path: Path
) -> None:
    for name, content in {"clip.srt": b"this", "CLIP.srt": b"another", "Clip.gps": b"no other"}.items():
        (tmp_path / name).write_bytes(content)
    written = [path.name for path in carry_beside(clip, tmp_path / "result.mp4")]
    assert written == ["result.gps", "result.srt", "result.mp4.telemetry.json"]
    assert (tmp_path / "result.srt").read_bytes() == b"this"
    assert (tmp_path / "result.gps").read_bytes() == b"no other"


def test_nothing_stale_is_left(clip: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.mp4"
    for path in (bin_path(result), index_path(result)):
        path.write_text("{}")
    assert carry_beside(clip, result) == ()
    assert not bin_path(result).exists()
    assert not index_path(result).exists()
    assert SideIndex.of(result) == SideIndex()


def test_what_is_placed_beside_takes_an_older_results_place_and_leaves_the_sources_own(
    clip: Path, tmp_path: Path
) -> None:
    """A result of the source's stem: what is beside the one is beside the other."""
    result, own, staged = tmp_path / "clip.mkv", tmp_path / "clip.gps", tmp_path / "staged"
    own.write_bytes(b"positions")
    staged.mkdir()
    for path in (bin_path(result), index_path(result)):
        path.write_text("of an older result")
    files = carry_beside(clip, staged / result.name)
    assert [path.name for path in files] == ["clip.gps", "clip.mkv.telemetry.json"]
    inode = own.stat().st_ino
    assert place_beside(files, clip, result) == (index_path(result),)
    assert own.stat().st_ino == inode
    assert not bin_path(result).exists()
    assert json.loads(index_path(result).read_text())["files"] == ["clip.gps"]


def test_broken_index_counts_as_none(tmp_path: Path) -> None:
    broken = ("[1, 2", "[]", '{"streams": [{"index": 1}]}', '{"tags": []}', '{"user_data": [[0, 1]]}',
              '{"chapters": [{"start": 0, "end": "1", "title": ""}]}')  # fmt: skip
    for text in broken:
        index_path(tmp_path / "r.mp4").write_text(text)
        assert SideIndex.of(tmp_path / "r.mp4") == SideIndex(), text


@pytest.mark.parametrize("content", [NMEA.replace(b"S,", b"N,"), NMEA[:-2] + b"61", NMEA.replace(b",A,", b",V,"), b""])
def test_nmea_with_a_wrong_checksum_or_no_fix_is_left_out(content: bytes) -> None:
    assert list(gps.parse_nmea(content)) == []


def test_ligo_lines() -> None:
    line = b"normal:2026/05/12 15:08:21 S:33.868820 E:151.209290 36.0 km/h x:0.00 y:0.00 z:0.00 A:000.0 H:00.0\0\0"
    (fix,) = gps.parse(line)
    assert (fix.latitude, fix.longitude, fix.speed) == (-33.86882, 151.20929, 10.0)
    assert fix.time == datetime(2026, 5, 12, 15, 8, 21, tzinfo=UTC)


@pytest.mark.parametrize("talker", ["GP", "GN", "BD"])
def test_receivers_of_every_system(talker: str) -> None:
    """BeiDou's too."""
    (fix,) = gps.parse(rmc("3355.1234,S", "15112.3456,E", talker=talker))
    assert fix.time == datetime(2024, 2, 29, 23, 59, 59, 500000, UTC) and round(fix.latitude, 3) == -33.919


def rmc(latitude: str, longitude: str, speed: str = "010.0", talker: str = "GP") -> bytes:
    body = f"{talker}RMC,235959.50,A,{latitude},{longitude},{speed},180.0,290224,,".encode()
    return b"$%s*%02X\r\n" % (body, reduce(xor, body))


def test_numbers_that_cannot_be_end_no_track(clip: Path) -> None:
    """Damaged records, of which the command would say so only after the work."""
    after, none = struct.pack("<6I4s4f", 15, 39, 35, 21, 3, 18, b"ASW\0", 5012.5, 830.25, 36.0, 70.5), float("nan")
    ends = [struct.pack("<6I4s4f", 15, 39, 34, 21, 3, 18, b"ASW\0", value, 830.25, none, none)
            for value in (none, float("inf"), 5012.5)]  # fmt: skip
    clip.with_suffix(".gps").write_bytes(b"".join((*ends, after)))
    clip.with_suffix(".nmea").write_bytes(rmc("1e999,S", "15112.3456,E") + rmc("3355.1234,S", "18000.0,E", "nan"))
    points = list(gpxpy.parse(gps.gpx_track(clip)).walk(only_points=True))
    assert [(round(p.latitude, 4), round(p.longitude, 4), p.comment) for p in points] == [
        (-50.2083, -8.5042, None), (-50.2083, -8.5042, "18.52 m/s"), (-33.9187, -180, None)
    ]  # fmt: skip


def test_gopro_damaged_payloads_end_no_track() -> None:
    scale = gpmf(b"SCAL", b"l", 4, struct.pack(">9i", 10_000_000, 10_000_000, 1000, 1000, 100, 1, 1000, 100, 1))
    far, near = (gpmf(b"GPS9", b"?", 32, struct.pack(">7i2H", 1, 1, 0, 0, 0, days, 0, 0, 3)) for days in (2**31 - 1, 1))
    whole, endless = (gpmf(b"DEVC", b"\0", 1, gpmf(b"STRM", b"\0", 1, scale + rows)) for rows in (near, far))
    assert len(list(gps.parse(whole))) == 1 and not list(gps.parse(endless))
    assert not [fix for end in range(4, len(whole)) for fix in gps.parse(whole[:end])]


def test_a_name_that_xml_cannot_hold(clip: Path) -> None:
    odd = clip.rename(clip.with_name("a\x01&b.mp4"))
    odd.with_suffix(".nmea").write_bytes(NMEA)
    assert gpxpy.parse(gps.gpx_track(odd)).tracks[0].name == "a&b.mp4"


def gpmf(key: bytes, kind: bytes, size: int, content: bytes) -> bytes:
    head = struct.pack(">4scBH", key, kind, size, len(content) // size)
    return head + content + bytes(-len(content) % 4)


@pytest.mark.parametrize(("fix", "points"), [(0, 0), (2, 2), (3, 2)])
def test_gopro_gps9(fix: int, points: int) -> None:
    scale = struct.pack(">9i", 10_000_000, 10_000_000, 1000, 1000, 100, 1, 1000, 100, 1)
    rows = b"".join(struct.pack(">7i2H", 330000000, -1170000000, 120500, 9000, 900, 8000, 3600000 + i * 100, 90, fix)
                    for i in range(2))  # fmt: skip
    stream = gpmf(b"SCAL", b"l", 4, scale) + gpmf(b"GPS9", b"?", 32, rows)
    fixes = list(gps.parse(gpmf(b"DEVC", b"\0", 1, gpmf(b"STRM", b"\0", 1, stream))))
    assert len(fixes) == points
    if points:
        assert fixes[0] == gps.Fix(datetime(2021, 11, 26, 1, 0, 0, tzinfo=UTC), 33.0, -117.0, 120.5, 9.0)
        assert (fixes[1].time - fixes[0].time).total_seconds() == pytest.approx(0.1)


def test_a_gopro_that_writes_each_position_twice() -> None:
    """The HERO11: as GPS5 with one time a second, and as GPS9 with its own. The track went to and fro."""
    scales = 10_000_000, 10_000_000, 1000, 1000, 100
    five, nine = struct.pack(">5i", *scales), struct.pack(">9i", *scales, 1, 1000, 100, 1)
    rows = [struct.pack(">5i", 330000000 + i, -1170000000, 120500, 9000, 900) for i in range(2)]
    older = gpmf(b"GPSF", b"L", 4, b"\0\0\0\3") + gpmf(b"GPSU", b"U", 16, b"211126010000.250")
    older += gpmf(b"SCAL", b"l", 4, five) + gpmf(b"GPS5", b"l", 20, b"".join(rows))
    times = [struct.pack(">2i2H", 8000, 3600000 + 500 * i, 90, 3) for i in range(2)]
    newer = gpmf(b"SCAL", b"l", 4, nine) + gpmf(
        b"GPS9", b"?", 32, b"".join(map(b"".join, zip(rows, times, strict=True)))
    )
    for streams, fractions in (((older, newer), [0, 500000]), ((older,), [250000, 750000])):
        content = b"".join(gpmf(b"STRM", b"\0", 1, stream) for stream in streams)
        assert [fix.time.microsecond for fix in gps.parse(gpmf(b"DEVC", b"\0", 1, content))] == fractions


def test_real_gopro(shared_data: Path, tmp_path: Path) -> None:
    """The camera had no fix; with the fix flag set, its positions are read."""
    source = shared_data / "video" / "gopro-gpmd-tmcd.mp4"
    assert gps.gpx_track(source) is None
    content = source.read_bytes()
    at = content.index(b"GPSFL")
    assert content[at + 8 : at + 12] == bytes(4)
    fixed = tmp_path / "fixed.mp4"
    fixed.write_bytes(content.replace(content[at : at + 12], content[at : at + 8] + b"\0\0\0\3"))
    points = list(gpxpy.parse(gps.gpx_track(fixed)).walk(only_points=True))
    assert len(points) > 20
    assert all(34 < point.latitude < 43 and -130 < point.longitude < -126 for point in points)
    assert points[0].time == datetime(2019, 11, 18, 23, 42, 8, 645000, tzinfo=UTC)


def test_real_transport_streams(shared_data: Path) -> None:
    """Novatek: an unlisted identifier; Juscar: a listed data track, without a fix."""
    novatek = shared_data / "video" / "novatek-hevc.ts"
    (block,) = private_data(novatek)
    assert (block.path, block.length) == ("pid 0x300", 10140)
    points = list(gpxpy.parse(gps.gpx_track(novatek)).walk(only_points=True))
    assert len(points) == 10
    assert (points[0].latitude, points[0].longitude) == (50.0, 30.0)
    juscar = shared_data / "video" / "juscar-data-track.ts"
    assert private_data(juscar) == []
    assert gps.gpx_track(juscar) is None


def test_the_clock_of_a_broadcast_lies_beside(tmp_path: Path) -> None:
    """DVB's time and date table (EN 300 468, 5.2.5), which no programme lists: 1993-10-13 12:45:00."""
    source, result = make_clip(tmp_path / "source.ts", Clip(frames=8)), tmp_path / "result.ts"
    clock = b"\0\x70\x70\x05\xc0\x79\x12\x45\x00".ljust(184, b"\xff")
    source.write_bytes(source.read_bytes() + b"\x47\x40\x14\x10" + clock)
    assert contents(source) == {"pid 0x14": clock}
    upscale(source, result)
    assert bin_path(result).read_bytes() == clock and verify(source, result).ok


def with_gps(path: Path) -> list[bytes]:
    """The packets of a clip with one of GPS in the middle, which no programme lists."""
    content = make_clip(path, Clip(frames=20)).read_bytes()
    packets = [content[at : at + TS_PACKET] for at in range(0, len(content), TS_PACKET)]
    gps_packet = b"\x47\x43\0\x10" + NMEA.ljust(TS_PACKET - 4, b"\xff")
    return [*packets[: len(packets) // 2], gps_packet, *packets[len(packets) // 2 :]]


def test_packets_after_what_is_no_packet_are_found(tmp_path: Path) -> None:
    """A file that ends within a packet, and another put behind it; and bytes of zeros in its middle."""
    packets = with_gps(tmp_path / "plain.ts")
    source, result = tmp_path / "source.ts", tmp_path / "result.ts"
    source.write_bytes(b"".join(packets)[:-100] + bytes(5000) + b"".join(packets))
    (block,) = private_data(source)
    assert (block.path, block.length) == ("pid 0x300", 2 * (TS_PACKET - 4))
    upscale(source, result)
    assert bin_path(result).read_bytes() == 2 * NMEA.ljust(TS_PACKET - 4, b"\xff") and verify(source, result).ok


def test_packets_with_a_correction_of_errors_after_them(tmp_path: Path) -> None:
    """204 bytes each (EN 300 429, 4)."""
    source, result = tmp_path / "source.ts", tmp_path / "result.ts"
    source.write_bytes(b"".join(packet + bytes(range(16)) for packet in with_gps(tmp_path / "plain.ts")))
    upscale(source, result)
    assert bin_path(result).read_bytes() == NMEA.ljust(TS_PACKET - 4, b"\xff") and verify(source, result).ok


def test_real_files_without_private_data(shared_data: Path) -> None:
    names = ("thinkware-1080p-gps.mp4", "loop-70mai/NO20260101-120000-000001F.MP4", "vfr-odd.mp4", "subtitles-ssa.mkv")
    for name in names:
        assert private_data(shared_data / "video" / name) == []
    (block,) = private_data(shared_data / "video" / "dashcam-360p.mp4")
    assert block.path == "uuid"


def with_user_data(path: Path) -> Path:
    """A clip whose frames carry messages, as Tesla's do."""
    info = probe(make_clip(path.with_name("plain.mp4"), Clip(frames=10, options={"bf": "2", "preset": "veryfast"})))
    with SegmentEncoder(path, info, info.width, info.height, SETTINGS, 1) as encoder:
        for batch in decode_range(info, 0, info.frames, 4):
            messages = tuple((bytes(range(16)) + b"speed %d" % i,) * (i % 3) for i in batch.index)
            encoder.write(replace(batch, user_data=messages))
        encoder.close()
    return path


def test_user_data_that_the_codec_cannot_carry(tmp_path: Path) -> None:
    source = with_user_data(tmp_path / "source.mkv")
    upscale(source, tmp_path / "kept.mkv")
    kept = {check.name: check for check in verify(source, tmp_path / "kept.mkv").checks}
    assert kept["user data of frames"].detail == "9 messages kept"
    assert not index_path(tmp_path / "kept.mkv").exists()
    result = tmp_path / "result.mkv"
    upscale(source, result, settings=EncodeSettings(codec="libsvtav1", preset="12"))
    proof = {check.name: check for check in verify(source, result).checks}
    assert all(check.ok for check in proof.values()), proof
    assert proof["user data of frames"].detail == "9 messages beside the result"
    bin_path(result).write_bytes(bin_path(result).read_bytes().replace(b"speed 4", b"speed 5"))
    assert [check.name for check in verify(source, result).checks if not check.ok] == ["user data of frames"]


def test_lost_user_data_is_found(tmp_path: Path) -> None:
    source = with_user_data(tmp_path / "source.mkv")
    result = enlarge(source, tmp_path / "result.mkv")
    carry_beside(source, result, made=result)
    assert [check.name for check in verify(source, result).checks if not check.ok] == ["user data of frames"]


def test_a_damaged_dvb_subtitle_lies_beside(tmp_path: Path) -> None:
    """FFmpeg's demuxer gives it with its header, and its muxer would write a second one before that."""
    clip = Clip(start=Fraction(1), subtitles=("dvb_subtitle",))
    source, result = make_clip(tmp_path / "source.ts", clip), tmp_path / "result.ts"
    content = bytearray(source.read_bytes())
    content[content.index(b"\x20\0\x0f\x10\0\1\0\2\x1e\1") + 2] = 0x33
    source.write_bytes(content)
    report = upscale(source, result)
    assert any("1 damaged packets of subtitle stream" in sentence for sentence in report.not_carried), report
    proof = {check.name: check for check in verify(source, result).checks}
    assert all(check.ok for check in proof.values()), proof
    assert "all 4 packets beside the result, 3 in it" in proof["subtitle 1"].detail


def test_stream_with_a_damaged_packet(tmp_path: Path) -> None:
    """The muxer refuses one packet of AAC whose header is broken; the others stay in the result."""
    source = make_clip(tmp_path / "source.ts", Clip(frames=30, sound=("aac",)))
    content = bytearray(source.read_bytes())
    starts = [at for at in range(len(content) - 1) if content[at] == 0xFF and content[at + 1] == 0xF1]
    content[starts[20]] = 0x7F
    source.write_bytes(content)
    result = tmp_path / "result.mkv"
    report = upscale(source, result)
    assert any("damaged" in sentence for sentence in report.not_carried), report
    proof = {check.name: check for check in verify(source, result).checks}
    assert all(check.ok for check in proof.values()), proof
    assert "beside the result" in proof["audio 1"].detail
