"""Methods held against one another, as a Prefect flow: what ``isovox evaluate`` does, for schedules and forms."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from core.io import files
from core.settings.evaluate import EvaluationSettings
from flows.evaluate import evaluate
from flows.runs.group import with_group
from flows.runs.names import flow_run_name
from tasks.evaluate.tables import summaries


@flow(name="evaluate", flow_run_name=flow_run_name, validate_parameters=True)
def evaluate_methods(settings: EvaluationSettings) -> State:
    """Restore a cohort whose truth is known by several methods, score and compare them.

    Args:
        settings: which methods, on what, and how the truth is degraded.

    Returns:
        Completed, or Failed where a scan could not be restored or scored; the message counts them.

    Raises:
        UsageError: no such cohort, an unknown method, or a setting that cannot be meant.
        BusyError: another run works on the same output.
    """
    rows = evaluate(with_group(settings))
    table = [
        {"method": summary.label, "scans": summary.scans, "failed": summary.failed, **summary.means}
        for summary in summaries(rows)
    ]
    report = files.join(settings.out, "report.html")
    create_table_artifact(table, key="evaluation", description=f"means over the scans; report: {report}")
    failed = sum(row.state == "failed" for row in rows)
    text = f"{len(rows) - failed} scored, {failed} failed"
    return Failed(message=text) if failed else Completed(message=text)
