"""The command ``isovox evaluate``: methods held against one another on a cohort whose truth is known."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cli.helpers.console import FAILED, OK, calm, console, say
from core.errors import UsageError
from core.settings.evaluate import EvaluationSettings
from core.settings.harmonisation import HarmonisationTrial

if TYPE_CHECKING:
    from tasks.evaluate.evaluation import Score


POSITIONAL = ("protocol", "cohort")
ITS_OWN = {"protocol", "quiet", "config", "command", "execute"}  # of the parser
HARMONISATION = "harmonisation"  # in place of a protocol: no method restores, volumes are made alike


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_more, add_settings

    add_settings(parser, EvaluationSettings, POSITIONAL)
    named = next(action for action in parser._actions if action.dest == "protocol")  # noqa: SLF001 - argparse has no other way
    named.help = f"{named.help}; or {HARMONISATION}: how alike ways of harmonising make the volumes of simulated scanners"
    add_more(parser, HarmonisationTrial, EvaluationSettings, HARMONISATION)
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.helpers.options import settings_from
    from core.methods import registry
    from flows.evaluate import evaluate
    from flows.runs.progress import be_quiet
    from infra.clusters import check_cluster
    from infra.processes.signals import terminable

    calm()
    if options.quiet:
        be_quiet()
    if options.protocol == HARMONISATION:
        return _harmonisation(options)
    if options.protocol is not None and options.protocol not in (names := [*registry.protocols(), HARMONISATION]):
        raise registry.unknown("unknown-protocol", options.protocol, names, "choose one of them")
    settings = settings_from(options, EvaluationSettings)
    check_cluster(settings.compute)
    with terminable():
        rows = evaluate(settings)
    if not options.quiet:
        show(rows, settings)
    return FAILED if any(row.state == "failed" for row in rows) else OK


def _harmonisation(options: argparse.Namespace) -> int:
    """A trial of harmonisation: its table, and where it lies."""
    from rich.table import Column, Table

    from cli.helpers.options import settings_from
    from flows.harmonisation import trial
    from infra.clusters import check_cluster
    from infra.processes.signals import terminable
    from tasks.evaluate.harmonisation_table import COLUMNS, text

    alien = {name.partition(".")[0] for name in vars(options)} - {*HarmonisationTrial.model_fields, *ITS_OWN}
    if alien:
        wanted = "options of a trial of harmonisation"
        raise UsageError("option-other", wanted, ", ".join(sorted(alien)), "leave it out: no method restores in it")
    settings = settings_from(options, HarmonisationTrial)
    check_cluster(settings.compute)
    with terminable():
        rows = trial(settings)
    if not options.quiet:
        table = Table(*(Column(name, overflow="fold") for name in ("rival", *COLUMNS.values())), box=None, pad_edge=False)
        for row in rows:
            table.add_row(row["rival"], *(text(row, column) for column in COLUMNS))
        console().print(table)
    say(f"tables: {settings.out}/summary.tsv, features/")
    return OK


def show(rows: list[Score], settings: EvaluationSettings) -> None:
    """Print a line a method, the rows that failed, and where the tables are."""
    from tasks.evaluate.tables import summaries

    terminal = console()
    terminal.print(_table(summaries(rows)))
    for row in rows:
        if row.state == "failed":
            terminal.print("[red]failed[/red] ", end="")
            terminal.print(f"{row.scan} {row.method}: {row.reason}", markup=False)
    say(f"report: {settings.out}/report.html\ntables: {settings.out}/summary.csv, scores.csv, comparisons.csv")


def _table(lines: list[Any]) -> Any:
    from rich.markup import escape
    from rich.table import Column, Table

    from tasks.evaluate.report import DRAWN
    from tasks.evaluate.tables import METRICS

    shown = [metric for metric in METRICS if metric.name in DRAWN and any(metric.name in line.means for line in lines)]
    table = Table(Column("method", overflow="fold"), box=None, pad_edge=False)
    for metric in shown:
        table.add_column(metric.title, justify="right", overflow="fold")
    for name in ("seconds", "scans", "failed"):
        table.add_column(name, justify="right")
    for line in lines:
        seconds = "–" if line.seconds is None else f"{line.seconds:.1f}"
        table.add_row(escape(line.label), *(line.text(metric) for metric in shown), seconds, str(line.scans), str(line.failed))
    return table
