"""Training as a user starts it: a cohort in, a model in the registry out, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", "train"]
FEW = ["--preset", "tiny", "--steps", "12", "--batch", "2", "--validate-every", "4", "--validation-pairs", "2", "--quiet"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small heads of texture, and a file that is none."""
    root = tmp_path_factory.mktemp("cohort")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "heads", "BIDSVersion": "1.9.0", "License": "CC0"}))
    axes = np.meshgrid(*[np.linspace(-1, 1, 80)] * 3, indexing="ij")
    for n in range(1, 5):
        head = (sum(one**2 for one in axes) < 0.9) * np.random.default_rng(n).gamma(4, 20, (80, 80, 80))
        path = root / f"sub-{n:02d}" / "anat" / f"sub-{n:02d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(head.astype(np.float32), np.diag([1, 1, 1, 1])), path)
    broken = root / "sub-05" / "anat" / "sub-05_T1w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no scan")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "ISOVOX_HOME": str(tmp_path_factory.mktemp("own")), "OMP_NUM_THREADS": "1"}


def train(home, cohort, out, *more, check=True) -> subprocess.CompletedProcess[str]:
    words = [*COMMAND, "unet-3d", str(cohort), "--out", str(out), *FEW, *more]
    done = subprocess.run(words, check=False, env=home, text=True, capture_output=True, timeout=300)
    assert not check or done.returncode == 3, done.stderr  # for the file that is no scan
    return done


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_to_the_same_model(cohort, home, tmp_path):
    said = train(home, cohort, tmp_path / "whole", "--test", "04").stdout
    assert "models:/unet-3d/1 (champion)" in said
    assert " dB (cubic interpolation " in said
    assert "failed sub-05_T1w: not-nifti: expected" in said or "failed sub-05_T1w: not-gzip: expected" in said
    model = tmp_path / "whole" / "model"
    card = (model / "README.md").read_text()
    for wanted in ("Intended use", "Licence: CC0", "- train: 01, 02", "- validation: 03", "- test: 04", "dB"):
        assert wanted in card
    words = [
        *COMMAND,
        "unet-3d",
        str(cohort),
        "--out",
        str(tmp_path / "killed"),
        *FEW,
        "--test",
        "04",
        "--checkpoint-minutes",
        "0",
    ]
    process = subprocess.Popen(words, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    checkpoint, curve = tmp_path / "killed" / "checkpoint.safetensors", tmp_path / "killed" / "curve.json"
    until = time.monotonic() + 120
    while not (checkpoint.exists() and curve.exists()) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model" / "config.json").exists()
    train(home, cohort, tmp_path / "killed", "--test", "04")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "killed" / "model" / name).read_bytes() == (model / name).read_bytes()
    assert (tmp_path / "killed" / "curve.json").read_text() == (tmp_path / "whole" / "curve.json").read_text()


@pytest.mark.slow
def test_trainings_of_one_user_run_side_by_side_each_with_its_own_server(cohort, home, tmp_path):
    started = []
    for name, steps in {"short": "4", "long": "60"}.items():
        words = [*COMMAND, "unet-3d", str(cohort), "--out", str(tmp_path / name), "--name", name, *FEW, "--steps", steps]
        with (tmp_path / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen(words, env=home, stdout=log, stderr=log))
    for name, process in zip(("short", "long"), started, strict=True):
        assert process.wait(300) == 3, (tmp_path / f"{name}.log").read_text()
        assert (tmp_path / name / "isovox" / "prefect" / "prefect.db").exists()
        assert (tmp_path / name / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_person_in_two_parts_and_another_training_s_folder_are_refused(cohort, home, tmp_path):
    done = train(home, cohort, tmp_path / "out", "--validation", "03", "--test", "03", check=False)
    assert done.returncode == 2
    assert "each person in one part" in done.stderr
    train(home, cohort, tmp_path / "out", "--steps", "2")
    done = train(home, cohort, tmp_path / "out", "--steps", "2", "--factor", "8", check=False)
    assert done.returncode == 2
    assert "other values of settings.degradation.factor" in done.stderr


@pytest.mark.slow
def test_a_training_begins_with_a_model_of_the_registry(cohort, home, tmp_path):
    train(home, cohort, tmp_path / "first", "--name", "first", "--steps", "4")
    begun = train(home, cohort, tmp_path / "more", "--name", "more", "--pretrained", "models:/first@champion", "--seed", "1")
    assert "models:/more/1 (champion)" in begun.stdout
    assert "It began with the weights of first" in (tmp_path / "more" / "model" / "README.md").read_text()


@pytest.mark.slow
def test_a_model_of_other_networks_is_refused_before_scans_are_read(cohort, home, tmp_path):
    refused = train(home, cohort, tmp_path / "other", "--pretrained", "models:/resunet-3d@champion", check=False)
    assert refused.returncode == 2
    assert "pretrained-unfit" in refused.stderr
    assert not (tmp_path / "other" / "cohort.zarr").exists()
