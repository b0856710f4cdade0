"""Tables of a terminal."""

from __future__ import annotations

from cli.harmonize import show_rows
from cli.helpers.tables import scan_table
from cli.monitor import show_lines
from core.engine.records import ScanRecord


def test_a_scan_by_cubic_and_the_cubic_baseline_have_two_names() -> None:
    figures = {"psnr": 30.0, "ssim": 0.9, "psnr_cubic": 29.0, "ssim_cubic": 0.8}
    table = scan_table([ScanRecord(key="a", state="done", method="cubic", metrics=figures)])
    assert list(table.columns[1].cells) == ["cubic, not repaired", "cubic"]


def test_brackets_of_people_are_no_marks_of_a_table(capsys) -> None:
    show_rows([{"site": "a", "scan": "sub-1", "state": "skipped", "reason": "rejected by rating: ghost [see /a] [/b]; left out"}])
    assert "ghost [see /a] [/b]; left out" in capsys.readouterr().out
    figures = dict.fromkeys(("psi", "ks", "median_reference", "median_new"))
    show_lines([{"feature": "gm [ml]", "verdict": "ok", "site": "[/x]", "reason": ""} | figures])
    out = capsys.readouterr().out
    assert "gm [ml]" in out
    assert "[/x]" in out
