"""Inputs that users of the field's tools have reported: each is right, or refused by name; nothing is lost in silence."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from functools import partial
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from pydicom.uid import generate_uid

from core.engine.plan import CohortPlan
from core.errors import UsageError
from core.io import claim, readers
from core.io.bids import Discovery, Refused, Source, survey
from core.settings.run import RunSettings
from core.settings.scans import Selection
from tasks.harmonize.sites import Person, sites_of
from tasks.pipeline.discover import check_plan, plan_cohort
from tests.cases.makers import SHAPE, VOXEL, affine_of, bids, head, nifti, participants, patch, series, without_preamble


def planned(source: Path, **how) -> CohortPlan:
    """The plan of a run; every file is in the account."""
    plan = plan_cohort(RunSettings.model_validate({"input": str(source), "out": str(source) + "-out"} | how))
    assert plan.files.seen == plan.files.taken + plan.files.refused + sum(plan.files.left.values())
    return plan


def keys(plan: CohortPlan) -> set[str]:
    return {scan.key for scan in plan.scans}


def codes(plan: CohortPlan) -> dict[str, str]:
    return {one.key: one.code for one in plan.refused}


def whole(source: Path) -> Discovery:
    """What is found; each file of the disk is in the ledger, or below a folder that is named there."""
    found = survey(str(source))
    ledger = found.ledger
    told = ledger.taken.keys() | ledger.refused.keys() | ledger.left.keys()
    there = {str(path.relative_to(source)) for path in source.rglob("*") if not path.is_dir()}
    assert {path for path in there - told if not any(path.startswith(f"{folder}/") for folder in ledger.unread)} == set()
    assert sum(map(len, (ledger.taken, ledger.refused, ledger.left))) == len(told)
    return found


# -- DICOM ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 60, 132, 420, -200])
@pytest.mark.parametrize("lost", [[10, 11], [0], [1, 3, 5, 7, 9, 11]])
def test_members_that_are_empty_or_cut_fail_their_series_with_counts(tmp_path, kept, lost):
    series(tmp_path / "in" / "series")
    nifti(tmp_path / "in" / "good.nii.gz")
    for number in lost:
        path = tmp_path / "in" / "series" / f"IM{number:04d}"
        path.write_bytes(path.read_bytes()[:kept])
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"good"}
    assert codes(plan) == {"series": "dicom-members"}
    assert f"{len(lost)} of 12 that cannot be read, such as IM{lost[0]:04d}" in plan.refused[0].reason
    assert (plan.files.taken, plan.files.refused) == (1, 12)


@pytest.mark.parametrize("content", [b"<html>Error 404</html>", bytes(3000), b"\x89PNG and so on" * 20])
def test_what_an_archive_gave_in_place_of_a_slice_fails_the_series(tmp_path, content):
    series(tmp_path / "in" / "series")
    (tmp_path / "in" / "series" / "IM0011").write_bytes(content)
    assert codes(planned(tmp_path / "in")) == {"series": "dicom-members"}


@pytest.mark.parametrize("bare", [[10, 11], [0, 1, 2], list(range(12))])
def test_slices_without_a_preamble_are_read(tmp_path, bare):
    series(tmp_path / "in" / "series")
    before = readers.load("dicom", [str(tmp_path / "in" / "series")])
    for number in bare:
        without_preamble(tmp_path / "in" / "series" / f"IM{number:04d}")
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"series"}
    assert plan.scans[0].source_grid == before[1]
    np.testing.assert_array_equal(readers.load("dicom", plan.scans[0].uris)[0], before[0])


@pytest.mark.parametrize(
    ("name", "content"), [("LICENSE", b"CC BY 3.0\n"), ("AAA.txt", b""), ("0", b"notes on the scan\n"), (".DS_Store", b"\0")]
)
def test_no_single_file_decides_for_a_folder(tmp_path, name, content):
    series(tmp_path / "in" / "series", name="MR{:06d}.dcm")
    nifti(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "series" / name).write_bytes(content)
    found = whole(tmp_path / "in")
    assert {one.key for one in found.scans} == {"good", "series"}
    assert f"series/{name}" in found.ledger.left


@pytest.mark.parametrize("extension", ["dicom", "MR", "img", "IMA", "0001", "dat"])
def test_slices_of_any_extension_are_read(tmp_path, extension):
    nifti(tmp_path / "in" / "good.nii.gz")
    series(tmp_path / "in" / "s", name="S{:04d}." + extension)
    assert keys(planned(tmp_path / "in")) == {"good", "s"}


def test_directions_that_differ_by_rounding_are_one_series(tmp_path):
    def edit(one, number):
        tilt = 0.01 + 2e-5 * (-1) ** number
        one.ImageOrientationPatient = [-np.sqrt(1 - tilt**2), 0, tilt, 0, -1, 0]
        one.PixelSpacing = [5.0 + 2e-4 * (-1) ** number, 5.0]

    plan = planned(series(tmp_path / "in" / "series", edit=edit).parent)
    assert [scan.source["shape"] for scan in plan.scans] == [list(SHAPE)]


def test_a_series_in_two_folders_is_one_scan(tmp_path):
    uid, study = generate_uid(), generate_uid()
    for folder, mine in (("D1", range(6)), ("D2", range(6, 12))):
        series(tmp_path / "in" / folder, uid=uid, study=study, edit=lambda _, k, mine=mine: k in mine)
    plan = planned(tmp_path / "in")
    assert [scan.source["shape"] for scan in plan.scans] == [list(SHAPE)]
    assert [Path(uri).name for uri in plan.scans[0].uris] == ["D1", "D2"]
    alone = series(tmp_path / "alone" / "D1", uid=uid)
    assert planned(alone.parent).scans[0].key == plan.scans[0].key


def test_series_that_share_a_folder_are_scans_of_their_own(tmp_path):
    for number, name in ((3, "A{:03d}"), (7, "B{:03d}")):

        def edit(one, _, number=number):
            one.SeriesNumber = number

        series(tmp_path / "in" / "all", name=name, edit=edit)
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"all_series-3-" + scan.key[-6:] for scan in plan.scans if "series-3" in scan.key} | {
        "all_series-7-" + scan.key[-6:] for scan in plan.scans if "series-7" in scan.key
    }
    assert len(plan.scans) == 2
    assert all(len(scan.uris) == 12 for scan in plan.scans)
    image, grid, _ = readers.load("dicom", plan.scans[0].uris)
    assert image.shape == SHAPE
    assert grid == plan.scans[0].source_grid


def test_a_copy_of_a_series_is_refused_by_name(tmp_path):
    uid, study = generate_uid(), generate_uid()
    for folder in ("a", "copy"):
        series(tmp_path / "in" / folder, uid=uid, study=study)
    assert set(codes(planned(tmp_path / "in")).values()) == {"dicom-duplicates"}


# -- NIfTI and other formats ------------------------------------------------------------------------------------------------


def test_qfac_0_is_read_as_1(tmp_path):
    nifti(tmp_path / "in" / "good.nii.gz")
    patch(nifti(tmp_path / "in" / "qfac.nii.gz"), 76, struct.pack("<f", 0.0))
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"good", "qfac"}
    assert plan.scans[0].source == plan.scans[1].source


@pytest.mark.parametrize("qfac", [2.0, float("nan"), -7.0])
def test_what_nibabel_says_of_a_header_is_that_scans_reason_alone(tmp_path, qfac):
    nifti(tmp_path / "in" / "good.nii.gz")
    patch(nifti(tmp_path / "in" / "bad.nii.gz"), 76, struct.pack("<f", qfac))
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"good"}
    assert codes(plan) == {"bad": "header-invalid"}


def test_a_slope_that_is_no_number_means_unscaled(tmp_path):
    good = nifti(tmp_path / "good.nii.gz")
    nan = patch(nifti(tmp_path / "nan.nii.gz"), 112, struct.pack("<ff", float("nan"), float("nan")))
    np.testing.assert_array_equal(readers.load("nifti", [str(good)])[0], readers.load("nifti", [str(nan)])[0])


def test_capitals_pairs_and_other_formats_are_the_same_scan(tmp_path):
    root, affine, voxels = tmp_path / "in", affine_of(), head().astype(np.int16)
    nifti(root / "a.nii.gz")
    nifti(root / "b.NII.GZ")
    nifti(root / "c.NII")
    nibabel.save(nibabel.Nifti1Pair(voxels, affine), root / "d.hdr")
    nibabel.save(nibabel.Nifti1Pair(voxels, affine), root / "e.img")
    nibabel.save(nibabel.MGHImage(voxels.astype(np.float32), affine), root / "f.mgz")
    nibabel.save(nibabel.MGHImage(voxels, affine), root / "g.mgh")
    space = {"space": "right-anterior-superior", "space directions": np.diag(VOXEL), "space origin": affine[:3, 3]}
    nrrd.write(str(root / "h.nrrd"), voxels, space)
    lps = np.diag([-1.0, -1.0, 1.0])
    turned = {
        "space": "LPS",
        "space directions": (lps @ np.diag(VOXEL)).T,
        "space origin": lps @ affine[:3, 3],
        "encoding": "raw",
    }
    nrrd.write(str(root / "i.nhdr"), voxels, turned, detached_header=True)
    plan = planned(root)
    assert codes(plan) == {}
    assert keys(plan) == set("abcdefghi")
    images = {scan.key: readers.load(scan.kind, scan.uris) for scan in plan.scans}
    for key, (image, grid, _) in images.items():
        np.testing.assert_array_equal(image, images["a"][0], err_msg=key)
        np.testing.assert_allclose(grid.affine, images["a"][1].affine, atol=1e-4, err_msg=key)


BAD = {
    "half of a pair": (
        "x.hdr",
        nibabel.Nifti1Pair(np.ones((9, 9, 9), np.int16), affine_of()).header.binaryblock,
        "pair-incomplete",
    ),
    "voxels alone": ("x.img.gz", b"\x1f\x8b\x08\0", "pair-incomplete"),
    "another format": ("x.mnc", b"\x89HDF\r\n", "format-unread"),
    "a torn nrrd": ("x.nrrd", b"NRRD0004\ntype: short\n", "header-invalid"),
    "no space": (
        "x.nrrd",
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 60 60 60\nencoding: raw\n\n" + bytes(60**3),
        "orientation-unknown",
    ),
    "elsewhere": (
        "x.nhdr",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: raw\ndata file: ../x.raw\n",
        "nrrd-elsewhere",
    ),
    "a torn mgz": ("x.mgz", b"\x1f\x8b\x08\0\0", "file-truncated"),
    "not mgh": ("x.mgh", bytes(400), "header-invalid"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_looks_like_a_scan_and_cannot_be_read_is_refused_by_name(tmp_path, name):
    nifti(tmp_path / "in" / "good.nii.gz")
    path, content, code = BAD[name]
    (tmp_path / "in" / path).write_bytes(content)
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"good"}
    assert list(codes(plan).values()) == [code]


@pytest.mark.parametrize("name", ["scan", "scan.gz", "scan.dat", "scan.nii.bak", "scan.brain"])
def test_a_scan_by_its_content_is_never_silent(tmp_path, name):
    nifti(tmp_path / "in" / "good.nii.gz")
    nifti(tmp_path / "in" / name)
    plan = planned(tmp_path / "in")
    assert keys(plan) == {"good"}
    assert list(codes(plan).values()) == ["name-odd"]


def test_bytes_behind_a_whole_gzip_file_do_not_matter_and_missing_ones_do(tmp_path):
    path = nifti(tmp_path / "x.nii.gz")
    before = readers.load("nifti", [str(path)])[0]
    content = path.read_bytes()
    for tail in (b"junkjunk", bytes(512), b"x"):
        path.write_bytes(content + tail)
        np.testing.assert_array_equal(readers.load("nifti", [str(path)])[0], before)


@pytest.mark.parametrize("factor", [1e25, 1e-30, 1e14])
def test_values_that_float32_cannot_square_are_refused_by_name(tmp_path, factor):
    path = nifti(tmp_path / "x.nii.gz", voxels=head() * factor, dtype=np.float64)
    with pytest.raises(readers.base.InputError, match=r"voxels-(extreme|nonfinite): expected .*, but got .*\. "):
        readers.load("nifti", [str(path)])


# -- BIDS and tables --------------------------------------------------------------------------------------------------------


def test_labels_and_places_outside_the_standard_are_refused_by_name_without_collisions(tmp_path):
    root = bids(tmp_path / "in", "01", "A_1", "A-2", "A 3", "A.4", "\u00e91")
    nifti(root / "sub-05" / "sub-05_T1w.nii.gz")
    nifti(root / "sub-06" / "Anat" / "sub-06_T1w.nii.gz")
    nifti(root / "Sub-07" / "anat" / "Sub-07_T1w.nii.gz")
    plan = planned(root)
    assert keys(plan) == {"sub-01_T1w"}
    assert len(plan.refused) == 8
    assert len({one.key for one in plan.refused}) == 8
    assert {one.code for one in plan.refused} <= {
        "name-not-bids",
        "entity-invalid",
        "entity-mismatch",
        "place-not-bids",
        "entity-repeated",
    }


def test_masks_labels_and_phase_images_are_left_out_and_told(tmp_path):
    root = bids(tmp_path / "in", "01")
    names = (
        "label-lesion_roi",
        "T1w_label-lesion_roi",
        "desc-brain_mask",
        "space-T1w_dseg",
        "part-phase_T2starw",
        "label-GM_probseg",
    )
    for name in names:
        nifti(root / "sub-01" / "anat" / f"sub-01_{name}.nii.gz")
    nifti(root / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz")
    plan = planned(root)
    assert keys(plan) == {"sub-01_T1w"}
    assert codes(plan) == {}
    assert (plan.files.left["mask"], plan.files.left["phase"], plan.files.left["other-datatype"]) == (5, 1, 1)
    assert any("masks and labels 5" in line for line in plan.files.lines())
    assert keys(planned(root, selection={"suffix": ("roi",)})) == {"sub-01_label-lesion_roi"}


def test_a_participant_that_is_missing_is_told_whatever_else_fails(tmp_path):
    root = bids(tmp_path / "in", "02")
    nifti(root / "sub-02" / "anat" / "sub-02_acq-a-b_T2w.nii.gz")
    with pytest.raises(UsageError, match=r"participant-missing: .* got 99"):
        planned(root, selection={"participant_label": ("02", "99")})
    assert list(codes(planned(root, selection={"participant_label": ("02",)})).values()) == ["entity-invalid"]


@pytest.mark.parametrize("column", ["notes", "path"])
def test_a_quotation_mark_in_a_table_is_a_mark_like_any_other(tmp_path, column):
    lines = []
    for number in range(5):
        mark = {column: '"'} if number == 2 else {}
        name = f"{mark.get('path', '')}s{number}.nii.gz"
        nifti(tmp_path / name)
        lines.append(f"{name}\t{mark.get('notes', '')}motion, see form\n")
    (tmp_path / "cohort.tsv").write_text("path\tnotes\n" + "".join(lines))
    assert len(planned(tmp_path / "cohort.tsv").scans) == 5


@pytest.mark.parametrize(
    ("encoding", "code"), [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("latin-1", "table-encoding.*line 2 of cohort.tsv")]
)
def test_a_table_of_another_encoding_is_read_or_refused_by_file_and_line(tmp_path, encoding, code):
    nifti(tmp_path / "s1.nii.gz")
    (tmp_path / "cohort.tsv").write_bytes("path\tname\ns1.nii.gz\tJos\u00e9\n".encode(encoding))
    if code:
        with pytest.raises(UsageError, match=code):
            planned(tmp_path / "cohort.tsv")
    else:
        assert keys(planned(tmp_path / "cohort.tsv")) == {"s1"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("path,age\ns1.nii.gz,4\n", "table-delimiter: .* got commas"),
        ("path;age\ns1.nii.gz;4\n", "table-delimiter: .* got semicolons"),
        ("path\tpath\na\tb\n", "table-columns: .* path more than once"),
        ("path\tage\ns1.nii.gz\t4\tfive\n", "table-line: .* got 3 in line 2"),
        ("\0\0\0", "table-binary"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path, text, code):
    (tmp_path / "cohort.tsv").write_text(text)
    with pytest.raises(UsageError, match=code):
        planned(tmp_path / "cohort.tsv")


LABELS = ("01", "02", "03", "11", "12", "13")
ROWS = [
    ("participant_id", "age", "sex", "site"),
    *((f"sub-{label}", "30", "M", "A" if label < "10" else "B") for label in LABELS),
]


@pytest.fixture
def study(tmp_path) -> Path:
    for label in LABELS:
        nifti(tmp_path / "study" / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz", shape=(4, 4, 4))
    (tmp_path / "study" / "sub-55" / "anat").mkdir(parents=True)  # an empty one
    return tmp_path / "study"


def test_persons_without_a_row_and_rows_without_a_person_are_told(study):
    participants(study, *ROWS[:-1], ("sub-77", "50", "F", "B"))
    one, two = sites_of([str(study)])
    assert (one.participants, two.participants) == (("01", "02", "03"), ("11", "12"))
    assert one.notes == ("1 person without a line in participants.tsv, left out: sub-13",)
    assert two.notes == ("1 person in participants.tsv without an image, left out: sub-77",)


REFUSED = {
    "two rows": ([*ROWS, ("sub-01", "73", "F", "B")], "\t", r"participants-twice: .* several for sub-01\. Keep .* table with"),
    "no leading zeros": (
        [ROWS[0], *((str(int(row[0][4:]) + 70), *row[1:]) for row in ROWS[1:])],
        "\t",
        "participants-unmatched: .* ids such as 71",
    ),
    "commas": (ROWS, ",", "table-delimiter"),
    "a site without images": ([*ROWS, ("sub-88", "1", "F", "C")], "\t", "site-lost: .* none of the 1 of C"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_of_persons_that_would_lose_some_are_refused(study, name):
    rows, sep, code = REFUSED[name]
    participants(study, *rows, sep=sep)
    with pytest.raises(UsageError, match=code):
        sites_of([str(study)])


def test_a_run_goes_on_without_a_table_that_does_not_name_the_persons_and_says_so(tmp_path):
    root = bids(tmp_path / "in", "01")
    participants(root, ("subject_id", "age"), ("sub-01", "30"))
    plan = planned(root)
    assert keys(plan) == {"sub-01_T1w"}
    assert any("participants.tsv is not used: participants-columns" in note for note in plan.notes)
    participants(root, ("participant_id", "age"), ("sub-01", "30"))
    assert not any("participants" in note for note in planned(root).notes)


def test_a_column_site_in_capitals_and_a_stray_quote_lose_nobody(study):
    rows = [
        ("Participant_ID", "Age", "Sex", "SITE", "notes"),
        *((*row, '"left handed' if row[0] == "sub-02" else "") for row in ROWS[1:]),
    ]
    participants(study, *rows)
    one, two = sites_of([str(study)])
    assert (one.participants, two.participants) == (("01", "02", "03"), ("11", "12", "13"))
    assert not one.notes
    assert one.person("", "02") == Person(30.0, "M")


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *(("045Y", 45), ("45,5", 45.5), ("018M", 1.5), ("89+", 89), ("45 years", 45), ("old", None), ("300", None)),
        *(("18 mo", 1.5), (">89", 89), ("~45", 45), ("<1", None)),
    ],
)
def test_ages_as_people_write_them(study, text, years):
    participants(study, ROWS[0], ("sub-01", text, "M", "A"), ("sub-11", "1", "M", "B"))
    assert sites_of([str(study)])[0].person("", "01").age == years


def test_scans_of_one_name_are_all_refused_and_each_file_is_accounted_to_its_refusal(tmp_path):
    root = tmp_path / "in"
    nifti(root / "a.nii.gz")
    nifti(root / "a.nii")
    nibabel.save(nibabel.Nifti1Pair(head().astype(np.int16), affine_of()), root / "a.hdr")
    found = whole(root)
    assert set(found.ledger.refused.values()) == {one.key for one in found.scans}
    assert len(found.scans) == 3
    assert len(found.ledger.refused) == 4


def test_a_refusal_has_a_key_of_its_own_beside_the_scan_of_that_name(tmp_path):
    root = bids(tmp_path / "in", "01")
    for folder in ("Anat", "Other"):
        nifti(root / "sub-01" / folder / "sub-01_T1w.nii.gz")
    plan = planned(root)
    assert keys(plan) == {"sub-01_T1w"}
    assert len(set(codes(plan)) | keys(plan)) == 3
    assert set(codes(plan).values()) == {"place-not-bids"}


# -- folders, special files, selection --------------------------------------------------------------------------------------


def test_the_real_folder_wins_over_a_link_and_loops_end(tmp_path):
    root = tmp_path / "in"
    nifti(root / "z" / "p1" / "x.nii.gz")
    nifti(root / "z" / "p2" / "x.nii.gz")
    (root / "a").mkdir()
    (root / "a" / "p1").symlink_to("../z/p1")
    (root / "z" / "up").symlink_to("..")
    (root / "broken.nii.gz").symlink_to("nowhere")
    (root / "loop.nii").symlink_to("loop.nii")
    found = survey(str(root))
    assert {one.relative for one in found.scans if isinstance(one, Source)} == {"z/p1/x.nii.gz", "z/p2/x.nii.gz"}
    assert [one.code for one in found.scans if isinstance(one, Refused)] == ["file-unreadable"] * 2
    assert set(found.ledger.unread) == {"a/p1", "z/up"}
    assert found.ledger.refused.keys() == {"broken.nii.gz", "loop.nii"}
    assert not found.ledger.left


@pytest.mark.timeout(60)
def test_pipes_sockets_and_devices_never_block(tmp_path, monkeypatch):
    root = bids(tmp_path / "in", "01")
    os.mkfifo(root / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    os.mkfifo(root / "sub-01" / "anat" / "sub-01_T1w.json")
    os.mkfifo(root / "README")
    (root / "zero.nii").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(root)  # a socket's path may not be long
        one.bind("socket")
        plan = planned(root)
    assert plan.files.left["special"] == 5
    assert keys(plan) | set(codes(plan)) == {"sub-01_T1w"}


def test_folders_that_are_not_looked_into_are_named(tmp_path):
    root = bids(tmp_path / "in", "01")
    for folder in ("derivatives/x", "sourcedata/x", ".git/x", "x.zarr", "out/isovox"):
        nifti(root / folder / "x.nii.gz")
    (root / "out" / "isovox" / "plan.json").write_text("{}")
    found = survey(str(root), out=str(root / "mine"))
    assert set(found.ledger.unread) == {"derivatives", "sourcedata", ".git", "x.zarr", "out"}
    assert found.ledger.unread["derivatives"] == "results"  # its own as well as others'
    assert {one.key for one in found.scans} == {"sub-01_T1w"}


def test_each_filter_tells_what_it_kept(tmp_path):
    root = bids(tmp_path / "in", "01", "02", "03")
    nifti(root / "sub-01" / "anat" / "sub-01_run-02_T2w.nii.gz")
    plan = planned(root, selection={"participant_label": ("01", "02"), "suffix": ("T1w",), "exclude": ("sub-02",)})
    assert keys(plan) == {"sub-01_T1w"}
    assert plan.files.filters == (
        "--participant-label 01 02: kept 3 of 4",
        "--suffix T1w: kept 2 of 3",
        "--exclude sub-02: kept 1 of 2",
    )
    assert plan.files.left == {"excluded": 1, "sidecar": 1, "unselected": 2}


@pytest.mark.parametrize(
    ("selection", "code"),
    [
        ({"suffix": ("T1w", "FLAIR")}, "label-missing: .* got FLAIR\\. Check --suffix"),
        ({"participant_label": ("02",), "suffix": ("T2w",)}, "no-scans: .* --suffix T2w: kept 0 of 1"),
        ({"exclude": ("run-07",)}, "label-missing: .* 'run-07'"),
        ({"exclude": ("*T1w*", "run-02")}, "no-scans: .* --exclude"),
        ({"acquisition": ("ax",)}, "label-missing: .* got ax"),
    ],
)
def test_a_filter_that_keeps_nothing_and_a_label_that_matches_nothing_are_refused(tmp_path, selection, code):
    root = bids(tmp_path / "in", "01", "02")
    nifti(root / "sub-01" / "anat" / "sub-01_run-02_T2w.nii.gz")
    with pytest.raises(UsageError, match=code):
        survey(str(root), Selection(**selection))


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("sub-01", {"sub-01_T1w", "sub-01_run-02_T2w"}),
        ("sub-01/anat/sub-01_T1w.nii.gz", {"sub-01_T1w"}),
        ("*_run-02_*", {"sub-01_run-02_T2w"}),
        ("run-02", {"sub-01_run-02_T2w"}),
    ],
)
def test_single_scans_are_excluded_by_path_pattern_or_entity(tmp_path, pattern, left):
    root = bids(tmp_path / "in", "01", "02")
    nifti(root / "sub-01" / "anat" / "sub-01_run-02_T2w.nii.gz")
    assert keys(planned(root)) - keys(planned(root, selection={"exclude": (pattern,)})) == left


def test_only_scans_of_one_person_are_fused(tmp_path):
    for name in ("T1.nii.gz", "T2.nii.gz"):
        nifti(tmp_path / "in" / "p1" / name)
    plan = planned(tmp_path / "in", fuse=True, method="unires")
    assert set(codes(plan).values()) == {"fuse-unproven"}
    study = generate_uid()
    for name in ("a", "b"):
        series(tmp_path / "dicom" / "p1" / name, study=study)
    assert len(planned(tmp_path / "dicom", fuse=True, method="unires").groups()[0]) == 2
    series(tmp_path / "dicom" / "p1" / "c")
    assert set(codes(planned(tmp_path / "dicom", fuse=True, method="unires")).values()) == {"fuse-unproven"}
    root = bids(tmp_path / "bids", "01")
    nifti(root / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    assert len(planned(root, fuse=True, method="unires").groups()[0]) == 2


# -- outputs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "code"),
    [
        ("in", "out-is-input"),
        ("in/", "out-is-input"),
        ("link", "out-is-input"),
        ("in/results", "out-in-input"),
        ("in/sub-01/derivatives", "out-in-input"),
        ("", "out-above-input"),
        ("in/derivatives/isovox", ""),
        ("out", ""),
    ],
)
@pytest.mark.parametrize("command", ["run", "simulate", "harmonize"])
def test_an_output_that_is_in_or_above_the_input_is_refused_before_anything_is_written(tmp_path, out, code, command):
    root = bids(tmp_path / "in", "01")
    (tmp_path / "link").symlink_to("in")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    place = str(tmp_path / out)
    if not code:
        claim.check(place, [str(root)], command)
        return
    settings = RunSettings(input=str(root), out=place)
    act = partial(plan_cohort, settings) if command == "run" else partial(claim.check, place, [str(root)], command)
    with pytest.raises(UsageError, match=rf"{code}: expected .*, but got .*\. Name another folder"):
        act()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_prefixes_on_s3_keep_the_same_rules():
    for out, code in (("s3://b/in", "out-is-input"), ("s3://b/in/x", "out-in-input")):
        with pytest.raises(UsageError, match=code):
            claim.check_apart(out, ["s3://b/in/"])
    claim.check_apart("s3://b/in2", ["s3://b/in"])
    claim.check_apart("s3://b/in/derivatives/x", ["s3://b/in"])


def test_an_output_of_another_kind_or_of_somebody_else_is_refused_by_name(tmp_path):
    root, out = bids(tmp_path / "in", "01"), tmp_path / "out"

    def check() -> None:
        settings = RunSettings(input=str(root), out=str(out))
        check_plan(plan_cohort(settings))

    nifti(out / "sub-01" / "anat" / "sub-01_desc-restored_T1w.nii.gz")
    with pytest.raises(UsageError, match=r"out-taken: .* got sub-01/anat/sub-01_desc-restored_T1w.nii.gz"):
        check()
    shutil.rmtree(out)
    bids(out, "02")
    with pytest.raises(UsageError, match=r"out-taken: .* got dataset_description.json in .*, which isovox did not write"):
        check()
    shutil.rmtree(out)
    claim.mark(str(out), "harmonize")
    with pytest.raises(UsageError, match=r"out-other-kind: expected an output of isovox run, but got one of isovox harmonize"):
        check()
    shutil.rmtree(out)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    check()
    (out / "sub-01").symlink_to("../in/sub-01")
    with pytest.raises(UsageError, match=r"out-link: .* got sub-01, a link to"):
        check()
    shutil.rmtree(out)
    out.write_text("")
    with pytest.raises(UsageError, match="out-is-file"):
        check()


def test_an_output_among_harmonised_scans_is_refused_and_below_their_derivatives_is_not(tmp_path):
    out = str(tmp_path / "out")
    claim.mark(out, "harmonize")
    for kind, folder in (("run", "harmonized/A"), ("harmonize", "harmonized"), ("harmonize", "maps"), ("run", "maps/A/new")):
        (tmp_path / "out" / folder).mkdir(parents=True, exist_ok=True)
        with pytest.raises(UsageError, match=rf"out-in-output: .* got {out}/{folder}, where isovox harmonize keeps what it made"):
            claim.check_free(f"{out}/{folder}", kind)
    claim.check_free(f"{out}/A", "run")  # a site's restored scans
    claim.check_free(f"{out}/harmonized/A/derivatives/isovox", "run")
    claim.check_free(str(tmp_path / "harmonized" / "maps"), "run")


def test_a_table_of_ratings_excludes_what_it_rates_bad(tmp_path):
    root = bids(tmp_path / "in", "01", "02", "03")
    table = tmp_path / "ratings.tsv"
    table.write_text("scan\trating\tnote\nsub-01_T1w\tbad\tmotion\nsub-02_T1w\tgood\t\n")
    plan = planned(root, selection={"exclude": (str(table),)})
    assert keys(plan) == {"sub-02_T1w", "sub-03_T1w"}
    assert plan.files.left["excluded"] == 1
    table.write_text("participant_id\n02\n")
    assert keys(planned(root, selection={"exclude": (str(table),)})) == {"sub-01_T1w", "sub-03_T1w"}
    table.write_text("name\n02\n")
    with pytest.raises(UsageError, match="exclude-table: expected a column path, scan, participant_id, but got name"):
        planned(root, selection={"exclude": (str(table),)})
