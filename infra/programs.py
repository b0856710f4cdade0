"""How Prefect's and MLflow's servers are called: their arguments, their settings, and what they ask of who comes."""

from __future__ import annotations

from pathlib import Path

from infra.group import health
from infra.group.secrets import mlflow_users, secret
from infra.group.state import State

START = 300.0  # seconds within which a server answers: its first start makes its database, which a busy machine takes minutes for
EXPERIMENT = "isovox"  # of restored cohorts
LEASES = "prefect.server.concurrency.lease_storage.filesystem"  # who holds a slot is known after a restart too
FRESH = "PT0S"  # how old an event's tags may be: notices go by one that a run is given as it is begun anew


def prefect_home(state: Path) -> dict[str, str]:
    """Settings by which Prefect is at home in a folder."""
    return {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_PROFILES_PATH": str(state / "prefect" / "profiles.toml"),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(START),
    }


def prefect_program(state: Path, url: str) -> tuple[list[str], dict[str, str]]:
    """The arguments and the settings of a Prefect server whose page is at ``url``, at home in ``state``."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    pages = {"PREFECT_UI_URL": url, "PREFECT_SERVER_UI_API_URL": f"{url}/api", "PREFECT_UI_API_URL": f"{url}/api"}
    events = {"PREFECT_SERVER_EVENTS_RELATED_RESOURCE_CACHE_TTL": FRESH}
    settings = {**prefect_home(state), **pages, **events, "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES}
    return ["-m", "infra.prefect_page", host.strip("[]"), port], settings


def mlflow_program(state: Path, url: str, tracking_uri: str | None = None) -> list[str]:
    """The arguments of an MLflow server whose page is at ``url``, on the database and artifacts in ``state``."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    stores = ["--backend-store-uri", tracking_uri or f"sqlite:///{state / 'mlflow.db'}"]
    places = ["--artifacts-destination", str(state / "mlartifacts"), "--host", host.strip("[]"), "--port", port]
    return ["-m", "infra.mlflow_page", "server", *stores, *places, "--workers", "1"]


def mlflow_door(state: State) -> tuple[list[str], dict[str, str]]:
    """Arguments and settings by which an MLflow server asks for the password in ``state``."""
    arguments = ["--app-name", "basic-auth", "--uvicorn-opts", "--log-level warning"]
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": str(mlflow_users(state)),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(state, "mlflow-sessions"),
    }
    return arguments, settings


def runs_page(url: str, login: str | None = None) -> str:
    """Where MLflow shows isovox's runs; its own first page is about language models.

    Args:
        url: of its page.
        login: user:password.
    """
    status, answer = health.ask(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}", login)
    known = answer.get("experiment", {}).get("experiment_id") if status == 200 and isinstance(answer, dict) else None
    return f"{url}/#/experiments/{known}/runs" if known else f"{url}/#/experiments"
