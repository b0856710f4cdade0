"""The ledger is the same on S3 as on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.io import files
from core.io.bids import survey
from tests.cases.makers import bids, nifti, series


def upload(folder: Path, uri: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            files.write_atomic(f"{uri}/{path.relative_to(folder)}", path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["bids", "folder"])
def test_the_ledger_on_s3_is_that_of_this_machine(s3, tmp_path, layout):
    root = tmp_path / "in"
    if layout == "bids":
        bids(root, "01", "A_1")
    nifti(root / "sub-02" / "T1w.nii.gz")
    nifti(root / "x.NII.GZ")
    nifti(root / "odd")
    series(root / "dicom" / "s")
    for path, content in (
        ("README", b"x"),
        ("derivatives/x/a.nii.gz", b"1"),
        ("out/b.nii.gz", b"1"),
        ("e", b""),
        (".git/x", b"1"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    uri = f"{s3}/{layout}"
    upload(root, uri)
    here, there = survey(str(root), out=str(root / "out")), survey(uri, out=f"{uri}/out")
    assert [one.key for one in here.scans] == [one.key for one in there.scans]
    assert here.ledger.account() == there.ledger.account()
    assert list(here.ledger.names()) == list(there.ledger.names())
