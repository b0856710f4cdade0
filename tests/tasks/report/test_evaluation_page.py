"""The page of an evaluation: its rows of pictures are named, and what has no sign is drawn from 0."""

from __future__ import annotations

import re

import numpy as np

from core.geometry.grid import Grid
from tasks.report.evaluation import Cell, Detail, EvaluationView, Line, evaluation_page


def page(*, apart: bool) -> str:
    grid = Grid((12, 12, 12), np.eye(4))
    truth = np.zeros(grid.shape, np.float32)
    truth[3:9, 3:9, 3:9] = 100
    images = {"input": truth, "cubic": truth + 1}
    detail = Detail("sub-01", truth, grid, images, {}, {"cubic": np.full_like(truth, 0.5)} if apart else {})
    line = Line("a", "cubic", "", [Cell("25.95 ± 1.12", best=False, marks="")], "1.0", 2, 0)
    return evaluation_page(EvaluationView("t", {}, [("PSNR dB", "m")], [line], {}, {}, [], [], [], {}, detail))


def test_each_row_of_pictures_is_named_and_told_of() -> None:
    text = page(apart=True)
    assert text.count(">error</p>") == 2 * 3  # input and cubic by planes
    assert text.count(">disagreement with the truth</p>") == 3
    assert "disagrees with the truth within the frequencies" in text
    bars = re.findall(r'<div class="ends">(.*?)</div>', text)
    assert re.findall(r"<span>([^<]*)</span>", bars[1]) == ["0", "0.5", "1"]
    assert "disagree" not in page(apart=False)


def test_scores_break_before_their_deviation_so_that_the_table_is_no_wider_than_the_page() -> None:
    assert "25.95 ±\N{NO-BREAK SPACE}1.12" in page(apart=False)
