"""What a given harmoniser was fitted by, held against the options that are set beside it."""

from __future__ import annotations

from typing import Any

from core.errors import UsageError
from core.harmonize.model import Harmonizer
from core.settings.harmonize import HarmonizeSettings


def check_options(settings: HarmonizeSettings, given: Harmonizer) -> None:
    """Refuse options that the model was not fitted by: nothing is fitted, so they would have no effect.

    Raises:
        UsageError: harmonizer-options, naming them.
    """
    if other := [*_of_volumes(settings, given), *_of_combat(settings, given)]:
        wanted, remedy = "options as the model was fitted by", "leave them out, or fit again without --model"
        raise UsageError("harmonizer-options", wanted, ", ".join(other), remedy)


def _set(settings: HarmonizeSettings, name: str) -> bool:
    """Whether an option is other than it is by default."""
    return bool(getattr(settings, name) != HarmonizeSettings.model_fields[name].default)


def _of_volumes(settings: HarmonizeSettings, given: Harmonizer) -> list[str]:
    method = "none" if given.normaliser is None else given.normaliser.method
    steps, maps = given.volumes.steps.wanted(), given.maps or {}
    other = [f"--intensity {settings.intensity}"] if _set(settings, "intensity") and settings.intensity != method else []
    other += [f"--{name.replace('_', '-')}" for name in settings.steps.wanted() if name not in steps]
    reference = settings.reference_site
    other += [f"--reference-site {reference}"] if reference is not None and set(given.sites) != {reference} else []
    voxel = _set(settings, "map_voxel") and maps.get("voxel", settings.map_voxel) != settings.map_voxel
    return other + ([f"--map-voxel {settings.map_voxel:g}"] if voxel else [])


def _of_combat(settings: HarmonizeSettings, given: Harmonizer) -> list[str]:
    combat: dict[str, Any] | None = given.combat
    if combat is None:
        return []
    terms = combat["terms"]
    lost = [term["name"] for term in terms if term["name"] not in settings.preserve]
    other = {
        f"--preserve {' '.join(settings.preserve)}": bool(lost),
        "--no-bayes": not settings.bayes and combat.get("bayes", True),
        "--spread": settings.spread and "spreads" not in combat,
        "--person-intercept": settings.person_intercept and "ratio" not in combat,
        "--smooth-age": settings.smooth_age and not any(term.get("knots") for term in terms),
    }
    return [option for option, contradicts in other.items() if contradicts]
