"""The command ``isovox doctor``: what this machine has, what is missing and the remedy."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.helpers.console import FAILED, OK, console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("state_dir", nargs="?", type=Path, metavar="STATE_DIR", help="of a group that isovox up brought up")


def execute(options: argparse.Namespace) -> int:
    """Print what this machine and its group's services have, what is missing and the remedy."""
    from cli.helpers.tables import doctor_table
    from infra.doctor import checks
    from infra.group.checks import group_checks
    from infra.group.state import State

    results = [*checks(), *group_checks(State.at(options.state_dir), asked=options.state_dir is not None)]
    console().print(doctor_table(results))
    return FAILED if any(check.state == "missing" for check in results) else OK
