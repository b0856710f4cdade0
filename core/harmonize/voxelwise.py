"""Maps of a cohort as a model: the common space, and what ComBat found in each of its brain's voxels, as arrays on one grid.

maps.safetensors of v voxels (``mask``, in C order), k columns of covariates and s sites
    template (x, y, z), affine (4, 4), mask (x, y, z)
    mean (v,), slopes (k, v), sd (v,), location (s, v), scale (s, v); spreads (k, v) and ratio (v,) where they were fitted
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import WeightsError
from core.geometry.grid import Array, Grid
from core.harmonize.images.brain import Kept
from core.harmonize.tables.bayes import Effect
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.design import Term

FILE = "maps.safetensors"
Voxels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Maps:
    """What brings scans to one space, and there takes what is the sites' out of each voxel.

    Attributes:
        template: float32 (x, y, z) on ``grid``.
        grid: cubic voxels.
        mask: the template's brain.
        combat: with a feature for each voxel of the mask, in C order; None where it could not be fitted.
    """

    template: Array
    grid: Grid
    mask: Kept
    combat: Combat | None = None

    @property
    def voxels(self) -> Voxels:
        """Indices (v, 3) of the mask's voxels, in C order."""
        return np.argwhere(self.mask)

    def pack(self) -> tuple[bytes, dict[str, Any]]:
        """The arrays as the bytes of a safetensors file, and all else as a JSON value that knows their sha256."""
        from safetensors.numpy import save

        arrays = {"template": self.template, "affine": self.grid.affine, "mask": self.mask.astype(np.uint8)}
        combat = self.combat
        content: bytes = save({name: np.ascontiguousarray(array) for name, array in (arrays | _arrays(combat)).items()})
        about = {"sha256": hashlib.sha256(content).hexdigest(), "voxel": float(self.grid.spacing[0]), "registration": "affine"}
        return content, about | {"combat": None if combat is None else _about(combat)}

    @classmethod
    def unpack(cls, content: bytes, about: Mapping[str, Any]) -> Maps:
        """From what ``pack`` gave, bit by bit.

        Raises:
            WeightsError: other bytes, or arrays that do not fit one another.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        check(content, about)
        try:
            arrays = load(content)
            template, mask = arrays["template"], arrays["mask"].astype(bool)
            grid = Grid(template.shape, arrays["affine"])
            combat = None if about["combat"] is None else _combat(arrays, about["combat"], names_of(np.argwhere(mask)))
        except (SafetensorError, KeyError, ValueError) as error:
            raise WeightsError("maps-unreadable", f"arrays of {FILE}", str(error)[:200], "fit the maps again") from error
        return cls(template, grid, mask, combat)


def check(content: bytes, about: Mapping[str, Any]) -> None:
    """Refuse other bytes than those that a model says are its maps'.

    Raises:
        WeightsError: weights-digest.
    """
    got = hashlib.sha256(content).hexdigest()
    if got != about["sha256"]:
        raise WeightsError("weights-digest", f"{FILE} with sha256 {about['sha256']}", got, "copy the model again")


def names_of(voxels: Voxels) -> tuple[str, ...]:
    """The features' names of voxels (v, 3)."""
    return tuple("voxel {} {} {}".format(*voxel) for voxel in voxels.tolist())


def _arrays(combat: Combat | None) -> dict[str, NDArray[Any]]:
    if combat is None:
        return {}
    effects = [combat.effects[site] for site in combat.sites]
    sites = {"location": np.stack([e.location for e in effects]), "scale": np.stack([e.scale for e in effects])}
    later = {"spreads": combat.spreads, "ratio": combat.ratio}
    pooled = {"mean": combat.mean, "slopes": combat.slopes, "sd": combat.sd}
    return pooled | sites | {name: array for name, array in later.items() if array is not None}


def _about(combat: Combat) -> dict[str, Any]:
    """What of it is not an array; voxels that stay as they are have no effects, so that their names are not needed."""
    return {
        "terms": [term.to_json() for term in combat.terms],
        "sites": list(combat.sites),
        "counts": dict(combat.counts),
        "reference": combat.reference,
        "site_flags": dict(combat.site_flags),
        "notes": dict(combat.notes),
        "bayes": combat.bayes,
    }


def _combat(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any], names: tuple[str, ...]) -> Combat:
    sites = zip(about["sites"], arrays["location"], arrays["scale"], strict=True)
    return Combat(
        names,
        tuple(Term.from_json(term) for term in about["terms"]),
        arrays["mean"],
        arrays["slopes"],
        arrays["sd"],
        {site: Effect(location, scale) for site, location, scale in sites},
        about["counts"],
        about["reference"],
        site_flags=about["site_flags"],
        notes=about["notes"],
        spreads=arrays.get("spreads"),
        bayes=about["bayes"],
        ratio=arrays.get("ratio"),
    )
