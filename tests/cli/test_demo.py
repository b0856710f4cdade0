"""The demo's cohort: real anatomy seen through the slice profile, stored as said, its truth on the grid that restoring gives."""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cli import demo
from core.errors import PlanError, UsageError
from core.io import nifti, space
from tasks.pipeline.discover import plan_cohort


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo")
    demo.build_demo(made)
    return made


def path(folder: Path, what: str, scan: demo.DemoScan) -> str:
    return str(folder / what / f"sub-{scan.label}" / "anat" / f"sub-{scan.label}_T1w.nii.gz")


@pytest.mark.parametrize("scan", demo.SCANS, ids=lambda scan: scan.label)
def test_scans_are_stored_and_cut_as_said(folder: Path, scan: demo.DemoScan) -> None:
    header = nibabel.load(path(folder, "input", scan))
    assert "".join(nibabel.aff2axcodes(header.affine)) == scan.axes
    image, grid, _ = nifti.load(path(folder, "input", scan))
    assert grid.spacing == pytest.approx((1, 1, scan.thickness), abs=1e-3)
    assert grid.oblique == bool(scan.turn)
    assert image.min() >= 0


@pytest.mark.parametrize("scan", demo.SCANS, ids=lambda scan: scan.label)
def test_a_scan_is_the_truth_seen_through_its_profile(folder: Path, scan: demo.DemoScan) -> None:
    thick, _, _ = nifti.load(path(folder, "input", scan))
    truth, _, _ = nifti.load(path(folder, "truth", scan))
    means = truth.reshape(*truth.shape[:2], -1, scan.thickness).mean(axis=3)
    inside = means > 0.3
    assert np.corrcoef(thick[inside], means[inside])[0, 1] > 0.95
    if scan.profile == "box":
        assert np.std((thick - means)[inside]) == pytest.approx(demo.NOISE, rel=0.1)


def test_the_truth_lies_on_the_grid_that_restoring_gives(folder: Path) -> None:
    classic, chosen = demo.demo_settings(folder)
    assert (classic.method, chosen.method) == ("unires", "auto")
    for scan in plan_cohort(classic).scans:
        _, grid, _ = nifti.load(str(scan.reference))
        assert grid.shape == scan.target_grid.shape
        np.testing.assert_allclose(grid.affine, scan.target_grid.affine, atol=1e-3)


def refused(out: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "build_demo", lambda _: pytest.fail("begun"))
    demo.execute(argparse.Namespace(out=str(out)))


def test_a_demo_is_refused_where_it_would_find_no_room_or_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"demo-remote: expected a folder on this machine .*got s3://bucket/demo\. Name a local"):
        refused("s3://bucket/demo", monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="out-is-file"):
        refused(tmp_path / "file", monkeypatch)
    monkeypatch.setattr(space, "room", lambda _: demo.ROOM - 1)
    with pytest.raises(PlanError, match=r"disk-too-small: expected at most .* for the demo's scans .*\. Free space"):
        refused(tmp_path / "out", monkeypatch)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", demo.COHORTS)
def test_a_demo_writes_over_no_cohort_but_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scan = tmp_path / name / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.write_bytes(b"somebody's")
    with pytest.raises(UsageError, match=rf"out-taken: expected an empty folder, .* got {tmp_path}/{name} of somebody else"):
        refused(tmp_path, monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="begun"):  # over one of an earlier demo
        refused(folder, monkeypatch)
