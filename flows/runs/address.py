"""Where a run that goes on is to be looked at."""

from __future__ import annotations

import os
from collections.abc import Callable


def tell_addresses(tell: Callable[[str], None], mlflow: str | None) -> None:
    """Say where this flow run, and its figures, are shown.

    Args:
        tell: hears a line.
        mlflow: address of its run in MLflow, where a server shows it.
    """
    from prefect.runtime import flow_run

    if (api := os.environ.get("PREFECT_API_URL")) and flow_run.id:
        tell(f"this run in Prefect: {api.removesuffix('/api')}/runs/flow-run/{flow_run.id}")
    if mlflow:
        tell(f"this run in MLflow: {mlflow}")
