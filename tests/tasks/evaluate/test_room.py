"""Room for what evaluations, simulations and trials write: refused before any image is made; what is there is not counted."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.errors import AccessError, PlanError
from core.io import claim, space
from core.settings.evaluate import EvaluationSettings
from core.settings.harmonisation import HarmonisationTrial
from core.settings.simulate import SimulateSettings
from flows.evaluate import evaluate
from flows.harmonisation import trial
from flows.simulate import simulate
from tasks.evaluate import harmonisation
from tasks.evaluate import simulate as simulation
from tests.phantoms import brain

SHAPE = (28, 28, 28)
SHARP = 4 * 28**3  # bytes of a sharp scan
THICK = SHARP // 4
PERSONS = 2


def add_person(cohort: Path, label: int) -> None:
    path = cohort / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(brain(SHAPE, seed=label)[0], np.diag([2.0, 2.0, 2.0, 1.0])), path)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for label in range(PERSONS):
        add_person(tmp_path / "data", label)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))


def leave(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    monkeypatch.setattr(space, "room", lambda _: nbytes)


def simulation_of(cohort: Path) -> SimulateSettings:
    how = {"operator": "slice-profile", "factor": 4}
    return SimulateSettings.model_validate({"input": str(cohort), "out": str(cohort.parent / "sim"), "degradation": how})


def evaluation_of(cohort: Path, *methods: str) -> EvaluationSettings:
    named = {"methods": methods, "factor": 4, "segmenter": "none", "lpips": False}
    return EvaluationSettings.model_validate(
        {"protocol": "thick-slice", "cohort": str(cohort), "out": str(cohort.parent / "out"), **named}
    )


def images(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nii.gz"))


def test_a_simulation_is_refused_where_its_scans_find_no_room_and_goes_on_with_room_for_those_left(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = simulation_of(cohort), cohort.parent / "sim"
    leave(monkeypatch, PERSONS * THICK - 1)
    with pytest.raises(PlanError, match=r"disk-too-small: expected at most 0 MiB on disk, .* for 2 simulated scans\. Free space"):
        simulate(settings)
    assert not images(out)
    leave(monkeypatch, PERSONS * THICK)
    assert [record.state for record in simulate(settings)] == ["done"] * PERSONS
    leave(monkeypatch, 0)
    assert [record.state for record in simulate(settings)] == ["skipped"] * PERSONS
    images(out)[0].unlink()
    leave(monkeypatch, THICK)
    assert sorted(record.state for record in simulate(settings)) == ["done", "skipped"]


def test_a_scan_that_cannot_be_read_or_cut_takes_no_room(cohort: Path) -> None:
    (cohort / "sub-0" / "anat" / "sub-0_T1w.nii.gz").write_bytes(b"no scan")
    settings = simulation_of(cohort)
    assert simulation.bytes_left(simulation.find(settings)[0]) == THICK
    thick = settings.model_copy(update={"degradation": settings.degradation.model_copy(update={"factor": 29})})
    assert simulation.bytes_left(simulation.find(thick)[0]) == 0


def test_an_evaluation_is_refused_where_all_its_images_find_no_room_and_more_methods_count_alone(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = evaluation_of(cohort, "cubic", "nearest"), cohort.parent / "out"
    needed = PERSONS * (THICK + 2 * SHARP)
    leave(monkeypatch, needed - 1)
    with pytest.raises(PlanError, match=r"disk-too-small: .* for the images of 2 scans by 2 methods\. Free space, or choose"):
        evaluate(settings)
    assert not out.exists()
    leave(monkeypatch, needed)
    assert {row.state for row in evaluate(settings)} == {"done"}
    leave(monkeypatch, 0)
    assert len(evaluate(settings)) == 4
    leave(monkeypatch, PERSONS * SHARP - 1)
    with pytest.raises(PlanError, match="disk-too-small"):
        evaluate(evaluation_of(cohort, "cubic", "nearest", "linear"))
    leave(monkeypatch, PERSONS * SHARP)
    assert len(evaluate(evaluation_of(cohort, "cubic", "nearest", "linear"))) == 6


def test_an_evaluation_of_simulated_scans_counts_what_is_restored_on_the_grid_of_the_truth(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(simulation_of(cohort))
    settings = evaluation_of(cohort, "cubic").model_copy(update={"cohort": str(cohort.parent / "sim")})
    leave(monkeypatch, PERSONS * SHARP - 1)
    with pytest.raises(PlanError, match="disk-too-small"):
        evaluate(settings)
    leave(monkeypatch, PERSONS * SHARP)
    assert {row.state for row in evaluate(settings)} == {"done"}
    leave(monkeypatch, 0)
    evaluate(settings)


def test_a_method_that_cannot_take_part_takes_no_room(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch, PERSONS * (THICK + SHARP))
    assert {row.state for row in evaluate(evaluation_of(cohort, "cubic", "unet-3d"))} == {"done", "failed"}


def test_a_trial_of_harmonisation_is_refused_where_its_persons_find_no_room(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in range(PERSONS, 12):
        add_person(cohort, label)
    settings = HarmonisationTrial(cohort=str(cohort), out=str(tmp_path / "trial"), scanners=2, trial_voxel=4.0)
    needed = 12 * 7 * 4 * 14**3
    leave(monkeypatch, needed - 1)
    with pytest.raises(PlanError, match=r"disk-too-small: .* for the images of 12 persons by 2 scanners"):
        trial(settings)
    assert not (tmp_path / "trial" / "isovox" / "seen").exists()
    leave(monkeypatch, needed)
    monkeypatch.setattr(harmonisation, "stage_of", lambda *_: pytest.fail("begun"))
    with pytest.raises(pytest.fail.Exception, match="begun"):
        trial(settings)


@pytest.mark.parametrize("command", ["simulate", "evaluate", "harmonisation"])
def test_storage_that_takes_nothing_is_told_before_anything_is_done(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def refuse(out: str) -> None:
        raise AccessError("storage-forbidden", f"access to {out}", "a refusal", "check the keys")

    monkeypatch.setattr(claim, "check_writable", refuse)
    out = cohort.parent / "new"
    act = {
        "simulate": lambda: simulate(simulation_of(cohort).model_copy(update={"out": str(out)})),
        "evaluate": lambda: evaluate(evaluation_of(cohort, "cubic").model_copy(update={"out": str(out)})),
        "harmonisation": lambda: trial(HarmonisationTrial(cohort=str(cohort), out=str(out))),
    }[command]
    with pytest.raises(AccessError, match=r"storage-forbidden: expected access to .*new"):
        act()
    assert not out.exists()
