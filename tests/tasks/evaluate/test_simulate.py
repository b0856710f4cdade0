"""A cohort made of low resolution: what is written, what is skipped, what fails and why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.errors import UsageError
from core.io import bids, nifti
from core.operators.bsrgan_light import BsrganLight
from core.operators.forward_model import DroppedSlices, InPlane, KSpace, LowField, SliceProfile
from core.operators.scanner import Scanner
from core.operators.sidecar import simulated_by
from core.settings.degradation import Degradation
from core.settings.evaluate import EvaluationSettings
from core.settings.run import RunSettings
from core.settings.simulate import SimulateSettings
from tasks.evaluate.cases import find_cases, forward_told
from tasks.evaluate.evaluation import CaseEvaluation
from tasks.evaluate.simulate import simulate
from tasks.pipeline.discover import plan_cohort
from tests.phantoms import brain

OBLIQUE = np.array([[-2.0, 0.1, 0, 30], [0.1, 2.0, 0, -40], [0, 0, 2.0, -20], [0, 0, 0, 1]])
THICK = np.diag([2.0, 2.0, 10.0, 1.0])


def write(path: Path, image: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    return path


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Two persons, one with two sessions; the last slices fill no slice of 4 or 8."""
    for label, seed in (("01/ses-a", 0), ("01/ses-b", 1), ("02", 2)):
        image, labels = brain((40, 42, 43), seed=seed)
        name = f"sub-{label}".replace("/", "_")
        write(tmp_path / "data" / f"sub-{label}" / "anat" / f"{name}_T1w.nii.gz", image.astype(np.int16))
        write(tmp_path / "labels" / f"sub-{label}" / "anat" / f"{name}_dseg.nii.gz", labels)
    (tmp_path / "data" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0", "License": "CC0"}')
    return tmp_path / "data"


def settings(cohort: Path, operator="low-field", factor=4, **more) -> SimulateSettings:
    how = Degradation(operator=operator, factor=factor)
    return SimulateSettings(**({"input": str(cohort), "out": str(cohort.parent / "sim"), "degradation": how} | more))


def states(records) -> dict[str, str]:
    return {record.key: record.code or record.state for record in records}


def sidecars(cohort: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((cohort.parent / "sim").glob("sub-*/**/*.json"))]


def test_what_is_known_of_persons_is_taken_over_and_kept_by_further_calls(cohort):
    (cohort / "participants.tsv").write_text(
        "participant_id\tage\tsex\tScore\nsub-03\t9\tF\t1\nsub-02\t40\tF\t\nsub-01\t33\tM\t7\n"
    )
    table, head = cohort.parent / "sim" / "participants.tsv", "participant_id\tage\tsex\tScore\n"
    simulate(settings(cohort, "slice-mask", selection={"participant_label": ("02",)}))
    assert table.read_text() == head + "sub-02\t40\tF\tn/a\n"
    simulate(settings(cohort, "slice-profile", selection={"participant_label": ("01",)}))
    assert table.read_text() == head + "sub-01\t33\tM\t7\nsub-02\t40\tF\tn/a\n"
    table.unlink()  # as of datasets that were made before
    simulate(settings(cohort, "slice-mask"))
    assert table.read_text() == head + "sub-01\t33\tM\t7\nsub-02\t40\tF\tn/a\n"


def test_persons_of_plain_names_and_of_failed_scans_have_the_lines_that_are_theirs(tmp_path):
    write(tmp_path / "data" / "patient01" / "T1.nii.gz", brain((40, 42, 43), seed=0)[0])
    (tmp_path / "data" / "p2").mkdir()
    (tmp_path / "data" / "p2" / "T1.nii.gz").write_bytes(b"")
    (tmp_path / "data" / "participants.tsv").write_text("participant_id\tage\npatient01\t40\np2\t50\n")
    assert set(states(simulate(settings(tmp_path / "data", "slice-mask"))).values()) == {"done", "file-empty"}
    (folder,) = (tmp_path / "sim").glob("sub-*")
    assert (tmp_path / "sim" / "participants.tsv").read_text() == f"participant_id\tage\n{folder.name}\t40\n"


def test_a_table_of_persons_that_is_none_is_refused_before_anything_is_written(cohort):
    (cohort / "participants.tsv").write_text("participant_id,age\nsub-01,40\n")
    with pytest.raises(UsageError, match="table-delimiter"):
        simulate(settings(cohort))
    assert not (cohort.parent / "sim").exists()


@pytest.mark.parametrize("operator", ["low-field", "slice-profile", "slice-mask"])
def test_what_is_written_is_a_bids_dataset_that_names_its_truth(cohort, operator):
    records = simulate(settings(cohort, operator))
    assert set(states(records).values()) == {"done"}
    found = bids.discover(str(cohort.parent / "sim"))
    assert [one.key for one in found] == [
        f"sub-{at}_rec-{operator.replace('-', '')}4_T1w" for at in ("01_ses-a", "01_ses-b", "02")
    ]
    for one in found:
        image, grid, stored = nifti.load(one.uris[0])
        told = json.loads(Path(one.uris[0].replace(".nii.gz", ".json")).read_text())
        truth, sharp, as_stored = nifti.load(str(cohort.parent / "sim" / told["TruthURI"]))
        assert image.shape == (40, 42, 10)
        assert stored.orientation == as_stored.orientation
        assert sharp.index_map(grid)[2] == pytest.approx((4, 0 if operator == "slice-mask" else 1.5), abs=1e-4)
        assert image[truth[:, :, 1:40:4] > 0].mean() == pytest.approx(truth[truth > 0].mean(), rel=0.15)
    description = json.loads((cohort.parent / "sim" / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["License"]) == ("raw", "CC0")


def test_scanners_see_the_same_persons_and_say_what_they_did_to_them(cohort):
    for number in (0, 3):
        records = simulate(settings(cohort, degradation=Degradation(operator="scanner", scanner=number)))
        assert set(states(records).values()) == {"done"}
    found = {scan.key: scan for scan in bids.discover(str(cohort.parent / "sim"))}
    assert [key for key in found if "sub-02" in key] == ["sub-02_rec-scanner0_T1w", "sub-02_rec-scanner3_T1w"]
    said = [made["Isovox"] for made in sidecars(cohort)[-2:]]
    assert simulated_by({"Isovox": said[1]}).model_copy(update={"axis": None}) == Scanner.drawn(3)
    assert said[0]["TruthSHA256"] == said[1]["TruthSHA256"]
    assert said[1]["NoiseSD"] > 0
    again = simulate(settings(cohort, degradation=Degradation(operator="scanner", scanner=3)))
    assert set(states(again).values()) == {"skipped"}


def test_slices_of_bsrgan_light_are_drawn_by_the_seed_and_lie_where_the_truth_does(cohort):
    made = {}
    for seed in (0, 1):
        assert set(states(simulate(settings(cohort, "bsrgan-light", seed=seed))).values()) == {"done"}  # other draws: made anew
        made[seed] = nifti.load(bids.discover(str(cohort.parent / "sim"))[-1].uris[0])
    assert set(states(simulate(settings(cohort, "bsrgan-light", seed=1))).values()) == {"skipped"}
    (first, grid, _), (other, _, _) = made.values()
    assert first.shape == (10, 10, 43)
    assert not np.array_equal(first, other)
    truth, sharp, _ = nifti.load(bids.discover(str(cohort))[-1].uris[0])
    scales, offsets = zip(*sharp.index_map(grid), strict=True)
    assert scales == pytest.approx((4, 4, 1), abs=1e-4)
    assert offsets == pytest.approx((1.5, 1.5, 0), abs=1e-3)
    blocks = truth[:40, :40].reshape(10, 4, 10, 4, 43).mean(axis=(1, 3))
    assert np.corrcoef(first.ravel(), blocks.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("axis", "shape"), [("R", (5, 42, 43)), ("A", (40, 5, 43)), ("auto", (40, 42, 5))])
def test_slices_lie_along_the_axis_that_was_asked_for(cohort, axis, shape):
    simulate(settings(cohort, "slice-profile", 8, axis=axis))
    found = bids.discover(str(cohort.parent / "sim"))
    assert {nifti.load(one.uris[0])[0].shape for one in found} == {shape}


def test_a_second_run_skips_what_is_whole_and_mends_the_rest(cohort):
    simulate(settings(cohort))
    images = sorted((cohort.parent / "sim").glob("sub-*/**/*.nii.gz"))
    before = {path: path.read_bytes() for path in images}
    images[0].write_bytes(before[images[0]][:100])
    images[2].with_name(images[2].name.replace(".nii.gz", ".json")).unlink()
    (images[1].parent / ".left.tmp").write_bytes(b"x")
    records = simulate(settings(cohort))
    assert list(states(records).values()) == ["done", "skipped", "done"]
    assert {path: path.read_bytes() for path in images} == before
    assert not list((cohort.parent / "sim").rglob(".*.tmp"))


def test_other_settings_or_another_truth_are_made_anew(cohort):
    simulate(settings(cohort))
    assert set(states(simulate(settings(cohort, seed=1))).values()) == {"done"}
    write(cohort / "sub-02" / "anat" / "sub-02_T1w.nii.gz", brain((40, 42, 43), seed=9)[0].astype(np.int16))
    assert list(states(simulate(settings(cohort, seed=1))).values()) == ["skipped", "skipped", "done"]


def test_the_seed_matters_only_where_something_is_drawn(cohort):
    simulate(settings(cohort, "slice-profile"))
    assert set(states(simulate(settings(cohort, "slice-profile", seed=1))).values()) == {"skipped"}


def test_every_scan_has_a_contrast_and_noise_of_its_own_that_the_order_does_not_change(cohort):
    simulate(settings(cohort))
    all_three = {told["TruthURI"]: told["Isovox"] for told in sidecars(cohort)}
    assert len({told["SNR"]["WM"] for told in all_three.values()}) == 3
    simulate(settings(cohort, out=str(cohort.parent / "alone"), selection={"participant_label": ("02",)}))
    (alone,) = (cohort.parent / "alone").glob("sub-02/**/*.json")
    told = json.loads(alone.read_text())
    assert told["Isovox"]["SHA256"] == all_three[told["TruthURI"]]["SHA256"]


def test_labels_take_the_place_of_the_fit(cohort):
    simulate(settings(cohort, labels=str(cohort.parent / "labels")))
    for told in sidecars(cohort):
        assert told["Isovox"]["Tissues"]["From"] == "labels"
        assert told["Isovox"]["Tissues"]["wm_mean"] == pytest.approx(105, rel=0.01)
    one = min((cohort.parent / "labels").rglob("*.nii.gz"))
    assert set(states(simulate(settings(cohort, labels=str(one)))).values()) == {"skipped"}  # the same labels for all
    write(one, np.flip(brain((40, 42, 43))[1], 0))
    assert set(states(simulate(settings(cohort, labels=str(one)))).values()) == {"done"}


@pytest.mark.parametrize(("operator", "refused"), [("k-space", True), ("scanner", True), ("slice-profile", False)])
def test_scores_below_zero_are_not_taken_for_magnitudes(cohort, operator, refused):
    path = cohort / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    voxels = np.asarray(nibabel.load(path).dataobj, np.float32)
    write(path, (voxels - voxels.mean()) / voxels.std())
    how = {"operator": operator} | ({"scanner": 1} if operator == "scanner" else {"factor": 4})
    made = {record.key: record for record in simulate(settings(cohort, degradation=Degradation(**how)))}
    assert {key: record.code for key, record in made.items() if record.code} == (
        {"sub-02_T1w": "voxels-negative"} if refused else {}
    )
    rung = write(path, np.where(voxels == 0, -0.02 * voxels.max(), voxels))
    assert not any(record.code for record in simulate(settings(cohort, degradation=Degradation(**how)))), rung


def test_one_bad_scan_never_stops_the_others(cohort):
    (cohort / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii.gz").write_bytes(b"no image")
    write(cohort / "sub-03" / "anat" / "sub-03_T1w.nii.gz", np.indices((30, 30, 6))[0].astype(np.int16), THICK)
    two_tissues = np.indices((30, 30, 30))[0].astype(np.float32) % 2 * 100
    two_tissues[0, 0, 0] = 0.5
    write(cohort / "sub-04" / "anat" / "sub-04_T1w.nii.gz", two_tissues)
    write(cohort / "sub-05" / "anat" / "sub-05_run-1_run-2_T1w.nii.gz", np.ones((4, 4, 4), np.int16))
    records = simulate(settings(cohort, factor=8))
    assert states(records) == {
        "sub-01_ses-a_T1w": "not-gzip",
        "sub-01_ses-b_T1w": "done",
        "sub-02_T1w": "done",
        "sub-03_T1w": "factor-too-large",
        "sub-04_T1w": "tissues-not-found",
        "sub-05_run-1_run-2_T1w": "entity-repeated",
    }
    assert all("expected" in record.reason for record in records if record.state == "failed")
    assert len(sidecars(cohort)) == 2


def test_labels_on_another_grid_are_refused(cohort):
    write(cohort.parent / "labels" / "sub-02" / "anat" / "sub-02_dseg.nii.gz", brain((40, 42, 42))[1])
    records = simulate(settings(cohort, labels=str(cohort.parent / "labels")))
    assert list(states(records).values()) == ["done", "done", "labels-grid"]


def test_scans_that_would_get_one_name_are_refused(cohort):
    image = brain((32, 32, 32))[0]
    for space in ("a", "b"):
        write(cohort / "sub-07" / "anat" / f"sub-07_space-{space}_T1w.nii.gz", image)
    records = simulate(settings(cohort))
    assert [record.code for record in records if "sub-07" in record.key] == ["entities-duplicate"] * 2


def test_a_full_disk_is_told_for_each_scan(cohort, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nifti, "save", full)
    records = simulate(settings(cohort))
    assert {record.code for record in records} == {"disk-full"}
    assert "No space left" in records[0].reason
    assert "the same command goes on" in records[0].reason


def test_the_output_may_not_be_the_input(cohort):
    with pytest.raises(UsageError, match="out-is-input"):
        simulate(settings(cohort, out=f"{cohort}/"))


def test_two_label_images_for_a_scan_are_refused(cohort):
    folder = cohort.parent / "labels" / "sub-02" / "anat"
    write(folder / "sub-02_acq-x_dseg.nii.gz", np.ones((4, 4, 4), np.int16))
    with pytest.raises(UsageError, match=r"labels-ambiguous: .* several of sub-02"):
        simulate(settings(cohort, labels=str(cohort.parent / "labels")))


def test_a_run_finds_the_truth_of_each_simulated_scan(cohort):
    simulate(settings(cohort, "slice-mask"))
    plan = plan_cohort(RunSettings(input=str(cohort.parent / "sim"), out=str(cohort.parent / "out"), reference=str(cohort)))
    assert [scan.reference for scan in plan.scans] == [one.uris[0] for one in bids.discover(str(cohort))]


HOWS = [
    ("slice-mask", {"factor": 4}, DroppedSlices(factor=4)),
    ("slice-mask", {"factor": 4, "phase": 2, "axis": "A"}, DroppedSlices(factor=4, phase=2)),
    ("slice-profile", {"factor": 3, "slice_profile": "gaussian"}, SliceProfile(slice_profile="gaussian", factor=3)),
    ("low-field", {"factor": 4, "contrast": "FLAIR"}, LowField(factor=4, contrast="FLAIR")),
    ("in-plane", {"factor": 2, "kernel": "lanczos2", "axis": "R"}, InPlane(factor=2, kernel="lanczos2", axis="R")),
    ("k-space", {"factor": 3, "centre": 0.2, "axis": "A"}, KSpace(factor=3, centre=0.2, axis="A")),
    ("bsrgan-light", {"axis": "A"}, BsrganLight(axis="A")),
]


@pytest.mark.parametrize(("operator", "said", "forward"), HOWS)
def test_run_and_evaluation_tell_the_same_forward_model_of_a_simulated_scan(cohort, operator, said, forward):
    axis = said.pop("axis", "auto")
    simulate(settings(cohort, degradation=Degradation(operator=operator, **said), axis=axis))
    folder = str(cohort.parent / "sim")
    plan = plan_cohort(RunSettings(input=folder, out=str(cohort.parent / "out")))
    assert [scan.forward for scan in plan.scans] == [forward] * 3
    cases = find_cases(EvaluationSettings(protocol="thick-slice", cohort=folder, out=str(cohort.parent / "scores")))
    evaluations = [
        CaseEvaluation(EvaluationSettings(protocol="thick-slice", cohort=folder, out=""), case, None) for case in cases
    ]
    assert [one.images.measured.forward for one in evaluations] == [forward] * 3


def test_a_run_puts_dropped_slices_where_they_were(cohort):
    """On the centre of the thin slice that was kept, not of the gap around it."""
    simulate(settings(cohort, "slice-mask", 4))
    plan = plan_cohort(RunSettings(input=str(cohort.parent / "sim"), out=str(cohort.parent / "out"), voxel_size=2.0))
    for scan, truth in zip(plan.scans, bids.discover(str(cohort)), strict=True):
        assert nifti.header(truth.uris[0]).grid.index_map(scan.target_grid)[2] == pytest.approx((1, 0), abs=1e-4)


def test_a_simulation_that_nobody_knows_is_refused_by_name(cohort):
    simulate(settings(cohort, "slice-mask"))
    path = min((cohort.parent / "sim").glob("sub-02/**/*.json"))
    path.write_text(path.read_text().replace("slice-mask", "wavelets"))
    plan = plan_cohort(RunSettings(input=str(cohort.parent / "sim"), out=str(cohort.parent / "out")))
    assert [(one.key, one.code) for one in plan.refused] == [("sub-02_rec-slicemask4_T1w", "degradation-unknown")]
    assert len(plan.scans) == 2


def test_a_run_finds_truths_whose_names_are_not_bids(tmp_path):
    write(tmp_path / "data" / "patient 7" / "T1w.nii.gz", brain((32, 32, 32))[0])
    write(tmp_path / "data" / "patient 8" / "T1w.nii.gz", brain((32, 32, 32), seed=1)[0])
    simulate(settings(tmp_path / "data"))
    plan = plan_cohort(RunSettings(input=str(tmp_path / "sim"), out=str(tmp_path / "out"), reference=str(tmp_path / "data")))
    truths = sorted(scan.reference for scan in plan.scans)
    assert truths == [str(tmp_path / "data" / f"patient {n}" / "T1w.nii.gz") for n in (7, 8)]


@pytest.mark.slow
def test_the_bids_validator_finds_no_error(cohort):
    for operator in ("low-field", "slice-mask", "in-plane", "k-space"):
        simulate(settings(cohort, operator))
    command = [str(Path(sys.executable).with_name("bids-validator-deno")), str(cohort.parent / "sim"), "--format", "json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    errors = [one for one in told["issues"]["issues"] if one["severity"] == "error"]
    assert told["summary"]["totalFiles"] >= 26  # twelve scans with their sidecars, description and README
    assert not errors


# -- other formats and tables -----------------------------------------------------------------------------------------------


def as_mgz(path: Path) -> Path:
    """The same image as FreeSurfer keeps it; the file itself goes."""
    image = nibabel.load(path)
    there = path.with_name(path.name.removesuffix(".nii.gz") + ".mgz")
    nibabel.save(nibabel.MGHImage(np.asarray(image.dataobj).astype(np.float32), image.affine), there)
    path.unlink()
    return there


def label_table(cohort: Path, *rows: str) -> str:
    path = cohort.parent / "labels.tsv"
    path.write_text("path\tparticipant_id\tsession_id\n" + "".join(f"{row}\n" for row in rows))
    return str(path)


def test_labels_of_any_format_are_named_by_a_table(cohort):
    found = sorted((cohort.parent / "labels").rglob("*_dseg.nii.gz"))
    one, two, three = as_mgz(found[0]), found[1], found[2].rename(found[2].with_name("aseg.nii.gz"))
    table = label_table(cohort, f"{one}\t01\ta", f"{two}\tsub-01\tses-b", f"{three}\t02\tn/a")
    assert set(states(simulate(settings(cohort, labels=table))).values()) == {"done"}
    assert {told["Isovox"]["Tissues"]["From"] for told in sidecars(cohort)} == {"labels"}


def test_a_scan_without_a_label_image_is_refused_where_others_have_one(cohort):
    (cohort.parent / "labels" / "sub-02" / "anat" / "sub-02_dseg.nii.gz").unlink()
    records = simulate(settings(cohort, labels=str(cohort.parent / "labels")))
    assert list(states(records).values()) == ["done", "done", "labels-missing"]
    assert records[2].reason.endswith("but got none for sub-02. Add one, or leave the scan out (--exclude).")


@pytest.mark.parametrize("named", ["nowhere.mgz", "notes.txt"])
def test_a_label_that_cannot_be_read_ends_it(cohort, named):
    (cohort.parent / "notes.txt").write_text("no image")
    with pytest.raises(UsageError, match=r"(file-missing|not-image): expected label images that can be read"):
        simulate(settings(cohort, labels=label_table(cohort, f"{named}\t02\tn/a")))


def test_a_table_that_names_masks_degrades_none_of_them(cohort):
    image = min(cohort.rglob("*.nii.gz"))
    for name in ("lesion_mask", "aseg"):
        write(cohort / f"{name}.nii.gz", (np.asarray(nibabel.load(image).dataobj) > 200).astype(np.uint8))
    table = cohort / "scans.tsv"
    table.write_text(f"path\n{image.relative_to(cohort)}\nlesion_mask.nii.gz\naseg.nii.gz\n")
    found = bids.survey(str(table))
    assert [one.key for one in found.scans] == ["sub-01_ses-a_T1w"]
    assert found.ledger.left == {"line 3": "mask", "line 4": "mask"}
    assert list(states(simulate(settings(cohort, "slice-profile", input=str(table)))).values()) == ["done"]


@pytest.mark.parametrize("kind", ["mgz", "nii.gz"])
def test_pairs_of_a_table_are_scored_whatever_their_format(cohort, kind):
    simulate(settings(cohort, "slice-profile"))
    thick = sorted((cohort.parent / "sim").rglob("*.nii.gz"))
    sharp = sorted(cohort.rglob("*.nii.gz"))
    if kind == "mgz":
        thick, sharp = [as_mgz(path) for path in thick], [as_mgz(path) for path in sharp]
    rows = [f"{a}\t{b}" for a, b in zip(thick, sharp, strict=True)]
    table = cohort.parent / "pairs.tsv"
    table.write_text("\n".join(["path\treference", *rows, f"{thick[0]}\tnowhere.mgz"][:4]) + "\n")
    said = EvaluationSettings(protocol="thick-slice", cohort=str(table), out=str(cohort.parent / "out"))
    cases = find_cases(said)
    assert len(cases) == 3
    images = CaseEvaluation(said, cases[0], None).images
    assert images.truth.shape[2] >= 4 * images.measured.grid.shape[2] - 4


def test_a_thickness_that_is_written_as_a_text_is_one_in_an_evaluation_as_in_a_run(cohort):
    simulate(settings(cohort, "slice-profile"))
    thick, sharp = sorted((cohort.parent / "sim").rglob("*.nii.gz")), sorted(cohort.rglob("*.nii.gz"))
    table = cohort.parent / "pairs.tsv"
    table.write_text(f"path\treference\n{thick[0]}\t{sharp[0]}\n")
    said, told = EvaluationSettings(protocol="thick-slice", cohort=str(table), out=str(cohort.parent / "out")), {}
    grid = nifti.load(str(thick[0]))[1]
    for value in (0.5 * grid.spacing[2], str(0.5 * grid.spacing[2]), grid.spacing[2]):
        thick[0].with_name(thick[0].name.replace(".nii.gz", ".json")).write_text(json.dumps({"SliceThickness": value}))
        told[value] = forward_told(find_cases(said)[0], grid)
    half, text, whole = told.values()
    assert half == text != whole


def test_a_truth_that_is_not_there_fails_its_case_by_name(cohort):
    table = cohort.parent / "pairs.tsv"
    paths = sorted(cohort.rglob("*.nii.gz"))
    table.write_text(f"path\treference\n{paths[0]}\tnowhere.mgz\n{paths[1]}\tn/a\n")
    cases = find_cases(EvaluationSettings(protocol="thick-slice", cohort=str(table), out=str(cohort.parent / "out")))
    assert [case.reason.partition(":")[0] for case in cases] == ["file-missing", "truth-missing"]
