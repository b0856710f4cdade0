"""The page of pairs in a real browser: by keyboard and by buttons, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.evaluation.pairing import MEASURES, Pair, Stacks
from core.geometry.grid import Grid
from tasks.pairs.page import page
from tests.browser.test_pages import PHONE


@pytest.mark.parametrize("options", [{"viewport": {"width": 1280, "height": 900}}, PHONE])
def test_pairs_are_looked_through(options: dict[str, Any], browser: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    grid = Grid((20, 5, 24), np.eye(4))
    planes = draw.random((5, 20, 24)).astype(np.float32)
    stacks = Stacks(1, planes, planes, planes, grid, np.arange(5.0), 1.0)
    votes = [dict.fromkeys(MEASURES, 1), {"pca": 1, "gmsd": 2, "ssim": 3}, {"pca": 2, "gmsd": 2, "ssim": 4}]
    taken: list[tuple[int | None, int]] = [(1, 3), (None, 1), (2, 2)]
    values = dict.fromkeys(MEASURES, 0.5)
    pairs = [Pair(n, fine, votes[n], values, count) for n, (fine, count) in enumerate(taken)]
    rules = {"dimension": 0.95, "window": 10.0, "margin": 0.05, "ties": "drop"}
    file = tmp_path / "pairs.html"
    file.write_text(page(stacks, pairs, {"group": "sub-01", "fine": "a", "coarse": "b", "rules": rules}, grid))
    context = browser.new_context(**options)
    view, errors = context.new_page(), []
    view.on("pageerror", lambda error: errors.append(str(error)))
    view.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    view.goto(file.as_uri())
    status, name = view.get_by_role("status"), view.locator("#fine-name")
    assert (status.inner_text(), name.inner_text()) == ("Pair 1 of 3", "1, 3 of 3 votes")
    view.keyboard.press("t")
    assert status.inner_text() == "Pair 2 of 3: tied"
    assert "ties are dropped" in name.inner_text()
    view.get_by_role("button", name="Show what SSIM votes for").click()
    assert name.inner_text() == "3, what this measure votes for"
    view.get_by_role("button", name="Next", exact=True).click()
    view.keyboard.press("ArrowRight")  # there is no further one
    assert name.inner_text() == "2, 2 of 3 votes"
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert view.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert errors == []
    context.close()
