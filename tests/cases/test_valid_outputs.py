"""What is made of plain folders, tables and DICOM is a BIDS derivative dataset, as BIDS's own validator sees it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from cli.main import main
from core.io.output import Output
from tests.cases.makers import nifti, series

VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which("bids-validator-deno")
needs_validator = pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed: make setup")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def errors_of(out: Path) -> list[tuple[str, str]]:
    """The errors that the validator finds."""
    shown = subprocess.run([str(VALIDATOR), str(out), "--format", "json"], capture_output=True, text=True, check=False)
    issues = json.loads(shown.stdout)["issues"]["issues"]
    return [(issue["code"], issue.get("location")) for issue in issues if issue["severity"] == "error"]


def restored(source: Path, out: Path, *more: str) -> set[str]:
    """Names of the images of a run by nearest neighbours."""
    assert main(["run", str(source), str(out), "--method", "nearest", "--voxel-size", "6", *more]) == 0
    return {path.name.removesuffix(".nii.gz") for path in out.glob("sub-*/**/*.nii.gz")}


def folder(root: Path) -> Path:
    for name in ("p1/T1.nii.gz", "p1/T2_tse_1.nii.gz", "p1/T2_tse_2.nii.gz", "p 2/Flair (1).nii", "other.nii.gz"):
        nifti(root / name)
    nifti(root / "p1" / "T1_lesion_mask.nii.gz", voxels=np.eye(24)[:, :, None] * np.ones(12))
    return root


def dicom(root: Path) -> Path:
    study = generate_uid()

    def describe(text: str):
        def edit(plane, _):
            plane.SeriesDescription, plane.PatientName = text, "DOE^JANE"

        return edit

    series(root / "A1" / "0001", study=study, edit=describe("t1_mprage_sag DOE"))
    series(root / "A1" / "0002", study=study, edit=describe("t2_tse_tra"))
    series(root / "A1" / "0003", study=study, edit=describe("t2_tse_tra"))
    return root


def table(root: Path) -> Path:
    for name in ("x.nii.gz", "y.nii.gz", "in/z_T1.nii.gz"):
        nifti(root / name)
    rows = (
        "path\tparticipant_id\tsession_id\tsuffix",
        "x.nii.gz\t01\t2\tT2w",
        "y.nii.gz\t01\tn/a\tn/a",
        "in/z_T1.nii.gz\tn/a\tn/a\tn/a",
    )
    (root / "scans.tsv").write_text("\n".join(rows) + "\n")
    return root / "scans.tsv"


@pytest.mark.parametrize(
    ("make", "more", "names"),
    [
        pytest.param(
            folder,
            ("--carry-labels",),
            {
                "sub-p1_desc-restored_T1w",
                "sub-p1_acq-tse_run-1_desc-restored_T2w",
                "sub-p1_acq-tse_run-2_desc-restored_T2w",
                "sub-p1_desc-t1LesionMaskRestored_mask",
                "sub-p2_run-1_desc-restored_FLAIR",
                "sub-other_desc-restored_MRI",
            },
            marks=needs_validator,
        ),
        pytest.param(
            dicom,
            (),
            {
                "sub-A1_acq-mprageSag_desc-restored_T1w",
                "sub-A1_acq-tseTra_run-1_desc-restored_T2w",
                "sub-A1_acq-tseTra_run-2_desc-restored_T2w",
            },
            marks=needs_validator,
        ),
        pytest.param(
            table,
            (),
            {"sub-01_ses-2_desc-restored_T2w", "sub-01_desc-restored_MRI", "sub-inz_desc-restored_T1w"},
            marks=needs_validator,
        ),
    ],
)
def test_outputs_of_any_input_are_valid_bids_with_readable_names(tmp_path, make, more, names):
    out = tmp_path / "out"
    assert restored(make(tmp_path / "in"), out, *more) == names
    persons = [line.split("\t")[0] for line in (out / "participants.tsv").read_text().splitlines()]
    assert persons == ["participant_id", *sorted({name.split("_")[0] for name in names})]
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["GeneratedBy"][0]["Name"] == "isovox"
    assert described["SourceDatasets"][0]["URL"]
    assert errors_of(out) == []
    assert "DOE" not in "".join(path.read_text() for path in out.rglob("*.json"))


def test_a_description_is_told_without_what_may_be_a_name(tmp_path, capsys):
    out = tmp_path / "out"
    restored(dicom(tmp_path / "in"), out)
    sidecar = json.loads((out / "sub-A1/anat/sub-A1_acq-mprageSag_desc-restored_T1w.json").read_text())
    assert sidecar["SeriesDescription"] == "t1 mprage sag"
    capsys.readouterr()
    assert main(["status", str(out)]) == 0
    told = capsys.readouterr().out
    assert "SeriesDescription of 1 series: 1 word left out that may name a person" in told


def test_outputs_that_earlier_versions_named_otherwise_are_renamed(tmp_path):
    source, out = tmp_path / "in", Output(str(tmp_path / "out"))
    nifti(source / "p1" / "T1.nii.gz")
    restored(source, Path(out.uri))
    new = "sub-p1/anat/sub-p1_desc-restored_T1w"
    record = out.read_record("p1_T1-7af9c8") or next(out.records())
    old = {path: path.replace(new, "p1/T1_desc-restored") for path in record.outputs}
    for before, after in old.items():
        (Path(out.uri) / after).parent.mkdir(exist_ok=True)
        (Path(out.uri) / before).rename(Path(out.uri) / after)
    written = {old[path]: digest for path, digest in record.outputs.items()}
    out.write_record(record.model_copy(update={"outputs": written, "digest": "of before"}))
    (Path(out.uri) / "p1" / "mine.txt").write_text("kept")
    assert restored(source, Path(out.uri)) == {"sub-p1_desc-restored_T1w"}
    assert sorted(path.name for path in (Path(out.uri) / "p1").iterdir()) == ["mine.txt"]
    again = next(out.records())
    assert again.outputs[f"{new}.nii.gz"] == record.outputs[f"{new}.nii.gz"]
