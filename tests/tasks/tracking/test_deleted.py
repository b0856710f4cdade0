"""What was deleted in MLflow keeps no rows and no files, once it is dropped; what was not is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.registry.resolve import EXPERIMENT
from tasks.tracking.database import make_database
from tasks.tracking.deleted import Kept, drop, kept_of
from tasks.tracking.tracker import experiment_id


@pytest.mark.slow
def test_deleted_runs_and_models_are_dropped_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert kept_of(uri) == []
    make_database(tmp_path)
    client = MlflowClient(tracking_uri=uri)
    (tmp_path / "weights").write_bytes(b"x" * 1000)

    def run(experiment: str, name: str, folder: str | None) -> str:
        made = client.create_run(experiment_id(client, uri, experiment), run_name=name).info.run_id
        client.log_artifact(made, str(tmp_path / "weights"), folder)
        client.set_terminated(made)
        return str(made)

    here, gone = run("isovox", "here", None), run("isovox", "gone", None)
    models = {name: run(EXPERIMENT, name, "model") for name in ("used", "unused")}
    client.create_registered_model("net")
    for name, made in models.items():
        client.create_model_version("net", client.get_run(made).info.artifact_uri + "/model", made, {"of": name})
    client.delete_run(gone)
    client.delete_model_version("net", "2")

    there = kept_of(uri)
    assert {each.run for each in there} == {gone, models["unused"]}
    assert {(each.files, each.nbytes) for each in there} == {(1, 1000)}
    places = {
        made: Path(client.get_run(made).info.artifact_uri.removeprefix("file://")) for made in (here, gone, *models.values())
    }
    drop(there)
    assert kept_of(uri) == []
    assert {made for made, place in places.items() if list(place.rglob("weights"))} == {here, models["used"]}
    assert client.get_run(here).info.run_name == "here"


def test_more_runs_than_an_argument_holds_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [f"{number:032x}" for number in range(5000)]
    dropped: list[str] = []

    def ran(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        real = subprocess.Popen(["true", *command])  # as long as the system takes
        dropped.extend(command[-1].split(","))
        return subprocess.CompletedProcess(command, real.wait())

    monkeypatch.setattr("mlflow.MlflowClient", lambda **_: None)
    monkeypatch.setattr("tasks.tracking.deleted.subprocess", SimpleNamespace(run=ran))
    drop([Kept("sqlite:///none.db", run, "a run", 0, 0, active=False) for run in runs])
    assert dropped == runs


def test_a_database_that_is_not_mlflows_is_left_as_it_is(tmp_path: Path) -> None:
    other, torn = tmp_path / "other.db", tmp_path / "torn.db"
    with closing(sqlite3.connect(other)) as made:
        made.execute("create table runs (a)")
        made.commit()
    torn.write_bytes(other.read_bytes()[:100])
    before = {path: path.read_bytes() for path in (other, torn)}
    assert [kept_of(f"sqlite:///{path}") for path in (other, torn, tmp_path / "none.db")] == [[], [], []]
    assert {path: path.read_bytes() for path in before} == before
