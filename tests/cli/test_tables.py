"""Tables of a terminal."""

from __future__ import annotations

from cli.helpers.tables import scan_table
from core.engine.records import ScanRecord


def test_a_scan_by_cubic_and_the_cubic_baseline_have_two_names() -> None:
    figures = {"psnr": 30.0, "ssim": 0.9, "psnr_cubic": 29.0, "ssim_cubic": 0.8}
    table = scan_table([ScanRecord(key="a", state="done", method="cubic", metrics=figures)])
    assert list(table.columns[1].cells) == ["cubic, not repaired", "cubic"]
