"""The registry of models as a user's commands and flows open it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import UsageError
from core.settings.run import RunSettings

if TYPE_CHECKING:
    from tasks.registry.champions import Champion
    from tasks.registry.models import Models


def registry(tracking_uri: str | None) -> Models:
    """The models of a registry; None for the one in isovox's own folder."""
    from flows.runs import home
    from tasks.registry.models import Models

    return Models(home.tracking_uri(tracking_uri), home.home() / "models")


def champions(tracking_uri: str | None) -> dict[str, Champion]:
    """The champions by the names of their models; none, and nothing is made or imported, where there is no registry yet."""
    from flows.runs import home

    if tracking_uri is None and not (home.home() / "mlflow.db").exists():
        return {}
    from tasks.registry import champions as found

    return found.champions(home.tracking_uri(tracking_uri), home.home() / "models")


def bring_own(name: str, models: Models) -> None:
    """Register the model that isovox brings for a method, where it brings one and the method has no champion yet."""
    from core.methods.registry import learned, method_entry
    from flows.weights import resolve_weights

    method = next((each for each in learned() if method_entry(each).model_name == name), None)
    if method is not None:
        try:
            resolve_weights(RunSettings(input="", out="", method=method, tracking_uri=models.uri))
        except UsageError as error:
            if error.code != "model-missing":
                raise
