"""Sizes of the score model: paper (its authors' sizes, raw), small and tiny (preconditioned, three slices), for a CPU."""

from __future__ import annotations

from typing import Any

from core.networks.preset import Preset

SCORE = "score"
MULTIPLE = 8  # of four levels
SIGMA_DATA = 0.5  # of trainings that measured none; in units of the scan's 99.9th percentile (0.59 of patches of brains)
LEAST = 0.01  # sigma
PAPER_MOST = 378.0
OWN_MOST = 46.0  # of trainings that measured none: between 240 patches of 64 x 64 of four persons of ds002748


def paper() -> Preset:
    """15,381,377 weights."""
    return Preset("NCSNpp", {"width": 64, "blocks": 4}, MULTIPLE, 128)


def _own(width: int, blocks: int, patch: int) -> Preset:
    config = {"width": width, "blocks": blocks, "neighbours": 1, "planes": True, "preconditioned": True, "sigma_data": SIGMA_DATA}
    return Preset("NCSNpp", config, MULTIPLE, patch)


def small() -> Preset:
    """2.5 million weights."""
    return _own(32, 2, 64)


def tiny() -> Preset:
    """0.45 million weights."""
    return _own(16, 1, 64)


def mock() -> Preset:
    """For tests: two levels."""
    preset = _own(8, 1, 16)
    return Preset(preset.network, preset.config | {"multiples": [1, 1]}, 2, 16)


def facts_of(preset: Preset, most: float | None = None) -> dict[str, Any]:
    """What a model's config says beside its network: noise levels, what the network tells, and sides that it takes.

    Args:
        preset: of the network.
        most: largest sigma; None: where its training measured none.
    """
    own = preset.config.get("preconditioned", False)
    last = most or (OWN_MOST if own else PAPER_MOST)
    schedule = {"kind": "geometric", "first": LEAST, "last": last}
    return {"schedule": schedule, "prediction": "x0" if own else "score", "multiple": preset.multiple}


SIZES = {"paper": paper, "small": small, "tiny": tiny}
