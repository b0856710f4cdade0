"""Slices 2 to 8 sharp voxels apart, without and with gaps, of box and Gaussian profiles.

The degradations are named by distance, gap in percent and profile, ``4mm20gaussian``: in mm where voxels are of 1 mm along the
slices' axis; else the distance is what the scan's grid says, and so the choice by the scan is told it. ``--degradation`` takes
some of them, ``--axis`` tilts the slices: S axial, A coronal, R sagittal. Contrasts, heads and brains are the cohort's. Gains by
cell, and what did best in each, are written as ``core.evaluation.gains`` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from core.evaluation.gains import Places, tables
from core.evaluation.protocol import Protocol

SPACINGS = (2, 3, 4, 5, 6, 8)  # sharp voxels
GAPS = (0.0, 0.2)
PROFILES = ("box", "gaussian")
SLICES = {
    f"{spacing}mm{round(100 * gap)}{profile}": (spacing, gap, profile)
    for spacing in SPACINGS
    for gap in GAPS
    for profile in PROFILES
}
PLACES: Places = {name: (spacing, gap) for name, (spacing, gap, _) in SLICES.items()}


def degradations(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Settings of the degradations of these names."""
    named = ("operator", "factor", "slice_gap", "slice_profile")
    return {name: dict(zip(named, ("slice-profile", *SLICES[name]), strict=True)) for name in names}


PROTOCOL = Protocol("any-scan", degradations(PLACES), tables=partial(tables, places=PLACES), baseline=True)
