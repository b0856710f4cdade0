"""Tables of a terminal."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

from rich.console import Console
from rich.table import Table

from cli.evaluate import _table
from cli.harmonize import show_rows
from cli.helpers.tables import scan_table
from cli.monitor import show_lines
from core.engine.records import ScanRecord
from tasks.evaluate.tables import METRICS


def printed(table: Table, width: int) -> str:
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    return file.getvalue()


def test_a_scan_by_cubic_and_the_cubic_baseline_have_two_names() -> None:
    figures = {"psnr": 30.0, "ssim": 0.9, "psnr_cubic": 29.0, "ssim_cubic": 0.8}
    table = scan_table([ScanRecord(key="a", state="done", method="cubic", metrics=figures)])
    assert list(table.columns[1].cells) == ["cubic, not repaired", "cubic"]


def test_scans_of_a_session_are_told_apart_on_a_terminal_of_80_columns() -> None:
    names = [f"sub-{person}_ses-{visit}_T2w" for person in ("OAS30012", "OAS30013") for visit in ("baseline", "followup")]
    table = scan_table([ScanRecord(key=name, state="flagged", method="unires", reason="seam is 2 (at most 1)") for name in names])
    for width in (60, 80):
        lines = printed(table, width).splitlines()
        said = "".join(line.split(" ")[0] for line in lines[1:])
        assert [name for name in names if name not in said] == []
        assert sum("flagged" in line for line in lines) == 4


def test_brackets_of_people_are_no_marks_of_a_table(capsys) -> None:
    show_rows([{"site": "a", "scan": "sub-1", "state": "skipped", "reason": "rejected by rating: ghost [see /a] [/b]; left out"}])
    assert "ghost [see /a] [/b]; left out" in capsys.readouterr().out
    figures = dict.fromkeys(("psi", "ks", "median_reference", "median_new"))
    show_lines([{"feature": "gm [ml]", "verdict": "ok", "site": "[/x]", "reason": ""} | figures])
    out = capsys.readouterr().out
    assert "gm [ml]" in out
    assert "[/x]" in out


def test_no_method_and_no_figure_of_an_evaluation_is_lost_on_a_terminal_of_80_columns() -> None:
    means = {metric.name: 1.0 for metric in METRICS}
    line = SimpleNamespace(label="diffusion-iqt", means=means, seconds=1.0, scans=2, failed=0, text=lambda _: "24.94 ± 0.0123")
    said = printed(_table([line]), 80)
    assert "…" not in said.replace("secon…", "")
    assert "".join(row.split(" ")[0] for row in said.splitlines()).endswith("diffusion-iqt")
