"""Searches of a brain prior on a real scan, cropped: filled by a mask, killed with ``kill -9`` in mid search, reported."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.io.arrays.named_arrays import read_about
from core.methods.inverse_sr.mock import write
from tests.faults.cohorts import leftovers, products
from tests.faults.conftest import Runner

pytestmark = pytest.mark.slow
STEPS, STARTS, KILLED = 6, 2, 9  # killed in the second start
STEP = "core.methods.inverse_sr.search.descent:advance"
OPTIONS = ("--method-options", f"steps={STEPS}", f"starts={STARTS}", "register_scan=false")
AT_ONCE = ("--state-minutes", "0", "--workers", "1")
ALWAYS = {"core.engine.iterate:SHARE": 1e9}


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("prior") / "model")
    write(folder, "inverse-sr")
    return folder


@pytest.fixture(scope="module")
def lesions(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The brain about the lesions of a person with multiple sclerosis, every other voxel, and their mask."""
    source, folder = scans / "openms" / "patient07", tmp_path_factory.mktemp("lesions")
    image, mask = (nibabel.load(source / f"{name}.nii.gz") for name in ("T1w", "lesion_mask"))
    inside = np.argwhere(np.asarray(mask.dataobj) > 0)
    start = [max(0, int(middle) - 40) for middle in inside.mean(axis=0)]
    anat = folder / "sub-07" / "anat"
    anat.mkdir(parents=True)
    for found, name in ((image, "sub-07_T1w"), (mask, "sub-07_desc-lesion_mask")):
        crop = found.slicer[tuple(slice(at, at + 80) for at in start)]
        nibabel.save(
            nibabel.Nifti1Image(np.asarray(crop.dataobj)[::2, ::2, ::2], crop.affine @ np.diag([2, 2, 2, 1])),
            anat / f"{name}.nii.gz",
        )
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "lesions", "BIDSVersion": "1.10.0", "License": "CC0"}))
    return folder


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.timeout(900)
def test_a_search_that_was_killed_goes_on_and_fills_lesions_alone(
    isovox: Runner, lesions: Path, prior: str, tmp_path: Path
) -> None:
    words = ("--method", "inverse-sr-ldm", "--model", prior, *OPTIONS, "last=2", "--voxel-size", "2")
    isovox("run", lesions, tmp_path / "whole", *words)
    killed = [{"at": STEP, "from": KILLED, "act": "kill"}]
    isovox("run", lesions, tmp_path / "out", *words, *AT_ONCE, faults=killed, constants=ALWAYS, code=-signal.SIGKILL)
    assert read_about(str(tmp_path / "out" / "isovox" / "state" / "sub-07_T1w.safetensors"))["step"] == KILLED - 1
    isovox("run", lesions, tmp_path / "out", *words)
    assert products(tmp_path / "out") == products(tmp_path / "whole")
    assert leftovers(tmp_path / "out") == []
    anat = tmp_path / "out" / "sub-07" / "anat"
    image, sd = (voxels(anat / f"sub-07_desc-{what}_T1w.nii.gz") for what in ("restored", "restoredSd"))
    measured, mask = (voxels(lesions / "sub-07" / "anat" / f"sub-07_{what}.nii.gz") for what in ("T1w", "desc-lesion_mask"))
    np.testing.assert_array_equal(image[mask == 0], measured[mask == 0].astype(np.float32))
    assert (image[mask > 0] != measured[mask > 0]).mean() > 0.9
    assert sd[mask == 0].max() == 0 < sd[mask > 0].max()
    record = json.loads((tmp_path / "out" / "isovox" / "scans" / "sub-07_T1w.json").read_text())
    assert [step for step, _ in record["steps"]["loss"]] == list(range(1, STEPS * STARTS + 1))
    page = (tmp_path / "out" / "reports" / "sub-07_T1w.html").read_text()
    assert "Loss: from" in page
    assert "Uncertainty: standard deviation" in page
