"""How a run of which scans failed ends in Prefect's log."""

from __future__ import annotations

import logging

import pytest
from prefect.exceptions import FailedRun

from flows.runs.ending import with_failed

LOG = logging.getLogger("prefect.flow_runs")


def logged(error: Exception, caplog: pytest.LogCaptureFixture) -> str:
    """What the log has of an error that Prefect's engine met."""
    caplog.clear()
    LOG.addHandler(caplog.handler)
    try:
        raise error
    except type(error):
        LOG.exception("Engine execution exited with unexpected exception")
    finally:
        LOG.removeHandler(caplog.handler)
    return caplog.text


@pytest.mark.filterwarnings("ignore:.*API")
def test_scans_that_failed_are_told_in_a_line_and_what_raised_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        state = with_failed("1 done, 1 failed", "Incomplete")
    assert (state.is_failed(), state.name, state.message) == (True, "Incomplete", "1 done, 1 failed")
    text = logged(FailedRun("1 done, 1 failed"), caplog)
    assert "scans failed (1 done, 1 failed): the report says why of each" in text
    assert "Traceback" not in text
    assert "unexpected" not in text
    assert "Traceback" in logged(ValueError("a fault"), caplog)
    assert "unexpected" in caplog.text
