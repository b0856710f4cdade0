"""Which models are champions, and what they are for, without fetching or reading their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.models.domain import Domain, read_domain
from tasks.registry.models import CHAMPION
from tasks.registry.resolve import folder_of


@dataclass(frozen=True)
class Champion:
    """A model's version that serves.

    Attributes:
        version: "NAME/2"; empty for one that isovox brings and that is not in the registry yet.
        domain: scans that it is for, as far as this machine knows.
    """

    version: str
    domain: Domain


def champions(uri: str, cache: Path) -> dict[str, Champion]:
    """The champions of a registry by the names of their models.

    Args:
        uri: MLflow's tracking URI.
        cache: where models from a remote registry are kept; nothing is fetched into it.
    """
    from mlflow import MlflowClient

    client, by_name = MlflowClient(tracking_uri=uri), {}
    page = client.search_registered_models()
    models = list(page)
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        models += page
    for model in models:
        if number := model.aliases.get(CHAMPION):
            folder = folder_of(client.get_model_version(model.name, str(number)), cache)
            by_name[model.name] = Champion(f"{model.name}/{number}", read_domain(str(folder)))
    return by_name
