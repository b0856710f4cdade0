"""The command ``isovox train``: train a network on a cohort and register it."""

from __future__ import annotations

import argparse

from cli.helpers.console import FAILED, OK, calm, say
from core.settings.train import TrainSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser, TrainSettings, ("recipe", "cohort"))
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def execute(options: argparse.Namespace) -> int:
    """Train a network, or go on where a training was stopped; exit code 3 where scans could not be taken."""
    from cli.helpers.options import settings_from
    from core.io import claim
    from flows.runs.home import training_folder
    from flows.runs.progress import be_quiet
    from infra.clusters import check_cluster
    from infra.processes.signals import terminable
    from infra.services import local_state, prefect_server

    calm("CRITICAL")  # what is wrong is said in one line
    if options.quiet:
        be_quiet()
    settings = settings_from(options, TrainSettings)
    check_cluster(settings.compute)
    claim.check(training_folder(settings), [settings.cohort], "train")
    with terminable(), prefect_server(local_state(training_folder(settings))):  # each its own: trainings run side by side
        from flows.train import train_network

        outcome = train_network(settings)
    say(outcome.text)
    for key, why in outcome.failed.items():
        say(f"failed {key}: {why}")
    return FAILED if outcome.failed else OK
