"""The command ``isovox report``: the pages written anew, and opened."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from cli.helpers.console import OK, calm, planned_run, say

if TYPE_CHECKING:
    from core.io.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run")
    parser.add_argument("--no-open", action="store_true", help="write the pages without opening them")


def _notes(out: Output) -> list[str]:
    """What the latest run had to say beside the scans."""
    from core.io import files

    try:
        return list(files.read_json(out.ending).get("notes", ()))
    except (FileNotFoundError, ValueError):
        return []


def execute(options: argparse.Namespace) -> int:
    """Write all pages anew from the store and open the cohort's."""
    from core.io import files
    from tasks.pipeline.pages import report as write_pages
    from tasks.pipeline.pages import write_cohort_page
    from tasks.pipeline.results import progress_of, verified_records
    from tasks.restore.work import Job

    calm()
    out, planned = planned_run(options.out)
    records = verified_records(out, planned)
    for record in records:
        if record.outputs:
            write_pages(Job(out.uri, planned.digest, (record.key,)))
    write_cohort_page(out, planned, records, _notes(out), progress_of(out, planned, records))
    say(out.cohort_page)
    if not options.no_open and not files.is_remote(out.uri):
        webbrowser.open(Path(out.cohort_page).absolute().as_uri())
    return OK
