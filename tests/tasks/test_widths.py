"""Where nobody tells how thick the slices are their voxels do: in the plan, once for the same bytes; what is told wins."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.engine.plan import CohortPlan
from core.io import files
from core.io.output import Output
from core.settings.run import RunSettings
from tasks.pipeline import earlier, widths
from tasks.pipeline.discover import plan_cohort
from tests.core.operators.test_width import field, sliced

DISTANCE, WIDTH = 5.0, 3.0


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two scans in slices with gaps: one without a word about them, one that tells its slices' thickness."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    scan, grid = sliced(field(3) + 200, 2, DISTANCE, WIDTH)
    for name in ("silent", "told"):
        nibabel.save(nibabel.Nifti1Image(scan, grid.affine), folder / f"{name}.nii.gz")
    (folder / "told.json").write_text(json.dumps({"SliceThickness": 4.5}))
    return folder


def planned(cohort: Path, **more: object) -> CohortPlan:
    how = {"input": str(cohort), "out": str(cohort.parent / "out"), "method": "cubic"} | more
    return plan_cohort(RunSettings.model_validate(how))


def test_the_width_is_read_where_nobody_tells_it(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(cohort)
    silent, told = sorted(plan.scans, key=lambda scan: scan.key)
    assert silent.width is not None
    assert silent.width.low < WIDTH < silent.width.high < DISTANCE
    assert silent.forward.slices == ("box", 0.3)  # of 0.4: more is not believed by voxels alone
    assert (told.width, told.forward.slices) == (None, ("box", 0.1))
    assert any("how thick the slices of 1 scan" in note for note in plan.notes)
    said = f"slices of {silent.key} look {silent.width.describe()} thick, and are taken as with a gap of 30 %"
    assert said in plan.notes
    files.write_json(Output(plan.settings.out).plan, plan.model_dump(mode="json"))
    for cache in (earlier._by_bytes, widths._measured):
        cache.cache_clear()
    monkeypatch.setattr(widths.readers, "load", lambda *_: pytest.fail("read again"))
    assert planned(cohort) == plan


def test_what_an_earlier_revision_read_is_read_anew(cohort: Path) -> None:
    plan = planned(cohort)
    values = plan.model_dump(mode="json")
    for scan in values["scans"]:
        if scan["width"]:
            scan["width"] |= {"mm": 1.0, "low": 0.0, "high": 2.2}
            del scan["width"]["revision"]
    files.write_json(Output(plan.settings.out).plan, values)
    earlier._by_bytes.cache_clear()
    assert planned(cohort) == plan


def test_what_the_user_says_wins(cohort: Path) -> None:
    plan = planned(cohort, slices={"slice_gap": 0.25})
    assert {scan.forward.slices[1] for scan in plan.scans} == {0.25}
    assert {scan.width for scan in plan.scans} == {None}


def test_a_profile_alone_tells_no_thickness(cohort: Path) -> None:
    """So the voxels are asked all the same; but slices that were dropped have none."""
    silent = planned(cohort).scan("silent")
    for profile in ("box", "gaussian"):
        scan = planned(cohort, slices={"slice_profile": profile}).scan("silent")
        assert (scan.width, scan.forward.slices) == (silent.width, (profile, silent.forward.slices[1]))
    assert planned(cohort, slices={"slice_profile": "point"}).scan("silent").width is None


def test_slices_that_overlap_are_taken_as_thick_as_they_are_apart_and_the_plan_says_so(cohort: Path) -> None:
    words = "overlap: 7.5 mm thick every 5 mm; taken as 5 mm thick"
    (cohort / "told.json").write_text(json.dumps({"SliceThickness": 7.5}))
    plan = planned(cohort)
    assert plan.scan("told").forward.slices == ("box", 0.0)
    assert [note for note in plan.notes if "overlap" in note] == [f"slices of told {words}"]
    (cohort / "silent.json").write_text(json.dumps({"SliceThickness": 7.5}))
    assert [note for note in planned(cohort).notes if "overlap" in note] == [f"slices of 2 scans {words}"]
    for thickness in (5.0, 5.04, 4.5):  # rounding is no overlap
        for name in ("silent", "told"):
            (cohort / f"{name}.json").write_text(json.dumps({"SliceThickness": thickness}))
        assert not any("overlap" in note for note in planned(cohort).notes)


def test_what_a_sidecar_tells_against_the_header_is_told(cohort: Path) -> None:
    def noted(**sidecar: float) -> list[str]:
        (cohort / "told.json").write_text(json.dumps(sidecar))
        return [note for note in planned(cohort).notes if "by Sl" in note or "by Sp" in note]

    apart = "slices of told are 7 mm apart by SpacingBetweenSlices and 5 mm by the header, which is taken"
    assert noted(SpacingBetweenSlices=7.0, SliceThickness=5.0) == [apart]
    thin = "slices of told are 0.9 mm thick by SliceThickness and 5 mm apart: taken as a gap of 82 %"
    assert noted(SliceThickness=0.9) == [thin]
    assert noted(SpacingBetweenSlices=5.03, SliceThickness=4.5) == []
    assert noted(SpacingBetweenSlices=0.5, SliceThickness=4.5) == []  # the gap itself
    assert noted(SpacingBetweenSlices=5.0, SliceThickness=5.0) == []


def test_slices_without_gaps_are_taken_so(tmp_path: Path) -> None:
    scan, grid = sliced(field(1) + 200, 2, 4.0, 4.0)
    (tmp_path / "cohort").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.asarray(scan), grid.affine), tmp_path / "cohort" / "whole.nii.gz")
    (scan_plan,) = planned(tmp_path / "cohort").scans
    assert scan_plan.width is not None
    assert scan_plan.forward.slices == ("box", 0.0)


def test_axes_that_are_off_a_right_angle_are_told(cohort: Path) -> None:
    def noted(degrees: float) -> list[str]:
        image = nibabel.load(cohort / "told.nii.gz")
        affine = image.affine.copy()
        affine[1, 2] = np.tan(np.radians(degrees)) * affine[2, 2]
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), cohort / "tilted.nii.gz")
        return [note for note in planned(cohort).notes if "right angle" in note]

    assert noted(0.5) == []
    said = "are 12.0 degrees off a right angle, and so are those of what is restored, told by its sform alone"
    assert noted(12.0) == [f"axes of tilted {said}"]
