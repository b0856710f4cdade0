"""The command ``isovox train``: train a network on a cohort and register it."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from cli.helpers.console import FAILED, OK, calm, say
from core.settings.train import TrainSettings

if TYPE_CHECKING:
    from flows.train import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from cli.helpers.options import add_settings

    add_settings(parser, TrainSettings, ("recipe", "cohort"))
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def execute(options: argparse.Namespace) -> int:
    """Train a network, or go on where a training was stopped; exit code 3 where scans could not be taken."""
    from cli.helpers.options import settings_from
    from core.io import claim
    from flows.runs.beside import served
    from flows.runs.home import training_folder
    from flows.runs.progress import be_quiet, counted, waiting
    from infra.clusters import check_cluster
    from tasks.train.degrading import check_asked

    calm()
    if options.quiet:
        be_quiet()
    settings = settings_from(options, TrainSettings)
    check_cluster(settings.compute)
    check_asked(settings, defaults=True)
    folder = training_folder(settings)  # each has its own server: trainings run side by side
    claim.check(folder, [settings.cohort], "train")
    waiting("starting services, and looking through the input meanwhile")
    outcome = served(folder, partial(counted, settings.cohort, settings.selection), partial(_train, settings), "flows.train")
    say(outcome.text)
    for key, why in outcome.failed.items():
        say(f"failed {key}: {why}")
    return FAILED if outcome.failed else OK


def _train(settings: TrainSettings, scans: int) -> Outcome:
    """Run the flow on a cohort in which so many scans were counted."""
    from flows.runs.progress import counted_before
    from flows.train import train_network

    with counted_before(scans):
        return train_network(settings)
