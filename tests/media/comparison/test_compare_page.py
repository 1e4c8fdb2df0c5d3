from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser import Browser
from tests.media.numbered import BITS, TIMES, write_numbered
from vidsr.media.comparison.compare import write_page

READ_NUMBER = """
const video = document.getElementById(arguments[0]), canvas = document.createElement("canvas");
canvas.width = video.videoWidth; canvas.height = video.videoHeight;
const ink = canvas.getContext("2d", { willReadFrequently: true });
ink.drawImage(video, 0, 0);
let number = 0;
for (let bit = 0; bit < arguments[1]; bit++) {
  const x = canvas.width * (bit + 0.5) / arguments[1];
  if (ink.getImageData(x, canvas.height / 2, 1, 1).data[0] > 128) number += 1 << bit;
}
return number;
"""


@pytest.fixture(scope="module", params=["copied", "coded again"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A page, and the number of the first frame on it."""
    folder = tmp_path_factory.mktemp("compare")
    source = write_numbered(folder / "a <b>.mp4", 96, 64)
    result = write_numbered(folder / "a_2x.mp4", 192, 128)
    page = folder / "page.html"
    if request.param == "copied":
        write_page(source, result, page, seconds=10)
        return page, 0
    write_page(source, result, page, start=0.4, seconds=10)
    return page, 10


def shown(browser: Browser) -> tuple[int, int]:
    """The numbers of the frames that both videos show."""
    return tuple(browser.js(READ_NUMBER, name, BITS) for name in ("source", "result"))


def press(browser: Browser, key: str, shift: bool = False) -> None:
    actions = ActionChains(browser.driver)
    if shift:
        actions.key_down(Keys.SHIFT)
    actions.send_keys(key)
    if shift:
        actions.key_up(Keys.SHIFT)
    actions.perform()


def wait_for(browser: Browser, frame: int) -> None:
    browser.until(lambda: browser.js("return stage.dataset.frame") == str(frame))


def test_the_page_loads_alone_and_without_errors(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    assert browser.console() == []
    assert set(browser.requests()) <= {"file", "data", "blob"}
    assert browser.driver.title == "a <b>.mp4 and a_2x.mp4"
    assert browser.js("return [source.videoWidth, result.videoWidth]") == [192, 192]


def test_space_presses_the_button_that_the_keyboard_chose(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    browser.js("document.querySelector('button[data-view=source]').focus()")
    press(browser, " ")
    assert browser.js("return [state.view, state.playing]") == ["source", False]
    browser.js("document.activeElement.blur()")
    browser.find("button[data-view=result]").click()
    press(browser, " ")
    assert browser.js("return [state.view, state.playing]") == ["result", True]


def test_keys_step_both_videos_to_the_same_frame(browser: Browser, page: tuple[Path, int]) -> None:
    path, first = page
    browser.open(path)
    assert shown(browser) == (first, first)
    position, last = 0, len(TIMES) - 1 - first
    moves = [
        (Keys.ARROW_RIGHT, False, 1),
        (Keys.ARROW_RIGHT, False, 1),
        (Keys.ARROW_RIGHT, True, 10),
        (Keys.ARROW_LEFT, False, -1),
        (Keys.END, False, last),
        (Keys.ARROW_LEFT, False, -1),
        (Keys.HOME, False, -last),
    ]
    for key, shift, by in moves:
        position = max(0, min(last, position + by))
        press(browser, key, shift)
        wait_for(browser, position)
        assert shown(browser) == (first + position, first + position)
    times = browser.js("return [source.currentTime, result.currentTime]")
    assert times[0] == times[1]


def test_every_frame_can_be_reached(browser: Browser, page: tuple[Path, int]) -> None:
    path, first = page
    browser.open(path)
    seen = []
    for frame in range(len(TIMES) - first):
        browser.js("show(arguments[0])", frame)
        wait_for(browser, frame)
        seen.append(shown(browser))
    assert seen == [(number, number) for number in range(first, len(TIMES))]


def test_playing_ends_with_both_videos_on_the_same_frame(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    browser.js("state.speed = 0.25")  # so that it does not end before it is stopped
    press(browser, " ")
    browser.until(lambda: browser.js("return state.playing && state.frame > 5"))
    press(browser, " ")
    assert browser.js("return source.paused && result.paused")
    wait_for(browser, browser.js("return state.frame"))
    left, right = shown(browser)
    assert left == right == page[1] + browser.js("return state.frame")
    assert browser.console() == []


def test_the_divider_drags(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    handle, stage = browser.find("#divider"), browser.find("#stage")
    left = handle.rect["x"]
    ActionChains(browser.driver).drag_and_drop_by_offset(handle, -200, 0).perform()
    assert handle.rect["x"] == pytest.approx(left - 200, abs=2)
    share = 0.5 - 200 / stage.rect["width"]
    assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(100 * share, abs=1)
    clip = browser.js("return getComputedStyle(document.querySelector('.layer.result')).clipPath")
    assert clip.startswith("inset(0px 0px 0px ")
    assert float(clip.split()[-1].rstrip("%)")) == pytest.approx(100 * share, abs=1)
    press(browser, "]")
    assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(100 * share + 2, abs=1)


def test_the_difference_view_toggles(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    blend = "return getComputedStyle(document.querySelector('.layer.result')).mixBlendMode"
    assert browser.js(blend) == "normal"
    assert not browser.find("#gain").is_displayed()
    press(browser, "d")
    assert browser.js(blend) == "difference"
    assert browser.find("#gain").is_displayed()
    assert not browser.find("#divider").is_displayed()
    browser.find("button[data-view=split]").click()
    assert browser.js(blend) == "normal"


def test_zoom_keeps_what_is_under_the_pointer(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    browser.js("zoomTo(4, 100, 60)")
    assert browser.js("return [(100 - state.x) / state.zoom, (60 - state.y) / state.zoom]") == [100, 60]
    transforms = browser.js("return [source.style.transform, result.style.transform]")
    assert transforms[0] == transforms[1]
    assert "scale(4)" in transforms[0]
    press(browser, "0")
    assert browser.js("return [state.zoom, state.x, state.y]") == [1, 0, 0]


def test_a_click_on_the_plot_goes_to_its_frame(browser: Browser, page: tuple[Path, int]) -> None:
    browser.open(page[0])
    plot = browser.find("#psnr")
    browser.js("arguments[0].scrollIntoView()", plot)
    ActionChains(browser.driver).move_to_element(plot).click().perform()
    browser.until(lambda: browser.js("return stage.dataset.frame") != "0")
    middle = browser.js("return frameAt(times[last] / 2)")
    assert abs(int(browser.js("return stage.dataset.frame")) - middle) <= 2
    assert browser.find("#psnr-now").text.endswith("dB")
