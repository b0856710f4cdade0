"""Flow runs whose process was killed outright: Prefect shows them as running until someone tells it otherwise.

An output remembers its flow run while it lasts; the next run on that output, once it holds the lock, says what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from core.io import files
from core.io.output import Output


@contextmanager
def remembered(out: Output) -> Iterator[None]:
    """Remember this flow run in the output while the block lasts; one that is still remembered there was killed.

    Call it only with the output's lock.
    """
    _end_killed(out)
    if flow_run.id:
        files.write_json(out.flow_run, {"id": str(flow_run.id)})
    yield
    files.remove(out.flow_run)  # not where the run is stopped: the next one looks whether Prefect was told


def _end_killed(out: Output) -> None:
    try:
        killed = UUID(files.read_json(out.flow_run)["id"])
    except (FileNotFoundError, ValueError, KeyError):
        return
    if str(killed) == str(flow_run.id):  # begun anew under its own name
        return
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(killed).state
        except ObjectNotFound:  # of another server
            return
        if state is not None and not state.is_final():
            client.set_flow_run_state(killed, Crashed(message="its process was killed"), force=True)
