"""Prefect as this process has imported it: which server it asks, and what it still holds for that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def known(url: str, login: str) -> Iterator[None]:
    """Ask the server at this address within the block: Prefect reads its settings as it is imported, maybe an earlier server's.

    Args:
        url: of the server's page.
        login: user:password.
    """
    if "prefect" not in sys.modules:
        yield
        return
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"{url}/api", PREFECT_API_AUTH_STRING: login}):
        yield


def flush() -> None:
    """Let Prefect send what its threads still hold, while its server is there."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        with suppress(Exception):  # a record lost here is no reason for a run to fail
            worker.drain_all(timeout=5)
