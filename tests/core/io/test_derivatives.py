"""Derivatives keep every entity, tell where they come from, name nobody, and are valid BIDS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.io import bids, derivatives, files, nifti
from core.operators.sidecar import UNUSED
from core.stats import looks_skull_stripped
from tasks.train.card import _licence

SOURCE = Grid((30, 40, 12), np.diag([2.0, 2, 5, 1]))
TARGET = Grid((60, 80, 60), np.diag([1.0, 1, 1, 1]))
NAME = "DOE^JANE"


@pytest.mark.parametrize(
    ("entities", "stem"),
    [
        ({"sub": "1", "suffix": "T1w", "datatype": "anat"}, "sub-1/anat/sub-1_desc-restored_T1w"),
        (
            {"sub": "1", "ses": "a", "acq": "x", "run": "01", "desc": "preproc", "suffix": "T2w", "datatype": "anat"},
            "sub-1/ses-a/anat/sub-1_ses-a_acq-x_run-01_desc-restored_T2w",
        ),
        (
            {"acq": "x", "ses": "a", "sub": "1", "suffix": "T2w", "datatype": "anat"},
            "sub-1/ses-a/anat/sub-1_ses-a_acq-x_desc-restored_T2w",
        ),
    ],
)
def test_names_keep_all_entities_but_the_description(entities, stem):
    assert derivatives.derivative_stem(entities) == stem


def test_only_allowed_keys_with_values_of_their_kind_are_copied():
    mixed = {
        "EchoTime": 0.1,
        "FlipAngle": 90,
        "Manufacturer": "GE",
        "SkullStripped": True,
        "PatientName": NAME,
        "InstitutionName": "Hospital",
        "DeviceSerialNumber": "123",
        "AcquisitionTime": "12:00",
        "RepetitionTime": NAME,
        "InversionTime": " 0.9",
        "ManufacturersModelName": NAME,
        "SliceThickness": True,
        "Defaced": "yes, by Jane",
        "MagneticFieldStrength": float("nan"),
    }
    kept = {"EchoTime": 0.1, "FlipAngle": 90, "InversionTime": 0.9, "Manufacturer": "GE", "SkullStripped": True}
    assert derivatives.allowed(mixed) == kept | {UNUSED: "a truth value"}
    assert derivatives.allowed(derivatives.allowed(mixed)) == kept


@pytest.mark.parametrize("value", [NAME, [4, NAME], {"mm": NAME}])
def test_of_a_thickness_that_is_no_number_only_its_kind_is_kept_and_nothing_is_written(value):
    assert NAME not in str(derivatives.allowed({"SliceThickness": value}))
    assert "SliceThickness" not in str(sidecar({"SliceThickness": value}))


def sidecar(metadata, stripped=False):
    return derivatives.sidecar(metadata, ["a b/x.nii.gz"], SOURCE, TARGET, skull_stripped=stripped, provenance={"Seed": 1})


def test_a_sidecar_says_from_what_and_how():
    made = sidecar({"EchoTime": 0.1, "SliceThickness": 4.5, "PatientName": NAME})
    assert made["Sources"] == ["bids:raw:a%20b/x.nii.gz"]
    assert made["Resolution"] == "1 x 1 x 1 mm, restored from 2 x 2 x 5 mm"
    assert made["EchoTime"] == 0.1
    assert made["Isovox"] == {"Seed": 1, "Acquired": {"SliceThickness": 4.5}}
    assert "SliceThickness" not in made
    assert NAME not in json.dumps(made)


def test_skull_stripping_is_copied_where_it_is_known():
    assert sidecar({}, stripped=True)["SkullStripped"] is True
    assert sidecar({"SkullStripped": False}, stripped=True)["SkullStripped"] is False


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("ds002748/sub-01/anat/sub-01_T1w.nii.gz", True),
        ("ds002748/sub-05/anat/sub-05_T1w.nii.gz", True),
        ("openms/patient07/T1w.nii.gz", True),
        ("labels/T1w.nii.gz", True),
        ("ds000011/sub-01/anat/sub-01_T1w.nii.gz", False),
        ("ds000011/sub-01/anat/sub-01_inplaneT2.nii.gz", False),
        ("openms/patient01_thick/T1W.nii.gz", False),
    ],
)
def test_skull_stripping_is_told_from_the_image_of_real_scans(scans, name, stripped):
    image, grid, _ = nifti.load(str(scans / name))
    assert looks_skull_stripped(image, grid) is stripped


@pytest.mark.parametrize("content", [b"[]", b'"a"', b"{", b'{"Name": "M\xfcller"}'])
def test_a_description_of_the_input_that_says_nothing_stops_no_run(tmp_path, content):
    (tmp_path / "dataset_description.json").write_bytes(content)
    made = derivatives.dataset_description(str(tmp_path / "out"), str(tmp_path), {})
    assert made["SourceDatasets"] == [{"URL": ".."}]


def test_the_description_names_the_tool_and_the_source_but_no_far_folders(tmp_path):
    (tmp_path / "in").mkdir()
    theirs = {"DatasetDOI": "doi:10.18112/openneuro.ds1.v1.0.0", "License": "CC0", "Name": NAME, "Authors": [NAME]}
    (tmp_path / "in" / "dataset_description.json").write_text(json.dumps(theirs))
    made = derivatives.dataset_description(str(tmp_path / "out"), str(tmp_path / "in"), {"PlanDigest": "ab"})
    assert made["DatasetType"] == "derivative"
    assert made["GeneratedBy"][0]["Name"] == "isovox"
    assert made["SourceDatasets"] == [{"URL": "../in", "DOI": "doi:10.18112/openneuro.ds1.v1.0.0"}]
    assert (made["License"], made["Isovox"]) == ("CC0", {"PlanDigest": "ab"})
    assert NAME not in json.dumps(made)
    far = derivatives.dataset_description("/a/b/c/d/out", str(tmp_path / "in"), {})
    assert far["DatasetLinks"] == {"raw": "in"}


def test_a_restored_dataset_is_valid_bids(tmp_path, make_scan):
    """The golden derivative: what a run leaves, checked by the BIDS validator itself."""
    root, out = tmp_path / "in", str(tmp_path / "out")
    make_scan(root / "sub-01/anat/sub-01_T1w.nii.gz")
    make_scan(root / "sub-02/ses-1/anat/sub-02_ses-1_acq-ax_run-01_T2w.nii.gz")
    derivatives.write_dataset_files(out, str(root), {"PlanDigest": "ab"})
    for one in bids.discover(str(root)):
        image, grid, stored = nifti.load(one.uris[0])
        nifti.save(files.join(out, one.stem + ".nii.gz"), image, grid, stored)
        made = derivatives.sidecar(one.sidecar, [one.relative], grid, grid, skull_stripped=False, provenance={"PlanDigest": "ab"})
        files.write_json(files.join(out, one.stem + ".json"), made)
    for ours in ("isovox/scans/sub-01_T1w.json", "isovox/plan.json", "report.html", "reports/sub-01_T1w.html", "reports/a.jpg"):
        files.write_atomic(files.join(out, ours), b"{}")
    (tmp_path / "out" / "isovox" / "empty").mkdir()
    command = [str(Path(sys.executable).with_name("bids-validator-deno")), out, "--format", "json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(shown.stdout)
    errors = [(one["code"], one.get("location")) for one in found["issues"]["issues"] if one["severity"] == "error"]
    assert errors == []
    assert sorted(found["summary"]["subjects"]) == ["01", "02"]


def test_the_validator_would_see_a_missing_description(tmp_path, make_scan):
    make_scan(tmp_path / "out/sub-01/anat/sub-01_desc-restored_T1w.nii.gz")
    command = [str(Path(sys.executable).with_name("bids-validator-deno")), str(tmp_path / "out"), "--format", "json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "MISSING_DATASET_DESCRIPTION" in shown.stdout


def test_a_readme_that_is_there_is_kept(tmp_path):
    files.write_atomic(str(tmp_path / "README.md"), b"mine")
    derivatives.write_dataset_files(str(tmp_path), "/in", {})
    assert (tmp_path / "README.md").read_bytes() == b"mine"


@pytest.mark.parametrize("content", [b'["a list"]', b'"a text"', b"null", b"{", b'{"Name": "\xe9tude"}', b""])
def test_a_description_that_is_no_json_object_says_nothing_and_stops_nobody(tmp_path, content):
    (tmp_path / "dataset_description.json").write_bytes(content)
    assert derivatives.described_by(str(tmp_path)) == {}
    assert derivatives.dataset_description(str(tmp_path / "out"), str(tmp_path), {})["DatasetType"] == "derivative"
    assert _licence(str(tmp_path)) == ("", "")
