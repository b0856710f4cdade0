"""Scans are found in every kind of input, each once, with its own name; what cannot be named is refused, not dropped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from core.errors import AccessError, UsageError
from core.io import bids, derivatives, files
from core.io.bids import Refused, Source
from core.io.derivatives import derivative_stem, map_stem
from core.io.layouts import bids as layout
from core.settings.scans import Selection


def lay_out(root: Path, *paths: str, described: bool = True) -> str:
    """Make empty files at ``paths``; discovery looks at names alone."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    if described:
        (root / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.8.0"}')
    return str(root)


def dicom_file(path: Path, **tags) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    one.Rows = 4
    for name, value in tags.items():
        setattr(one, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)


def sources(found: list[Source | Refused]) -> dict[str, Source]:
    return {one.key: one for one in found if isinstance(one, Source)}


def codes(found: list[Source | Refused]) -> dict[str, str]:
    return {Path(one.uri).name: one.code for one in found if isinstance(one, Refused)}


def test_a_dataset_gives_its_anatomical_scans_with_all_entities_in_their_names(tmp_path):
    root = lay_out(
        tmp_path,
        "sub-01/ses-pre/anat/sub-01_ses-pre_acq-ax_run-01_T2w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
        "sub-02/anat/sub-02_desc-brain_mask.nii.gz",
        "sub-02/anat/sub-02_T1w_defacemask.nii.gz",
        "derivatives/other/sub-02/anat/sub-02_T1w.nii.gz",
        "sourcedata/sub-02/anat/sub-02_T1w.nii.gz",
    )
    found = sources(bids.discover(root))
    assert list(found) == ["sub-01_ses-pre_acq-ax_run-01_T2w", "sub-02_T1w"]
    first = found["sub-01_ses-pre_acq-ax_run-01_T2w"]
    assert first.stem == "sub-01/ses-pre/anat/sub-01_ses-pre_acq-ax_run-01_desc-restored_T2w"
    assert first.group == "sub-01_ses-pre"
    assert first.uris == (f"{root}/sub-01/ses-pre/anat/sub-01_ses-pre_acq-ax_run-01_T2w.nii.gz",)
    assert first.entities == {"sub": "01", "ses": "pre", "acq": "ax", "run": "01", "datatype": "anat", "suffix": "T2w"}
    assert first.relative == "sub-01/ses-pre/anat/sub-01_ses-pre_acq-ax_run-01_T2w.nii.gz"


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ({}, {"sub-01_T1w", "sub-01_ses-1_acq-ax_T2w", "sub-02_ses-2_acq-cor_T2w"}),
        ({"participant_label": ("01",)}, {"sub-01_T1w", "sub-01_ses-1_acq-ax_T2w"}),
        ({"participant_label": ("sub-01", "02"), "suffix": ("T2w",)}, {"sub-01_ses-1_acq-ax_T2w", "sub-02_ses-2_acq-cor_T2w"}),
        ({"session_label": ("2",)}, {"sub-02_ses-2_acq-cor_T2w"}),
        ({"acquisition": ("ax",)}, {"sub-01_ses-1_acq-ax_T2w"}),
        ({"suffix": ("bold",)}, {"sub-01_task-rest_bold"}),
    ],
)
def test_a_selection_means_what_it_means_in_bids_apps(tmp_path, selection, wanted):
    root = lay_out(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-ax_T2w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_acq-cor_T2w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
    )
    assert set(sources(bids.discover(root, Selection(**selection)))) == wanted


PLAIN = ("p1/T2W.nii.gz", "p2/t2_tra.nii.gz", "patient01/T1_mprage.nii.gz", "patient01/ax_T1_FLAIR.nii.gz", "p2/odd.nii.gz")


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ({"suffix": ("T2w",)}, {0, 1}),
        ({"suffix": ("t2W", "mri")}, {0, 1, 4}),
        ({"suffix": ("T1w",)}, {2, 3}),
        ({"suffix": ("mprage", "TRA")}, {1, 2}),  # the last words of the names
        ({"suffix": ("flair",)}, {3}),
        ({"participant_label": ("patient01",)}, {2, 3}),
        ({"participant_label": ("sub-p1", "p2"), "suffix": ("T2w",)}, {0, 1}),
        ({"exclude": ("sub-patient01",)}, {0, 1, 4}),
    ],
)
def test_plain_names_are_selected_by_person_and_contrast_of_their_outputs(tmp_path, monkeypatch, table, selection, wanted):
    monkeypatch.chdir(lay_out(tmp_path, *PLAIN, described=False))
    (tmp_path / "all.tsv").write_text("path\n" + "".join(f"{path}\n" for path in PLAIN))
    found = bids.discover(str(tmp_path / "all.tsv") if table else str(tmp_path), Selection(**selection))
    assert {one.relative for one in found if isinstance(one, Source)} == {PLAIN[number] for number in wanted}
    every = {one.relative: one.stem for one in bids.discover(str(tmp_path)) if isinstance(one, Source)}
    assert {one.stem for one in found if isinstance(one, Source)} == {every[PLAIN[number]] for number in wanted}


def test_labels_of_plain_names_that_are_not_there_are_told_with_those_that_are(tmp_path):
    root = lay_out(tmp_path, *PLAIN[:3], described=False)
    with pytest.raises(UsageError, match=r"got 01\. Check --participant-label; there are p1, p2, patient01\."):
        bids.discover(root, Selection(participant_label=("01",)))
    with pytest.raises(UsageError, match=r"got FLAIR\. Check --suffix; there are T1w, T2w, mprage, tra\."):
        bids.discover(root, Selection(suffix=("FLAIR", "t2w")))


def test_label_images_are_asked_for_in_capitals_or_not(tmp_path):
    root = lay_out(tmp_path, "p1/T1.nii.gz", "p1/lesion_Mask.nii.gz", described=False)
    assert [one.relative for one in bids.discover(root, Selection(suffix=("mask",)))] == ["p1/lesion_Mask.nii.gz"]


def test_a_series_is_selected_by_the_contrast_of_its_description(tmp_path):
    for name, told in (("s1", "t2 tse tra"), ("s2", "t1 sag")):
        dicom_file(tmp_path / "p1" / name / "0.dcm", SeriesDescription=told)
    (one,) = bids.discover(str(tmp_path), Selection(suffix=("T2w",)))
    assert one.relative == "p1/s1"


def test_a_participant_that_is_not_there_is_an_error_of_use(tmp_path):
    root = lay_out(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(
        UsageError, match=r"participant-missing: expected .*, but got 07\. Check --participant-label; there are 01"
    ):
        bids.discover(root, Selection(participant_label=("01", "07")))
    with pytest.raises(UsageError, match=r"label-missing: .* got FLAIR\. Check --suffix; there are T1w"):
        bids.discover(root, Selection(suffix=("FLAIR",)))
    with pytest.raises(UsageError, match=r"label-missing: .* got dseg\. Check --labels; there are T1w"):
        bids.label_images(root)
    with pytest.raises(UsageError, match="input-missing"):
        bids.discover(str(tmp_path / "nowhere"))


BAD = {
    "sub-01_acq-.._T1w.nii.gz": "entity-unsafe",
    "sub-01_acq-a..b_T1w.nii.gz": "entity-unsafe",
    "sub-01_acq-a b_T1w.nii.gz": "entity-invalid",
    "sub-01_acq-_T1w.nii.gz": "entity-invalid",
    "sub-01_acq-a_acq-b_T1w.nii.gz": "entity-repeated",
    "sub-02_T1w.nii.gz": "entity-mismatch",
    "sub-01_ses-1_T1w.nii.gz": "entity-mismatch",
    "sub-01_scan_T1w.nii.gz": "name-not-bids",
    "T1w.nii.gz": "name-not-bids",
}


@pytest.mark.parametrize("name", list(BAD))
def test_names_that_bids_does_not_allow_are_refused_and_the_others_go_on(tmp_path, name):
    root = lay_out(tmp_path, f"sub-01/anat/{name}", "sub-03/anat/sub-03_T1w.nii.gz")
    found = bids.discover(root)
    assert codes(found) == {name: BAD[name]}
    assert set(sources(found)) == {"sub-03_T1w"}
    (refused,) = [one for one in found if isinstance(one, Refused)]
    assert ".." not in refused.key
    assert "/" not in refused.key


@pytest.mark.parametrize(
    "pair",
    [
        ("sub-01_T1w.nii", "sub-01_T1w.nii.gz"),
        ("sub-01_acq-a_run-1_T1w.nii.gz", "sub-01_run-1_acq-a_T1w.nii.gz"),
        ("sub-01_desc-a_T1w.nii.gz", "sub-01_desc-b_T1w.nii.gz"),
    ],
)
def test_duplicate_entities_are_all_refused(tmp_path, pair):
    root = lay_out(tmp_path, *(f"sub-01/anat/{name}" for name in pair), "sub-02/anat/sub-02_T1w.nii.gz")
    found = bids.discover(root)
    assert codes(found) == dict.fromkeys(pair, "entities-duplicate")
    assert set(sources(found)) == {"sub-02_T1w"}
    assert len({one.key for one in found}) == 3


def test_our_own_results_are_no_input(tmp_path):
    root = lay_out(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_desc-restored_T1w.nii.gz")
    assert set(sources(bids.discover(root))) == {"sub-01_T1w"}
    plain = lay_out(tmp_path / "plain", "a.nii.gz", "a_desc-restored.nii.gz", described=False)
    assert set(sources(bids.discover(plain))) == {"a"}


@pytest.mark.parametrize(("folder", "described"), [("sub-01/anat/", True), ("sub-01/anat/", False), ("", False)])
def test_maps_beside_our_own_results_are_no_scans_and_those_of_others_are(tmp_path, folder, described):
    restored = derivative_stem({"sub": "01", "suffix": "T1w"}).rpartition("/")[2]
    maps = [map_stem(restored, name) for name in ("uncertainty", "sd")]
    others = ["sub-01_acq-a_desc-restoredby_T1w", "sub-01_acq-b_desc-unrestored_T1w"]
    root = lay_out(tmp_path, *(f"{folder}{stem}.nii.gz" for stem in (restored, *maps, *others)), described=described)
    assert {one.relative.rpartition("/")[2] for one in bids.discover(root)} == {f"{stem}.nii.gz" for stem in others}


def test_metadata_are_inherited_and_only_allowed_keys_are_kept(tmp_path):
    root = lay_out(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_acq-ax_T2w.nii.gz", "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    contents = {
        "T2w.json": {"EchoTime": 0.1, "RepetitionTime": 5, "MagneticFieldStrength": 3, "PatientName": "DOE^JANE"},
        "sub-01/sub-01_acq-ax_T2w.json": {"EchoTime": 0.09, "SliceThickness": 4.5, "InstitutionName": "Some Hospital"},
        "sub-01/ses-1/anat/sub-01_ses-1_acq-ax_T2w.json": {"SkullStripped": False, "RepetitionTime": "DOE^JANE"},
        "sub-01/ses-1/anat/sub-01_ses-1_acq-cor_T2w.json": {"EchoTime": 9},
    }
    for path, content in contents.items():
        (tmp_path / path).write_text(json.dumps(content))
    found = sources(bids.discover(root))
    assert found["sub-01_ses-1_acq-ax_T2w"].sidecar == {
        "EchoTime": 0.09,
        "MagneticFieldStrength": 3,
        "SkullStripped": False,
        "SliceThickness": 4.5,
    }
    assert found["sub-01_ses-1_T1w"].sidecar == {}


def test_a_sidecar_that_is_no_json_refuses_its_scan(tmp_path):
    root = lay_out(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
    (tmp_path / "sub-01/anat/sub-01_T1w.json").write_text("{")
    found = bids.discover(root)
    assert codes(found) == {"sub-01_T1w.nii.gz": "sidecar-unreadable"}
    assert set(sources(found)) == {"sub-01_T2w"}


def test_of_a_closed_storage_the_input_is_refused_and_of_closed_sidecars_their_scans(tmp_path, monkeypatch):
    root = lay_out(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T1w.{kind}" for n in (1, 2) for kind in ("nii.gz", "json")))
    closed = ["sub-01_T1w.json", "sub-02_T1w.json"]

    def read(uri):
        if files.name_of(uri) in closed:
            raise AccessError("storage-forbidden", f"access to {uri}", "a refusal by the bucket data", "check AWS_PROFILE")
        return {}

    monkeypatch.setattr(layout, "sidecar_at", read)
    with pytest.raises(UsageError, match=r"input-forbidden: expected access to .*, but got a refusal .*\. Check AWS_PROFILE"):
        bids.discover(root)
    closed.pop()
    found = bids.discover(root)
    assert codes(found) == {"sub-01_T1w.nii.gz": "sidecar-unreadable"}
    assert set(sources(found)) == {"sub-02_T1w"}


def test_a_folder_keeps_like_names_in_different_folders_apart(tmp_path):
    root = lay_out(
        tmp_path, "a/T1.nii.gz", "b/T1.nii.gz", "T1.nii", "a b/T1.nii", ".hidden/T1.nii", "a/._T1.nii.gz", described=False
    )
    found = list(sources(bids.discover(root)).values())
    persons = sorted(one.stem.partition("/")[0] for one in found)
    assert persons[:3] == ["sub-a", "sub-ab", "sub-b"]
    assert re.sub(r"[^0-9A-Za-z]", "", tmp_path.name).startswith(persons[3].removeprefix("sub-")[:9])
    assert len({one.key for one in found}) == 4
    assert {one.group for one in found} >= {"a", "b"}


def test_two_files_that_would_have_the_same_output_are_refused(tmp_path):
    root = lay_out(tmp_path, "a/T1.nii.gz", "a/T1.nii", "a/T2.nii", described=False)
    found = bids.discover(root)
    assert codes(found) == {"T1.nii.gz": "entities-duplicate", "T1.nii": "entities-duplicate"}
    assert [one.stem for one in sources(found).values()] == ["sub-a/anat/sub-a_desc-restored_T2w"]


def test_the_contrasts_in_a_folder_are_one_group(scans):
    found = sources(bids.discover(str(scans / "openms" / "patient01_thick")))
    assert {one.stem for one in found.values()} == {
        f"sub-patient01/anat/sub-patient01_desc-restored_{contrast}" for contrast in ("T1w", "T2w", "FLAIR")
    }
    assert {one.group for one in found.values()} == {"patient01_thick"}
    assert set(found) == {"T1W", "T2W", "FLAIR"}


def test_label_maps_in_a_folder_are_taken_only_where_asked_for(scans):
    folder = str(scans / "openms" / "patient07")
    assert set(sources(bids.discover(folder))) == {"T1w", "T1w_ce", "T2w", "FLAIR"}
    assert set(sources(bids.discover(folder, Selection(suffix=("mask",))))) == {"lesion_mask"}


def test_dicom_folders_are_found_beside_nifti_files(tmp_path):
    for number in range(3):
        dicom_file(tmp_path / "p1" / "axial" / f"IM{number}", EchoTime=90.0, PatientName="DOE^JANE")
        dicom_file(tmp_path / "p1" / "sagittal" / f"{number}.dcm")
    root = lay_out(tmp_path, "p1/T1.nii.gz", "p1/notes.txt", described=False)
    found = sources(bids.discover(root))
    assert {one.stem: one.kind for one in found.values()} == {
        "sub-p1/anat/sub-p1_acq-axial_desc-restored_MRI": "dicom",
        "sub-p1/anat/sub-p1_acq-sagittal_desc-restored_MRI": "dicom",
        "sub-p1/anat/sub-p1_desc-restored_T1w": "nifti",
    }
    axial = next(one for one in found.values() if "axial" in one.stem)
    assert axial.uris == (f"{root}/p1/axial",)
    assert axial.sidecar == {"EchoTime": 0.09}
    assert {one.group for one in found.values()} == {"p1"}


def test_one_series_folder_or_one_file_is_an_input_too(tmp_path):
    dicom_file(tmp_path / "axial" / "1.dcm")
    (one,) = sources(bids.discover(str(tmp_path / "axial"))).values()
    assert (one.key, one.kind, one.uris) == ("axial", "dicom", (str(tmp_path / "axial"),))
    lay_out(tmp_path / "more", "a.nii.gz", "b.nii.gz", described=False)
    assert set(sources(bids.discover(str(tmp_path / "more" / "a.nii.gz")))) == {"a"}


def table(tmp_path: Path, *rows: str) -> str:
    (tmp_path / "scans.tsv").write_text("\n".join("\t".join(row.split(" ")) for row in rows) + "\n", encoding="utf-8-sig")
    return str(tmp_path / "scans.tsv")


def test_a_table_names_scans_by_its_columns_and_by_their_files(tmp_path):
    uri = table(
        tmp_path,
        "path participant_id session_id suffix reference age",
        "in/x.nii.gz sub-01 ses-2 T2w truth/x.nii.gz 40",
        "/abs/sub-09_acq-ax_T1w.nii.gz n/a n/a n/a n/a n/a",
        "file://bucket/in/y.nii.gz 03 n/a FLAIR n/a n/a",
        "in/z.nii.gz n/a n/a n/a n/a n/a",
    )
    found = sources(bids.discover(uri))
    assert {one.stem: one.uris[0] for one in found.values()} == {
        "sub-01/ses-2/anat/sub-01_ses-2_desc-restored_T2w": f"{tmp_path}/in/x.nii.gz",
        "sub-09/anat/sub-09_acq-ax_desc-restored_T1w": "/abs/sub-09_acq-ax_T1w.nii.gz",
        "sub-03/anat/sub-03_desc-restored_FLAIR": "file://bucket/in/y.nii.gz",
        "sub-inz/anat/sub-inz_desc-restored_MRI": f"{tmp_path}/in/z.nii.gz",
    }
    assert found["sub-01_ses-2_T2w"].reference == f"{tmp_path}/truth/x.nii.gz"
    assert found["sub-01_ses-2_T2w"].group == "sub-01_ses-2"
    assert found["sub-03_FLAIR"].reference is None
    assert [one.relative for one in found.values() if one.stem.startswith("sub-inz")] == ["in/z.nii.gz"]


def test_rows_that_cannot_be_meant_are_refused(tmp_path):
    uri = table(
        tmp_path,
        "path participant_id suffix",
        "a.nii.gz ../../etc T1w",
        "n/a 02 T1w",
        "c.nii.gz a_b T1w",
        "../out/d.nii.gz n/a n/a",
        "e.nii.gz 01 T1w",
        "f.nii.gz 01 T1w",
    )
    found = bids.discover(uri)
    refused = {one.uri: one.code for one in found if isinstance(one, Refused)}
    assert refused == {
        "a.nii.gz": "entity-unsafe",
        uri: "path-missing",
        "c.nii.gz": "entity-invalid",
        f"{tmp_path}/e.nii.gz": "entities-duplicate",
        f"{tmp_path}/f.nii.gz": "entities-duplicate",
    }
    (kept,) = sources(found).values()
    assert kept.stem == "sub-d/anat/sub-d_desc-restored_MRI"


def test_an_input_that_may_not_be_read_is_an_error_of_use(monkeypatch):
    def forbid(uri):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(bids.files, "exists", forbid)
    with pytest.raises(UsageError, match=r"input-forbidden: .* got Access Denied\. Check its permissions"):
        bids.discover("s3://bucket/in")


def test_a_table_without_paths_is_an_error_of_use(tmp_path):
    with pytest.raises(UsageError, match=r"table-columns: expected a column 'path'.*, but got 2 other columns\."):
        bids.discover(table(tmp_path, "file age", "a.nii 4"))


def test_the_real_datasets_are_found_whole(scans):
    assert len(sources(bids.discover(str(scans / "ds002748")))) == 60
    both = bids.discover(str(scans / "ds000011"))
    assert len(sources(both)) == len(both) == 16
    planes = sources(bids.discover(str(scans / "ds000011"), Selection(suffix=("inplaneT2",))))
    assert next(one.stem for one in planes.values()) == "sub-01/anat/sub-01_desc-restored_inplaneT2"
    assert len(planes) == 8


@given(st.lists(st.text(min_size=1, max_size=90).filter(lambda text: "/" not in text), min_size=1, max_size=3).map("/".join))
def test_a_key_is_safe_as_a_name_whatever_the_path(path):
    key = derivatives.safe_key(path)
    assert key
    assert not set(key) & set('/\\:*?"<>| \0')
    assert ".." not in key
    assert key[0].isalnum()
    assert len(key) < 130


@pytest.mark.parametrize(
    "made",
    [
        ("sub-01/ses-1/anat/sub-01_ses-1_acq-ax_T2w.nii.gz", "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz"),
        ("p1/T2_sag.nii.gz", "p2/T2_sag.nii.gz"),
        ("cohort.tsv", "p1/T2_sag.nii.gz", "p2/T2_sag.nii.gz"),
        ("named.tsv", "p1/T2_sag.nii.gz", "p2/T2_sag.nii.gz"),
    ],
    ids=["bids", "folder", "table of paths", "table of persons"],
)
@pytest.mark.parametrize("by", ["key", "group"])
def test_ratings_leave_out_the_scans_that_the_page_calls_so_whatever_the_input(tmp_path, made, by):
    """A scan of a plain folder or a table is called otherwise than its file; one that was fused as its person and session."""
    root = lay_out(tmp_path / "in", *made, described=made[0].startswith("sub-"))
    if made[0].endswith(".tsv"):
        head, lines = ("path", ["p1/T2_sag.nii.gz", "p2/T2_sag.nii.gz"])
        if made[0] == "named.tsv":
            head, lines = "path\tparticipant_id\tsession_id\tsuffix", [f"{each}\tA{each[1]}\t1\tT2w" for each in lines]
        root = f"{root}/{made[0]}"
        Path(root).write_text("\n".join([head, *lines]) + "\n")
    scans = sources(bids.discover(root, Selection()))
    assert len(scans) == 2
    key, scan = next(iter(scans.items()))
    ratings = tmp_path / "ratings.tsv"
    ratings.write_text(f"cohort\tscan\trating\tremark\nin\t{key if by == 'key' else scan.group}\treject\tmotion\n")
    left = sources(bids.discover(root, Selection(exclude=(str(ratings),))))
    assert left.keys() == scans.keys() - {key}
