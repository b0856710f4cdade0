"""Which weights a run uses: a name in the registry is looked up once, and the plan keeps what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.engine.plan import CohortPlan, Weights
from core.errors import UsageError
from core.io import files
from core.io.output import Output
from core.methods.registry import candidates, learned, method_entry, needs_model, pickers, recipe_of, shipped
from core.settings.run import RunSettings
from flows.runs.home import home, tracking_uri

if TYPE_CHECKING:
    from tasks.registry.resolve import Resolved


def resolve_model(model: str, wanted: str | None) -> Weights:
    """The weights that a name means, whatever method they are for.

    Args:
        model: a folder, or models:/name@alias.
        wanted: MLflow's tracking URI; None for the one in isovox's own folder.

    Raises:
        UsageError: a name that the registry does not have.
        WeightsError: a pickle, or weights that are not what their config says.
    """
    from tasks.registry.resolve import resolve

    return _weights(resolve(model, tracking_uri(wanted), home() / "models"))


def _weights(resolved: Resolved) -> Weights:
    return Weights(folder=resolved.folder, sha256=resolved.digest, name=resolved.name, version=resolved.version)


def resolve_weights(settings: RunSettings) -> Weights | None:
    """The weights that the settings name, or the method's champion; None where the method needs none.

    Raises:
        UsageError: a name that the registry does not have, or a method without a champion.
        WeightsError: a pickle, or weights that are not what their config says.
    """
    champion_wanted = settings.method in learned() and needs_model(settings.method, settings.method_options)
    if settings.model is None and not champion_wanted:
        return None
    from tasks.registry.models import Models
    from tasks.registry.resolve import resolve

    name, uri = method_entry(settings.method).model_name, tracking_uri(settings.tracking_uri)
    own = None if settings.model else shipped(settings.method)
    if own is not None:
        Models(uri, home() / "models").bring(str(own), name)
    try:
        return _weights(resolve(settings.model or f"models:/{name}@champion", uri, home() / "models"))
    except UsageError as error:
        if settings.model is not None or error.code != "model-unknown":
            raise
        recipe = recipe_of(settings.method)
        how = f"train one (isovox train {recipe} COHORT) and promote it" if recipe else "import one (isovox models import)"
        remedy = f"{how}, or name one with --model"
        raise UsageError("model-missing", f"a champion of {name} in the registry", "none", remedy) from error


@dataclass(frozen=True)
class Choice:
    """The weights of a run.

    Attributes:
        weights: that it uses; None where the method needs none.
        newer: what the registry's alias names by now, where the run keeps to the model that made its output.
        others: champions of the methods that single scans may have of their own, by the methods' names.
        newer_others: the same as ``newer`` of these.
    """

    weights: Weights | None
    newer: Weights | None = None
    others: dict[str, Weights] = field(default_factory=dict)
    newer_others: dict[str, Weights] = field(default_factory=dict)

    def kept(self) -> list[tuple[str, Weights, Weights]]:
        """Models that the run keeps to though there are newer ones: the method ("": the run's), the model kept, the newer one."""
        own = [("", self.weights, self.newer)] if self.weights and self.newer else []
        return [*own, *((name, self.others[name], newer) for name, newer in self.newer_others.items())]


def _others(settings: RunSettings) -> dict[str, Weights]:
    """The champions of the fallback, and of the methods among which a choice chooses; a choice goes without those that lack one.

    Raises:
        UsageError: a fallback without a champion.
    """
    chosen = candidates(settings.method) if settings.method in pickers() else ()
    champions = {}
    for name in dict.fromkeys([*chosen, *([settings.fallback] if settings.fallback else [])]):
        own = settings.model_copy(update={"method": name, "method_options": {}, "model": None})
        try:
            if (weights := resolve_weights(own)) is not None:
                champions[name] = weights
        except UsageError as error:
            if error.code != "model-missing" or name == settings.fallback:
                raise
    return champions


def choose_weights(settings: RunSettings) -> Choice:
    """The weights of a run into an output that may have been made by another model: a cohort never mixes models.

    Raises:
        UsageError: a name that the registry does not have, a method without a champion, or an output whose model is gone.
        WeightsError: a pickle, or weights that are not what their config says.
    """
    named, others = resolve_weights(settings), _others(settings)
    before = None if settings.on_new_model == "redo" else _plan_of_output(settings)
    if before is None:
        return Choice(named, others=others)
    newer_others = {name: now for name, now in others.items() if _is_newer(now, before.others.get(name))}
    others |= {name: _again(before.others[name], settings, name) for name in newer_others}
    follows_alias = settings.model is None or (settings.model.startswith("models:") and "@" in settings.model)
    if before.weights is None or not follows_alias or not _is_newer(named, before.weights):
        return Choice(named, None, others, newer_others)
    return Choice(_again(before.weights, settings, settings.method), named, others, newer_others)


def _is_newer(now: Weights | None, before: Weights | None) -> bool:
    """Whether a registered model's alias names another version than before."""
    if now is None or before is None or not before.version:
        return False
    return now.name == before.name and now.sha256 != before.sha256


def _plan_of_output(settings: RunSettings) -> CohortPlan | None:
    """The plan by which the same method made what the output holds."""
    out = Output(settings.out)
    try:
        plan = CohortPlan.model_validate(files.read_json(out.plan))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    alike = plan.settings.method == settings.method
    return plan if alike and any(record.outputs for record in out.records()) else None


def _again(before: Weights, settings: RunSettings, method: str) -> Weights:
    """The very model of before of a method, from the registry."""
    model = f"models:/{before.name}/{before.version}"
    try:
        weights = resolve_weights(settings.model_copy(update={"method": method, "model": model}))
    except UsageError as error:
        remedy = "restore all again by the new one: --on-new-model redo"
        raise UsageError("model-gone", f"{model}, which made the output", str(error), remedy) from error
    if weights is None or weights.sha256 != before.sha256:
        remedy = "restore all again by the new one: --on-new-model redo"
        raise UsageError("model-gone", f"{model} with sha256 {before.sha256[:12]}", "other weights of that name", remedy)
    return weights
