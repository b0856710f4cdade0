"""Whether a recipe asks for the degradation that settings say: one that makes its examples by itself would ignore it."""

from __future__ import annotations

from core.errors import UsageError
from core.methods import registry
from core.settings.train import TrainSettings


def check_asked(settings: TrainSettings, *, defaults: bool) -> None:
    """Refuse a degradation that the recipe does not ask for.

    Args:
        settings: of the training.
        defaults: whether a default that was said is refused too, as of a command line; forms say all of them.

    Raises:
        UsageError: option-idle.
    """
    stated = settings.degradation.stated(defaults=defaults)
    if not stated:
        return
    recipe = registry.recipe(settings.recipe)
    if recipe.degrades and recipe.drawn is None:
        return
    why = f"draws its own: {recipe.drawn.describe()}" if recipe.drawn else "makes its examples of sharp scans without one"
    got = ", ".join(f"--{name.replace('_', '-')}" for name in stated)
    remedy = "leave that out, or train another recipe, that degrades scans as it is told"
    raise UsageError("option-idle", f"no options of a degradation for {settings.recipe}, which {why}", got, remedy)
