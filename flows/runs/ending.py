"""How a flow run ends whose scans failed: as failed, and in one line of its log."""

from __future__ import annotations

import logging

from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.states import Failed as FailedState


class _InOneLine(logging.Filter):
    """Of a run that says of itself that it failed Prefect logs a traceback through its own modules alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, with what the run said in place of the traceback."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, FailedRun):
            record.msg, record.args, record.exc_info = f"scans failed ({error}): the report says why of each", (), None
        return True


_IN_ONE_LINE = _InOneLine()


def with_failed(message: str, name: str = "Failed") -> State:
    """The state in which a flow run ends of which scans failed.

    Args:
        message: counts the states of its scans.
        name: of the state.
    """
    logging.getLogger("prefect.flow_runs").addFilter(_IN_ONE_LINE)  # of each process; one that is there is not added twice
    return FailedState(message=message, name=name)
