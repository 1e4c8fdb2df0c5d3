"""The joined file holds what its source holds, by an independent look at both."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.media.clips import CASES, VFR, Clip, encodable, join_streams, make_clip
from tests.media.frames import VIDEOS, decoded, double, encode_doubled
from vidsr.errors import OutputUnwritable, RunError, SettingsError
from vidsr.media.beside.write import carry_beside
from vidsr.media.decode import decode_range
from vidsr.media.formats import check_colour, check_container, check_sampling, choose_suffix, format_of
from vidsr.media.mux import MuxReport, mux
from vidsr.media.probe import VideoInfo, probe
from vidsr.media.proof.verify import verify
from vidsr.settings import EncodeSettings

LARGE = {
    "drive-yellow.mp4", "dashcam-360p.mp4", "vfr-odd.mp4", "thinkware-1080p-gps.mp4", "rotated.mp4",
    "drive-960x540.mp4", "drive-720p-short.mp4", "loop-70mai/NO20260101-120000-000001F.MP4", "bt709_full_range.mp4",
    "corrupted.mp4", "edit-list.mp4", "loop-70mai/NO20260101-120000-000001B.MP4", "sar-2x1.mp4",
    "novatek-hevc.ts", "gopro-gpmd-tmcd.mp4", "nasa_13013.mp4",
}  # fmt: skip


@dataclass
class Look:
    """What is in a file: times in seconds, other streams' packets by digest and time."""

    times: list[Fraction] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    rotation: int = 0
    aspect: Fraction | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    packets: dict[tuple[str, int], list[tuple[str, Fraction | None]]] = field(default_factory=dict)
    languages: list[str | None] = field(default_factory=list)
    dispositions: list[int] = field(default_factory=list)
    chapters: list[tuple[float, float, str]] = field(default_factory=list)
    attachments: list[bytes] = field(default_factory=list)


def look(path: Path) -> Look:
    found = Look()
    with av.open(str(path), metadata_errors="replace") as container:
        video = next(s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic)
        found.aspect = video.sample_aspect_ratio
        ranks: Counter[str] = Counter()
        names = {}
        for stream in container.streams:
            found.kinds[stream.type] += 1
            tags = {key.lower(): value for key, value in stream.metadata.items()}
            found.languages.append(tags.get("language", "und"))
            found.dispositions.append(int(stream.disposition))
            names[stream.index] = (stream.type, ranks[stream.type])
            ranks[stream.type] += 1
            if stream.type == "attachment":
                found.attachments.append(bytes(stream.data))
        for chapter in container.chapters():
            base: Any = chapter["time_base"]
            tags = {key.lower(): value for key, value in chapter["metadata"].items()}
            found.chapters.append((float(chapter["start"] * base), float(chapter["end"] * base), tags["title"]))
        packets = container.demux()
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):
                break
            if packet.stream.index != video.index and packet.size and packet.stream.discard.name != "all":
                digest = hashlib.sha256(bytes(packet)).hexdigest()
                time = None if packet.pts is None else packet.pts * packet.time_base
                found.packets.setdefault(names[packet.stream.index], []).append((digest, time))
        base, index = video.time_base, video.index
    found.times = [time * base for time, _ in decoded(path) if time is not None]
    with av.open(str(path), metadata_errors="replace") as container:
        frame = next(frame for packet in container.demux(container.streams[index]) for frame in packet.decode())
        found.size, found.rotation = (frame.width, frame.height), frame.rotation
    return found


def assert_same(source: Look, result: Look, tick: Fraction, scale: int = 2) -> None:
    """The frames' times exact to `tick`, everything else equal."""
    assert len(result.times) == len(source.times)
    assert max(abs(a - b) for a, b in zip(source.times, result.times, strict=True)) <= tick
    assert result.size == (source.size[0] * scale, source.size[1] * scale)
    assert (result.rotation, result.aspect or 1) == (source.rotation, source.aspect or 1)
    assert result.kinds == source.kinds
    assert result.languages == source.languages
    assert result.dispositions == source.dispositions
    assert [c[2] for c in result.chapters] == [c[2] for c in source.chapters]
    assert result.attachments == source.attachments
    assert {k: [d for d, _ in v] for k, v in result.packets.items()} == {
        k: [d for d, _ in v] for k, v in source.packets.items()
    }
    for name, packets in source.packets.items():
        for (_, ours), (_, theirs) in zip(result.packets[name], packets, strict=True):
            if ours is not None and theirs is not None:
                assert abs(ours - theirs) <= Fraction(1, 900)


def enlarge(path: Path, folder: Path, suffix: str = "", **span: int) -> tuple[VideoInfo, Path, MuxReport]:
    """Double a file in at least two segments where it has frames for them."""
    info = probe(path)
    first, stop = span.get("first", 0), span.get("stop", info.frames)
    middle = (first + stop) // 2
    keys = [i for i in range(first + 1, stop) if info.table.key[i]]
    cuts = sorted({first, stop, middle, *keys[:2]})
    target = folder / f"result{suffix or path.suffix}"
    return info, target, mux(info, encode_doubled(info, folder, cuts), target, first, stop)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in VIDEOS])
def test_real_files(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "video" / name
    info, target, report = enlarge(path, tmp_path)
    assert report.not_carried == () and report.left == ()
    assert_same(look(path), look(target), Fraction(0) if path.suffix != ".mkv" else Fraction(1, 1000))
    made = probe(target)
    assert abs(made.table.end * made.table.time_base - info.table.end * info.table.time_base) <= Fraction(1, 500)
    assert made.display_matrix == info.display_matrix
    assert replace(made.colour, tagged_range=True) == replace(info.colour, tagged_range=True)


@pytest.mark.parametrize("case", [name for name, (suffix, _) in CASES.items() if suffix != "avi"])
def test_synthetic_files(tmp_path: Path, case: str) -> None:
    suffix, clip = CASES[case]
    if not encodable(clip):
        pytest.skip(f"no encoder {clip.codec} here")
    path = make_clip(tmp_path / f"clip.{suffix}", clip)
    info, target, report = enlarge(path, tmp_path)
    assert report.not_carried == ()
    assert_same(look(path), look(target), Fraction(0))
    made = probe(target)
    assert made.table.durations[-1] * made.table.time_base == info.table.durations[-1] * info.table.time_base
    tags = {key.lower(): value for key, value in made.tags}
    assert all(tags[key] == value for key, value in clip.tags.items())
    assert (b"hvc1" in target.read_bytes()) == (clip.codec == "libx265" and suffix == "mp4")


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".mp4"])
def test_into_another_container(tmp_path: Path, suffix: str) -> None:
    """The sound's first packets lie before 0, by the encoder's delay, and the picture must not move for it."""
    path = make_clip(tmp_path / "clip.mp4", replace(CASES["h264-mp4-vfr"][1], chapters=2))
    _, target, report = enlarge(path, tmp_path, suffix)
    assert "2 chapters" in report.carried
    source, result = look(path), look(target)
    if suffix == ".mkv":  # the track of chapter titles is MP4's way
        del source.kinds["data"], source.languages[2:], source.dispositions[2:]
    assert_same(source, result, Fraction(1, 1000) if suffix == ".mkv" else Fraction(0))


def test_what_the_container_cannot_take_is_named(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", CASES["h264-mkv"][1])
    _, target, report = enlarge(path, tmp_path, ".mp4")
    assert [stream.kind for stream in report.left] == ["subtitle", "attachment"]
    assert len(report.not_carried) == 2 and "subrip" in report.not_carried[0]
    assert look(target).kinds["subtitle"] == 0


@pytest.mark.parametrize("degrees", [90, 180, 270, -1])
def test_the_turned_picture_still_begins_in_the_corner(tmp_path: Path, degrees: int) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(rotation=degrees, frames=4))
    _, target, _ = enlarge(path, tmp_path)
    a, b, _, c, d, _, x, y, _ = probe(target).display_matrix or ()
    corners = [(a * i + c * j + x, b * i + d * j + y) for i in (0, 2 * 96) for j in (0, 2 * 64)]
    assert min(corners) == (0, 0)
    assert sorted(n >> 16 for n in max(corners)) == [2 * 64, 2 * 96]


def test_rotation_that_a_transport_stream_cannot_hold_is_named(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(rotation=90))
    _, _, report = enlarge(path, tmp_path, ".ts")
    assert "rotation" in report.not_carried[0]


def test_telemetry_track_and_timecode(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "video" / "gopro-gpmd-tmcd.mp4"
    info = probe(path)
    segments = encode_doubled(info, tmp_path, [0, 30, info.frames])
    report = mux(info, segments, tmp_path / "result.mp4", 0, info.frames)
    assert report.not_carried == ()
    assert b"gpmd" in (tmp_path / "result.mp4").read_bytes()
    assert look(tmp_path / "result.mp4").packets[("data", 0)] == look(path).packets[("data", 0)]
    report = mux(info, segments, tmp_path / "result.mkv", 0, info.frames)
    assert [stream.kind for stream in report.left] == ["data", "data"]


def test_a_part_of_a_video(tmp_path: Path) -> None:
    clip = Clip(frames=75, sound=("aac",), subtitles=("subrip",), chapters=3, options={"g": "10", "bf": "2"})
    path = make_clip(tmp_path / "clip.mkv", clip)
    _, target, _ = enlarge(path, tmp_path, first=30, stop=60)
    result, source = look(target), look(path)
    assert result.times == [time - source.times[30] for time in source.times[30:60]]
    sound = result.packets["audio", 0]
    assert [d for d, _ in sound] == [
        digest for digest, time in source.packets["audio", 0] if time is not None and 1.2 <= time < 2.4
    ]
    assert all(time is not None and -0.001 <= time < 1.2 for _, time in sound)
    assert [(round(a, 3), round(b, 3), t) for a, b, t in result.chapters] == [
        (0, 0.772, "Part 1"), (0.772, 1.2, "Part 2")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "shown"), [(8, [(0, 80), (80, 200), (280, 200)]), (5, [(0, 200), (200, 200), (400, 200)])]
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_line_that_is_still_shown_where_a_part_begins_ends_when_it_ended(
    tmp_path: Path, suffix: str, first: int, shown: list[tuple[int, int]]
) -> None:
    """Lines of 0.2 s, one after the other; that which ends where the part begins is not in it."""
    codec = "subrip" if suffix == ".mkv" else "mov_text"
    path = make_clip(tmp_path / f"clip{suffix}", Clip(subtitles=(codec,)))
    _, target, _ = enlarge(path, tmp_path, first=first, stop=24)
    with av.open(str(target)) as container:
        lines = [packet for packet in container.demux(subtitles=0) if packet.size > 2]  # MP4 has empty ones between
    assert [bytes(line)[bytes(line).index(b"line") :][:6] for line in lines] == [b"line %d" % i for i in range(1, 4)]
    times = [(round(p.pts * p.time_base * 1000), round(p.duration * p.time_base * 1000)) for p in lines]
    assert times == shown


def test_a_part_from_the_beginning_keeps_its_times(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=50, start=Fraction(12, 25), sound=("aac",)))
    _, target, _ = enlarge(path, tmp_path, first=0, stop=20)
    source, result = look(path), look(target)
    assert result.times == source.times[:20]
    first = [packets["audio", 0][0] for packets in (source.packets, result.packets)]
    assert first[0] == first[1]


@pytest.mark.parametrize(("first", "stop"), [(0, len(VFR)), (2, 9)])
def test_uneven_frames_end_when_the_last_one_does(tmp_path: Path, first: int, stop: int) -> None:
    """With B-frames the last packet is not the last frame, and MP4 knows packets only."""
    info = probe(make_clip(tmp_path / "clip.mp4", Clip(times=VFR)))
    middle = (first + stop) // 2
    segments = encode_doubled(info, tmp_path, [first, middle, stop], EncodeSettings("libx264", preset="medium"))
    mux(info, segments, tmp_path / "result.mp4", first, stop)
    made = probe(tmp_path / "result.mp4")
    assert made.reorder_depth > 0
    assert made.duration == info.table.time(stop) - info.table.time(first)
    with av.open(str(tmp_path / "result.mp4")) as container:  # players take it for how long a frame is shown
        lasting = {packet.pts: packet.duration for packet in container.demux(video=0) if packet.size}
    assert tuple(lasting[time] for time in sorted(lasting)) == info.table.durations[first:stop]


def test_sound_lies_beside_its_picture_in_the_file(tmp_path: Path) -> None:
    """Else players would have to seek. FFmpeg's muxers themselves sort 10 s at most."""
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=50, rate=Fraction(2), options={"g": "10"}, sound=("aac",)))
    _, target, _ = enlarge(path, tmp_path)
    seen = {0: 0.0, 1: 0.0}
    with av.open(str(target)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    for packet in sorted(packets, key=lambda packet: packet.pos or 0):
        seen[packet.stream_index] = float((packet.dts or 0) * packet.time_base)
        assert abs(seen[0] - seen[1]) < 2
    assert min(seen.values()) > 24


def test_a_start_between_milliseconds(tmp_path: Path) -> None:
    clip = Clip(rate=Fraction(30), start=Fraction(2, 30), sound=("aac",))
    path = make_clip(tmp_path / "clip.mp4", replace(clip, muxer={"movie_timescale": "240000"}))
    _, target, _ = enlarge(path, tmp_path)
    assert look(target).times == look(path).times
    assert look(target).times[0] == Fraction(2, 30)


def test_more_than_one_cut_and_b_frames_give_the_frames_in_order(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=40, options={"g": "10"}))
    info = probe(path)
    settings = EncodeSettings("libx264", crf=1, preset="medium")
    segments = encode_doubled(info, tmp_path, [0, 1, 7, 8, 29, 40], settings)
    mux(info, segments, tmp_path / "result.mp4", 0, 40)
    made = probe(tmp_path / "result.mp4")
    pairs = zip(decode_range(info, 0, 40, 8), decode_range(made, 0, 40, 8), strict=True)
    assert all(abs(double(a).planes[0].astype(int) - b.planes[0]).mean() < 1 for a, b in pairs)


def test_tags_dates_and_places(tmp_path: Path) -> None:
    tags = {
        "title": "A drive", "creation_time": "2024-05-06T07:08:09.000000Z", "location": "+47.3769+008.5417/",
        "com.apple.quicktime.make": "Viofo", "com.apple.quicktime.model": "A229",
    }  # fmt: skip
    path = make_clip(tmp_path / "clip.mp4", Clip(tags=tags, muxer={"movflags": "use_metadata_tags"}))
    for suffix in (".mp4", ".mov", ".mkv"):
        _, target, _ = enlarge(path, tmp_path, suffix)
        made = {key.lower(): value for key, value in probe(target).tags}
        assert {key: made.get(key) for key in tags} == tags


def test_sizes_within_an_flv_are_not_said_of_the_result(tmp_path: Path) -> None:
    clip = Clip(frames=4, tags={"title": "A drive"}, muxer={"flvflags": "add_keyframe_index"})
    path = make_clip(tmp_path / "clip.flv", clip)
    assert "lastkeyframelocation" in dict(probe(path).tags)
    _, target, _ = enlarge(path, tmp_path, ".mkv")
    made = {key.lower(): value for key, value in probe(target).tags}
    assert made["title"] == "A drive" and not {"lastkeyframelocation", "datasize", "videosize"} & set(made)
    assert next(check for check in verify(path, target).checks if check.name == "tags").ok


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_note_takes_the_place_that_is_free(tmp_path: Path, suffix: str) -> None:
    """Matroska's demuxer gives names in capitals."""
    for used, place in (("", "comment"), ("comment", "description"), ("comment description synopsis", "")):
        path = make_clip(tmp_path / f"clip{suffix}", Clip(frames=2, tags=dict.fromkeys(used.split(), "mine")))
        info, target = probe(path), tmp_path / f"result{suffix}"
        mux(info, encode_doubled(info, tmp_path, [0, 2]), target, 0, 2, "a note")
        made = {key.lower(): value for key, value in probe(target).tags}
        wanted = {**dict.fromkeys(used.split(), "mine"), **({place: "a note"} if place else {})}
        assert {key: made.get(key) for key in ("comment", "description", "synopsis") if key in made} == wanted


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_track_keeps_its_title(name: str, suffix: str, tmp_path: Path) -> None:
    """Which MP4's demuxer calls a name."""
    with (
        av.open(str(make_clip(tmp_path / "plain.mkv", Clip(sound=("aac",))))) as old,
        av.open(tmp_path / name, "w") as new,
    ):
        copies = [new.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        copies[1].metadata["title"] = "Rear microphone"
        for packet in old.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                new.mux(packet)
    _, target, _ = enlarge(tmp_path / name, tmp_path, suffix)
    tags = {key.lower(): value for key, value in probe(target).streams[1].tags}
    assert tags["title" if suffix == ".mkv" else "name"] == "Rear microphone"
    assert verify(tmp_path / name, target).ok


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
def test_the_service_keeps_its_name(tmp_path: Path, suffix: str) -> None:
    tags = {
        "service_name": "Vorderé: Kamera",
        "service_provider": "行车记录".encode("gbk").decode("utf-8", "surrogateescape"),
    }
    clip = make_clip(tmp_path / "clip.ts", Clip(tags=tags))
    plain = make_clip(tmp_path / "plain.ts", Clip())
    for source, wanted in ((clip, tags), (plain, {})):
        _, target, _ = enlarge(source, tmp_path, suffix)
        made = {key.lower(): value for key, value in probe(target).tags}
        assert {key: value for key, value in made.items() if key.startswith("service_")} == wanted
        assert verify(source, target).ok


@pytest.mark.parametrize(
    ("suffix", "video", "sound"),
    [
        ("ts", 257, 256),  # the muxer would number streams from 256 on
        ("ts", 0x1000, 0x1001),  # where it puts the programme map
        ("mts", 0x100, 0x101),  # where Blu-ray has it
        ("mts", 0x1011, 0x1100),
    ],
)
def test_programme_ids_stay_with_their_streams(suffix: str, video: int, sound: int, tmp_path: Path) -> None:
    film = make_clip(tmp_path / "film.ts", CASES["h264-ts"][1])
    path = tmp_path / f"clip.{suffix}"
    options = {"mpegts_pmt_start_pid": "32"}
    with av.open(str(path), "w", container_options=options) as container, av.open(str(film)) as source:
        copies = [container.add_stream_from_template(stream, opaque=True) for stream in source.streams]
        for copy, number in zip(copies, (video, sound), strict=True):
            copy.id = number
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
    _, target, _ = enlarge(path, tmp_path)
    with av.open(str(target)) as container:
        assert {stream.type: stream.id for stream in container.streams} == {"video": video, "audio": sound}


def test_other_files_streams_get_identifiers_of_blu_ray(tmp_path: Path) -> None:
    """FFmpeg has none for a second video, and none for data. Numbers of tracks may be those of tables (17)."""
    film = make_clip(tmp_path / "film.mp4", Clip(frames=4, sound=("aac",), data="bin_data"))
    path = join_streams(tmp_path / "clip.mp4", film, make_clip(tmp_path / "rear.mp4", Clip(frames=4)))
    with path.open("r+b") as file:
        content = file.read()
        file.seek(content.index(b"tkhd", content.index(b"tkhd") + 4) + 4 + 4 + 8)
        file.write((17).to_bytes(4, "big"))
    _, target, report = enlarge(path, tmp_path, ".m2ts")
    assert [stream.kind for stream in report.left] == ["data"]
    with av.open(str(target)) as container:
        assert [stream.id for stream in container.streams] == [0x1011, 0x1100, 0x1B03]


def test_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "12:30:00 50%d.mp4", Clip())
    info = probe(Path("12:30:00 50%d.mp4"))
    mux(info, encode_doubled(info, Path(), [0, 24]), Path("18:00.mp4"), 0, 24)
    assert probe(Path("18:00.mp4")).frames == 24


def test_the_index_is_at_the_front(tmp_path: Path) -> None:
    _, target, _ = enlarge(make_clip(tmp_path / "clip.mp4", Clip()), tmp_path)
    content = target.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def with_cover(path: Path, picture: bytes, kind: str = "jpeg") -> Path:
    """A Matroska file with a cover picture."""
    film = make_clip(path.with_name("film.mkv"), Clip(options={"g": "8"}))
    with av.open(str(path), "w") as container, av.open(str(film)) as source:
        video = container.add_stream_from_template(source.streams.video[0], opaque=True)
        container.add_attachment(f"cover.{kind}", f"image/{kind}", picture)
        for packet in source.demux():
            if packet.size:
                packet.stream = video
                container.mux(packet)
    return path


@pytest.mark.parametrize(("first", "stop"), [(0, 12), (12, 24)])
def test_a_part_has_the_whole_cover_picture(first: int, stop: int, tmp_path: Path) -> None:
    """Whatever its time is."""
    film = with_cover(tmp_path / "covered.mkv", encode_doubled_cover(tmp_path))
    for suffix in (".mkv", ".mp4"):
        _, target, report = enlarge(film, tmp_path, suffix)
        path = target.rename(tmp_path / f"source{suffix}")
        for part in (".mkv", ".mp4"):
            info, target, report = enlarge(path, tmp_path, part, first=first, stop=stop)
            assert report.not_carried == ()
            proof = verify(path, target, first=first, stop=stop)
            assert proof.ok, [check for check in proof.checks if not check.ok]
            assert info.streams[1].cover and "video 1" in {check.name for check in proof.checks}
    bare = enlarge(tmp_path / "film.mkv", tmp_path, first=first, stop=stop)[1]
    wrong = [check.name for check in verify(film, bare, first=first, stop=stop).checks if not check.ok]
    assert wrong == ["video 1"]


def test_a_cover_picture_travels(tmp_path: Path) -> None:
    jpeg = encode_doubled_cover(tmp_path)
    path = with_cover(tmp_path / "covered.mkv", jpeg)
    for suffix in (".mkv", ".mp4", ".mp4"):
        info, target, report = enlarge(path, tmp_path, suffix)
        assert report.not_carried == ()
        path = target.rename(tmp_path / f"source{suffix}")
        made = probe(path)
        assert made.frames == info.frames
        cover = next(stream for stream in made.streams if stream.cover)
        with av.open(str(path)) as container:
            packet = next(p for p in container.demux(container.streams[cover.index]) if p.size)
            assert bytes(packet) == jpeg
    _, _, report = enlarge(path, tmp_path, ".mov")
    assert [stream.cover for stream in report.left] == [True]


def test_a_cover_picture_that_mp4_cannot_hold_lies_beside(tmp_path: Path) -> None:
    """Of GIF, in Matroska."""
    picture = make_clip(tmp_path / "picture.gif", Clip(codec="gif", pix_fmt="gray", frames=1)).read_bytes()
    path = with_cover(tmp_path / "covered.mkv", picture, "gif")
    assert probe(path).streams[1].cover
    _, target, report = enlarge(path, tmp_path, ".mp4")
    assert [stream.cover for stream in report.left] == [True]
    carry_beside(path, target, report.left, made=target)
    assert verify(path, target).ok


def test_a_bmp_as_cover_picture_of_an_mp4_lies_beside(tmp_path: Path) -> None:
    """As iTunes took them; Matroska's demuxer would not give it back as a cover."""
    bitmap = b"BM" + struct.pack("<IIIIiiHHIIiiII", 58, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(4)
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=6))
    cover = _box(b"covr", _box(b"data", struct.pack(">II", 27, 0) + bitmap))
    tags = _box(b"meta", bytes(4) + _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9)) + _box(b"ilst", cover))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"moov") - 4  # after the samples, so that no offset changes
    del content[content.index(b"udta", at) - 4 :]
    content += _box(b"udta", tags)
    struct.pack_into(">I", content, at, len(content) - at)
    path.write_bytes(content)
    assert probe(path).streams[1].codec == "bmp"
    for suffix in (".mp4", ".mkv"):
        _, target, report = enlarge(path, tmp_path, suffix)
        assert [stream.cover for stream in report.left] == [True]
        carry_beside(path, target, report.left, made=target)
        assert verify(path, target).ok


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def encode_doubled_cover(folder: Path) -> bytes:
    """A small JPEG picture."""
    path = make_clip(folder / "picture.avi", Clip(codec="mjpeg", pix_fmt="yuvj420p", frames=1))
    with av.open(str(path)) as container:
        return next(bytes(packet) for packet in container.demux() if packet.size)


def test_refusals(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", Clip()))
    segments = encode_doubled(info, tmp_path, [0, 12, 24])
    with pytest.raises(RunError, match="24 frames, not 20"):
        mux(info, segments, tmp_path / "result.mp4", 0, 20)
    with pytest.raises(SettingsError, match="webm"):
        mux(info, segments, tmp_path / "result.webm", 0, 24)
    with pytest.raises(SettingsError, match=r"\.avi"):
        mux(info, segments, tmp_path / "result.avi", 0, 24)
    with pytest.raises(OutputUnwritable):
        mux(info, segments, tmp_path / "no folder" / "result.mp4", 0, 24)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("result*"))
    other = encode_doubled(info, tmp_path, [0, 12], EncodeSettings("libx265", preset="ultrafast"))
    with pytest.raises(RunError, match="different"):
        mux(info, [*other, segments[1]], tmp_path / "result.mp4", 0, 24)


def test_containers_of_results(tmp_path: Path, shared_data: Path) -> None:
    mp4 = probe(make_clip(tmp_path / "clip.mp4", CASES["h264-mp4-text"][1]))
    assert choose_suffix(mp4, "auto", "libx264") == (".mp4", "")
    assert choose_suffix(mp4, "mkv", "libx264") == (".mkv", "")
    avi = probe(make_clip(tmp_path / "clip.avi", Clip(codec="mpeg4")))
    suffix, why = choose_suffix(avi, "auto", "libx264")
    assert suffix == ".mkv" and "time" in why
    with pytest.raises(SettingsError, match=r"\.avi"):
        choose_suffix(avi, "same", "libx264")
    webm = probe(make_clip(tmp_path / "clip.webm", Clip(codec="libvpx-vp9", frames=2)))
    assert choose_suffix(webm, "auto", "libx264")[0] == ".mkv"
    assert choose_suffix(probe(shared_data / "video" / "gopro-gpmd-tmcd.mp4"), "auto", "libx264")[0] == ".mp4"
    assert format_of(".M2TS") == "mpegts"


@pytest.mark.parametrize("codec", ["libsvtav1", "libvpx-vp9", "libvpx"])
def test_a_codec_that_mov_does_not_take_is_known_at_once(codec: str, tmp_path: Path) -> None:
    mov = probe(make_clip(tmp_path / "clip.mov", Clip(frames=2)))
    assert choose_suffix(mov, "auto", codec)[0] == ".mkv"
    with pytest.raises(SettingsError, match=rf"\.mov files cannot hold {codec} video"):
        check_container(".mov", codec)
    with pytest.raises(SettingsError, match="segments, which are Matroska, cannot hold magicyuv"):
        check_container(".mov", "magicyuv")


def test_a_codec_that_matroska_does_not_take_is_not_sent_there() -> None:
    with pytest.raises(SettingsError, match=r"\.mkv files cannot hold flv video; use another --codec"):
        check_container(".mkv", "flv")


def test_colours_that_neither_codec_nor_container_can_say_are_refused(tmp_path: Path) -> None:
    limited, full = (probe(make_clip(tmp_path / f"{c[3]}.mp4", Clip(frames=1, colour=c))) for c in ((1,) * 4, (2,) * 4))
    for suffix, codec, info in (
        (".ts", "mpeg1video", limited), (".3gp", "mpeg4", limited), (".mov", "mpeg4", full), (".mov", "jpeg2000", full),
    ):  # fmt: skip
        check_container(suffix, codec)
        with pytest.raises(SettingsError, match=r"cannot say the colours of .*\.mp4; use --codec libx264 or libx265"):
            check_colour(suffix, codec, info)
    for suffix, codec in ((".mov", "mpeg4"), (".mp4", "mpeg4"), (".mkv", "mpeg1video"), (".ts", "mpeg2video")):
        check_colour(suffix, codec, limited)
    for suffix, codec in ((".ts", "libx264"), (".mov", "libx265"), (".mov", "mjpeg"), (".mp4", "mpeg4")):
        check_colour(suffix, codec, full)


def test_mpeg4_whose_header_is_the_files_does_not_go_into_mpeg_ts(tmp_path: Path) -> None:
    rear = make_clip(tmp_path / "rear.mp4", Clip(codec="mpeg4", frames=4))
    path = join_streams(tmp_path / "clip.mp4", make_clip(tmp_path / "front.mp4", Clip(frames=4)), rear)
    _, _, report = enlarge(path, tmp_path, ".ts")
    assert [stream.codec for stream in report.left] == ["mpeg4"], "it could not be decoded"
    with pytest.raises(SettingsError, match=r"\.ts files cannot hold mpeg4 video"):
        check_container(".ts", "mpeg4")


def test_hevc_whose_header_has_messages_does_not_go_into_mpeg_ts(tmp_path: Path) -> None:
    front = make_clip(tmp_path / "front.mp4", Clip(frames=4))
    for name, options, left in (("rear", {}, ["hevc"]), ("plain", {"x265-params": "info=0"}, [])):
        rear = make_clip(tmp_path / f"{name}.mkv", Clip(codec="libx265", frames=4, options=options))
        path = join_streams(tmp_path / f"both_{name}.mkv", front, rear)
        _, target, report = enlarge(path, tmp_path, ".ts")
        assert [stream.codec for stream in report.left] == left
        assert left or verify(path, target).ok


def test_vp9_of_4_4_0_does_not_go_into_mp4(tmp_path: Path) -> None:
    rear = make_clip(tmp_path / "rear.webm", Clip(codec="libvpx-vp9", pix_fmt="yuv440p", frames=2))
    for suffix, codec in ((".mkv", "libvpx-vp9"), (".mp4", "libx264")):
        check_sampling(suffix, codec, probe(rear).layout)
    with pytest.raises(SettingsError, match=r"\.mp4 files cannot hold libvpx-vp9 video of yuv440p.*--container mkv"):
        check_sampling(".mp4", "libvpx-vp9", probe(rear).layout)
    path = join_streams(tmp_path / "clip.mkv", make_clip(tmp_path / "front.mp4", Clip(frames=2)), rear)
    _, _, report = enlarge(path, tmp_path, ".mp4")
    assert [stream.codec for stream in report.left] == ["vp9"]


def test_every_container_takes_what_is_written_into_it() -> None:
    for suffix, codecs in {
        ".mov": ("libx264", "libx265", "prores_ks", "mjpeg"),
        ".mp4": ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1"),
        ".mkv": ("libx264", "libx265", "libsvtav1", "libvpx", "ffv1", "prores_ks", "mjpeg"),
        ".webm": ("libvpx", "libvpx-vp9", "libsvtav1"),
        ".3gp": ("libx264",),
        ".ts": ("libx264", "libx265"),
    }.items():
        for codec in codecs:
            check_container(suffix, codec)


def lines_of(path: Path) -> list[tuple[Fraction, Fraction, bytes]]:
    """Begin, length and content of each line of a file's first subtitles, in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size]
    return [(each.pts * each.time_base, each.duration * each.time_base, bytes(each)) for each in packets]


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_lines_that_count_in_milliseconds(suffix: str, tmp_path: Path) -> None:
    """As dashcams and MP4Box write them; FFmpeg's muxer would put an empty line behind each."""
    path = make_clip(tmp_path / f"clip.{suffix}", Clip(frames=24, sound=("aac",), subtitles=("mov_text",)))
    lines, content = lines_of(path), bytearray(path.read_bytes())
    header, lengths = content.rindex(b"mdhd") + 16, content.rindex(b"stts") + 8  # of the last track
    scale, duration, count = *struct.unpack_from(">II", content, header), *struct.unpack_from(">I", content, lengths)
    struct.pack_into(">II", content, header, 1000, duration * 1000 // scale)
    for at in range(lengths + 8, lengths + 8 + 8 * count, 8):
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] * 1000 // scale)
    path.write_bytes(content)
    assert lines_of(path) == lines and len(lines) == 4
    _, target, report = enlarge(path, tmp_path)
    assert not report.left and lines_of(target)[:4] == lines
    assert verify(path, target).ok


def test_lines_too_far_apart_for_short_ticks_lie_beside(tmp_path: Path) -> None:
    """Beside a picture with 10,000,000 ticks a second; FFmpeg's muxer takes no line of more than 214 seconds then."""
    fine = {"video_track_timescale": "10000000"}
    film = make_clip(tmp_path / "film.mp4", Clip(times=tuple(range(0, 300, 10)), tick=Fraction(1), muxer=fine))
    path = tmp_path / "source.mp4"
    with av.open(str(film)) as source, av.open(str(path), "w", options=fine) as made:
        copy = made.add_stream_from_template(source.streams.video[0], opaque=True)
        text = made.add_mux_stream("mov_text")
        packets = [packet for packet in source.demux() if packet.size]
        for packet in packets:
            packet.stream = copy
        for second in (1, 250):
            line = av.Packet(b"\0\4line")
            line.stream, line.time_base, line.pts, line.dts, line.duration = text, Fraction(1), second, second, 2
            packets.append(line)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            made.mux(packet)
    _, result, report = enlarge(path, tmp_path)
    carry_beside(path, result, report.left, made=result)
    assert [stream.kind for stream in report.left] == ["subtitle"] and "too far apart" in report.not_carried[0]
    assert verify(path, result).ok
