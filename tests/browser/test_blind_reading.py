"""A blind reading from make to score in a real browser: by keyboard and by touch, over a server that is killed in between."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from core.geometry.grid import Grid, Orientation
from core.io import nifti
from core.io.arrays.slabs import StoredAs
from tasks.reading.folder import ReadingFolder
from tests.browser.test_pages import CONTRAST, PHONE

ROOT = Path(__file__).resolve().parents[2]
SCREENS = [{"viewport": {"width": 1280, "height": 900}}, PHONE]


class Served:
    """``isovox reading serve`` as a process of its own."""

    def __init__(self, reading: Path, port: int = 0) -> None:
        words = [sys.executable, "-m", "cli", "reading", "serve", str(reading), "--port", str(port), "--no-open"]
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().split()[0]

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def end(self, number: int) -> tuple[int, str]:
        """Exit code and what was said last."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture
def reading(tmp_path: Path) -> Path:
    """Two methods on one person."""
    grid = Grid((20, 24, 40), np.diag([3.0, 3.0, 2.0, 1.0]))
    image = np.zeros(grid.shape, np.float32)
    image[4:16, 4:20, 2:38] = 100 + 2 * np.arange(36)
    for method, gain in {"sharp": 1.0, "dull": 0.5}.items():
        path = tmp_path / method / "sub-01/anat/sub-01_desc-restored_T1w.nii.gz"
        nifti.save(str(path), image * np.float32(gain), grid, StoredAs(Orientation((0, 1, 2), (False, False, False)), 1))
    out = tmp_path / "reading"
    assert main(["reading", "make", str(out), *(f"{name}={tmp_path / name}" for name in ("sharp", "dull")), "--slices", "5"]) == 0
    return out


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a reader's page; no request may leave for elsewhere, and no error may be told but that of a server that is gone."""
    contexts, asked, errors = [], [], []

    def opened(url: str, reader: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url.startswith(url.rstrip("/"))))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        if reader:
            page.get_by_label("Your name or number as a reader").fill(reader)
            page.get_by_role("button", name="Begin").click()
            page.get_by_role("heading", name="Series 1 of 2").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert all(asked)
    assert [error for error in errors if "net::ERR_" not in error and "status of 422" not in error] == []


def kept(page: Any) -> None:
    page.get_by_role("status").get_by_text("Kept.").wait_for()


def test_two_readers_from_make_to_score(reading: Path, visit: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(reading)
    page = visit(served.url, "Anna")
    page.keyboard.press("3")
    page.keyboard.press("4")
    kept(page)
    served.end(signal.SIGKILL)

    page.keyboard.press("1")  # nobody answers: the page keeps it and tries again
    anew = "image => (image.src = image.src.replace('.png', '.png?again'))"
    page.locator("#slices img").first.evaluate(anew)  # a slice is asked for too
    page.get_by_role("alert").get_by_text("Not kept yet").wait_for()
    page.get_by_role("alert").get_by_text("A slice could not be loaded").wait_for()
    served = Served(reading, served.port)
    kept(page)
    page.locator("#alert").wait_for(state="hidden")
    assert page.locator("#slices img").evaluate_all("all => all.every((image) => image.complete && image.naturalWidth === 20)")
    first = next(iter(ReadingFolder(str(reading)).answers("anna")))[0]
    assert {question: level for (_, question), level in ReadingFolder(str(reading)).answers("anna").items()} == {
        "realism": 3,
        "consistency": 4,
        "anatomy": 1,
    }

    again = visit(served.url)  # another day, another window
    again.get_by_label("Your name or number as a reader").fill("ANNA")
    again.keyboard.press("Enter")
    again.get_by_role("heading", name="Series 2 of 2").wait_for()
    again.keyboard.press("Enter")
    assert again.get_by_role("status").inner_text() == "Answer all questions of this series first."
    for key in "222":
        again.keyboard.press(key)
    again.keyboard.press("Enter")
    again.get_by_role("heading", name="Thank you").wait_for()
    assert len(ReadingFolder(str(reading)).answers("anna")) == 6

    by_touch = visit(served.url, "ben", **PHONE)
    for _ in range(2):
        for question in by_touch.get_by_role("group").all():
            question.get_by_role("radio", name="Good", exact=True).tap()
        kept(by_touch)
        by_touch.get_by_role("button", name="Next series").or_(by_touch.get_by_role("button", name="Finish")).tap()
    by_touch.get_by_role("heading", name="Thank you").wait_for()
    code, said = served.end(signal.SIGINT)
    assert (code, said) == (130, "isovox: stopped by Ctrl-C; what is finished is kept, and the same command goes on from there\n")

    capsys.readouterr()
    assert main(["reading", "score", str(reading)]) == 0
    printed = capsys.readouterr().out
    assert "Realistic appearance" in printed
    assert "weighted kappa" in printed
    assert "1 person: with 3 comparisons at least 7 show a difference" in printed
    rows = {(row["method"], row["question"]): row for row in csv.DictReader((reading / "scores/summary.csv").open())}
    method = ReadingFolder(str(reading)).key[first]["Method"]
    assert rows[method, "consistency"]["most frequent"] == "good, very good"
    assert rows[method, "anatomy"]["most frequent"] == "very bad, good"


@pytest.mark.parametrize("screen", SCREENS, ids=["desktop", "phone"])
def test_slices_turn_and_every_control_has_a_name(reading: Path, visit: Callable[..., Any], screen: dict[str, Any]) -> None:
    served = Served(reading)
    try:
        page = visit(served.url, **screen)
        assert page.evaluate(CONTRAST) == []
        page.get_by_label("Your name or number as a reader").fill("no good name")
        page.get_by_role("button", name="Begin").evaluate("one => { one.form.noValidate = true; one.click(); }")
        assert "write 1 to 32 letters" in page.get_by_role("alert").inner_text().lower()
        page.goto(f"{served.url}?reader=r1")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= screen["viewport"]["width"]
        assert page.evaluate(CONTRAST) == []
        images = page.locator("#slices img")
        assert images.evaluate_all("all => all.every((one) => one.complete && one.naturalWidth === 20)")
        assert page.get_by_role("img", name="axial slice 3 of 5").is_visible()
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("img", name="axial slice 4 of 5").is_visible()
        slider = page.get_by_role("slider", name="Slice 4 of 5")
        slider.focus()
        page.keyboard.press("End")
        assert page.get_by_role("slider", name="Slice 5 of 5").get_attribute("aria-valuetext").startswith("5 of 5, S ")
        page.get_by_role("button", name="Play").click()
        page.get_by_role("slider", name="Slice 2 of 5").wait_for()
        assert page.get_by_role("group", name="2. Consistency between slices").get_by_role("radio").count() == 4
        for control in page.locator("input, button").all():
            assert control.evaluate("one => one.ariaLabel || one.labels?.[0]?.innerText || one.innerText").strip()
            assert control.evaluate("one => one.tabIndex") >= 0
        sides = page.locator("#stage .side").all_inner_texts()
        assert sides == ["R", "L", "A", "P"]
    finally:
        served.end(signal.SIGTERM)


def test_the_key_stays_in_its_file(reading: Path, visit: Callable[..., Any]) -> None:
    served = Served(reading)
    try:
        page = visit(served.url)
        page.goto(f"{served.url}?reader=r1")
        assert not any(word in page.content() for word in ("sharp", "dull", "sub-01"))
        for path in ("key.json", "reading.json", "series/../key.json", "answers/r1.jsonl", "series/" + "0" * 12 + "/01.png"):
            assert page.request.get(served.url + path).status == 404
    finally:
        served.end(signal.SIGTERM)
    assert os.listdir(reading / "series")  # noqa: PTH208
