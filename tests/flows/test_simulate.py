"""``isovox simulate`` as a user calls it, and ``isovox run`` on what it made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cli import main as cli
from core.io.lock import cohort_lock
from tests.flows.shown import shown_by
from tests.phantoms import brain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cohort(tmp_path) -> Path:
    for label in ("01", "02"):
        folder = tmp_path / "data" / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        image, _ = brain((48, 48, 48), seed=int(label))
        nibabel.save(
            nibabel.Nifti1Image(image.astype(np.float32), np.diag([1.5, 1.5, 1.5, 1.0])), folder / f"sub-{label}_T1w.nii.gz"
        )
    return tmp_path / "data"


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_a_cohort_is_made_told_and_skipped_on_a_second_call(cohort, tmp_path, capsys, monkeypatch):
    shown = shown_by(monkeypatch)
    words = ("simulate", cohort, tmp_path / "sim", "--operator", "low-field", "--factor", 8, "--seed", 3)
    assert isovox(*words) == 0
    assert shown == [("simulating", {"scans": 2}, str(tmp_path / "sim" / "isovox" / "course.json"))]
    told, waits = capsys.readouterr()
    assert re.search(r"looking through the input …\n(.*\n)*starting workers …", waits)
    assert "planned 2 = 2 done + 0 skipped" in told
    assert "sub-01_rec-lowfield8_T1w.nii.gz" in told
    assert isovox(*words) == 0
    assert "0 done + 2 skipped" in capsys.readouterr().out
    made = json.loads((tmp_path / "sim" / "sub-01" / "anat" / "sub-01_rec-lowfield8_T1w.json").read_text())
    assert made["Isovox"]["Degradation"] == {
        "operator": "low-field", "factor": 8, "slice_profile": "gaussian", "slice_gap": 0.25, "contrast": "T1w",
    }  # fmt: skip
    assert made["Isovox"]["Seed"] == 3


def test_options_and_selection_reach_the_scans(cohort, tmp_path):
    words = ("--operator", "slice-profile", "--factor", 4, "--slice-profile", "gaussian", "--slice-gap", 0.1, "--axis", "A")
    assert isovox("simulate", cohort, tmp_path / "sim", *words, "--participant-label", "02", "--quiet") == 0
    (image,) = (tmp_path / "sim").rglob("*.nii.gz")
    assert image.name == "sub-02_rec-sliceprofile4gaussiangap10A_T1w.nii.gz"
    assert nibabel.load(image).shape == (48, 12, 48)


@pytest.mark.parametrize(
    ("words", "label", "shape"),
    [
        (("in-plane", "--factor", 2, "--kernel", "lanczos3"), "inplane2lanczos3", (24, 24, 48)),
        (("k-space", "--factor", 3, "--centre", 0.2, "--axis", "A"), "kspace3centre20A", (48, 48, 48)),
        (("slice-mask", "--factor", 4, "--phase", 1), "slicemask4phase1", (48, 48, 12)),
    ],
)
def test_each_operator_that_makes_sense_on_disk_is_reached(cohort, tmp_path, words, label, shape):
    assert isovox("simulate", cohort, tmp_path / "sim", "--participant-label", "02", "--quiet", "--operator", *words) == 0
    (image,) = (tmp_path / "sim").rglob("*.nii.gz")
    assert image.name == f"sub-02_rec-{label}_T1w.nii.gz"
    assert nibabel.load(image).shape == shape


def test_a_kind_that_makes_no_scan_by_itself_is_not_offered(cohort, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        isovox("simulate", cohort, tmp_path / "sim", "--operator", "lesion-mask")
    assert "choose from 'slice-profile', 'slice-mask', 'low-field', 'in-plane', 'k-space'" in capsys.readouterr().err


def test_a_bad_scan_is_told_and_exits_3(cohort, tmp_path, capsys):
    bad = cohort / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"")
    assert isovox("simulate", cohort, tmp_path / "sim", "--operator", "slice-mask", "--factor", 4) == 3
    told = capsys.readouterr().out
    assert "2 done" in told
    assert "file-empty" in told
    assert "1 failed" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{tmp}/nowhere", "{tmp}/sim"], "input-missing: expected"),
        (["{tmp}/data", "{tmp}/data"], "out-is-input"),
        (
            ["{tmp}/data", "{tmp}/sim", "--factor", "1"],
            "expected degradation.factor to be greater than or equal to 2, but got '1'",
        ),
        (["{tmp}/data", "{tmp}/sim", "--labels", "{tmp}/nolabels"], "input-missing"),
        (["{tmp}/data", "{tmp}/sim", "--participant-label", "77"], "participant-missing"),
    ],
)
def test_usage_errors_exit_2_and_write_no_dataset(cohort, tmp_path, capsys, words, told):
    assert isovox("simulate", *(word.format(tmp=tmp_path) for word in words)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "sim" / "dataset_description.json").exists()


def test_two_at_once_are_kept_apart(cohort, tmp_path, capsys):
    with cohort_lock(str(tmp_path / "sim" / "isovox" / "lock.json")):
        assert isovox("simulate", cohort, tmp_path / "sim") == 75
    assert "already-running" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_restores_and_scores_what_was_simulated(cohort, tmp_path):
    for operator in ("low-field", "slice-profile", "slice-mask"):
        assert isovox("simulate", cohort, tmp_path / "sim", "--operator", operator, "--factor", 4, "--quiet") == 0
    words = ["run", tmp_path / "sim", tmp_path / "out", "--method", "cubic", "--reference", cohort, "--voxel-size", 1.5]
    code = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=240, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "isovox" / "scans").glob("*.json"))]
    assert len(records) == 6
    for record in records:
        assert record["metrics"]["psnr"] > 19
        label, kind = record["key"][4:6], record["key"].removesuffix("_T1w")
        image = nibabel.load(tmp_path / "out" / f"sub-{label}" / "anat" / f"{kind}_desc-restored_T1w.nii.gz")
        assert image.header.get_zooms() == pytest.approx((1.5, 1.5, 1.5))
