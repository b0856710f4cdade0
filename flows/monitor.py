"""The flow behind ``isovox monitor``: new scans' features held against a reference's, a warning where they differ."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from core.harmonize.tables.drift import worst
from core.io import files
from core.settings.harmonize import MonitorSettings
from flows.runs.names import flow_run_name
from tasks.harmonize.watch import NAMES, WRITTEN, check_table, compare, rows, said, write_table


@flow(name="monitor", flow_run_name=flow_run_name, validate_parameters=True)
def monitor_features(settings: MonitorSettings) -> State:
    """Hold a new cohort's features against a reference's and warn where they differ.

    Args:
        settings: which tables.

    Returns:
        Completed; named Drift or Watch where features differ, and Unknown where there are too few scans to tell.

    Raises:
        UsageError: a table that is not there, or a feature that one of them has not.
    """
    if settings.out:
        check_table(settings.out)
    drifts = compare(settings)
    lines, verdict, text = rows(drifts), worst(drifts), said(settings, drifts)
    create_table_artifact(lines, key="drift", description="each feature of the new cohort against the reference's")
    if settings.out:
        write_table(files.join(settings.out, WRITTEN), lines)
    if verdict in {"drift", "watch"}:
        get_run_logger().warning("%s", text)
        reasons = [
            f"- **{line['feature']}** ({line['verdict']} at {line['site']}): {line['reason']}"
            for line in lines
            if line["verdict"] == verdict
        ]
        create_markdown_artifact(
            "\n".join([f"**{NAMES[verdict]}**: {text}", "", *reasons]), key="warning", description=text[:200]
        )
    if verdict == "drift":
        resource = {"prefect.resource.id": f"isovox.drift.{files.name_of(settings.new)}", "prefect.resource.name": settings.new}
        emit_event("isovox.features-drift", resource, payload={"summary": text})
    return Completed(message=text, name=NAMES[verdict])
