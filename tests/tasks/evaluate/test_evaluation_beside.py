"""What lies beside a scan reaches the methods of an evaluation as it reaches those of a run; their states are kept likewise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.engine import iterate
from core.geometry.grid import Grid
from core.io import nifti
from core.methods import registry
from core.methods.unires.joint_tv import Problem
from core.methods.unires.method import UniRes
from core.models.calibration import Stretch, note_stretches
from core.operators.forward_model import DroppedSlices, SliceProfile
from core.settings.evaluate import EvaluationSettings
from flows.evaluate import candidates_of
from tasks.evaluate.beside import mask_on, with_beside
from tasks.evaluate.candidates import Candidate
from tasks.evaluate.cases import find_cases
from tasks.evaluate.evaluation import CaseEvaluation, Evaluation, Score, evaluate
from tasks.evaluate.scorers import Scorer, Scoring

SHAPE, AFFINE = (18, 20, 16), np.diag([4.0, 4.0, 4.0, 1.0])
HOLE = np.zeros(SHAPE, np.uint8)
HOLE[4:8, 5:9, 4:12] = 1  # two whole slices of four voxels
FAMILY = "beside_family"
FILLING, NEEDING, NEAREST = (Candidate(name, name) for name in ("filling", "needing", "nearest"))
pytestmark = pytest.mark.usefixtures("own_family")


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two persons, the first with a lesion mask and an age."""
    root = tmp_path / "in"
    for label in ("01", "02"):
        image = np.random.default_rng(int(label)).gamma(9, 20, SHAPE).astype(np.float32)
        write(root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz", image)
    write(root / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz", HOLE)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    (root / "participants.tsv").write_text("participant_id\tage\tsex\thand\nsub-01\t40\tF\tleft\nsub-02\tn/a\tM\tright\n")
    return root


def said(cohort: Path, out: str = "out", **more: object) -> EvaluationSettings:
    settings = {
        "protocol": "thick-slice",
        "cohort": str(cohort),
        "out": str(cohort.parent / out),
        "compute": {"state_minutes": 0},
    }
    return EvaluationSettings.model_validate(settings | more)


def run(wanted: EvaluationSettings, *candidates: Candidate) -> list[Score]:
    cases = with_beside(find_cases(wanted), [candidate.method for candidate in candidates], wanted)
    return evaluate(Evaluation(wanted, tuple(cases), candidates, Scoring()), lambda _: None)


def restored(wanted: EvaluationSettings, row: Score) -> np.ndarray:
    return nifti.load(f"{wanted.out}/{row.image}")[0]


# -- masks and covariates ---------------------------------------------------------------------------------------------------


def test_a_method_gets_mask_and_covariates_and_another_gets_neither(cohort):
    wanted = said(cohort)
    first, other, second, _ = run(wanted, FILLING, NEAREST)
    assert {first.state, other.state, second.state} == {"done"}
    plain = restored(wanted, other)
    inside = HOLE > 0
    assert (restored(wanted, first)[inside] == 40).all()
    np.testing.assert_array_equal(restored(wanted, first)[~inside], plain[~inside])
    cases = {case.person: case for case in with_beside(find_cases(wanted), ["filling"], wanted)}
    assert cases["01"].covariates == {"age": 40.0, "sex": "F"}
    assert (cases["02"].covariates, cases["02"].mask) == ({"sex": "M"}, None)
    evaluation = CaseEvaluation(wanted, cases["01"], Scorer())
    assert evaluation.measured(FILLING).mask.sum() == 4 * 4 * 2
    assert (evaluation.measured(NEAREST).mask, evaluation.measured(NEAREST).covariates) == (None, None)


def test_digests_know_what_lies_beside_a_scan_only_where_it_is_taken(cohort):
    wanted = said(cohort)

    def digests() -> list[str]:
        case, _ = with_beside(find_cases(wanted), ["filling", "nearest"], wanted)
        plain = CaseEvaluation(wanted, replace(case, mask=None, covariates={}), Scorer())
        assert plain.restore_digest(NEAREST) == CaseEvaluation(wanted, case, Scorer()).restore_digest(NEAREST)
        return [CaseEvaluation(wanted, case, Scorer()).restore_digest(FILLING), plain.restore_digest(FILLING)]

    first = digests()
    write(cohort / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz", np.roll(HOLE, 1, 0))
    second = digests()
    (cohort / "participants.tsv").write_text("participant_id\tage\nsub-01\t50\n")
    third = digests()
    assert len({first[0], second[0], third[0]}) == 3
    assert len({first[1], second[1], third[1], first[0]}) == 2


def test_how_far_intervals_must_be_stretched_hangs_on_no_earlier_calibration(cohort, tmp_path):
    """So that an evaluation may be noted twice, and of a model with or without a calibration."""
    model, figures = str(tmp_path / "model"), []
    registry.resolve(registry.family_of("anyscan").mock)(model, "anyscan")
    for out in ("plain", "stretched"):
        wanted = said(cohort, out, methods=(f"anyscan={model}",))
        (row, _) = run(wanted, *candidates_of(wanted))
        figures.append(row.figures)
        stretches = [Stretch(spacing=row.figures["spacing"], stretch=7.0, persons=2)]
        assert note_stretches(model, stretches) == note_stretches(model, stretches)
    assert figures[1]["half_width"] == pytest.approx(7 * figures[0]["half_width"], rel=1e-4)
    assert figures[1]["stretch"] == pytest.approx(figures[0]["stretch"], rel=1e-4)


def test_a_new_revision_of_a_method_restores_its_scans_anew(cohort):
    wanted = said(cohort)
    of_methods = {
        candidate.method: candidate for candidate in candidates_of(wanted.model_copy(update={"methods": ("cubic", "unires")}))
    }
    assert {name: candidate.revision for name, candidate in of_methods.items()} == {"cubic": 1, "unires": UniRes.revision}
    assert UniRes.revision > 1
    evaluation = CaseEvaluation(wanted, find_cases(wanted)[0], Scorer())
    digests = {evaluation.restore_digest(replace(NEAREST, revision=number)) for number in (1, 2, 3)}
    assert len(digests) == 3


def test_a_new_revision_of_the_repair_restores_what_is_repaired_anew(cohort, monkeypatch):
    wanted = said(cohort)
    evaluation = CaseEvaluation(wanted, find_cases(wanted)[0], Scorer())
    ways = (replace(NEAREST, repair=True), replace(NEAREST, repair=False))
    before = [evaluation.restore_digest(way) for way in ways]
    monkeypatch.setattr("tasks.evaluate.evaluation.REVISION", 99)
    after = [evaluation.restore_digest(way) for way in ways]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


def test_a_scan_that_was_measured_brings_the_mask_on_its_own_grid(cohort):
    wanted = said(cohort)
    run(wanted, NEAREST)
    measured = Path(wanted.out) / "simulated"
    path = next(measured.glob("sub-01/anat/*.nii.gz"))
    thick = nibabel.load(path)
    mask = np.zeros(thick.shape, np.uint8)
    mask[1, 2, 3] = 1
    nibabel.save(nibabel.Nifti1Image(mask, thick.affine), path.parent / "sub-01_label-lesion_mask.nii.gz")
    case, _ = with_beside(find_cases(said(measured, "again")), ["filling"], said(measured, "again"))
    assert case.given
    np.testing.assert_array_equal(CaseEvaluation(wanted, case, Scorer()).measured(FILLING).mask, mask > 0)


def test_a_coarse_voxel_is_masked_where_half_of_what_it_sees_is(cohort):
    wanted = said(cohort)
    case, _ = with_beside(find_cases(wanted), ["filling"], wanted)
    fine = Grid(SHAPE, AFFINE)
    path = cohort / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz"
    for first, planes in ((4, [1, 2]), (6, [1, 2]), (7, [2])):  # two voxels of slice 1 are half of it, one is not
        hole = np.zeros(SHAPE, np.uint8)
        hole[4:8, 5:9, first:12] = 1
        write(path, hole)
        case, _ = with_beside(find_cases(wanted), ["filling"], wanted)
        model = SliceProfile(factor=4)
        mask = mask_on(case.mask, model.degraded_grid(fine, 2), model, wanted)
        assert sorted(set(np.nonzero(mask)[2])) == planes
        assert mask.sum() == 16 * len(planes)
    dropped = DroppedSlices(factor=4)
    mask = mask_on(case.mask, dropped.degraded_grid(fine, 2), dropped, wanted)
    assert sorted(set(np.nonzero(mask)[2])) == [2]  # slice 1 is voxel 4 alone


def test_a_case_without_the_mask_that_is_needed_and_one_with_two_are_rows_that_say_so(cohort):
    write(cohort / "sub-01" / "anat" / "sub-01_label-lesion_mask.nii.gz", HOLE)
    rows = run(said(cohort), FILLING, NEEDING, NEAREST)
    assert [(each.scan[:6], each.method, each.code) for each in rows if each.state == "failed"] == [
        ("sub-01", "filling", "mask-ambiguous"),
        ("sub-01", "needing", "mask-ambiguous"),
        ("sub-02", "needing", "mask-missing"),
    ]
    assert "that says lesion or tumour, but got none. Add one, or leave the method out" in rows[4].reason


# -- states -----------------------------------------------------------------------------------------------------------------


def test_a_method_with_state_goes_on_where_it_was_ended_with_the_same_bytes(cohort, monkeypatch):
    monkeypatch.setattr(iterate, "SHARE", 1e9)
    unires = Candidate("u", "unires", {"iterations": 7, "tolerance": 0})
    only = {"selection": {"participant_label": ["02"]}}
    undisturbed, disturbed = said(cohort, "one", **only), said(cohort, "two", **only)
    (first,) = run(undisturbed, unires)
    made, real = [0], Problem.advance

    def advance(*arrays: object) -> tuple[float, float]:
        made[0] += 1
        if made[0] == 5:
            raise KeyboardInterrupt
        return real(*arrays)

    monkeypatch.setattr(Problem, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        run(disturbed, unires)
    state = Path(disturbed.out) / "isovox" / "state" / "u" / "sub-02_T1w.safetensors"
    assert state.exists()
    (again,) = run(disturbed, unires)
    assert made[0] == 5 + 3  # four were kept
    np.testing.assert_array_equal(restored(disturbed, again), restored(undisturbed, first))
    assert again.figures == first.figures
    assert again.seconds > 0
    assert not state.exists()
