"""Names and sidecars of simulated cohorts."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from core.geometry.grid import Grid
from core.io import files, simulated
from core.io.bids import Source, discover
from core.io.derivatives import derivative_stem
from core.settings.degradation import Degradation
from core.settings.scans import Selection


def source(key="sub-01_T1w", uri="/data/sub-01/anat/sub-01_T1w.nii.gz", sidecar=None, **entities):
    stem = derivative_stem(entities) if "sub" in entities else key
    return Source(key, (uri,), "nifti", stem, key, key, entities, sidecar or {})


def how(operator="slice-profile", factor=4, **more):
    return Degradation(operator=operator, factor=factor, **more)


@pytest.mark.parametrize(
    ("degradation", "axis", "label"),
    [
        (how(), "S", "sliceprofile4"),
        (how(slice_profile="gaussian"), "S", "sliceprofile4gaussian"),
        (how(slice_gap=0.1), "A", "sliceprofile4gap10A"),
        (how("slice-mask", 8, slice_gap=0.1), "S", "slicemask8"),
        (how("low-field", 8), "S", "lowfield8"),
        (how("low-field", 8, slice_gap=0.0), "S", "lowfield8gap0"),
        (how("low-field", 8, contrast="FLAIR", slice_profile="box"), "R", "lowfield8boxFLAIRR"),
        (how("slice-mask", phase=0), "S", "slicemask4"),
        (how("slice-mask", phase=2), "S", "slicemask4phase2"),
        (how("in-plane", 2), "S", "inplane2"),
        (how("in-plane", 2, kernel="bicubic", slice_gap=0.2), "S", "inplane2"),
        (how("in-plane", 2, kernel="lanczos3"), "A", "inplane2lanczos3A"),
        (how("in-plane", 4, every=2), "S", "inplane4every2"),
        (how("scanner"), "S", "scanner0"),
        (how("scanner", scanner=12), "A", "scanner12A"),
        (how("bsrgan-light"), "S", "bsrganlight4"),
        (how("k-space"), "S", "kspace4"),
        (how("k-space", centre=0.125), "S", "kspace4centre12p5"),
    ],
)
def test_a_label_tells_what_is_not_usual(degradation, axis, label):
    assert simulated.label_of(degradation, axis) == label
    assert label.isalnum()


@pytest.mark.parametrize(
    ("entities", "stem"),
    [
        ({"sub": "01", "suffix": "T1w", "datatype": "anat"}, "sub-01/anat/sub-01_rec-X_T1w"),
        (
            {"sub": "01", "ses": "a", "acq": "mprage", "run": "2", "rec": "norm", "suffix": "T2w"},
            "sub-01/ses-a/anat/sub-01_ses-a_acq-mprage_rec-norm+X_run-2_T2w",
        ),
        ({"sub": "01", "desc": "preproc", "space": "MNI", "suffix": "FLAIR"}, "sub-01/anat/sub-01_rec-X_FLAIR"),
    ],
)
def test_a_scan_keeps_its_name_and_its_truth_is_found_by_it(entities, stem):
    assert simulated.stem_of(source(**entities), "X", "T1w") == stem
    kept = {name: value for name, value in entities.items() if name in simulated.KEPT}
    rec = f"{entities['rec']}+X" if "rec" in entities else "X"
    assert simulated.truth_entities(kept | {"rec": rec}) == kept


def test_names_that_are_not_bids_are_those_of_their_restorations_so_that_a_person_is_one(tmp_path):
    """The persons' scans stay apart, and so do persons whose folders are alike in letters and digits."""
    scans = ["p1/T1.nii.gz", "p1/T2.nii.gz", "p1/t1_tse.nii.gz", "p2/scan.nii.gz", "p_2/scan.nii.gz", "scan7.nii.gz"]
    for path in scans:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / path)
    sources = {scan.relative: scan for scan in discover(str(tmp_path), Selection())}
    stems = {path: simulated.stem_of(sources[path], "X", "PDw") for path in scans}
    assert stems[scans[0]] == "sub-p1/anat/sub-p1_rec-X_T1w"
    assert stems[scans[1]] == "sub-p1/anat/sub-p1_rec-X_T2w"
    assert stems["scan7.nii.gz"].endswith("_rec-X_PDw")
    assert len(set(stems.values())) == len(scans)
    assert all(simulated.stem_of(scan, "X", "PDw").startswith(f"sub-{scan.person}/") for scan in sources.values())
    assert len({scan.person for scan in sources.values()}) == 4


def test_a_name_that_joins_person_and_contrast_by_a_hyphen_names_the_person(tmp_path):
    for name in ("case01-T1", "case02-T1", "case02-FLAIR"):
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    stems = {scan.key: scan.stem for scan in discover(str(tmp_path), Selection())}
    assert stems == {
        "case01-T1": "sub-case01/anat/sub-case01_desc-restored_T1w",
        "case02-T1": "sub-case02/anat/sub-case02_desc-restored_T1w",
        "case02-FLAIR": "sub-case02/anat/sub-case02_desc-restored_FLAIR",
    }


@pytest.mark.parametrize(
    ("degradation", "thickness"),
    [(how("low-field", 8), 4.2), (how("slice-profile", 8), 5.6), (how("slice-mask", 8), 0.7)],
)
def test_a_sidecar_tells_thickness_distance_and_truth(tmp_path, degradation, thickness):
    """0.7 mm, 6 of 8 voxels: 4.2 mm thick and 5.6 mm apart, as in the paper."""
    grid = Grid((10, 10, 32), np.diag([1, 1, 0.7, 1.0]))
    metadata = {"EchoTime": 0.003, "SliceThickness": 0.7, "PatientName": "X"}
    told = simulated.sidecar(source(sidecar=metadata), str(tmp_path), 2, degradation.forward, grid, {"Seed": 3})
    assert (told["SliceThickness"], told["SpacingBetweenSlices"]) == (pytest.approx(thickness), pytest.approx(5.6))
    assert told["EchoTime"] == 0.003
    assert "PatientName" not in told
    assert told["Isovox"]["Seed"] == 3
    assert Degradation.model_validate(told["Isovox"]["Degradation"]).forward == degradation.forward


def test_a_thickness_that_does_not_change_stays(tmp_path):
    grid = Grid((10, 10, 32), np.diag([1, 1, 5, 1.0]))
    before = source(sidecar={"SliceThickness": 4.5, "SpacingBetweenSlices": 5.0})
    told = simulated.sidecar(before, str(tmp_path), 2, how("in-plane", 2).forward, grid, {})
    assert (told["SliceThickness"], told["SpacingBetweenSlices"]) == (4.5, 5.0)


def test_the_truth_is_found_again_after_both_folders_moved(tmp_path):
    truth, out = tmp_path / "a" / "data" / "x.nii", tmp_path / "a" / "sim"
    told = {"TruthURI": simulated._said_truth(str(out), str(truth))}
    files.write_json(str(out / "sub-1" / "s.json"), told)
    (tmp_path / "a").rename(tmp_path / "b")
    found = simulated.truth_of(str(tmp_path / "b" / "sim" / "sub-1" / "s.nii.gz"), str(tmp_path / "b" / "sim"))
    assert found == str(tmp_path / "b" / "data" / "x.nii")


@pytest.mark.parametrize(
    ("out", "truth", "said"),
    [
        ("s3://b/o", "s3://b/i/x.nii", "s3://b/i/x.nii"),
        ("s3://b/o", "/d/x.nii", "/d/x.nii"),
        ("/o", "s3://b/x.nii", "s3://b/x.nii"),
    ],
)
def test_a_truth_elsewhere_is_named_in_full(out, truth, said):
    assert simulated._said_truth(out, truth) == said


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"TruthURI": 3}'])
def test_a_sidecar_that_names_no_truth(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert simulated.truth_of(str(tmp_path / "x.nii.gz"), str(tmp_path)) is None
    assert simulated.truth_of(str(tmp_path / "y.nii.gz"), str(tmp_path)) is None
    assert not simulated.is_done(str(tmp_path), "x", "d")


def test_the_digest_that_sidecars_carry_stays() -> None:
    drawn = {"axis": 2, "ratio": 0.5, "kernel": "box", "seed": None, "é": ["x", 1]}
    known = "a7e64cbdcf6139d079c4b604ecd1ae31d5cdecdc441f68b9645dba7af0bc3957"
    assert simulated.simulation_digest("ab" * 32, drawn) == known
