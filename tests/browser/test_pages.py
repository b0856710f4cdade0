"""The pages in a real browser, opened from disk: no request leaves, and mouse, touch and keyboard work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Open = Callable[..., Any]
SCAN, COHORT = "reports/sub-01_T1w.html", "report.html"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
SCREENS = [{"viewport": {"width": 1280, "height": 900}}, PHONE, PHONE | {"color_scheme": "dark"}]

CONTRAST = """() => {
  const channel = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return parse(getComputedStyle(document.documentElement).backgroundColor);
  };
  const low = [];
  const texts = "p, a, th, td, label, legend, dt, dd, h1, h2, h3, figcaption, .state, .verdict, button";
  for (const element of document.querySelectorAll(texts)) {
    if (!element.textContent.trim() || !element.checkVisibility()) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) low.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return low;
}"""


def divider(page: Any, plane: str = "axial") -> Any:
    return page.locator(f'.plane[data-plane="{plane}"] .wipe')


def cut(page: Any) -> float:
    """Where the restored image begins, in % of the picture."""
    style = page.locator('.plane[data-plane="axial"] .layer.top').evaluate("one => getComputedStyle(one).clipPath")
    return float(style.split()[-1].rstrip("%)"))


@pytest.mark.parametrize("screen", SCREENS, ids=["desktop", "phone", "dark"])
@pytest.mark.parametrize("name", [SCAN, COHORT])
def test_a_page_fits_its_screen_and_can_be_read(opened: Open, name: str, screen: dict[str, Any]) -> None:
    page = opened(name, **screen)
    assert page.evaluate("document.documentElement.scrollWidth") <= screen["viewport"]["width"]
    assert page.evaluate(CONTRAST) == []
    assert page.get_by_role("note").inner_text() == "For research, not for diagnosis."
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")


def test_dark_and_light_differ(opened: Open) -> None:
    grounds = {
        opened(SCAN, color_scheme=one).evaluate("getComputedStyle(document.body).backgroundColor") for one in ("dark", "light")
    }
    assert len(grounds) == 2


def test_the_divider_moves_by_mouse(opened: Open) -> None:
    page = opened(SCAN)
    box = divider(page).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20, steps=4)
    page.mouse.up()
    assert cut(page) == pytest.approx(20, abs=2)


def test_the_divider_moves_by_touch(opened: Open) -> None:
    page = opened(SCAN, **PHONE)
    divider(page).scroll_into_view_if_needed()
    box = divider(page).bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    assert cut(page) == pytest.approx(75, abs=2)


def test_the_divider_moves_by_keyboard_and_tells_where_it_is(opened: Open) -> None:
    page = opened(SCAN)
    divider(page).focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert cut(page) == 2
    assert divider(page).get_attribute("aria-valuetext") == "2 % cubic, 98 % restored"
    page.get_by_label("input as measured").check()
    assert divider(page).get_attribute("aria-valuetext") == "2 % input, 98 % restored"
    assert page.locator(".strip.cubic").first.evaluate("one => getComputedStyle(one).visibility") == "hidden"


def test_a_slice_is_chosen_in_all_three_rows_at_once(opened: Open) -> None:
    page = opened(SCAN)
    scrubs = page.locator('.plane[data-plane="coronal"] .scrub input')
    assert scrubs.count() == 3
    scrubs.nth(1).focus()
    page.keyboard.press("Home")
    places = page.locator('.plane[data-plane="coronal"] .place').all_inner_texts()
    assert len(set(places)) == 1
    assert places[0].startswith("P ")
    moved = page.locator('.plane[data-plane="coronal"] .strip.restored').evaluate("one => getComputedStyle(one).transform")
    assert moved == "matrix(1, 0, 0, 1, 0, 0)"


def test_brightness_is_chosen_for_all_pictures(opened: Open) -> None:
    page = opened(SCAN)
    page.get_by_label("Brightness").fill("2.5")
    found = page.locator(".compare .strip").evaluate_all("all => all.map((one) => getComputedStyle(one).filter)")
    assert set(found) == {"brightness(2.5)"}
    assert page.locator(".strip.consistency").first.evaluate("one => getComputedStyle(one).filter") == "none"


def test_every_control_has_a_name_and_is_reached_by_tab(opened: Open) -> None:
    for name in (SCAN, COHORT):
        page = opened(name)
        controls = page.locator("input:not(:disabled):visible, button:visible, a:visible")
        for at in range(controls.count()):
            control = controls.nth(at)
            named = control.evaluate("one => one.ariaLabel || one.labels?.[0]?.innerText || one.innerText")
            assert named.strip(), control.evaluate("one => one.outerHTML.slice(0, 200)")
            assert control.evaluate("one => one.tabIndex") >= 0
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"


def test_a_scan_is_one_step_from_the_cohort_and_back(opened: Open) -> None:
    page = opened(COHORT)
    page.get_by_role("link", name="sub-01_T1w", exact=True).click()
    assert page.get_by_role("heading", level=1).inner_text() == "sub-01_T1w"
    page.get_by_role("link", name="All scans").click()
    assert page.get_by_role("heading", level=1).inner_text() == "study"


@pytest.mark.parametrize("name", [SCAN, COHORT])
def test_in_another_page_s_frame_nothing_leads_nowhere(opened: Open, name: str) -> None:
    page = opened(name)
    assert page.locator("a:not([href^='#'])").count() > 0
    assert page.get_by_text("This is a copy").count() == 0
    html = page.content()
    page.goto("about:blank")
    page.evaluate(
        """(html) => {
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts";
          frame.src = URL.createObjectURL(new Blob([html], { type: "text/html" }));
          document.body.replaceChildren(frame);
        }""",
        html,
    )
    copy = page.frame_locator("iframe")
    copy.get_by_text("This is a copy").wait_for()
    assert copy.locator("a:not([href^='#'])").count() == 0
    assert copy.get_by_text("sub-01", exact=False).count() > 0
