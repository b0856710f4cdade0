"""Ad hoc: one scan in, its isotropic volume and its page out."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from core.errors import UsageError
from core.io.bids import is_nifti
from core.settings.run import RunSettings
from flows.reprocess import restore_cohort
from flows.runs.group import with_group
from flows.runs.names import flow_run_name


@flow(
    name="restore-scan",
    flow_run_name=flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type] # Prefect's is invariant in its futures
    validate_parameters=True,
)
def restore_scan(settings: RunSettings) -> State:
    """Restore one scan.

    Args:
        settings: ``input`` names a NIfTI file.

    Raises:
        UsageError: the input is no NIfTI file.
    """
    if not is_nifti(settings.input):
        raise UsageError("not-one-scan", "a .nii or .nii.gz file", settings.input, "use reprocess-cohort for a folder or a table")
    return restore_cohort(with_group(settings))
