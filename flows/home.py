"""Isovox's own folder of a user: models and trainings that serve every output."""

from __future__ import annotations

from infra.home import home

__all__ = ["home", "tracking_uri"]


def tracking_uri(wanted: str | None) -> str:
    """MLflow's tracking URI of models and trainings: the wanted one, else a database in isovox's own folder, made if need be."""
    if wanted:
        return wanted
    from tasks.tracking import make_database

    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    make_database(folder)
    return f"sqlite:///{folder / 'mlflow.db'}"
