"""``isovox evaluate`` as a user calls it: tables, exit codes, the registry, MLflow there or away."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydantic import ValidationError

from cli import main as cli
from core.errors import UsageError
from core.io.lock import cohort_lock
from core.models.bundle import save_model
from core.settings.evaluate import EvaluationSettings
from flows.evaluate import candidates_of, paired_scores
from tests.flows.shown import shown_by
from tests.phantoms import brain

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("people")
    for label in ("01", "02"):
        path = root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(brain((40, 40, 40), seed=int(label))[0], np.diag([1.5, 1.5, 1.5, 1.0])), path)
    return root


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def models(tmp_path) -> dict[str, str]:
    """Two models that add nothing and much to the interpolated scan."""
    torch = pytest.importorskip("torch")
    from core.networks import build

    folders = {}
    for name, level in (("still", 0.0), ("bright", 0.5)):
        network = build("UNet", UNET)
        state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
        state[next(key for key in reversed(state) if key.endswith("bias"))] += level
        folders[name] = str(tmp_path / name)
        save_model(folders[name], "UNet", UNET, state, "# For tests\n", residual=True, multiple=2)
    return folders


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_methods_are_ranked_in_tables_a_page_and_mlflow(cohort, tmp_path, home, capsys, monkeypatch):
    shown = shown_by(monkeypatch)
    words = ("evaluate", "thick-slice", cohort, "--methods", "cubic,nearest", "--factor", 4, "--out", tmp_path / "out")
    assert isovox(*words, "--slice-profile", "gaussian") == 0
    course = str(tmp_path / "out" / "isovox" / "course.json")
    assert shown == [("making cases", {"scans": 2}, course), ("restoring and scoring", {"restored": 4}, course)]
    told, waits = capsys.readouterr()
    assert "looking at methods and their models …" in waits
    assert "PSNR dB" in told
    assert "report.html" in told
    cubic, nearest = rows(tmp_path / "out" / "summary.csv")
    assert list(cubic)[:5] == ["method", "psnr", "psnr_sd", "ssim", "ssim_sd"]
    assert float(cubic["psnr"]) > float(nearest["psnr"])
    assert len(rows(tmp_path / "out" / "scores.csv")) == 4
    assert "box slices" not in (tmp_path / "out" / "report.html").read_text()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("isovox evaluation").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.data.metrics["cubic/psnr"] == pytest.approx(float(cubic["psnr"]), abs=1e-3)
    assert run.info.status == "FINISHED"
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {
        "scores.csv", "summary.csv", "comparisons.csv", "report.html",
    }  # fmt: skip
    assert isovox(*words, "--slice-profile", "gaussian", "--quiet") == 0
    assert len(client.search_runs([experiment])) == 1


def test_a_learned_method_takes_part_by_folder_by_name_and_as_champion(cohort, tmp_path, home, models, capsys):
    from flows.runs.home import tracking_uri
    from tasks.registry.resolve import register

    register(models["still"], "unet-3d", tracking_uri(None), alias="champion")
    register(models["bright"], "unet-3d", tracking_uri(None), alias="challenger")
    methods = ["cubic,unet-3d", f"network={models['bright']}", "unet-3d=models:/unet-3d@challenger"]
    wanted = ("evaluate", "thick-slice", cohort, "--participant-label", "01", "--out", tmp_path / "out", "--quiet")
    assert isovox(*wanted, "--methods", *methods, "--segmenter", "none") == 0
    found = {one["method"]: one for one in rows(tmp_path / "out" / "summary.csv")}
    assert list(found) == ["cubic", "unet-3d (unet-3d/1)", "network", "unet-3d (unet-3d/2)"]
    assert found["unet-3d (unet-3d/1)"]["psnr"] == found["cubic"]["psnr"]  # it adds nothing
    assert found["unet-3d (unet-3d/2)"]["psnr"] == found["network"]["psnr"]
    assert float(found["network"]["psnr"]) < float(found["cubic"]["psnr"]) - 5
    said = EvaluationSettings(protocol="iqt", cohort=str(cohort), out="", methods=("champion", "cubic"))
    assert [(one.label, one.model) for one in candidates_of(said)] == [("unet-3d", "unet-3d/1"), ("cubic", "")]


def test_two_models_are_paired_scan_by_scan(cohort, tmp_path, home, models):
    found = paired_scores([models["still"], models["bright"]], cohort=str(cohort), out=str(tmp_path / "out"), factor=4)
    assert set(found.challenger) == set(found.champion) == {"psnr", "ssim", "ms_ssim"}
    assert len(set(found.persons)) == 2
    still, bright = found.challenger["psnr"], found.champion["psnr"]
    assert len(still) == len(bright) == 2
    assert min(still) > max(bright)
    (cohort_with_a_hole := tmp_path / "hole").mkdir()
    (cohort_with_a_hole / "broken.nii.gz").write_bytes(b"no scan")
    with pytest.raises(UsageError, match=r"scores-missing: .*broken"):
        paired_scores(list(models.values()), cohort=str(cohort_with_a_hole), out=str(tmp_path / "none"))


def test_the_baseline_that_a_protocol_brings_is_no_model_that_is_paired(cohort, tmp_path, home, models):
    how = {"cohort": str(cohort), "protocol": "any-scan", "degradation": ("4mm0box",)}
    found = paired_scores([models["still"], models["bright"]], out=str(tmp_path / "out"), **how)
    still, bright = found.challenger["psnr"], found.champion["psnr"]
    assert len(still) == len(bright) == len(found.persons) == 2
    assert min(still) > max(bright)


def test_models_of_one_name_are_told_apart_and_one_model_does_not_come_twice(tmp_path, home, models):
    for name, folder in models.items():
        (tmp_path / f"{name}-training").mkdir()
        Path(folder).rename(tmp_path / f"{name}-training" / "model")
    words = tuple(f"network={tmp_path}/{name}-training/model" for name in models)
    first, second = candidates_of(EvaluationSettings(protocol="iqt", cohort="", out="", methods=words))
    assert first.label.startswith("network (model) ")
    assert first.slug != second.slug
    with pytest.raises(UsageError, match="method-twice"):
        candidates_of(EvaluationSettings(protocol="iqt", cohort="", out="", methods=(words[0], words[0])))


def test_what_fails_is_told_and_the_rest_is_there_and_nothing_that_was_left_half_written(cohort, tmp_path, home, capsys):
    torn = tmp_path / "out" / "restored" / ".sub-01_T1w.json.1-2-3.tmp"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"half")
    words = ("evaluate", "iqt", cohort, "--participant-label", "01", "--out", tmp_path / "out", "--factor", 4)
    assert isovox(*words, "--methods", "cubic,unet-3d") == 3
    told = capsys.readouterr().out
    assert "failed sub-01_T1w unet-3d: model-missing" in told.replace("\n", " ")
    assert re.search(r"^cubic +\d+\.\d\d ", told, re.MULTILINE)
    assert [(one["state"], one["reason"][:13]) for one in rows(tmp_path / "out" / "scores.csv")] == [
        ("done", ""),
        ("failed", "model-missing"),
    ]
    assert not torn.exists()


def test_a_server_that_is_away_does_not_end_it(cohort, tmp_path, home, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    words = ("evaluate", "thick-slice", cohort, "--participant-label", "01", "--out", tmp_path / "out", "--methods", "nearest")
    assert isovox(*words, "--tracking-uri", "http://127.0.0.1:9", "--quiet") == 0
    assert (tmp_path / "out" / "summary.csv").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--methods", "cubic,majic"), 2, "unknown-method: expected one of .*, but got majic"),
        (("--methods", "cubic,cubic"), 2, "method-twice"),
        (("--methods", "champion"), 2, "champion-missing"),
        (("--methods", "cubic", "--method-options", "unires.steps=3"), 2, "method-options: .*unires"),
        (("--methods", "cubic", "--method-options", "cubic.colour=3"), 2, "method-options"),
        (("--methods", "cubic", "--segmenter", "magic"), 2, "segmenter-unknown"),
        (("--methods", "cubic", "--participant-label", "77"), 2, "no-scans|participant-missing"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_done(cohort, tmp_path, home, capsys, words, code, told):
    assert isovox("evaluate", "thick-slice", cohort, "--out", tmp_path / "out", *words) == code
    assert re.search(told, capsys.readouterr().err)
    assert not list((tmp_path / "out").glob("*.csv"))


def test_one_evaluation_at_a_time_works_in_a_folder(cohort, tmp_path, home, capsys):
    with cohort_lock(str(tmp_path / "out" / "isovox" / "lock.json")):
        assert isovox("evaluate", "thick-slice", cohort, "--out", tmp_path / "out", "--methods", "cubic") == 75


def test_a_word_says_the_method_whether_it_is_repaired_and_its_model() -> None:
    words = ("cubic", "cubic+repair", "auto+repair")
    plain, repaired, chooser = candidates_of(EvaluationSettings(protocol="thick-slice", cohort="", out="", methods=words))
    assert (plain.label, plain.repair, repaired.label, repaired.repair) == ("cubic", False, "cubic+repair", True)
    assert (chooser.method, chooser.repair, chooser.choices[-1].method) == ("auto", True, "unires")
    with pytest.raises(UsageError, match=r"repair-misplaced.*[Ww]rite resunet-3d\+repair=MODEL"):
        candidates_of(EvaluationSettings(protocol="thick-slice", cohort="", out="", methods=("resunet-3d=MODEL+repair",)))
    with pytest.raises(UsageError, match=r"unknown-method.*cubic\+mend"):
        candidates_of(EvaluationSettings(protocol="thick-slice", cohort="", out="", methods=("cubic+mend",)))
    with pytest.raises(UsageError, match=r"auto without a model.*got /m"):
        candidates_of(EvaluationSettings(protocol="thick-slice", cohort="", out="", methods=("auto=/m",)))


def test_no_degradation_becomes_another_than_its_name_says() -> None:
    for protocol, said in (
        ("any-scan", {"factor": 4}),
        ("any-scan", {"slice_gap": 0.1}),
        ("domain", {"slice_profile": "gaussian"}),
        ("latent-zoom", {"factor": 4}),
    ):
        with pytest.raises(ValidationError, match=rf"as they are named .* but got {next(iter(said))} .*Leave out --"):
            EvaluationSettings(protocol=protocol, cohort="", out="", **said)
    reduced = EvaluationSettings(protocol="srmri", cohort="", out="", factor=4)  # their names tell the kernel alone
    assert {each.factor for each in reduced.degradations.values()} == {4}


def test_some_degradations_of_a_protocol_can_be_asked_for_by_name() -> None:
    some = EvaluationSettings(protocol="any-scan", cohort="", out="", degradation=("4mm0box", "8mm20gaussian"))
    assert list(some.degradations) == ["4mm0box", "8mm20gaussian"]
    assert (some.degradations["8mm20gaussian"].factor, some.degradations["8mm20gaussian"].slice_gap) == (8, 0.2)
    assert len(EvaluationSettings(protocol="any-scan", cohort="", out="").degradations) == 24
    with pytest.raises(ValidationError, match=r"degradation-unknown.*4mm0bx.*4mm0box"):
        EvaluationSettings(protocol="any-scan", cohort="", out="", degradation=("4mm0bx",))
    with pytest.raises(ValidationError, match=r"no --degradation: there is one.*got 4mm0box"):
        EvaluationSettings(protocol="thick-slice", cohort="", out="", degradation=("4mm0box",))
