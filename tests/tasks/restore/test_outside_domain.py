"""Scans that the model that isovox brings is not for: once restored without a word, now refused by name, or flagged."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import core
from core.engine.plan import CohortPlan, Weights
from core.errors import InputError
from core.io import files
from core.io.output import Output
from core.models.bundle import read_bundle
from core.models.domain import read_domain, write_domain
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.restore.work import Job, ingest
from tests.outputs import restore_all
from tests.phantoms import brain

pytest.importorskip("torch")

SHIPPED = Path(core.__file__).parent / "methods" / "unet" / "weights" / "resunet-3d"
WEIGHTS = Weights(folder=str(SHIPPED), sha256=read_bundle(str(SHIPPED)).digest, name="resunet-3d")
HOW = {"method": "resunet-3d", "voxel_size": 1.0, "tiling": {"patch": 48, "overlap": 8}}


def write(folder: Path, name: str, thickness: int, *, scored: bool = False) -> None:
    """A skull-stripped T1w in slices of so many mm, as magnitudes or as z-scores of the whole volume."""
    truth, _ = brain((52, 52, 56))
    image = truth.reshape(52, 52, -1, thickness).mean(axis=3)
    image = (image - image.mean()) / image.std() if scored else image
    path = folder / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([1.0, 1.0, thickness, 1.0])), path)
    path.with_name(f"sub-{name}_T1w.json").write_text(json.dumps({"SkullStripped": True, "SliceThickness": thickness}))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.9.0"}')
    for name, thickness in {"two": 2, "four": 4}.items():
        write(folder, name, thickness)
    write(folder, "scored", 4, scored=True)
    return folder


@pytest.fixture
def for_magnitudes(tmp_path_factory) -> Weights:
    """A copy of the model that says that it is for magnitudes alone."""
    folder = tmp_path_factory.mktemp("model")
    for path in SHIPPED.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    write_domain(str(folder), read_domain(str(SHIPPED)).model_copy(update={"sign": "non-negative"}))
    return WEIGHTS.model_copy(update={"folder": str(folder)})


def planned(cohort: Path, out: Path, weights: Weights = WEIGHTS, **how) -> CohortPlan:
    plan = plan_cohort(RunSettings(input=str(cohort), out=str(out), **HOW, **how), weights)
    files.write_json(Output(str(out)).plan, plan.model_dump(mode="json"))
    return plan


def test_slices_of_2_mm_are_refused_by_the_plan(cohort, tmp_path):
    plan = planned(cohort, tmp_path)
    assert [scan.key for scan in plan.scans] == ["sub-four_T1w", "sub-scored_T1w"]
    (refused,) = plan.refused
    assert (refused.key, refused.code) == ("sub-two_T1w", "outside-domain")
    assert (
        "got slices of 2 mm; trained for 3.5 to 4.5 mm; a factor of 2; trained for 3.5 to 4.5; slices like T1w" in refused.reason
    )
    assert "of factor 2, gap 0 (8 persons), where it gains -0.55 dB over cubic interpolation. Choose" in refused.reason


def test_masks_go_with_scans_that_are_restored_not_with_those_that_are_refused(tmp_path):
    """FLAIR comes first of two scans on one grid, and the model is for T1w; sub-two has nothing that is restored."""
    root = tmp_path / "in"
    for name, thickness in {"two": 2, "four": 4}.items():
        write(root, name, thickness)
        anat = root / f"sub-{name}" / "anat"
        image = nibabel.load(anat / f"sub-{name}_T1w.nii.gz")
        nibabel.save(
            nibabel.Nifti1Image((image.get_fdata() > 0.5).astype(np.uint8), image.affine), anat / f"sub-{name}_mask.nii.gz"
        )
    for ending in ("nii.gz", "json"):
        (anat / f"sub-four_FLAIR.{ending}").write_bytes((anat / f"sub-four_T1w.{ending}").read_bytes())
    plan = planned(root, tmp_path / "out", carry_labels=True)
    assert {scan.key: len(scan.labels) for scan in plan.scans} == {"sub-four_T1w": 1}
    assert {refusal.key for refusal in plan.refused} == {"sub-two_T1w", "sub-four_FLAIR"}
    assert (plan.files.left["carried"], plan.files.left["mask"]) == (1, 1)
    assert "--carry-labels: 1 of 2 masks and labels carried" in plan.files.filters
    bare = planned(root, tmp_path / "bare")
    assert [scan.restore_digest for scan in bare.scans] == [scan.restore_digest for scan in plan.scans]


def test_what_values_alone_tell_is_refused_as_they_are_read_also_where_another_run_read_them(cohort, tmp_path, for_magnitudes):
    plan = planned(cohort, tmp_path, for_magnitudes)
    assert ingest(Job(str(tmp_path), plan.digest, ("sub-four_T1w",))) >= 0
    for _ in range(2):  # the second time it lies in the store
        with pytest.raises(
            InputError, match=r"outside-domain: .*, but got values down to -0\.\d+ of the brightest; trained for none"
        ):
            ingest(Job(str(tmp_path), plan.digest, ("sub-scored_T1w",)))


def test_what_values_alone_tell_goes_to_the_fallback(cohort, tmp_path, for_magnitudes):
    plan = planned(cohort, tmp_path, for_magnitudes, fallback="cubic")
    methods = {scan.key: scan.method for scan in plan.scans}
    assert methods == {"sub-four_T1w": "", "sub-scored_T1w": "cubic", "sub-two_T1w": "cubic"}
    assert "values down to -" in plan.scan("sub-scored_T1w").why
    for key in methods:
        ingest(Job(str(tmp_path), plan.digest, (key,)))


def test_all_the_same_they_are_restored_and_flagged_with_that_reason(cohort, tmp_path):
    restore_all(str(cohort), str(tmp_path), WEIGHTS, **HOW, outside_domain=True)
    records = {record.key: record for record in Output(str(tmp_path)).records()}
    assert records["sub-four_T1w"].code != "outside-domain"
    record = records["sub-two_T1w"]
    assert (record.state, record.code) == ("flagged", "outside-domain")
    assert record.reason.startswith("outside what resunet-3d is for: slices of 2 mm")
    assert record.outputs


@pytest.mark.parametrize(("size", "said"), [(1.5, "Calibrated for T1w"), (2.0, "Nominal: the scan is outside what the model is")])
def test_no_interval_is_called_calibrated_for_a_scan_that_the_model_is_not_for(cohort, tmp_path, size, said):
    folder = Path(core.__file__).parent / "methods" / "anyscan" / "weights" / "anyscan"
    weights = Weights(folder=str(folder), sha256=read_bundle(str(folder)).digest, name="anyscan")
    how = {"method": "anyscan", "voxel_size": size, "method_options": {"flips": 1}, "outside_domain": True}
    restore_all(str(cohort), str(tmp_path), weights, **how, selection={"participant_label": ["four"]})
    (path,) = tmp_path.rglob("*desc-restoredUncertainty_T1w.json")
    assert said in files.read_json(str(path))["Description"]


def test_z_scores_are_restored_as_the_magnitudes_that_they_came_of(cohort, tmp_path):
    restore_all(str(cohort), str(tmp_path), WEIGHTS, **HOW, repair=False)  # which cuts magnitudes, and no scores, at 0
    records = {record.key: record for record in Output(str(tmp_path)).records()}
    assert records["sub-scored_T1w"].code != "outside-domain"

    def restored(name: str) -> np.ndarray:
        (path,) = (path for path in records[f"sub-{name}_T1w"].outputs if path.endswith(".nii.gz"))
        return np.asarray(nibabel.load(tmp_path / path).dataobj)

    magnitudes, scores = restored("four"), restored("scored")
    gain, offset = np.polyfit(scores.ravel(), magnitudes.ravel(), 1)
    error = np.abs(gain * scores + offset - magnitudes)
    assert np.percentile(error, 99) < 0.01 * magnitudes.max()
