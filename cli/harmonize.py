"""Several sites made comparable: the flow, and the command ``isovox harmonize``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, calm, console, raise_fault, refuse_while_busy, say
from core.io.output import Output
from core.settings.harmonize import HarmonizeSettings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from core.engine.plan import CohortPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser, HarmonizeSettings, ("sites", "out"))
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.helpers.options import settings_from
    from core.io import claim
    from core.io.ratings import read_ratings
    from flows.runs.beside import served
    from flows.runs.progress import be_quiet, waiting
    from flows.runs.sites import plans_of
    from infra.clusters import check_cluster
    from tasks.harmonize.sites import inputs_of

    calm()
    if options.quiet:
        be_quiet()
    settings = settings_from(options, HarmonizeSettings)
    check_cluster(settings.compute)
    claim.check(settings.out, inputs_of(settings.sites), "harmonize")
    refuse_while_busy(Output(settings.out), "one run at a time on an output folder")
    if settings.ratings:
        read_ratings(settings.ratings)
    waiting("starting services, and looking at the sites' scans meanwhile")
    state = served(settings.out, partial(plans_of, settings), partial(_harmonize, settings), "flows.harmonize")
    _show(settings, state.message or "", quiet=options.quiet)
    return FAILED if state.is_failed() else OK


def _harmonize(settings: HarmonizeSettings, plans: list[CohortPlan]) -> State:
    """Run the flow; its state at the end."""
    from flows.harmonize import harmonize_sites
    from flows.reprocess import with_plans

    with with_plans(plans):
        state = harmonize_sites(settings, return_state=True)
    if state.is_crashed() or (state.is_failed() and state.name != "Incomplete"):
        raise_fault(state)
    return state


def show_rows(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a line a scan."""
    from rich.markup import escape
    from rich.table import Table

    from cli.helpers.tables import scan_column

    table = Table("site", scan_column(), "state", "reason", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(row[name]) for name in ("site", "scan", "state", "reason")))
    console().print(table)


def _show(settings: HarmonizeSettings, message: str, *, quiet: bool) -> None:
    """Print a line a scan, what became of each site's files, and where to look on."""
    from cli.helpers.console import planned_run
    from core.io import files

    if not quiet:
        rows = files.read_json(files.join(settings.out, "isovox", "harmonized.json"))["Scans"]
        show_rows(rows)
        for site in dict.fromkeys(row["site"] for row in rows):
            for line in planned_run(files.join(settings.out, site))[1].files.lines():
                say(f"{site}: {line}")
    say(message)
    if files.exists(page := files.join(settings.out, "report.html")):
        say(f"report: {page}")
