"""Tables for people and plain values for `--json`, of what commands found or a dry run would do."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Column, Table

from vidsr.console import counted
from vidsr.evidence import EvidenceRecord
from vidsr.media.container import printable
from vidsr.media.probe import VideoInfo
from vidsr.media.proof.verify import VerifyReport
from vidsr.model.registry import bundled_models


def info_as_json(info: VideoInfo) -> dict[str, Any]:
    """A VideoInfo in JSON values; the frame table as its count, first and last times."""
    values = _plain(asdict(info))
    table = info.table
    values["table"] = {
        "frames": len(table),
        "time_base": str(table.time_base),
        "first_pts": table.pts[0],
        "last_pts": table.pts[-1],
        "key_frames": sum(table.key),
    }
    values["bits_per_pixel"] = round(info.bits_per_pixel, 4)
    return dict(values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return printable(str(value)) if isinstance(value, (str, Path, Fraction)) else value


def _code(value: int) -> str:
    """A code of ITU-T H.273, whose 2 says nothing."""
    return "unspecified" if value == 2 else str(value)


def info_table(info: VideoInfo) -> Table:
    """A VideoInfo for people."""
    table = Table("", escape(str(info.path)), box=None, pad_edge=False)
    colour = info.colour
    rows = {
        "container": f"{info.container}, {decimal(info.size_bytes)}",
        "picture": f"{info.width}x{info.height} {info.codec} {info.pix_fmt}, "
        f"{float(info.rate):.3f} fps, {counted(info.frames, 'frame')}, {float(info.duration or 0):.3f} s",
        "coding": f"{info.bits_per_pixel:.3f} bits per pixel",
        "colour": f"matrix {_code(colour.matrix)}, primaries {_code(colour.primaries)}, "
        f"transfer {_code(colour.transfer)}, "
        f"{'full' if colour.full_range else 'limited'} range",
        "shape": f"pixel aspect {info.sample_aspect}, rotation {info.rotation}°"
        + (", interlaced" if info.interlaced else ", single fields" if info.fields else ""),
    }
    for name, text in rows.items():
        table.add_row(name, text)
    for stream in info.streams:
        table.add_row("stream", escape(stream.label))
    for note in info.notes:
        table.add_row("note", escape(note))
    return table


def report_as_json(report: VerifyReport) -> dict[str, Any]:
    """A VerifyReport in JSON values."""
    return {"ok": report.ok, "checks": [asdict(check) for check in report.checks]}


def report_table(report: VerifyReport) -> Table:
    """A VerifyReport for people."""
    table = Table("check", "", "found", box=None, pad_edge=False)
    for check in report.checks:
        table.add_row(check.name, "[green]holds[/]" if check.ok else "[red]FAILS[/]", escape(check.detail))
    return table


def estimate_table(report: dict[str, Any]) -> Table:
    """The report of a dry run, of a video, a picture or a folder, for people."""
    table = Table("", escape(str(report.get("source", report.get("input", "")))), box=None, pad_edge=False)
    for name, value in report.items():
        if name not in ("source", "input") and value not in ([], {}):
            table.add_row(ESTIMATES.get(name, name.replace("_", " ")), escape(_in_words(name, value)))
    return table


# What people are told in the place of a dry run's names.
ESTIMATES = {
    "seconds": "length",
    "output_bytes": "size of the result",
    "disk_bytes": "disk while it works",
    "memory_bytes": "memory",
    "model_frames_per_second": "model alone, frames/s",
    "model_seconds": "model alone, time",
}


def _in_words(name: str, value: Any) -> str:
    """A value of a report with its unit: what it holds of several, one a line."""
    if name == "model":
        return str(value["name"])
    if name.endswith("_bytes"):
        return decimal(value)
    if name.endswith("seconds"):
        return str(timedelta(seconds=round(value))) if value >= 60 else f"{value:.1f} s"
    if isinstance(value, list):
        return "\n".join(value)
    if isinstance(value, dict):
        return "\n".join(f"{name}: {each}" for name, each in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def models_as_json() -> list[dict[str, Any]]:
    """The bundled models."""
    return [
        {
            "name": m.name,
            "sha256": m.sha256,
            "config": asdict(m.config),
            "training": m.training,
            "int8": m.ranges and asdict(m.ranges),
        }
        for m in bundled_models()
    ]


def models_table() -> Table:
    """The bundled models for people."""
    names = Column("model", no_wrap=True)  # they are there to be typed
    table = Table(
        names, "scale", "network", "MAC/pixel", "computes", "int8 loses", box=None, pad_edge=False,
        caption="From fast over balanced to quality they are slower and truer. -clean is for sources that coding "
        "hardly changed, and auto takes it for them; -sharp is what --fidelity below 1 leads to.",
        caption_justify="left",
    )  # fmt: skip
    for model in bundled_models():
        config = model.config
        shape = f"{config.blocks}x{config.channels} {config.body}"
        loss = f"{model.ranges.loss_db:.2f} dB" if model.ranges else ""
        table.add_row(model.name, f"{config.scale}x", shape, f"{config.macs_per_pixel:,}", config.colour, loss)
    return table


def evidence_table(record: EvidenceRecord, problems: list[str], source: Path | None) -> Table:
    """A record and what is wrong with its files, for people."""
    table = Table("", escape(record.result.path), box=None, pad_edge=False)
    frames = record.frames
    table.add_row(
        "source", escape(record.source.path) + (" (not there, not checked)" if source is None else " (checked)")
    )
    table.add_row("model", escape(f"{record.model.name}, sha256 {record.model.sha256}"))
    made = f"{record.started} to {record.finished}, vidsr {record.versions.get('vidsr', '?')}"
    table.add_row("made", escape(made))
    table.add_row(
        "frames", f"{frames.total}: {frames.computed} computed, {frames.reused} reused, {frames.filled} filled"
    )
    table.add_row("verified", "yes" if record.verified else "no")
    table.add_row("signed", escape(record.signature) or "no")
    for note in record.salvaged:
        table.add_row("salvaged", escape(note))
    for problem in problems:
        table.add_row("[red]wrong[/red]", escape(problem))
    if not problems:
        table.add_row("[green]unchanged[/green]", "every byte is as it was when the record was written")
    return table
