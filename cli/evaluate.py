"""The command ``isovox evaluate``: methods held against one another on a cohort whose truth is known."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from core.settings.evaluate import EvaluationSettings

if TYPE_CHECKING:
    from tasks.evaluate.evaluation import Score


POSITIONAL = ("protocol", "cohort")


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:  # noqa: ARG001 - one command
    """Add the command's arguments to its parser."""
    from cli.options import add_settings

    add_settings(parser, EvaluationSettings, POSITIONAL)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.commands import guarded

    return guarded(_evaluate, options)


def _evaluate(options: argparse.Namespace) -> int:
    from cli.commands import FAILED, OK, _calm
    from cli.options import settings_from
    from flows.evaluate import evaluate
    from flows.progress import be_quiet
    from infra.signals import terminable

    _calm()
    if options.quiet:
        be_quiet()
    settings = settings_from(options, EvaluationSettings)
    with terminable():
        rows = evaluate(settings)
    if not options.quiet:
        show(rows, settings)
    return FAILED if any(row.state == "failed" for row in rows) else OK


def show(rows: list[Score], settings: EvaluationSettings) -> None:
    """Print a line a method, the rows that failed, and where the tables are."""
    from rich.console import Console

    from cli.commands import _say
    from tasks.evaluate.tables import summaries

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(_table(summaries(rows)))
    for row in rows:
        if row.state == "failed":
            console.print(f"[red]failed[/red] {row.scan} {row.method}: ", end="")
            console.print(row.reason, markup=False)
    _say(f"report: {settings.out}/report.html\ntables: {settings.out}/summary.csv, scores.csv, comparisons.csv")


def _table(lines: list[Any]) -> Any:
    from rich.table import Table

    from tasks.evaluate.report import DRAWN
    from tasks.evaluate.tables import METRICS

    shown = [metric for metric in METRICS if metric.name in DRAWN and any(metric.name in line.means for line in lines)]
    table = Table("method", box=None, pad_edge=False)
    for metric in shown:
        table.add_column(metric.title, justify="right", no_wrap=True)
    for name in ("seconds", "scans", "failed"):
        table.add_column(name, justify="right")
    for line in lines:
        seconds = "–" if line.seconds is None else f"{line.seconds:.1f}"
        table.add_row(line.method, *(line.text(metric) for metric in shown), seconds, str(line.scans), str(line.failed))
    return table
