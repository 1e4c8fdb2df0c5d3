from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.media.clips import Clip, make_clip
from training import demo
from training.measure.pipeline import upscale_files
from training.scene.drive import DriveSpec
from vidsr.errors import RunError

SMALL = DriveSpec(seconds=0.5, width=384, height=216, rate=10)


def test_the_demo_upscales_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SPEC", SMALL)
    comparison = demo.synthetic(tmp_path)
    said = capsys.readouterr().out
    assert comparison.frames == 5
    assert 15 < comparison.bicubic < comparison.ours < 40
    assert f"{comparison.bicubic:.2f} dB" in said
    assert str(tmp_path / "dashcam_2x.mp4") in said.replace("\n", "")
    with Image.open(tmp_path / "comparison.png") as sheet:
        assert sheet.width > 3 * 2 * 200


@pytest.mark.slow
def test_an_own_video_is_upscaled_whatever_its_container_and_damage(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    clip = make_clip(tmp_path / "card" / "drive.avi", Clip(frames=20, codec="mpeg4"))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    result = demo.own_video(clip, tmp_path / "out")
    assert result == tmp_path / "out" / "drive_2x.mkv"
    assert result.stat().st_size > 1000


def test_a_failed_command_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match="exit code 11"):
        upscale_files([tmp_path / "missing.mp4"], tmp_path / "out.mp4", 2)
    assert "missing.mp4 does not exist" in capfd.readouterr().err
