"""Which weights a run uses: a name in the registry is looked up once, and the plan keeps what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import core
from core.config import RunSettings
from core.errors import UsageError
from core.methods import LEARNED
from core.plan import Weights
from flows.home import home, tracking_uri

if TYPE_CHECKING:
    from tasks.registry import Resolved

SHIPPED = Path(core.__file__).parent / "models"  # a folder a method, with the weights that isovox brings


def resolve_weights(settings: RunSettings) -> Weights | None:
    """The weights that the settings name, or the method's champion; None where the method needs none.

    Raises:
        UsageError: a name that the registry does not have, or a method without a champion.
        WeightsError: a pickle, or weights that are not what their config says.
    """
    if settings.model is None and settings.method not in LEARNED:
        return None
    from tasks.registry import resolve

    model, uri = settings.model or f"models:/{settings.method}@champion", tracking_uri(settings.tracking_uri)
    try:
        found = resolve(model, uri, home() / "models")
    except UsageError as error:
        if settings.model is not None or error.code != "model-unknown":
            raise
        found = _first_champion(settings.method, uri)
    return Weights(folder=found.folder, sha256=found.digest, name=found.name, version=found.version)


def _first_champion(method: str, uri: str) -> Resolved:
    """Put the model that isovox brings into the registry."""
    from tasks.registry import register, resolve

    if not (SHIPPED / method).is_dir():
        remedy = f"train one (isovox train {method} COHORT) and promote it, or name one with --model"
        raise UsageError("model-missing", f"a champion of {method} in the registry", "none", remedy)
    register(str(SHIPPED / method), method, uri, alias="champion")
    return resolve(f"models:/{method}@champion", uri, home() / "models")
