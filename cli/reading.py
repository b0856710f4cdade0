"""The command ``isovox reading``: restored scans put before readers who do not know what restored them."""

from __future__ import annotations

import argparse
import webbrowser
from typing import TYPE_CHECKING, Any

from cli.helpers.console import OK, console, say
from core.errors import listed
from core.settings.reading import ReadingSettings

if TYPE_CHECKING:
    from tasks.reading.score import Outcome

PORT = 8765
ACTIONS = {
    "make": "draw unlabelled series of slices of scans that several methods restored",
    "serve": "the page on which readers judge them, on this machine alone; answers are kept as they come",
    "score": "tables of what each method was given, how far the readers agree, and which methods differ",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own commands to its parser."""
    from cli.helpers.options import add_settings

    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    made, served, scored = (actions.add_parser(name, help=text, description=text) for name, text in ACTIONS.items())
    add_settings(made, ReadingSettings, ("out", "sources"))
    for each in (served, scored):
        each.add_argument("reading", help="folder of the reading")
    served.add_argument("--port", type=int, default=PORT, help="of this machine; 0 for any that is free (default: %(default)s)")
    served.add_argument("--no-open", action="store_true", help="serve without opening the page")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    {"make": _make, "serve": _serve, "score": _score}[options.action](options)
    return OK


def _make(options: argparse.Namespace) -> None:
    from cli.helpers.options import settings_from
    from tasks.reading.make import make

    settings = settings_from(options, ReadingSettings)
    made = make(settings)
    say(f"{made.series} series of {made.scans} scan{'s' * (made.scans != 1)} in {settings.out}")
    if made.left_out:
        say(f"left out, as not every source has them: {listed(made.left_out)}")
    say(f"next: isovox reading serve {settings.out}; keep {settings.out}/key.json from the readers")


def _serve(options: argparse.Namespace) -> None:
    from flows.reading import serve
    from infra.processes.signals import terminable

    def ready(url: str) -> None:
        say(f"{url} (on this machine alone; Ctrl-C ends it)")
        if not options.no_open:
            webbrowser.open(url)

    with terminable():
        serve(options.reading, options.port, ready)


def _score(options: argparse.Namespace) -> None:
    from tasks.reading.folder import ReadingFolder
    from tasks.reading.score import score

    folder = ReadingFolder(options.reading)
    outcome = score(folder)
    console().print(_table(outcome))
    for line in told(outcome):
        say(line)
    say(f"tables: {folder.scores}")


def _table(outcome: Outcome) -> Any:
    """The most frequent level of each method on each question, and the mean."""
    from rich.table import Table

    from core.evaluation.reading import QUESTIONS

    table = Table("method", *(question.title for question in QUESTIONS), "answers", box=None, pad_edge=False)
    for method in dict.fromkeys(row.method for row in outcome.summaries):
        rows = {row.question: row for row in outcome.summaries if row.method == method}
        cells = (f"{row.most_frequent} ({row.mean:.2f})" if (row := rows.get(question.name)) else "–" for question in QUESTIONS)
        table.add_row(method, *cells, str(sum(sum(row.counts) for row in rows.values())))
    return table


def told(outcome: Outcome) -> list[str]:
    """What is to be known beside the table, in lines."""
    lines = [f"{reader} answered {share}" for reader, share in outcome.unfinished.items()]
    for name, each in outcome.agreements.items():
        figures = {"weighted kappa": each.kappa, "Krippendorff's alpha": each.alpha}
        known = [f"{figure} {value:.2f}" for figure, value in figures.items() if value is not None]
        readers = f"{len(each.readers)} reader{'s' * (len(each.readers) != 1)}"
        lines.append(f"{name}: {', '.join(known) or 'no agreement to be told'} ({readers})")
    better = [f"{pair.better} is better in {pair.comparison.metric}: {pair.comparison}" for pair in outcome.pairs if pair.better]
    return [*lines, *(better or [f"no difference is significant{': ' * bool(outcome.too_few)}{outcome.too_few}"])]
