"""The command ``isovox pairs``: slices of two scans of a person that show the same."""

from __future__ import annotations

import argparse

from cli.helpers.console import FAILED, OK, say
from core.settings.pairs import PairSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser, PairSettings)


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    from cli.helpers.options import settings_from
    from infra.processes.signals import terminable
    from tasks.pairs.make import make

    settings = settings_from(options, PairSettings)
    with terminable():
        made = make(settings)
    for person in made:
        if person.reason:
            say(f"{person.group}: {person.reason}")
        else:
            dropped = f", {person.dropped} slices dropped as tied" if person.dropped else ""
            say(f"{person.group}: {person.pairs} pairs, {person.tied} of them tied{dropped}; {settings.out}/{person.page}")
    say(f"table: {settings.out}/pairs.tsv")
    return FAILED if any(person.reason for person in made) else OK
