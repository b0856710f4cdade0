"""Slices 2 to 8 mm apart, without and with gaps, of box and Gaussian profiles.

Of sharp scans with voxels of 1 mm along the slices' axis. The degradations are named by distance, gap in percent and profile,
``4mm20gaussian``; ``--degradation`` takes some of them, ``--axis`` tilts the slices: S axial, A coronal, R sagittal. Contrasts,
heads and brains are the cohort's.
"""

from __future__ import annotations

from core.evaluation.protocol import Protocol

SPACINGS = (2, 3, 4, 5, 6, 8)  # mm
GAPS = (0.0, 0.2)
PROFILES = ("box", "gaussian")

PROTOCOL = Protocol(
    "any-scan",
    {
        f"{spacing}mm{round(100 * gap)}{profile}": {
            "operator": "slice-profile",
            "factor": spacing,
            "slice_gap": gap,
            "slice_profile": profile,
        }
        for spacing in SPACINGS
        for gap in GAPS
        for profile in PROFILES
    },
)
