"""The command ``isovox notify``: objects of a deployed cohort have arrived."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.deploy import enter_group, server
from cli.helpers.console import OK, say
from core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("cohort", help="name of a deployed cohort")
    parser.add_argument("state_dir", nargs="?", type=Path, help="of isovox up (default: the user's own group)")


def execute(options: argparse.Namespace) -> int:
    """Say that objects of a cohort have arrived: a run starts soon after."""
    enter_group(options.state_dir)
    from prefect.exceptions import ObjectNotFound

    from deployments.automations import arrived

    with server() as client:
        try:
            client.read_deployment_by_name(f"reprocess-cohort/{options.cohort}")
        except ObjectNotFound as error:
            remedy = "name one of isovox deploy --cohort"
            raise UsageError("cohort-unknown", "a deployed cohort", repr(options.cohort), remedy) from error
        arrived(client, options.cohort)
    say(f"told: objects of {options.cohort} have arrived")
    return OK
