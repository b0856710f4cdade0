"""What runs are called in Prefect and MLflow: by cohort, by what is done with it, and by the day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.io import files

OF = ("input", "cohort", "new", "reference")  # settings that name a cohort
BY = ("method", "recipe", "protocol")  # settings that say what is done with it
MOST = 3  # sites that are named


def run_name(settings: Any) -> str:
    """The name of a run: "study, METHOD, 2026-11-28".

    Args:
        settings: of the run: a model, or the JSON value of one.
    """
    fields: Mapping[str, Any] = settings if isinstance(settings, Mapping) else dict(settings)
    words = [_cohort(fields), *(str(fields[key]) for key in BY if fields.get(key)), f"{datetime.now(UTC).astimezone():%Y-%m-%d}"]
    return ", ".join(filter(None, words))


def _cohort(settings: Mapping[str, Any]) -> str:
    if sites := settings.get("sites"):
        names = [files.name_of(site.partition("=")[0].rstrip("/")) for site in sites]
        return " + ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
    return next((files.name_of(str(settings[key]).rstrip("/")) for key in OF if settings.get(key)), "")


def flow_run_name() -> str:
    """The name of the flow run that begins, for Prefect."""
    from prefect.runtime import flow_run

    return run_name(flow_run.parameters["settings"])
