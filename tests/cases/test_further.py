"""Inputs that nobody reported yet: names, tables, header fields and series of the reported kinds, each taken or told."""

from __future__ import annotations

import gzip
import os
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from core.errors import InputError, UsageError
from core.io import claim, files, readers
from core.io.bids import survey
from core.io.validation import Levels
from core.settings.run import RunSettings
from core.settings.scans import Selection
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import bids, description, head, nifti, patch, series
from tests.cases.test_siblings import codes


def table(path: Path, *paths: object) -> Path:
    path.write_text("path\n" + "".join(f"{line}\n" for line in paths))
    return path


def planned(source: Path):
    return plan_cohort(RunSettings(input=str(source), out=str(source) + "-out"))


# -- where the output may lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "simulate", "evaluate", "harmonize", "train"])
@pytest.mark.parametrize(
    ("source", "out", "code"),
    [
        ("in/a.nii.gz", "in", "out-above-input"),
        ("in/a.nii.gz", "", "out-above-input"),
        ("in/t.tsv", "in", "out-above-input"),
        ("lists/t.tsv", "in", "out-above-input"),  # of the scans that it names
        ("lists/t.tsv", "in/s", "out-is-input"),
        ("lists/t.tsv", "in/s/x", "out-in-input"),
        ("lists/t.tsv", "truth", "out-above-input"),
        ("in/a.nii.gz", "in/results", ""),
        ("lists/t.tsv", "in/results", ""),
        ("lists/t.tsv", "out", ""),
    ],
)
def test_the_folder_of_an_image_or_a_table_and_of_what_it_names_is_no_output(tmp_path, command, source, out, code):
    nifti(tmp_path / "in" / "a.nii.gz")
    nifti(tmp_path / "truth" / "a.nii.gz")
    series(tmp_path / "in" / "s", shape=(24, 24, 2))
    (tmp_path / "lists").mkdir()
    text = "path\treference\n../in/a.nii.gz\t../truth/a.nii.gz\n../in/s\tn/a\n.\tn/a\n"
    for folder in ("in", "lists"):
        (tmp_path / folder / "t.tsv").write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    place, read = str(tmp_path / out), str(tmp_path / source)
    act = partial(claim.check, place, [read], command)
    if command == "run":
        act = partial(plan_cohort, RunSettings(input=read, out=place))
    if code:
        with pytest.raises(UsageError, match=rf"^{code}: expected .* Name another folder for the output"):
            act()
    else:
        act()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_table_on_this_machine_may_name_scans_on_s3_and_their_prefix_is_no_output(tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "kind_of", lambda _: None)
    uri = str(table(tmp_path / "t.tsv", "s3://b/in/a.nii.gz", "s3://b/in/s"))
    for out, code in (("s3://b/in", "above"), ("s3://b", "above"), ("s3://b/in/s/x", "in")):
        with pytest.raises(UsageError, match=f"out-{code}-input"):
            claim.check_apart(out, [uri])
    claim.check_apart("s3://b/out", [uri])


def test_an_output_of_isovox_may_hold_its_input(tmp_path):
    source = nifti(tmp_path / "out" / "a.nii.gz")
    claim.mark(str(tmp_path / "out"), "run")
    claim.check(str(tmp_path / "out"), [str(source)], "run")


# -- tables -----------------------------------------------------------------------------------------------------------------


def test_a_scan_that_several_lines_of_a_table_name_is_refused_in_each(tmp_path):
    nifti(tmp_path / "a.nii.gz")
    nifti(tmp_path / "b.nii.gz")
    series(tmp_path / "s")
    (tmp_path / "link.nii.gz").symlink_to("a.nii.gz")
    ways = ["a.nii.gz", "./a.nii.gz", "s/../a.nii.gz", "link.nii.gz", tmp_path / "a.nii.gz"]
    plan = planned(table(tmp_path / "t.tsv", *ways, "b.nii.gz", "s", "s/", "./s"))
    assert [scan.key for scan in plan.scans] == ["b"]
    assert {refusal.code for refusal in plan.refused} == {"scan-twice"}
    said = {refusal.key: refusal.reason for refusal in plan.refused}
    assert "got lines 2, 3, 4, 5, 6, which name the same file" in said["line-4"]
    assert "got lines 8, 9, 10, which name the same file" in said["line-9"]
    assert (plan.files.seen, plan.files.taken, plan.files.refused) == (9, 1, 8)


def test_scans_elsewhere_of_one_name_are_named_by_as_much_of_their_paths_as_tells_them_apart(tmp_path):
    for name in ("p1/t1", "p2/t1", "x/p3/t1", "y/p3/t1", "p1/t2"):
        nifti(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "lists").mkdir()
    names = ["p1/t1", "p2/t1", "x/p3/t1", "y/p3/t1", "p1/t2"]
    plan = planned(table(tmp_path / "lists" / "t.tsv", *(tmp_path / "in" / f"{name}.nii.gz" for name in names)))
    assert not plan.refused
    stems = {scan.stem.partition("/")[0]: scan.key for scan in plan.scans}
    assert stems.keys() == {"sub-p1", "sub-p2", "sub-xp3", "sub-yp3", "sub-lists"}
    assert stems["sub-lists"] == "t2"
    relative = planned(table(tmp_path / "lists" / "r.tsv", *(f"../in/{name}.nii.gz" for name in names)))
    assert {scan.key for scan in relative.scans} == {scan.key for scan in plan.scans}


def test_folders_with_the_names_of_files_are_folders(tmp_path):
    nifti(tmp_path / "t.tsv" / "a.nii.gz")
    assert [scan.key for scan in planned(tmp_path / "t.tsv").scans] == ["a"]
    (tmp_path / "in" / "x.nii").mkdir(parents=True)
    nifti(tmp_path / "in" / "x.nii" / "y.nii.gz" / "b.nii.gz")
    assert not codes(tmp_path / "in")
    nifti(tmp_path / "a.nii.gz")
    plan = planned(table(tmp_path / "u.tsv", "a.nii.gz", "in/x.nii"))
    assert [refusal.code for refusal in plan.refused] == ["dicom-missing"]


def test_lines_above_the_names_of_the_columns_are_told_as_that(tmp_path):
    for above in ("sep=\\t", "# exported by a database"):
        (tmp_path / "t.tsv").write_text(f"{above}\npath\tparticipant_id\na.nii\t1\n")
        said = r"table-line: expected at most 1 cell a line, as in the first, but got 2 in line 2 .*\. Remove what stands above"
        with pytest.raises(UsageError, match=said):
            planned(tmp_path / "t.tsv")


def test_an_empty_table_and_one_of_a_first_line_alone_are_told(tmp_path):
    for text, said in (("", "table-columns: .* got an empty table"), ("path\n", "no-scans: ")):
        (tmp_path / "t.tsv").write_text(text)
        with pytest.raises(UsageError, match=said):
            planned(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfPath\tnote\r\n a b.nii.gz \tx\r\n\r\n")
    nifti(tmp_path / "a b.nii.gz")
    assert len(planned(tmp_path / "t.tsv").scans) == 1


# -- names ------------------------------------------------------------------------------------------------------------------


def test_a_name_too_long_for_outputs_is_refused_in_the_plan_and_one_that_just_fits_is_written(tmp_path):
    bids(tmp_path / "in", "01")
    for label in ("n" * 150, "m" * 210):
        nifti(tmp_path / "in" / "sub-01" / "anat" / f"sub-01_acq-{label}_T1w.nii.gz")
    assert list(codes(tmp_path / "in").values()) == ["name-too-long"]
    nifti(tmp_path / "plain" / f"{'m' * 240}.nii.gz")  # is given a name, which fits
    assert not codes(tmp_path / "plain")
    name = f"{'é' * 120}.json"  # 245 bytes
    files.write_json(str(tmp_path / name), {})
    assert (tmp_path / name).read_text() == "{}\n"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


# -- voxels -----------------------------------------------------------------------------------------------------------------


def _labels() -> np.ndarray:
    return np.digitize(head(), [100, 200, 400])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("what", ["mask", "mask of 0.5", "labels"])
def test_masks_and_labels_by_their_values_are_never_restored_whatever_their_name(tmp_path, what, dtype):
    voxels = _labels() if what == "labels" else (head() > 200) * (0.5 if what == "mask of 0.5" and dtype != np.uint8 else 1)
    path = nifti(tmp_path / "tumour.nii.gz", voxels=voxels, dtype=dtype)
    with pytest.raises(InputError, match=r"voxels-labels: expected an image of intensities, but got [24] values, 0 to .*mask"):
        readers.load("nifti", [str(path)])
    with pytest.raises(InputError, match="voxels-labels"):
        for _ in readers.slabs("nifti", [str(path)], 4):
            pass
    assert readers.load_at(str(path))[0].max() == voxels.max()  # what is asked for as a mask is read


def test_intensities_of_few_values_are_read(tmp_path):
    coarse = np.round(head() / 40)  # 20 levels and more
    readers.load("nifti", [str(nifti(tmp_path / "a.nii.gz", voxels=coarse))])
    phantom = np.digitize(head(), [100, 200, 400]) * 0.15  # of no whole numbers
    readers.load("nifti", [str(nifti(tmp_path / "b.nii.gz", voxels=phantom, dtype=np.float32))])
    levels = Levels()
    levels.look(np.zeros((40, 40, 40), np.float32))
    late = np.zeros((40, 40, 40), np.float32)
    late[3, 5, 7:] = np.arange(33)  # none of them in the sample
    levels.look(late)
    levels.check()


@pytest.mark.parametrize("how", ["plain named .gz", "packed twice", "packed in parts"])
def test_what_is_packed_is_read_or_told(tmp_path, how):
    path = nifti(tmp_path / "in" / "a.nii")
    content = path.read_bytes()
    path.unlink()
    made = {
        "plain named .gz": content,
        "packed twice": gzip.compress(gzip.compress(content)),
        "packed in parts": gzip.compress(content[:1000]) + gzip.compress(content[1000:]),
    }
    (tmp_path / "in" / "a.nii.gz").write_bytes(made[how])
    code = {"plain named .gz": "not-gzip", "packed twice": "not-nifti"}.get(how)
    assert codes(tmp_path / "in") == ({"a": code} if code else {})
    if not code:
        nifti(tmp_path / "b.nii")
        assert (readers.load_at(str(tmp_path / "in" / "a.nii.gz"))[0] == readers.load_at(str(tmp_path / "b.nii"))[0]).all()


# -- DICOM ------------------------------------------------------------------------------------------------------------------


def _mosaic(plane, _):
    plane.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


def _positions(plane, number):
    plane.TemporalPositionIdentifier = number // 6 + 1
    plane.ImagePositionPatient[2] = float(number % 6 * 10)


SERIES = {
    "a CT": (lambda plane, _: setattr(plane, "Modality", "CT"), "dicom-modality"),
    "mosaics": (_mosaic, "dicom-mosaic"),
    "temporal positions": (_positions, "dicom-duplicates"),
    "frames": (lambda plane, _: setattr(plane, "NumberOfFrames", 3), "dicom-multiframe"),
    "no modality": (lambda plane, _: delattr(plane, "Modality"), ""),
    "one SOPInstanceUID": (lambda plane, _: setattr(plane, "SOPInstanceUID", "1.2.3"), ""),
    "slopes of their own": (lambda plane, number: setattr(plane, "RescaleSlope", 1 + number), ""),
}


@pytest.mark.parametrize("name", SERIES)
def test_series_that_are_no_mri_or_no_stack_are_refused_by_name(tmp_path, name):
    edit, code = SERIES[name]
    series(tmp_path / "in" / "odd", edit=edit)
    series(tmp_path / "in" / "t1")
    assert codes(tmp_path / "in") == ({"odd": code} if code else {})


def test_localizers_are_left_out_by_their_type(tmp_path):
    series(tmp_path / "in" / "t1")
    series(tmp_path / "in" / "loc", edit=lambda plane, _: setattr(plane, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    plan = planned(tmp_path / "in")
    assert [scan.key for scan in plan.scans] == ["t1"]
    assert plan.files.left == {"localizer": 12}


# -- through the command ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_over_odd_and_sound_scans_ends_each_in_one_state(tmp_path, capsys):
    root = tmp_path / "in"
    for name in ("T1 (1)", "T1_(1)", "A", "a", "n" * 190):
        nifti(root / f"{name}.nii.gz", seed=len(name))
    nifti(root / "tumour.nii.gz", voxels=head() > 200, dtype=np.uint8)
    nifti(root / "m" / f"{'m' * 240}.nii.gz")
    os.link(root / "A.nii.gz", root / "plain.nii")
    series(root / "ct", edit=lambda plane, _: setattr(plane, "Modality", "CT"))
    bids(tmp_path / "other", "01")
    code = main(["run", str(root), str(tmp_path / "out"), "--method", "cubic", "--workers", "1"])
    said = capsys.readouterr()
    assert code == 3
    assert "Traceback" not in said.out + said.err
    assert "refuses" not in said.err  # every scan has its entry in MLflow
    lines = "".join((said.out + said.err).split())
    for reason in ("voxels-labels", "dicom-modality"):
        assert reason in lines
    assert "2failed" in lines
    assert len(list((tmp_path / "out").rglob("*_desc-restored_*.nii.gz"))) == 7
    assert survey(str(root)).ledger.account().seen == 20


@pytest.mark.parametrize(
    ("size", "by_qform", "told"), [(1.0, 0, "1 x 5 x 10"), (np.nan, 0, "nan x 5 x 10"), (5.02, 0, ""), (5.0, 1, "")]
)
def test_an_sform_alone_with_other_voxel_sizes_than_pixdim_is_taken_and_told(tmp_path, size, by_qform, told):
    odd, _ = (nifti(tmp_path / "in" / f"{name}.nii.gz") for name in ("odd", "whole"))
    patch(odd, 80, struct.pack("<f", size))
    patch(odd, 252, struct.pack("<h", by_qform))
    plan = planned(tmp_path / "in")
    assert [scan.source_grid.spacing for scan in plan.scans] == [(5.0, 5.0, 10.0)] * 2
    words = f"the header of odd has voxels of 5 x 5 x 10 mm by its sform, which is taken, and of {told} mm by pixdim"
    assert [note for note in plan.notes if "header of" in note] == ([words] if told else [])


def test_folders_to_which_links_lead_by_two_ways_are_read_once(tmp_path: Path) -> None:
    nifti(tmp_path / "elsewhere" / "inner" / "p1_T1w.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").symlink_to(tmp_path / "elsewhere" / "inner")
    (tmp_path / "in" / "b").symlink_to(tmp_path / "elsewhere")  # which holds what "a" leads to
    discovery = survey(str(tmp_path / "in"))
    assert list(discovery.ledger.taken) == ["a/p1_T1w.nii.gz"]
    assert discovery.ledger.unread == {"b/inner": "a folder that is read under another path"}


def test_what_statistics_programs_write_for_nothing_names_no_file_but_may_be_a_person(tmp_path: Path) -> None:
    nifti(tmp_path / "a_T1w.nii.gz")
    (table := tmp_path / "t.tsv").write_text("path\treference\tmask\tparticipant_id\na_T1w.nii.gz\tNA\tN/A\tNA\n")
    (scan,) = survey(str(table)).scans
    assert (scan.reference, scan.person) == (None, "NA")


def test_another_truth_of_the_same_name_is_scored_against_and_nothing_is_restored_for_it(tmp_path: Path) -> None:
    root, truth = bids(tmp_path / "in", "01"), bids(tmp_path / "truth", "01", "02")
    settings = RunSettings(input=str(root), out=str(tmp_path / "out"), reference=str(truth), method="cubic")
    (before,) = plan_cohort(settings).scans
    images = [truth / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz" for label in ("01", "02")]
    images[0].write_bytes(images[1].read_bytes())
    (after,) = plan_cohort(settings).scans
    assert after.digest != before.digest
    assert after.restore_digest == before.restore_digest
    (row := tmp_path / "in.tsv").write_text("path\treference\nin/sub-01/anat/sub-01_T1w.nii.gz\tgone.nii.gz\n")
    (lost,) = plan_cohort(settings.model_copy(update={"input": str(row), "reference": None})).scans  # its record will say so
    assert lost.reference_sha256 == ""


@pytest.mark.parametrize("layout", ["dataset", "folder", "table"])
def test_ct_and_pet_beside_mri_are_left_out_by_their_names_unless_asked_for(tmp_path, layout):
    root = tmp_path / "in"
    where = "sub-01/{}/sub-01_{}.nii.gz" if layout == "dataset" else "{1}.nii.gz" if layout == "folder" else "p1_{1}.nii.gz"
    paths = [where.format(*place) for place in (("anat", "T1w"), ("anat", "CT"), ("ct", "ct"), ("pet", "pet"))]
    for seed, path in enumerate(paths):
        nifti(root / path, seed=seed)
    if layout == "dataset":
        description(root)
    if layout == "table":
        (root / "t.tsv").write_text("\n".join(["path", *paths]))
    uri = str(root / "t.tsv" if layout == "table" else root)
    found = survey(uri)
    assert (len(found.scans), found.ledger.account().left.get("other-datatype")) == (1, 3)
    assert len(survey(uri, Selection(suffix=("T1w", "CT"))).scans) >= 2


def test_a_series_of_mri_in_a_folder_of_a_persons_initials_is_a_scan(tmp_path):
    series(tmp_path / "in" / "CT")
    assert len(survey(str(tmp_path / "in")).scans) == 1
