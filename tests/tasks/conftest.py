"""A registry of models that is empty, models of one number to put into it, and families that are there for a file of tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.methods import registry
from core.models import bundle as bundles

FAMILIES = Path(__file__).resolve().parents[1] / "families"


@pytest.fixture(scope="module")
def own_family(request: pytest.FixtureRequest) -> Iterator[None]:
    """The family of ``tests/families`` that a file names as ``FAMILY`` is among the families."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.VARIABLE, str(FAMILIES / request.module.FAMILY))
        yield


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MLflow's tables, which take seconds to make, and its connection, which takes a second to open."""
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = f"sqlite:///{tmp_path_factory.mktemp('with a blank') / 'mlflow.db'}"
    MlflowClient(tracking_uri=uri).search_experiments()
    return uri


@pytest.fixture
def uri(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry without models."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    yield database
    client = MlflowClient(tracking_uri=database)
    for each in client.search_registered_models():
        client.delete_registered_model(each.name)


@pytest.fixture
def model(tmp_path: Path) -> Callable[[float], str]:
    """Writes a model of one number."""

    def write(number: float) -> str:
        import torch

        folder = tmp_path / f"model-{number}"
        bundles.save_model(str(folder), "UNet", {"channels": [4]}, {"w": torch.tensor([number])}, "A test.")
        (folder / "stray.pkl").write_bytes(b"\x80\x04")
        return str(folder)

    return write
