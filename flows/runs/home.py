"""Isovox's own folder of a user: models and trainings that serve every output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra.home import home

if TYPE_CHECKING:
    from core.settings.train import TrainSettings

__all__ = ["home", "tracking_uri", "training_folder"]


def training_folder(settings: TrainSettings) -> str:
    """The folder of a training: the wanted one, else one by its name in isovox's own folder.

    Raises:
        UsageError: a name that no model can have, which would be refused once all is trained.
    """
    from tasks.registry.resolve import check_name

    if settings.name:
        check_name(settings.name)
    how = settings.degradation
    name = f"{settings.name or settings.recipe}-{settings.preset}-{how.operator}-{how.factor}"
    return settings.out or str(home() / "training" / name)


def tracking_uri(wanted: str | None) -> str:
    """MLflow's tracking URI of models and trainings: the wanted one, else a database in isovox's own folder, made if need be.

    Raises:
        RegistryError: database-damaged, disk-full.
    """
    from tasks.tracking.database import SCHEME, check_database, make_database

    if wanted:
        if (path := Path(wanted.removeprefix(SCHEME))).is_file():
            check_database(path)
        return wanted
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    make_database(folder)
    return f"{SCHEME}{folder / 'mlflow.db'}"
