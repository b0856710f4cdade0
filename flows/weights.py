"""Which weights a run uses: a name in the registry is looked up once, and the plan keeps what was found."""

from __future__ import annotations

from core.config import RunSettings
from core.plan import Weights
from infra.services import local_state


def resolve_weights(settings: RunSettings) -> Weights | None:
    """The weights that the settings name; None where the method needs none.

    Raises:
        UsageError: a name that the registry does not have.
        WeightsError: a pickle, or weights that are not what their config says.
    """
    if settings.model is None:
        return None
    from tasks.registry import resolve

    state = local_state(settings.out)
    found = resolve(settings.model, settings.tracking_uri or f"sqlite:///{state / 'mlflow.db'}", state / "models")
    return Weights(folder=found.folder, sha256=found.digest, name=found.name, version=found.version)
