"""Simulation, evaluation and a training's intake give the same rows and bytes by one worker, by two, and by Dask."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from core.engine.records import ScanRecord
from core.io.arrays.store import Store
from core.settings.evaluate import EvaluationSettings
from core.settings.run import Compute
from core.settings.simulate import SimulateSettings
from core.settings.train import TrainSettings
from flows.evaluate import evaluate
from flows.simulate import simulate
from infra.clusters import open_cluster
from infra.dispatch import run_bounded
from tasks.evaluate.evaluation import Score
from tasks.train import intake
from tests.phantoms import brain

LABELS = ("01", "02", "03", "04")
BAD = "02"
ONE = Compute(workers=1)
OTHERS = [
    Compute(workers=3),
    pytest.param(Compute(cluster="local", workers=2), marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three persons, and a file that ends early."""
    root = tmp_path_factory.mktemp("people")
    for label in LABELS:
        path = root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(brain((40, 38, 36), seed=int(label))[0], np.diag([1.5, 1.5, 1.5, 1.0])), path)
        if label == BAD:
            path.write_bytes(path.read_bytes()[:3000])
    return root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))


def made(out: Path, pattern: str) -> dict[str, str]:
    """sha256 of the files by their paths."""
    found = [path for path in sorted(out.rglob(pattern)) if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def told(record: ScanRecord | Score) -> dict[str, Any]:
    return record.model_dump(exclude={"seconds"})


def simulated(cohort: Path, out: Path, compute: Compute) -> list[ScanRecord]:
    how: dict[str, Any] = {"operator": "low-field", "factor": 4}
    return simulate(SimulateSettings(input=str(cohort), out=str(out), degradation=how, compute=compute))


def evaluated(cohort: Path, out: Path, compute: Compute) -> list[Score]:
    methods = ("cubic", "linear")
    return evaluate(
        EvaluationSettings(protocol="iqt", factor=4, cohort=str(cohort), out=str(out), methods=methods, compute=compute)
    )


def taken(cohort: Path, out: Path, compute: Compute) -> intake.Cohort:
    settings = TrainSettings(recipe="unet-3d", cohort=str(cohort), compute=compute)
    with open_cluster(compute) as pool:
        return intake.ingest(intake.Place(str(out)), settings, lambda *_: None, partial(run_bounded, pool))


@pytest.mark.parametrize("compute", OTHERS)
def test_simulation(cohort: Path, tmp_path: Path, compute: Compute) -> None:
    first, second = simulated(cohort, tmp_path / "one", ONE), simulated(cohort, tmp_path / "other", compute)
    assert [(one.key[4:6], one.state) for one in first] == [(n, "failed" if n == BAD else "done") for n in LABELS]
    assert list(map(told, first)) == list(map(told, second))
    assert len(made(tmp_path / "one", "*.nii.gz")) == 3
    assert made(tmp_path / "one", "*") == made(tmp_path / "other", "*")


@pytest.mark.parametrize("compute", OTHERS)
def test_evaluation(cohort: Path, tmp_path: Path, compute: Compute) -> None:
    first, second = evaluated(cohort, tmp_path / "one", ONE), evaluated(cohort, tmp_path / "other", compute)
    states = ["failed" if n == BAD else "done" for n in LABELS for _ in range(2)]
    assert [(one.method, one.state) for one in first] == list(zip(["cubic", "linear"] * 4, states, strict=True))
    assert list(map(told, first)) == list(map(told, second))
    assert len(made(tmp_path / "one" / "restored", "*.nii.gz")) == 6
    for part in ("restored", "simulated"):
        assert made(tmp_path / "one" / part, "*.nii.gz") == made(tmp_path / "other" / part, "*.nii.gz")
    assert all(0 < one.seconds < 60 for one in first if one.seconds is not None)


@pytest.mark.parametrize("compute", OTHERS)
def test_intake(cohort: Path, tmp_path: Path, compute: Compute) -> None:
    first, second = taken(cohort, tmp_path / "one", ONE), taken(cohort, tmp_path / "other", compute)
    assert first == second
    assert list(first.people) == [n for n in LABELS if n != BAD]
    assert list(first.failed) == [f"sub-{BAD}_T1w"]
    for key in first.prints:
        images = [Store(str(tmp_path / name / "cohort.zarr")).read(f"{key}/measured") for name in ("one", "other")]
        np.testing.assert_array_equal(*images)
    assert not list(tmp_path.rglob("intake.json"))
