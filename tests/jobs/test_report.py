from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.support.select import Select

from jobs.lease import Leases
from jobs.records import VideoRecord
from jobs.report import BINS, _pictures, report_page, throughput, totals, write_report
from jobs.state import SUMMARY, JobState, JobSummary
from jobs.storage import FolderPlace
from tests.browser import Browser
from vidsr.errors import InputMissing, OutputUnwritable

BEGAN = 1_000_000.0
DONE = VideoRecord(
    source="/card/a.mp4",
    result="/out/a_2x.mp4",
    state="done",
    frames=600,
    seconds=20.0,
    source_bytes=10_000_000,
    result_bytes=30_000_000,
    attempts=1,
    started=BEGAN,
    finished=BEGAN + 60,
)


def jpeg(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (240, 135), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def records() -> list[VideoRecord]:
    """120 videos: one salvaged, two failed, one quarantined, one running, the rest done."""
    bad = {
        5: replace(DONE, state="failed", error_class="NotAVideo", error_message="</script> is no video", attempts=3),
        7: replace(DONE, state="failed", error_class="NotAVideo", error_message="no moov", attempts=3),
        9: replace(DONE, state="quarantined", error_class="WorkerDied", error_message="3 crashes", attempts=3),
        11: replace(DONE, state="salvaged", frames=500, salvaged=("3 frames are lost", "sound is damaged")),
        13: replace(DONE, state="running", finished=None),
    }
    made = []
    for number in range(120):
        record = bad.get(number, replace(DONE, started=BEGAN + number, finished=BEGAN + number + 60))
        pictures = (f"{number}.source.jpg", f"{number}.result.jpg") if record.good else ()
        made.append(replace(record, source=f"/card/{number:03}.mp4", thumbnails=pictures))
    return made


@pytest.fixture
def page(tmp_path: Path, browser: Browser) -> Browser:
    """The report of a job of 122 videos, two of them without a record, open in the browser."""
    place = FolderPlace(str(tmp_path / "out"))
    state = JobState(place)
    for number, record in enumerate(records()):
        state.write(f"{number:03}.mp4", record)
        for name in record.thumbnails:
            place.write(name, jpeg("red" if "source" in name else "blue"))
    state.write_summary(
        JobSummary("/card", place.url, "finished", 122, started=BEGAN, finished=BEGAN + 180, settings={"scale": 2})
    )
    browser.open(Path(write_report(place)))
    return browser


def text(page: Browser, selector: str) -> str:
    return page.find(selector).text


def test_the_page_says_what_became_of_the_job(page: Browser) -> None:
    assert page.console() == []
    assert set(page.requests()) <= {"file", "data"}
    tiles = text(page, "#tiles")
    assert "116 of 122\nvideos have a result" in tiles
    assert "3\nfailed or quarantined" in tiles
    assert f"{115 * 600 + 500:,}\nframes" in tiles
    assert "3 min\nwall time" in tiles
    legend = text(page, "#legend")
    for part in ("115 done", "1 salvaged", "2 failed", "1 quarantined", "1 running", "2 pending"):
        assert part in legend
    assert "finished" in text(page, "#when")
    assert "scale\n2" in text(page, "#settings")


def test_failures_are_grouped_with_their_reasons(page: Browser) -> None:
    failures = text(page, "#failures")
    assert "NotAVideo: 2 videos" in failures
    assert "WorkerDied: 1 video\n" in failures
    assert "005.mp4" in failures
    assert "</script> is no video" in failures


def test_what_a_damaged_video_lacks_is_said_beside_its_state(page: Browser) -> None:
    assert text(page, "#rows [data-state=salvaged] td:nth-child(3)") == "salvaged\n3 frames are lost; sound is damaged"
    assert text(page, "#rows [data-state=done] td:nth-child(3)") == "done"


def test_on_a_phone_failures_and_names_are_in_sight(page: Browser) -> None:
    narrow = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    cells = "document.querySelectorAll('details td, #rows .name')"
    try:
        assert page.js(f"return Math.max(...[...{cells}].map((e) => e.getBoundingClientRect().right))") <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_record_names_no_picture_outside_the_results_folder(tmp_path: Path) -> None:
    """Which are shared: whoever can write there could have any file of this machine put on the page."""
    place = FolderPlace(str(tmp_path / "out"))
    (tmp_path / "secret").write_bytes(b"secret")
    for names in ([str(tmp_path / "secret")] * 2, ["../secret"] * 2):
        assert _pictures([replace(DONE, thumbnails=tuple(names))], place.read) == {}


def test_every_video_that_has_a_result_has_its_pictures(page: Browser) -> None:
    loaded = page.js("return [...document.images].map((i) => [i.alt, i.naturalWidth])")
    assert loaded == [["source", 240], ["result", 240]] * 96  # of the 100 videos on the first page
    pair = page.js("return [...document.querySelector('#rows tr').querySelectorAll('img')].map((i) => i.src)")
    assert pair[0] != pair[1]


def test_seconds_make_whole_minutes(page: Browser) -> None:
    said = page.js("return [59.7, 359.7, 3599.7].map(duration)")
    assert said == ["59.7 s", "6 min", "1 h 0 min"]


def test_the_list_is_paged_filtered_searched_and_sorted(page: Browser) -> None:
    names = "return [...document.querySelectorAll('#rows .name')].map((n) => n.textContent)"
    assert len(page.js(names)) == 100
    page.find("#after").click()
    assert page.js(names) == [f"{n:03}.mp4" for n in range(100, 120)]
    Select(page.find("#filter")).select_by_value("failed")
    assert page.js(names) == ["005.mp4", "007.mp4"]
    Select(page.find("#filter")).select_by_value("")
    page.find("#search").send_keys("11")
    assert page.js(names) == ["011.mp4", *(f"{n}.mp4" for n in range(110, 120))]
    page.find("#columns button").click()
    page.find("#columns button").click()
    assert page.js(names)[0] == "119.mp4"


def test_the_curve_has_a_point_for_every_part(page: Browser) -> None:
    path = page.find("#curve .line").get_attribute("d")
    assert path.count("L") == BINS - 1
    assert "NaN" not in path


def test_throughput_keeps_every_frame_of_this_run() -> None:
    run = [record for record in records() if record.good]
    before = replace(DONE, started=BEGAN - 100, finished=BEGAN - 40)
    series = throughput([*run, before], BEGAN, BEGAN + 200)
    assert sum(series) * 200 / BINS == pytest.approx(sum(record.frames for record in run), rel=1e-3)
    assert throughput([DONE], BEGAN, BEGAN + 120)[:3] == [10.0, 10.0, 10.0]
    assert throughput([DONE], BEGAN, BEGAN + 120)[-1] == 0
    assert throughput([DONE], BEGAN, BEGAN) == []


def test_earlier_results_do_not_count_for_this_runs_rate() -> None:
    before = replace(DONE, started=BEGAN - 100, finished=BEGAN - 40)
    assert totals([DONE, before], 2, BEGAN, BEGAN + 60)["rate"] == 10
    assert totals([before], 1, BEGAN, BEGAN + 60)["rate"] is None


def test_a_lost_thumbnail_leaves_the_row_without_pictures() -> None:
    record = replace(DONE, thumbnails=("a.jpg", "gone.jpg"))
    summary = JobSummary("/card", "/out", videos=1, started=BEGAN).as_json()
    page = report_page(summary, [record], {"a.jpg": b"x"}.get, BEGAN + 60)
    assert '"pictures":{}' in page


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="holds no job"):
        write_report(FolderPlace(str(tmp_path)))
    (tmp_path / "drive.mp4").touch()
    with pytest.raises(InputMissing, match="holds no job"):
        write_report(FolderPlace(str(tmp_path / "drive.mp4")))
    FolderPlace(str(tmp_path)).write(SUMMARY, b"{}")
    with pytest.raises(InputMissing, match="holds no job"):
        write_report(FolderPlace(str(tmp_path)))


def test_a_killed_job_is_not_running(tmp_path: Path) -> None:
    place = FolderPlace(str(tmp_path))
    state, leases = JobState(place), Leases(place)
    state.write_summary(JobSummary("/card", place.url, videos=2, started=BEGAN))
    state.write("a.mp4", DONE)
    state.write("b.mp4", replace(DONE, state="running", started=BEGAN + 70, finished=None))
    leases.acquire("b.mp4")
    page = Path(write_report(place)).read_text()
    assert '"state":"running"' in page and '"running":1' in page
    leases.release("b.mp4")  # as if it had expired
    page = Path(write_report(place)).read_text()
    assert f'"state":"interrupted","started":{BEGAN},"ended":{BEGAN + 70}' in page
    assert '"running":0,"done":1' in page and '"pending":1' in page


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = FolderPlace(str(tmp_path))
    JobState(place).write_summary(JobSummary("/card", place.url, started=BEGAN))
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputUnwritable, match="Is a directory"):
        write_report(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".vidsr", "report.html"]
