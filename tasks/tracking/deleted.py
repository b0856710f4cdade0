"""What MLflow keeps of runs and models that were deleted: their rows and their files stay until somebody drops them.

Only a database is looked at, as MLflow's own ``gc`` does: a server's is its operator's.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from core.errors import AccessError
from tasks.registry.resolve import EXPERIMENT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

AT_ONCE = 1000  # runs that MLflow is told of at once: Linux takes arguments of 128 KiB each, at most


@dataclass(frozen=True)
class Kept:
    """A run that nobody sees any more, and its files.

    Attributes:
        uri: of the database.
        run: its id.
        what: for a reader.
        files: how many lie on this machine.
        nbytes: of them all.
        active: the run itself was not deleted, but the model whose files it holds.
    """

    uri: str
    run: str
    what: str
    files: int
    nbytes: int
    active: bool


def kept_of(uri: str) -> list[Kept]:
    """What a database keeps of what was deleted; nothing where there is no database.

    Args:
        uri: MLflow's tracking URI.
    """
    if uri.startswith("http") or (uri.startswith("sqlite:///") and not _is_mlflows(Path(uri.removeprefix("sqlite:///")))):
        return []
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return [*_deleted_runs(client, uri), *_deleted_models(client, uri)]


def _is_mlflows(path: Path) -> bool:
    """Whether a database is there and holds MLflow's tables; another, or a damaged one, is not MLflow's to open and to fill."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("select run_uuid, lifecycle_stage from runs limit 1")
    except sqlite3.Error:
        return False
    return True


def drop(leftovers: Sequence[Kept]) -> None:
    """Drop them for good.

    Raises:
        AccessError: MLflow refuses.
    """
    from mlflow import MlflowClient

    for uri in {each.uri for each in leftovers}:
        ours = [each for each in leftovers if each.uri == uri]
        client = MlflowClient(tracking_uri=uri)
        for each in ours:
            if each.active:
                client.delete_run(each.run)
        for start in range(0, len(ours), AT_ONCE):
            _collect(uri, [each.run for each in ours[start : start + AT_ONCE]])


def _collect(uri: str, runs: Sequence[str]) -> None:
    words = ["gc", "--backend-store-uri", uri, "--tracking-uri", uri, "--run-ids", ",".join(runs)]
    command = [sys.executable, "-m", "mlflow", *words]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    ran = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        raise AccessError("mlflow-gc", "deleted runs dropped by mlflow gc", ran.stderr.strip()[-200:], f"look at {uri}")


def _deleted_runs(client: MlflowClient, uri: str) -> Iterator[Kept]:
    from mlflow.entities import ViewType

    experiments = [each.experiment_id for each in _all(client.search_experiments, view_type=ViewType.ALL)]
    for run in _all(client.search_runs, experiments, run_view_type=ViewType.DELETED_ONLY) if experiments else ():
        yield _of(run, uri, f"deleted run {run.info.run_name}", active=False)


def _deleted_models(client: MlflowClient, uri: str) -> Iterator[Kept]:
    """Runs that hold the files of model versions which are no more."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    used = {version.run_id for version in _all(client.search_model_versions)}
    for run in _all(client.search_runs, [experiment.experiment_id]):
        ended = run.info.status != "RUNNING"  # one that uploads just now
        if run.info.run_id not in used and ended and any(each.path == "model" for each in client.list_artifacts(run.info.run_id)):
            yield _of(run, uri, f"deleted model {run.info.run_name}", active=True)


def _of(run: Run, uri: str, what: str, *, active: bool) -> Kept:
    place = urlsplit(run.info.artifact_uri)
    local = Path(unquote(place.path)) if place.scheme in {"", "file"} else None
    sizes = [path.stat().st_size for path in local.rglob("*") if path.is_file()] if local and local.is_dir() else []
    return Kept(uri, run.info.run_id, what, len(sizes), sum(sizes), active)


def _all(search: Any, *words: Any, **options: Any) -> Iterator[Any]:
    """Everything that a search finds, page by page."""
    token: str | None = None
    while True:
        page = search(*words, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
