"""The command ``isovox monitor``: do new scans still measure like a reference's?"""

from __future__ import annotations

import argparse
from typing import Any

from cli.helpers.console import FAILED, OK, calm, console, raise_fault, say
from core.settings.harmonize import MonitorSettings

COLOURS = {"drift": "red", "watch": "yellow", "ok": "green", "unknown": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser, MonitorSettings, ("new", "reference"))
    parser.add_argument("--quiet", action="store_true", help="no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.helpers.options import settings_from
    from flows.runs.home import home
    from infra.processes.signals import terminable
    from infra.services import prefect_server
    from tasks.harmonize.watch import check, compare, rows

    calm()
    settings = settings_from(options, MonitorSettings)
    check(settings)
    with terminable(), prefect_server(home()):
        from flows.monitor import monitor_features

        state = monitor_features(settings, return_state=True)
        if not state.is_completed():
            raise_fault(state)
    if not options.quiet:
        show_lines(rows(compare(settings)))
    say(state.message or "")
    return FAILED if state.name == "Drift" else OK


def show_lines(lines: list[dict[str, Any]]) -> None:
    """Print a line a feature."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("feature", "verdict", "site", "PSI", "KS", "reference", "new", "reason", box=None, pad_edge=False)
    for line in lines:
        colour = COLOURS[line["verdict"]]
        figures = [line["psi"], line["ks"], line["median_reference"], line["median_new"]]
        cells = ["–" if value is None else f"{value:.3g}" for value in figures]
        feature, site, reason = (escape(line[name] or "") for name in ("feature", "site", "reason"))
        table.add_row(feature, f"[{colour}]{line['verdict']}[/{colour}]", site, *cells, reason)
    console().print(table)
