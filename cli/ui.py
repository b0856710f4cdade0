"""The command ``isovox ui``: Prefect and MLflow pages of an output on this machine."""

from __future__ import annotations

import argparse

from cli.helpers.console import OK, planned_run, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run")


def execute(options: argparse.Namespace) -> int:
    """Serve the Prefect and MLflow pages of an output until interrupted."""
    from infra.processes.signals import terminable
    from infra.services import serve_ui

    out, planned = planned_run(options.out)
    with terminable(), serve_ui(out.uri, tracking_uri=planned.settings.tracking_uri) as pages:
        say(f"Prefect {pages.prefect}\nMLflow  {pages.mlflow}\nthey ask for what is in {pages.logins}\nCtrl-C ends them")
        pages.wait()
    return OK
