"""Where a run that goes on is to be looked at."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def tell_addresses(tell: Callable[[str], None], mlflow: str | None = None) -> None:
    """Say where this flow run, and its figures, are shown; one that another flow began is on that one's page.

    Args:
        tell: hears a line.
        mlflow: address of its run in MLflow, where a server shows it.
    """
    if page := _flow_page():
        tell(f"this run in Prefect: {page}")
    if mlflow:
        tell(f"this run in MLflow: {mlflow}")


def _flow_page() -> str | None:
    """Of the flow run that this is, on the server that shows it."""
    api = os.environ.get("PREFECT_API_URL")
    if not api or "prefect" not in sys.modules:  # nor is it a flow run
        return None
    from prefect.runtime import flow_run

    return f"{api.removesuffix('/api')}/runs/flow-run/{flow_run.id}" if flow_run.id and not flow_run.parent_flow_run_id else None
