"""Presets: the paper's numbers, overriding any field, and messages for what does not exist."""

from __future__ import annotations

import pytest

from training.fit.presets import PRESETS, Preset, differences, from_json, override, preset, to_json
from vidsr.errors import SettingsError
from vidsr.model.generator import Generator


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_survives_json(name: str) -> None:
    assert from_json(to_json(PRESETS[name])) == PRESETS[name]
    assert PRESETS[name].name == name


def test_the_papers_presets_are_the_papers() -> None:
    for scale in (2, 4):
        original, modified = preset(f"paper-original-{scale}x"), preset(f"paper-modified-{scale}x")
        assert (original.generator.blocks, modified.generator.blocks) == (16, 20)
        for one, content in ((original, "mse"), (modified, "ssim")):
            assert one.generator.scale == scale and one.patch * scale == 256
            assert one.generator.norm == "batch" and one.generator.tail == "srgan" and one.generator.skip == "none"
            assert one.stages[-1].adversarial > 0 and one.stages[-1].discriminator.kind == "vgg19"
            assert all(set(s.losses) == {content} and s.rate == 1e-4 for s in one.stages)
            assert (one.labels.real, one.labels.fake) == (0.0, 1.0)
            assert one.stages[-1].discriminator.slope == 0.2


def test_the_tiers_have_the_shapes_they_are_known_for() -> None:
    shapes = {t: (p.generator.blocks, p.generator.channels) for t in ("quality", "balanced", "fast")
              for p in (preset(f"{t}-2x"),)}  # fmt: skip
    assert shapes == {"quality": (20, 64), "balanced": (8, 32), "fast": (6, 16)}
    assert preset("fast-4x").generator.branches and preset("fast-4x").teacher == "balanced-4x"
    weights = {t: sum(p.numel() for p in Generator(preset(f"{t}-2x").generator).parameters()) for t in shapes}
    assert weights["quality"] > weights["balanced"] > weights["fast"]


def test_any_field_is_overridden() -> None:
    changes = {
        "batch": 8,
        "generator.blocks": 4,
        "stages.0.rate": 1e-4,
        "stages.1.losses.frequency": 0.5,
        "stages.2.discriminator.kind": "vgg19",
        "degradation.crf": [21, 31],
        "start": "some file",
        "generator.branches": False,
    }
    made = override(preset("fast-2x"), [f"{k}={str(v).lower() if v is False else v}" for k, v in changes.items()])
    assert made.batch == 8 and made.generator.blocks == 4 and made.start == "some file"
    assert made.stages[0].rate == 1e-4 and made.stages[1].losses["frequency"] == 0.5
    assert made.degradation.crf == (21, 31) and made.stages[2].discriminator.kind == "vgg19"
    expected = set(changes) - {"degradation.crf"} | {"degradation.crf.0", "degradation.crf.1"}
    assert set(differences(to_json(preset("fast-2x")), to_json(made))) == expected


def test_stages_can_be_given_whole() -> None:
    made = override(preset("smoke"), ['stages=[{"kind": "ssim", "share": 1, "rate": 0.1, "losses": {"ssim": 1}}]'])
    assert [s.kind for s in made.stages] == ["ssim"] and made.stages[0].rate == 0.1


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("btch=8", "nearest are batch"),
        ("generator.channel=8", "nearest are channels"),
        ("stages.9.rate=1", "nearest are 0, 1, 2"),
        ("batch=x", "batch is 'x'; use int"),
        ("batch=1.5", "use int"),
        ("batch=true", "use int"),
        ("stages.0.kind=perceptual", "use one of content, ssim, adversarial"),
        ("batch=0", "use 1 or more"),
        ("clean_share=2", "lies in"),
        ("distillation=1", "needs a teacher"),
        ("generator.scale=3", "use one of"),
        ("stages=[]", "needs stages"),
        ('stages=[{"kind": "ssim", "speed": 1}]', "has no field 'speed'"),
        ('stages=[{"kind": "ssim"}]', "stages.0 needs"),
        ("batch", "write FIELD=VALUE"),
    ],
)
def test_wrong_assignments_say_what_is_wrong(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        override(preset("balanced-2x"), [assignment])


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="balanced-2x"):
        preset("balancd-2x")
    assert isinstance(preset("smoke"), Preset)
