"""Metadata beside scans as tools and people leave them: used, or told that they are not; no scan stops the others."""

from __future__ import annotations

import json
import math
import os

import pytest

from cli.helpers.tables import plan_summary
from core.engine.plan import CohortPlan
from core.io import readers
from tests.cases.makers import bids, nifti, series
from tests.cases.test_inputs import codes, keys, planned


def gaps(plan: CohortPlan) -> dict[str, float]:
    return {scan.key: scan.forward.slices[1] for scan in plan.scans}


def test_a_thickness_that_cannot_be_is_told_and_the_cohort_goes_on(tmp_path):
    root = bids(tmp_path / "in", "01", "02")
    (root / "sub-01" / "anat" / "sub-01_T1w.json").write_text('{"SliceThickness": 0.004}')
    (root / "sub-02" / "anat" / "sub-02_T1w.json").write_text('{"SliceThickness": 7.5}')
    plan = planned(root)
    assert gaps(plan) == {"sub-01_T1w": 0.0, "sub-02_T1w": 0.25}
    how = "0.004 mm thick by SliceThickness and 10 mm apart, which cannot be: it is not used"
    assert f"slices of sub-01_T1w are {how}" in plan.notes


def test_slices_thinner_than_their_pixels_are_wide_have_no_gap_and_are_told_as_they_are(tmp_path):
    nifti(tmp_path / "in" / "sub-01" / "anat" / "sub-01_T1w.nii.gz", shape=(72, 48, 48), voxel=(1.0, 1.5, 1.5))
    (tmp_path / "in" / "sub-01" / "anat" / "sub-01_T1w.json").write_text('{"SliceThickness": 1, "SpacingBetweenSlices": 1}')
    plan = planned(tmp_path / "in")
    assert gaps(plan) == {"sub-01_T1w": 0.0}
    assert "scans: 1 of box slices (slices 1 mm apart, pixels 1.5 mm wide)" in plan_summary(plan)
    assert not any("SpacingBetweenSlices" in note for note in plan.notes)


def test_a_thickness_that_cannot_be_of_a_series_too(tmp_path):
    def thin(dataset, _):
        dataset.SliceThickness = 0.001

    series(tmp_path / "in" / "thin", edit=thin)
    plan = planned(tmp_path / "in")
    assert gaps(plan) == {"thin": 0.0}
    assert any("thin are 0.001 mm thick by SliceThickness" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("5 mm", "not as SliceThickness says, which is a text and no number of mm: it is not used"),
        ([4, 4], "not as SliceThickness says, which is a list and no number of mm: it is not used"),
        (math.nan, "not as SliceThickness says, which is out of range and no number of mm: it is not used"),
        (-math.inf, "not as SliceThickness says, which is out of range and no number of mm: it is not used"),
        ("1e400", "not as SliceThickness says, which is out of range and no number of mm: it is not used"),
        (-4, "-4 mm thick by SliceThickness and 10 mm apart, which cannot be: it is not used"),
    ],
)
@pytest.mark.parametrize("layout", ["folder", "dataset"])
def test_a_thickness_that_cannot_be_used_is_told(tmp_path, layout, value, words):
    root = bids(tmp_path / "in", "01", "02")
    anat = root / "sub-01" / "anat"
    (anat / "sub-01_T1w.json").write_text(json.dumps({"SliceThickness": value}))
    plan = planned(anat if layout == "folder" else root)
    assert f"slices of sub-01_T1w are {words}" in plan.notes
    assert not any("not used" in note for note in planned(root, slices={"slice_gap": 0.1}).notes)


def test_a_thickness_that_is_a_number_in_a_text_is_read(tmp_path):
    root = bids(tmp_path / "in", "01")
    (root / "sub-01" / "anat" / "sub-01_T1w.json").write_text('{"SliceThickness": "7.5"}')
    assert gaps(planned(root)) == {"sub-01_T1w": 0.25}


def _folder(place):
    place.mkdir()


def _loop(place):
    place.symlink_to(place)


def _lost(place):
    place.symlink_to(place.with_name("gone"))


@pytest.mark.parametrize("make", [_folder, _loop, _lost])
def test_what_is_no_file_beside_a_scan_is_no_sidecar(tmp_path, make):
    for name in ("x", "y"):
        nifti(tmp_path / "in" / f"{name}.nii.gz")
    make(tmp_path / "in" / "x.json")
    assert keys(planned(tmp_path / "in")) == {"x", "y"}


def test_a_scan_whose_sidecar_no_file_system_could_name(tmp_path):
    longest = "x" * (255 - len(".nii"))
    nifti(tmp_path / "in" / f"{longest}.nii")
    nifti(tmp_path / "in" / "y.nii.gz")
    plan = planned(tmp_path / "in")
    assert "y" in keys(plan)
    assert len(plan.scans) + len(plan.refused) == 2


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff\xfe{}", b""])
def test_a_sidecar_that_is_no_json_is_that_scans_reason_in_a_folder_as_in_a_dataset(tmp_path, content):
    for name in ("x", "y"):
        nifti(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "x.json").write_bytes(content)
    plan = planned(tmp_path / "in")
    assert (keys(plan), codes(plan)) == ({"y"}, {"x": "sidecar-unreadable"})
    assert "JSON in x.json" in plan.refused[0].reason


@pytest.mark.parametrize("layout", ["folder", "dataset"])
def test_a_disk_that_fails_at_one_sidecar_fails_that_scan_alone(tmp_path, monkeypatch, layout):
    root = bids(tmp_path / "in", "01", "02")
    (root / "sub-01" / "anat" / "sub-01_T1w.json").write_text(json.dumps({}))
    if layout == "folder":
        root = root / "sub-01" / "anat"
        nifti(root / "y.nii.gz")
    real = os.open

    def failing(path, *more, **how):
        if str(path).endswith("sub-01_T1w.json"):
            raise OSError(5, "Input/output error", path)
        return real(path, *more, **how)

    monkeypatch.setattr("core.io.files.os.open", failing)
    plan = planned(root)
    assert codes(plan) == {"sub-01_T1w": "sidecar-unreadable"}
    assert len(plan.scans) == 1


def test_a_series_whose_files_the_disk_does_not_give_is_refused_alone(tmp_path, monkeypatch):
    series(tmp_path / "in" / "s")
    nifti(tmp_path / "in" / "y.nii.gz")
    real = readers.metadata

    def failing(kind, uris):
        if kind == "dicom":
            raise OSError(5, "Input/output error", uris[0])
        return real(kind, uris)

    monkeypatch.setattr(readers, "metadata", failing)
    plan = planned(tmp_path / "in")
    assert (keys(plan), codes(plan)) == ({"y"}, {"s": "file-unreadable"})
