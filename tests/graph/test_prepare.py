"""What is chosen, refused and said before a run."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from tests.graph.infos import info_of
from tests.media.clips import Clip, make_clip
from vidsr.errors import NotAVideo, SettingsError, UnsupportedSize
from vidsr.frames import PixelLayout
from vidsr.graph.choose import choose_size
from vidsr.graph.prepare import prepare
from vidsr.paths import is_image
from vidsr.settings import EncodeSettings, UpscaleSettings


def test_tasks_are_told_whole_paths(tmp_path: Path, nearest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that was started elsewhere has workers with another current folder."""
    make_clip(tmp_path / "a.mp4", Clip(frames=4))
    shutil.copy(nearest, tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    settings = UpscaleSettings(model="weights.safetensors")
    plan = prepare(Path("a.mp4"), None, settings, overwrite=False, gpu=False)
    job = plan.job(plan.segments[0])
    assert job.info.path == tmp_path / "a.mp4"
    assert job.folder == tmp_path / ".a_2x.mp4.vidsr"
    assert plan.upscaler.model == str(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(("rotation", "size"), [(0, (2, 144, 96)), (90, (2, 96, 64)), (-90, (2, 96, 64))])
def test_the_height_is_that_which_players_show(rotation: int, size: tuple[int, int, int]) -> None:
    info = replace(info_of([0, 1], [True, True], Fraction(1, 10)), rotation=rotation, width=72, height=48)
    assert choose_size(info, UpscaleSettings(scale=None, height=96)) == size


@pytest.mark.parametrize("height", [48, 193])
def test_a_height_that_is_no_enlargement_or_too_large_a_one_is_refused(height: int) -> None:
    info = info_of([0, 1], [True, True], Fraction(1, 10))
    with pytest.raises(SettingsError, match=f"--height {height} cannot be reached from 48 lines; use 49 to 192"):
        choose_size(info, UpscaleSettings(scale=None, height=height))


@pytest.mark.parametrize(
    ("width", "reason"),
    [(96, "rv10 failed .*; use --codec libx264 or libx265"), (100, "rv10 cannot code 200x128 .*; use another --codec")],
)
def test_an_encoder_that_fails_is_known_before_the_work(width: int, reason: str, tmp_path: Path) -> None:
    """FFmpeg's rv10 opens with whole macroblocks alone, and then fails with its first frame."""
    source = make_clip(tmp_path / "clip.mkv", Clip(frames=2, width=width))
    settings = UpscaleSettings(model="fast", encode=EncodeSettings("rv10"))
    with pytest.raises(UnsupportedSize, match=f"clip.mkv: {reason}"):
        prepare(source, None, settings, False, False)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize(("rotation", "size"), [(0, (72, 48)), (90, (48, 72))])
def test_an_odd_height_is_refused_where_rows_share_their_colour(rotation: int, size: tuple[int, int]) -> None:
    info = replace(info_of([0, 1], [True, True], Fraction(1, 10)), rotation=rotation, width=size[0], height=size[1])
    odd = UpscaleSettings(scale=None, height=97)
    with pytest.raises(SettingsError, match=r"--height 97 is odd.*use an even one"):
        choose_size(info, odd)
    assert choose_size(replace(info, layout=PixelLayout(8, 0, 0)), odd)[1:] in [(146, 97), (97, 146)]


@pytest.mark.parametrize(("width", "height"), [(8200, 48), (48, 8200)])
def test_a_result_that_no_encoder_takes_is_refused(width: int, height: int) -> None:
    info = replace(info_of([0, 1], [True, True], Fraction(1, 10)), width=width, height=height)
    with pytest.raises(UnsupportedSize, match=f"the result would have {2 * width}x{2 * height} pixels"):
        choose_size(info, UpscaleSettings())


def test_a_matrix_that_players_guess_otherwise_is_said(tmp_path: Path) -> None:
    clips = {
        lines: make_clip(tmp_path / f"{lines}.mp4", Clip(width=32, height=lines, frames=2)) for lines in (352, 368)
    }
    notes = {lines: prepare(clip, None, UpscaleSettings(), False, False).info.notes for lines, clip in clips.items()}
    assert notes[352] == ()
    assert [("BT.601 for the source" in note, "BT.709 for the result" in note) for note in notes[368]] == [(True, True)]
    grey = make_clip(tmp_path / "grey.mkv", Clip(codec="ffv1", pix_fmt="gray", width=32, height=368, frames=2))
    assert prepare(grey, None, UpscaleSettings(), False, False).info.notes == ()


def test_a_lossless_source_goes_into_the_container_that_is_settled(tmp_path: Path, nearest: Path) -> None:
    """Of a folder the names are settled before the files are opened; MOV does not hold FFV1."""
    clip = Clip(codec="v210", pix_fmt="yuv422p10le", frames=3)
    source = make_clip(tmp_path / "a.mov", clip)
    settings = UpscaleSettings(model=str(nearest))

    def plan(out: Path | None, **encode: str) -> tuple[str, str, str]:
        made = prepare(source, out, replace(settings, encode=EncodeSettings(**encode)), False, gpu=False)  # type: ignore[arg-type]
        return made.settings.encode.codec, made.result.suffix, " ".join(made.info.notes)

    assert plan(None)[:2] == ("ffv1", ".mkv")
    assert plan(tmp_path / "large.mkv")[:2] == ("ffv1", ".mkv")
    for codec, suffix, said in (plan(tmp_path / "large.mov"), plan(None, container="mov")):
        assert (codec, suffix) == ("libx264", ".mov")
        assert ".mov files cannot hold ffv1 video, and libx264 loses a little; --container mkv takes ffv1" in said
    with pytest.raises(SettingsError, match="cannot hold ffv1 video; use --container mkv"):
        plan(tmp_path / "large.mov", codec="ffv1")


def test_a_result_without_sound_is_said_before_the_work(tmp_path: Path, nearest: Path) -> None:
    source = make_clip(tmp_path / "a.avi", Clip(codec="mpeg4", sound=("pcm_mulaw",), frames=4))
    settings = UpscaleSettings(model=str(nearest))
    for name, silent in (("large.mp4", True), ("large.mov", False), ("large.mkv", False)):
        notes = prepare(source, tmp_path / name, settings, overwrite=False, gpu=False).info.notes
        assert any(note.startswith("the result has no sound") for note in notes) == silent


def joined(path: Path, *clips: Clip) -> Path:
    """A video whose pictures go on in another size, with the packets of each clip as a live stream sends them."""
    parts = [make_clip(path.with_name(f"{number}{path.suffix}"), clip) for number, clip in enumerate(clips)]
    begin = 0
    with ExitStack() as files:
        out = files.enter_context(av.open(str(path), "w"))
        sources = [files.enter_context(av.open(str(part))) for part in parts]
        stream = out.add_stream_from_template(sources[0].streams.video[0])
        for source, clip in zip(sources, clips, strict=True):
            for packet in source.demux(video=0):
                if packet.pts is not None and packet.dts is not None and packet.time_base:
                    shift = round(begin / clip.rate / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    out.mux(packet)
            begin += clip.frames
    for part in parts:
        part.unlink()
    return path


LARGER = {"width": 128, "height": 96}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("live.ts", {"options": {"g": "4", "bf": "0"}}),
        ("live.mkv", {"codec": "libx265", "options": {"x265-params": "log-level=none:repeat-headers=1:bframes=0"}}),
        ("live.webm", {"codec": "libvpx"}),
        ("talk.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "lag-in-frames": "0"}}),
    ],
)
def test_a_picture_that_changes_its_size_is_refused_before_the_work(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    clip = Clip(frames=8, **options)
    source = joined(tmp_path / name, clip, clip, replace(clip, **LARGER))
    with pytest.raises(NotAVideo, match=r"changes from 96x64 yuv420p to 128x96 yuv420p at frame 16 \(\d+.\d+ s\)"):
        prepare(source, None, UpscaleSettings(model="fast"), False, False)
    first = UpscaleSettings(model="fast", end=0.5)
    assert prepare(source, None, first, False, False).frames < 16
    with pytest.raises(NotAVideo, match="at frame 2"):
        prepare(source, None, UpscaleSettings(model="fast", start=0.8), False, False)


def test_a_size_that_changes_where_clocks_begin_anew_is_refused_before_the_work(tmp_path: Path) -> None:
    clip = Clip(frames=8)
    parts = [make_clip(tmp_path / f"{number}.ts", each) for number, each in enumerate((clip, replace(clip, **LARGER)))]
    source = tmp_path / "two.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(NotAVideo, match="to 128x96 yuv420p at frame 8"):
        prepare(source, None, UpscaleSettings(model="fast"), False, False)


@pytest.mark.parametrize("other", [LARGER, {"options": {"preset": "veryfast"}}])
def test_files_of_matroska_that_are_coded_otherwise_are_refused(other: dict[str, Any], tmp_path: Path) -> None:
    """FFmpeg reads the second like the first: its pictures would be broken, and called whole."""
    clip, source = Clip(frames=8, options={"preset": "ultrafast"}), tmp_path / "two.mkv"
    one = make_clip(tmp_path / "one.mkv", clip)
    two = make_clip(tmp_path / "other.mkv", replace(clip, **other))
    source.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(NotAVideo, match=r"two\.mkv is of several files that are coded in different ways.*; split it"):
        prepare(source, None, UpscaleSettings(model="fast"), False, False)
    source.write_bytes(one.read_bytes() * 2)
    assert prepare(source, None, UpscaleSettings(model="fast"), False, False).frames == 16


def test_the_same_size_in_other_words_is_no_change(tmp_path: Path) -> None:
    clip = Clip(frames=8, options={"g": "4"})
    source = joined(tmp_path / "live.ts", clip, replace(clip, colour=(1, 1, 1, 0)))
    plan = prepare(source, None, UpscaleSettings(model="fast"), False, False)
    assert plan.frames == 16 and len(plan.info.changes) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "ICO"])
def test_a_picture_is_made_no_film(kind: str, tmp_path: Path) -> None:
    """Its name does not say what it is, or `vidsr.upscale` was given it."""
    source = tmp_path / "photo"
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(source, kind)
    with pytest.raises(NotAVideo, match=r"photo is a picture, .* under a name that ends in (\.\w+)$") as refused:
        prepare(source, None, UpscaleSettings(model="fast"), overwrite=False, gpu=False)
    assert is_image(Path("photo" + refused.value.message.rpartition(" ")[2]))
