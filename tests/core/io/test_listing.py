"""A quick look sees a file come, go and change, on this machine and on S3, and does not look where it is told not to."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.io import files
from core.io.inventory.listing import look


def sees_each_change(folder: str) -> None:
    files.write_atomic(f"{folder}/sub-1/a.nii", b"one")
    files.write_atomic(f"{folder}/sub-2/b.nii", b"two")
    seen = {look(folder)}
    assert look(folder) in seen
    for change in (
        lambda: files.write_atomic(f"{folder}/sub-3/c.nii", b"three"),
        lambda: files.write_atomic(f"{folder}/sub-1/a.nii", b"eno"),  # of the same size
        lambda: files.remove(f"{folder}/sub-2"),
    ):
        change()
        assert look(folder) not in seen
        seen.add(look(folder))
    before = look(folder, f"{folder}/derivatives/out")
    files.write_atomic(f"{folder}/derivatives/out/report.html", b"page")
    assert look(folder, f"{folder}/derivatives/out") == before != look(folder)


def test_on_this_machine(tmp_path: Path) -> None:
    sees_each_change(str(tmp_path / "study"))
    assert look(str(tmp_path / "study" / "sub-1" / "a.nii")) is None


@pytest.mark.slow
def test_on_s3(s3: str) -> None:
    sees_each_change(f"{s3}/look/study")
