"""A family is one folder: the toy beside this file does all that a family can, and no line elsewhere knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.geometry.grid import Grid
from core.methods import registry
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod
from core.models.bundle import read_bundle
from core.operators.forward_model import SliceProfile
from core.settings.run import RunSettings
from core.stats import scan_stats
from tests.phantoms import brain

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent / "landweber"
PLACES = ("core", "tasks", "flows", "cli", "infra", "deployments")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy is among the families."""
    monkeypatch.setenv(registry.VARIABLE, str(FOLDER))


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model with random weights."""
    registry.resolve(registry.family_of("landweber").mock)(str(tmp_path / "model"), "landweber")
    return str(tmp_path / "model")


def test_nothing_outside_its_folder_names_it() -> None:
    assert not [path for place in PLACES for path in (ROOT / place).rglob("*.py") if "landweber" in path.read_text().lower()]


def test_settings_and_form_and_listing_know_it() -> None:
    from cli.methods import table

    assert RunSettings(input="", out="", method="landweber", method_options={"iterations": 2}).method == "landweber"
    code = "from deployments.forms import form_of; from flows.reprocess import reprocess_cohort; print(form_of(reprocess_cohort))"
    words = [sys.executable, "-c", code]  # a flow's form is made once a process, and this one has made it before
    form = subprocess.run(words, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
    assert "landweber" in form
    assert "share of the learned correction that is added" in form
    cells = [str(cell) for column in table({}).columns for cell in column.cells]
    assert any("landweber" in cell for cell in cells)
    assert "landweber" in registry.recipes()
    assert "every-other" in registry.protocols()


def test_each_step_comes_nearer_to_the_scan(model: str) -> None:
    head, _ = brain((32, 32, 32))
    target = Grid((32, 32, 32), np.diag([2.0, 2, 2, 1]))
    source = target.refine(2, 0.25)
    image = SliceProfile().operator(source, target).forward(head)
    method = registry.build_method("landweber", {"trust": 0.0, "iterations": 8}, model)
    assert isinstance(method, IterativeMethod)
    measured = Measured(image, source, scan_stats(image), SliceProfile())
    problem = method.prepare([measured], target)
    *_, last = method.steps(problem, method.start(problem))
    residuals = [value for _, value in last.figures["residual"]]
    assert len(residuals) == 8
    assert all(later < earlier for earlier, later in pairwise(residuals))


@pytest.mark.slow
def test_it_keeps_the_contracts_of_methods_objectives_and_bundles() -> None:
    words = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-rp", "tests/contract", "-k", "landweber or every-other"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert sum(line.startswith("PASSED") for line in done.stdout.splitlines()) >= 20


def isovox(home: Path, *words: object) -> str:
    command = [sys.executable, "-m", "cli", *map(str, words)]
    env = {**os.environ, "ISOVOX_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sharp heads."""
    root = tmp_path_factory.mktemp("sharp")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "heads", "BIDSVersion": "1.9.0", "License": "CC0"}))
    for n in range(1, 5):
        image, _ = brain((56, 56, 56), seed=n)
        path = root / f"sub-{n:02d}" / "anat" / f"sub-{n:02d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image, np.diag([2.0, 2, 2, 1])), path)
    return root


@pytest.mark.slow
def test_from_training_to_report_through_the_command_line(cohort: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    few = ("--preset", "tiny", "--steps", 8, "--batch", 2, "--validate-every", 4, "--validation-pairs", 2, "--quiet")
    said = isovox(home, "train", "landweber", cohort, "--out", tmp_path / "training", "--test", "04", *few)
    assert "models:/landweber/1 (champion)" in said
    assert set(read_bundle(str(tmp_path / "training" / "model")).parts) == {"features", "correction"}
    assert "landweber" in isovox(home, "models", "list")
    assert "champion landweber/1" in isovox(home, "methods", "landweber")
    thick = tmp_path / "thick"
    isovox(home, "simulate", cohort, thick, "--participant-label", "04", "--quiet")
    isovox(home, "run", thick, tmp_path / "out", "--method", "landweber", "--voxel-size", 2, "--quiet")
    page = next((tmp_path / "out" / "reports").rglob("*T1w.html")).read_text()
    assert "Residual: from" in page  # the course of its figure, step by step
    scores = tmp_path / "scores"
    which = ("--participant-label", "04", "--methods", "cubic", "landweber", "--segmenter", "none")
    isovox(home, "evaluate", "every-other", cohort, *which, "--out", scores, "--quiet")
    assert "landweber" in (scores / "summary.csv").read_text()
    assert "landweber" in (scores / "report.html").read_text()
