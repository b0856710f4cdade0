"""The page of every slice in a real browser, opened from disk: slices, window, cursor, zoom, overlays, sides, keys, rating."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import opener

Open = Callable[..., Any]
VIEWER = "reports/sub-01_T1w_viewer.html"


@pytest.fixture(scope="module")
def page(graphic_browser: Any, pages: Path) -> Iterator[Any]:
    """The page, drawn once for all tests here; each leaves it as it came."""
    opened = opener(graphic_browser, pages)
    page = next(opened)(VIEWER, viewport={"width": 1300, "height": 900})
    page.wait_for_selector("body[data-ready=true], #message:not([hidden])", timeout=120_000)
    assert page.locator("#message").is_hidden()
    yield page
    next(opened, None)


@pytest.fixture
def fresh(page: Any) -> Iterator[Any]:
    """The page, whose view is reset after the test."""
    page.locator("h1").click()
    yield page
    page.evaluate("document.activeElement.blur()")
    for name, value in (("layout", "beside"), ("left", "input"), ("overlay", ""), ("planes", "multi"), ("side", "R")):
        if page.locator(f"#{name}").input_value() != value:
            page.select_option(f"#{name}", value)
    page.locator("#reset").click()
    page.locator("h1").click()


def pixels(page: Any, name: str = "after") -> np.ndarray:
    """What a canvas shows, once it was drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.asarray(Image.open(io.BytesIO(page.locator(f"#{name}").screenshot())).convert("RGB")).astype(int)


def grey(shot: np.ndarray) -> float:
    """Mean brightness of what has no colour."""
    return float(shot[np.ptp(shot, axis=2) < 8].mean())


def coloured(shot: np.ndarray) -> float:
    """Share of pixels that are blue or red, the yellow crosshair left out."""
    red, green, blue = np.moveaxis(shot, 2, 0)
    return float(((np.ptp(shot, axis=2) > 20) & ~((red > blue + 30) & (green > blue + 30))).mean())


def hover(page: Any, name: str, x: float, y: float) -> None:
    box = page.locator(f"#{name}").bounding_box()
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)


def test_the_page_says_so_where_there_is_no_webgl_and_still_rates(opened: Open) -> None:
    page = opened(VIEWER)
    page.wait_for_selector("#message:not([hidden])")
    assert "WebGL 2" in page.get_by_role("alert").inner_text()
    page.keyboard.press("d")
    page.locator("input[value=doubt]:checked").wait_for()


def test_both_images_are_drawn(fresh: Any) -> None:
    for name in ("before", "after"):
        shot = pixels(fresh, name)
        assert ((np.ptp(shot, axis=2) < 8) & (shot.mean(axis=2) > 60)).mean() > 0.1


def test_the_letters_of_the_sides_stand_beside_the_crosshair_on_a_dark_ground(fresh: Any) -> None:
    fresh.select_option("#planes", "axial")
    shot = pixels(fresh)
    red, green, blue = np.moveaxis(shot, 2, 0)
    line = (red > blue + 60) & (green > blue + 60)
    row = int(line.sum(axis=1).argmax())
    start, stop = np.flatnonzero(line[row])[[0, -1]]
    for letter in (shot[row - 8 : row + 9, start - 18 : start], shot[row - 8 : row + 9, stop + 1 : stop + 19]):
        assert letter.min(axis=2).max() > 200
        assert np.median(letter) < 30


def test_the_cursor_tells_place_and_values_of_both_images(fresh: Any) -> None:
    hover(fresh, "after", 0.2, 0.25)  # inside the coronal picture's head
    text = {name: fresh.locator(f"#{name}").inner_text() for name in ("world", "voxel-restored", "voxel-measured")}
    i, j, k = map(int, text["voxel-restored"].split())
    assert text["voxel-measured"].split() == [str(i), str(j), str(round((k - 1.5) / 4))]
    x = float(text["world"].split()[1]) * (1 if text["world"].startswith("R") else -1)
    assert x == pytest.approx(i - 30, abs=0.51)
    assert float(fresh.locator("#left-value").inner_text()) == pytest.approx(100, abs=1)
    assert float(fresh.locator("#right-value").inner_text()) == pytest.approx(100, abs=1)


def test_slices_turn_by_keys_and_wheel_in_all_planes_at_once(fresh: Any) -> None:
    place = fresh.locator("#world")
    fresh.keyboard.press("ArrowUp")  # from between two voxels to the middle of one
    before = place.inner_text().split()
    fresh.keyboard.press("ArrowUp")
    after = place.inner_text().split()
    assert before[:4] == after[:4]
    assert before[4:] != after[4:]
    fresh.select_option("#planes", "sagittal")
    fresh.locator("h1").click()
    fresh.keyboard.press("ArrowUp")
    assert place.inner_text().split()[:2] != after[:2]


def test_the_window_moves_by_drag_and_keys_and_the_air_has_its_own(fresh: Any) -> None:
    told = fresh.locator("#window")
    usual, shown = told.inner_text(), grey(pixels(fresh))
    fresh.keyboard.press("b")
    assert told.inner_text().startswith("0 to 20 (level 10, width 20)")
    assert grey(pixels(fresh)) > 1.2 * shown
    fresh.keyboard.press("w")
    assert told.inner_text() == usual
    fresh.keyboard.press("]")
    fresh.keyboard.press(".")
    keyed = told.inner_text()
    assert keyed != usual
    hover(fresh, "after", 0.2, 0.2)
    fresh.mouse.down(button="right")
    hover(fresh, "after", 0.4, 0.2)
    fresh.mouse.up(button="right")
    assert told.inner_text() != keyed


def test_zoom_enlarges_about_the_crosshair(fresh: Any) -> None:
    fresh.select_option("#planes", "axial")
    fresh.locator("h1").click()
    lit = [(pixels(fresh, name).mean(axis=2) > 60).mean() for name in ("before", "after")]
    for _ in range(3):
        fresh.keyboard.press("+")
    assert all(
        (pixels(fresh, name).mean(axis=2) > 60).mean() > 1.3 * was for name, was in zip(("before", "after"), lit, strict=True)
    )


def test_swipe_and_flicker_show_one_over_the_other(fresh: Any) -> None:
    fresh.keyboard.press("m")
    boxes = [fresh.locator(f"#{name}").bounding_box() for name in ("before", "after")]
    assert boxes[0] == boxes[1]
    fresh.locator("#wipe").fill("80")
    style = "one => getComputedStyle(one.closest('.canvas')).clipPath"
    assert "80%" in fresh.locator("#after").evaluate(style)
    fresh.locator("h1").click()
    fresh.keyboard.press("Space")
    first = fresh.locator("#viewers").get_attribute("data-shown")
    fresh.keyboard.press("Space")
    assert {first, fresh.locator("#viewers").get_attribute("data-shown")} == {"before", "after"}
    fresh.keyboard.press("i")
    fresh.locator("#left-title", has_text="Cubic interpolation").wait_for(state="attached")


def test_an_overlay_has_a_scale_and_a_value(fresh: Any) -> None:
    assert coloured(pixels(fresh)) < 0.02
    fresh.keyboard.press("o")
    fresh.locator("#overlay-value", has_text="noise SD").wait_for()
    assert coloured(pixels(fresh)) > 0.1
    assert fresh.get_by_text("noise SD (1 SD = 2 in the scan's units)").is_visible()


def test_sides_are_switched_and_the_choice_is_kept(fresh: Any, pages: Path) -> None:
    def right_is_left() -> bool:
        hover(fresh, "after", 0.12, 0.25)
        return fresh.locator("#world").inner_text().startswith("R")

    assert right_is_left()
    fresh.keyboard.press("l")
    assert not right_is_left()
    assert fresh.evaluate("localStorage.getItem('isovox-side')") == "L"
    assert fresh.locator("#side").input_value() == "L"


def test_the_next_scan_is_a_key_away_and_keys_are_listed(fresh: Any) -> None:
    listed = fresh.locator(".keys").inner_text()
    assert all(word in listed for word in ("window narrower", "background window", "zoom", "previous, next scan", "keep, doubt"))
    assert fresh.locator("#next").get_attribute("href") == "sub-02_T1w_viewer.html"
    assert fresh.locator("#previous").is_hidden()


def test_a_rating_is_kept_with_its_remark(fresh: Any) -> None:
    fresh.keyboard.press("j")
    fresh.keyboard.press("t")
    fresh.keyboard.type("ghost, kept by D")  # letters are no keys here
    kept = fresh.evaluate("Object.entries(localStorage).find(([name]) => name.startsWith('isovox-ratings:'))")
    assert kept[0].endswith("/report.html")
    assert '"rating":"reject"' in kept[1]
    assert "ghost, kept by D" in kept[1]


def test_on_a_telephone_the_page_is_no_wider_than_the_screen(fresh: Any) -> None:
    screen = fresh.viewport_size
    fresh.set_viewport_size({"width": 390, "height": 844})
    width = fresh.evaluate("document.documentElement.scrollWidth")
    fresh.set_viewport_size(screen)
    assert width <= 390
