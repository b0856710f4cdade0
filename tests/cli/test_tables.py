"""Tables of a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from cli import harmonize
from cli.helpers.tables import scan_table
from core.engine.records import ScanRecord


def test_a_scan_by_cubic_and_the_cubic_baseline_have_two_names() -> None:
    figures = {"psnr": 30.0, "ssim": 0.9, "psnr_cubic": 29.0, "ssim_cubic": 0.8}
    table = scan_table([ScanRecord(key="a", state="done", method="cubic", metrics=figures)])
    assert list(table.columns[1].cells) == ["cubic, not repaired", "cubic"]


def test_brackets_in_what_people_wrote_are_shown_and_are_no_markup() -> None:
    said = "rejected by rating: moved [twice], see [/mail]; left out"
    terminal = Console(width=200, file=io.StringIO())
    terminal.print(harmonize.table_of([{"site": "A", "scan": "sub-01_T1w", "state": "skipped", "reason": said}]))
    assert said in terminal.file.getvalue()
