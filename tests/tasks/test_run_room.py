"""Room for a run that goes on: what was restored before lies there already."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.engine.records import ScanRecord
from core.errors import PlanError
from core.io import space
from core.io.output import Output
from core.settings.run import RunSettings
from tasks.pipeline.discover import check_plan, plan_cohort
from tests.phantoms import brain


def test_a_run_that_goes_on_wants_room_for_the_scans_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("01", "02"):
        path = tmp_path / "data" / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(brain((28, 28, 14))[0], np.diag([2.0, 2.0, 4.0, 1.0])), path)
    plan = plan_cohort(RunSettings(input=str(tmp_path / "data"), out=str(tmp_path / "out"), method="cubic"))
    out, whole = Output(plan.settings.out), plan.forecast.disk
    monkeypatch.setattr(space, "room", lambda _: whole)  # of the scans, and not of the records too
    with pytest.raises(PlanError, match="disk-too-small"):
        check_plan(plan)
    monkeypatch.setattr(space, "room", lambda _: 0)
    for scan, digest in zip(plan.scans, (plan.scans[0].digest, "of other settings"), strict=True):
        about = {"provenance": {"SettingsDigest": plan.settings_digest}, "outputs": {f"{scan.stem}.nii.gz": "0" * 64}}
        out.write_record(ScanRecord(key=scan.key, state="done", digest=digest, **about))
    with pytest.raises(PlanError, match=r"disk-too-small: .* for 1 scans and the run's records"):
        check_plan(plan)
    out.write_record(ScanRecord(key=scan.key, state="done", digest=scan.digest, **about))
    check_plan(plan)
