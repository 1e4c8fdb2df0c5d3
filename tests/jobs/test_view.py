from __future__ import annotations

import io

import pytest
from rich.console import Console

import jobs.view
import vidsr.console
from jobs.records import VideoRecord
from jobs.view import Figures, LineFolderView, TableFolderView

GOOD = VideoRecord("in/a.mp4", "out/a.mp4", "done", frames=30, source_bytes=100)
BAD = VideoRecord(
    "in/b.mp4", "out/b.mp4", "failed", source_bytes=100, error_class="NotAVideo", error_message="no [x] it"
)


@pytest.mark.parametrize("kind", [LineFolderView, TableFolderView])
def test_what_is_shown(kind: type[LineFolderView]) -> None:
    text = io.StringIO()
    live = kind is TableFolderView
    view = kind(Console(file=text, width=120, highlight=False, force_terminal=live))
    view.begin(6, 1, 1, 400)
    view.advance(30)
    view.now(["c.mp4", "d.mp4"])
    view.end_video(GOOD)
    view.end_video(BAD)
    view.stop()
    shown = text.getvalue()
    for words in (
        "6 videos, 1 of them done before and 1 failed before, 400 bytes to do",
        "out/a.mp4: done, 30 frames",
        "in/b.mp4: failed, NotAVideo: no [x] it",
    ):
        assert words in shown
    if kind is TableFolderView:
        assert "c.mp4" in shown and "4/6" in shown


def test_one_is_no_plural_and_a_name_is_said_once() -> None:
    text = io.StringIO()
    view = LineFolderView(Console(file=text, width=120))
    view.begin(1, 0, 0, 1_500_000)
    for name, said in (("in/c.mp4", "in/c.mp4 has 0 bytes"), ("in/d.mp4", "in/d.mp4: no video")):
        view.end_video(VideoRecord(name, "", "failed", error_class="InputError", error_message=said))
    view.end_video(VideoRecord("in/e.mp4", "out/e.mp4", "done", frames=1))
    assert text.getvalue().splitlines() == [
        "1 video, 0 of them done before, 1.5 MB to do",
        "in/c.mp4: failed, InputError: has 0 bytes",
        "in/d.mp4: failed, InputError: no video",
        "out/e.mp4: done, 1 frame",
    ]


@pytest.mark.parametrize("kind", [LineFolderView, TableFolderView])
def test_what_did_not_begin_shows_nothing(kind: type[LineFolderView]) -> None:
    text = io.StringIO()
    kind(Console(file=text)).stop()
    assert text.getvalue() == ""


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Figures()
    assert figures.left == "–"
    figures.videos, figures.done_before, figures.failed_before, figures.frames = 9, 1, 1, 60
    figures.total_bytes, figures.ended_bytes = 400, 100
    figures.ended.update(["done", "failed", "quarantined"])
    monkeypatch.setattr("jobs.view.time.monotonic", lambda: figures.began + 20)
    assert figures.row() == {"videos": "5/9", "failed": "3", "frames": "60", "fps": "3.00", "left": "0:01:00"}


def test_videos_that_failed_tell_nothing_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    view = LineFolderView(Console(file=io.StringIO()))
    view.begin(4, 0, 0, 400)
    view.end_video(BAD)
    assert view._figures.left == "–"
    view.end_video(GOOD)
    monkeypatch.setattr("jobs.view.time.monotonic", lambda: view._figures.began + 20)
    assert view._figures.left == "0:00:40"  # two are left, of the size of the one that took 20 s


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    """As in editors; rich shows nothing there before the end."""
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": term})
    monkeypatch.setattr(jobs.view, "stderr", console)
    monkeypatch.setattr(vidsr.console, "stderr", console)
    shown = (type(jobs.view.make_view()).__name__, type(vidsr.console.make_progress()).__name__)
    lines = ("LineFolderView", "LineProgress")
    assert shown == (lines if term == "dumb" else ("TableFolderView", "TerminalProgress"))
