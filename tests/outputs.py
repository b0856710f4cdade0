"""Outputs of runs without Prefect, a cluster or MLflow: the workers' functions, one after another."""

from __future__ import annotations

from typing import Any

from core.engine.plan import CohortPlan, Weights
from core.io import derivatives, files
from core.io.output import Output
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort, unfinished
from tasks.pipeline.export import export
from tasks.pipeline.pages import report, write_cohort_page
from tasks.pipeline.results import counts, verified_records
from tasks.restore.work import Job, ingest, restore


def restore_all(source: str, out: str, weights: Weights | None = None, **how: Any) -> CohortPlan:
    """Restore a cohort by cubic interpolation, unless another method is said, as ``isovox run`` would."""
    place = Output(out)
    settings = RunSettings.model_validate({"input": source, "out": out, "method": "cubic", "voxel_size": 2.0} | how)
    plan = plan_cohort(settings, weights)
    todo = unfinished(plan)
    files.write_json(place.plan, plan.model_dump(mode="json"))
    said = {"PlanDigest": plan.digest, "SettingsDigest": plan.settings_digest, "Method": plan.settings.method}
    derivatives.write_dataset_files(out, source, said)
    for key in sorted(todo):
        for stage in (ingest, restore, export, report):
            stage(Job(out, plan.digest, (key,)))
    records = verified_records(place, plan)
    write_cohort_page(place, plan, records)
    files.write_json(place.ending, {"plan": plan.digest, "skipped": [], "counts": counts(records)})
    return plan
