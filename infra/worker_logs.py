"""What workers of a cluster log, heard by the process that gives them work: whatever machines they are on, beside its bars."""

from __future__ import annotations

import logging

from distributed import Client
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.worker import Worker

from core import logs


class Levels(WorkerPlugin):
    """Workers log from INFO on what isovox has to say; those that join later too."""

    name = "isovox-levels"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - as Dask calls it
        """Called by Dask."""
        for name in logs.OWN:
            logging.getLogger(name).setLevel(logging.INFO)


def forward(client: Client) -> None:
    """Let this process log what the workers of a cluster of its own log.

    Args:
        client: of the cluster.
    """
    for name in logs.OWN:
        client.forward_logging(name, logging.INFO)
    client.register_plugin(Levels())
