"""Sizes of the two networks, as functions that give them by role."""

from __future__ import annotations

from core.networks.preset import Preset

ROLES = ("features", "correction")


def tiny() -> dict[str, Preset]:
    """Four channels."""
    names = dict(zip(ROLES, ("Features", "Correction"), strict=True))
    return {role: Preset(name, {"channels": 4}, multiple=1, patch=16) for role, name in names.items()}
