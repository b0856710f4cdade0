"""The command ``isovox down``: a group's services ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.helpers.console import OK, say
from cli.up import HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("state_dir", nargs="?", type=Path, metavar="STATE_DIR", help=HELP)


def execute(options: argparse.Namespace) -> int:
    """End the services and all that they started."""
    from infra.group.launch import down as bring_down
    from infra.group.state import State

    state = State.at(options.state_dir)
    say(f"ended; its databases stay in {state.folder}" if bring_down(state) else f"nothing was up in {state.folder}")
    return OK
