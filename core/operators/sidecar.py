"""What a scan's JSON sidecar says of how it came from the anatomy, read and written in one place.

A simulated scan tells it exactly: under ``Isovox``, ``Degradation`` names the operator with its settings and ``Axis`` the axis.
Of a scan as measured, ``SliceThickness`` (BIDS, mm) against the distance of its slices gives the gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from core.errors import InputError
from core.geometry.grid import Grid
from core.geometry.slices import across
from core.operators.forward_model import KINDS, ForwardModel, SliceProfile, forward_of
from core.operators.profile import gap_in_words
from core.operators.width import SliceWidth
from core.settings.scans import AcquisitionSettings

KEY = "Isovox"
UNUSED = "SliceThicknessUnused"  # what kind of value a thickness is that is no number; in memory and the plan alone
THINNER = 0.99  # of the slices' distance: a thickness from here on is no gap, but rounding
LEAST = 0.05  # of the slices' distance: a thickness below it, as one in metres, is not believed
THICKER = 1.01  # of the slices' distance: a thickness from here on is no rounding, but slices that overlap


def fields_of(forward: ForwardModel, axis: int, voxel: float) -> dict[str, Any]:
    """Sidecar fields of a scan that was made by a forward model.

    Args:
        forward: what degraded the sharp scan.
        axis: of the canonical grid on which it acted, 0, 1 or 2.
        voxel: sharp voxel size along that axis, mm.

    Returns:
        JSON values by name: SliceThickness and SpacingBetweenSlices where the slices became thicker, and ``Isovox``.
    """
    fields = forward.model_dump(mode="json", exclude={"kind", "axis"}, exclude_none=True)
    return forward.acquired(voxel) | {KEY: {"Degradation": {"operator": forward.kind} | fields, "Axis": "RAS"[axis]}}


def simulated_by(sidecar: Mapping[str, Any], grid: Grid | None = None) -> ForwardModel | None:
    """The forward model that a simulated scan's sidecar tells; None for all other scans.

    Args:
        sidecar: JSON values by name, of any tool's; what is not a simulation by isovox is passed over.
        grid: canonical, of the scan; an axis that is its slice axis anyway is not repeated in the forward model.

    Raises:
        InputError: degradation-unknown, for an operator or a setting that isovox does not know.
    """
    own = sidecar.get(KEY)
    degradation = own.get("Degradation") if isinstance(own, dict) else None
    if not isinstance(own, dict) or not isinstance(degradation, dict):
        return None
    kind, axis = str(degradation.get("operator", "slice-profile")), own.get("Axis")
    known = KINDS[kind].model_fields if kind in KINDS else {}
    fields = {name: value for name, value in degradation.items() if name in known}
    try:
        return forward_of(fields | {"kind": kind, "axis": _axis(kind, axis, grid)})
    except ValidationError as error:
        wanted = f"an operator among {', '.join(KINDS)} with its settings"
        names = ", ".join(".".join(map(str, fault["loc"])) or "kind" for fault in error.errors())
        raise InputError("degradation-unknown", wanted, f"something else in {names}", "simulate the scan anew") from error


def _axis(kind: str, axis: Any, grid: Grid | None) -> Any:
    """The axis that a simulation names; None where it is the grid's slice axis anyway, for kinds that make slices thick."""
    coarsest = grid.slice_axis if grid else None
    thick = kind in {"slice-profile", "slice-mask", "low-field"}
    return None if thick and coarsest is not None and axis == "RAS"[coarsest] else axis


def read_forward(
    sidecar: Mapping[str, Any], grid: Grid, said: AcquisitionSettings | None = None, width: SliceWidth | None = None
) -> ForwardModel:
    """How a scan came from the anatomy: what the user says, else what its simulation tells, else by its slices' thickness.

    Args:
        sidecar: JSON values by name.
        grid: canonical, of the scan.
        said: by the user, of all scans.
        width: of its slices, by its voxels; for scans whose thickness nobody tells.

    Raises:
        InputError: degradation-unknown.
    """
    said = said or AcquisitionSettings()
    simulated = simulated_by(sidecar, grid)
    wanted = said.model_dump(exclude_none=True)
    if simulated is not None and not wanted:
        return simulated
    if simulated is not None and "slice_gap" in type(simulated).model_fields:
        return simulated.model_copy(update=wanted)
    thickness = _thickness(sidecar, grid)
    by_width = width.gap(_distance(grid)) if width is not None and not thickness else None
    gap = said.slice_gap if said.slice_gap is not None else by_width
    gap = _gap(thickness, grid) if gap is None else gap
    return SliceProfile(slice_profile=said.slice_profile or "box", slice_gap=gap)


def _gap(thickness: float, grid: Grid) -> float:
    """The gap of slices of a thickness in mm, as a fraction of their distance; 0 where the thickness is not known (0).

    Slices thinner than their pixels are wide have none: the forward model's axis is the coarsest, to which a gap would go.
    """
    distance = _distance(grid)
    if grid.slice_axis != across(grid):
        return 0.0
    return round(1 - thickness / distance, 3) if 0 < thickness < distance * THINNER else 0.0


def overlap(
    sidecar: Mapping[str, Any], grid: Grid, said: AcquisitionSettings | None = None, width: SliceWidth | None = None
) -> str:
    """What slices that are thicker than they are apart are taken as, in words, for no forward model knows such slices.

    Args:
        sidecar: JSON values by name.
        grid: canonical, of the scan.
        said: by the user, of all scans.
        width: of its slices, by its voxels; for scans whose thickness nobody tells.

    Returns:
        "5 mm thick every 2.5 mm; taken as 2.5 mm thick"; empty of other slices, and where the user says their gap.
    """
    thickness, distance = _thickness(sidecar, grid), _distance(grid)
    if said is not None and said.slice_gap is not None:
        return ""
    if thickness:
        thick = f"{thickness:.3g} mm" if thickness > distance * THICKER else ""
    else:
        thick = width.describe() if width is not None and width.low > distance else ""
    return f"{thick} thick every {distance:.3g} mm; taken as {distance:.3g} mm thick" if thick else ""


def at_odds(sidecar: Mapping[str, Any], grid: Grid, said: AcquisitionSettings | None = None) -> str:
    """What a sidecar tells of slices that are thinner than they are apart, or otherwise than their header has them, in words.

    A few scanners write the gap as ``SpacingBetweenSlices``, which BIDS and DICOM mean from middle to middle.

    Args:
        sidecar: JSON values by name.
        grid: canonical, of the scan.
        said: by the user, of all scans.

    Returns:
        empty where both agree within 1 %, where the spacing explains the gap, and where the user says the gap; a thickness that
        cannot be is told of whatever the spacing is.
    """
    spacing, thickness = _length(sidecar.get("SpacingBetweenSlices")), _thickness(sidecar, grid)
    by_user = said is not None and said.slice_gap is not None
    odds = [_spacing_at_odds(spacing, thickness, grid)] if spacing else []
    if not by_user:
        odds.append(_unused(sidecar, grid))
    if not spacing and not by_user and grid.slice_axis is not None and (gap := _gap(thickness, grid)):
        odds.append(
            f"{thickness:.3g} mm thick by SliceThickness and {_distance(grid):.3g} mm apart: taken as {gap_in_words(gap)}"
        )
    return "; ".join(words for words in odds if words)


def _spacing_at_odds(spacing: float, thickness: float, grid: Grid) -> str:
    """Where the slices are not as far apart as their sidecar says, with or without their thickness; else empty."""
    distance, sizes = _distance(grid), grid.spacing if grid.slice_axis is None else (_distance(grid),)
    near = any(THINNER <= length / size <= THICKER for length in (spacing, spacing + thickness) for size in sizes)
    return "" if near else f"{spacing:.3g} mm apart by SpacingBetweenSlices and {distance:.3g} mm by the header, which is taken"


def _unused(sidecar: Mapping[str, Any], grid: Grid) -> str:
    """Of a thickness that cannot be, that it is not used; else empty."""
    thickness = sidecar.get("SliceThickness")
    if UNUSED in sidecar:
        return f"not as SliceThickness says, which is {sidecar[UNUSED]} and no number of mm: it is not used"
    if not _is_number(thickness) or _thickness(sidecar, grid):
        return ""
    return f"{thickness:.3g} mm thick by SliceThickness and {_distance(grid):.3g} mm apart, which cannot be: it is not used"


def _length(value: Any) -> float:
    """A sidecar's length in mm; 0 where it tells none."""
    return float(value) if _is_number(value) and value > 0 else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _thickness(sidecar: Mapping[str, Any], grid: Grid) -> float:
    """How thick a scan's slices are by its sidecar, mm; 0 where it does not tell it, or tells what cannot be."""
    thickness = _length(sidecar.get("SliceThickness"))
    return thickness if thickness >= LEAST * _distance(grid) else 0.0


def _distance(grid: Grid) -> float:
    """From slice to slice, mm; slices may be thinner than their pixels are wide."""
    return max(grid.spacing) if grid.slice_axis is None else grid.spacing[across(grid)]


def is_told(sidecar: Mapping[str, Any], said: AcquisitionSettings, grid: Grid) -> bool:
    """Whether anyone tells how thick the slices of a scan are: the user, its simulation or its sidecar's thickness.

    A profile tells no thickness, but for "point": slices that were dropped have none.

    Args:
        sidecar: JSON values by name.
        said: by the user, of all scans.
        grid: canonical, of the scan.
    """
    simulated = isinstance(own := sidecar.get(KEY), dict) and "Degradation" in own
    by_user = said.slice_gap is not None or said.slice_profile == "point"
    return by_user or simulated or _thickness(sidecar, grid) > 0
