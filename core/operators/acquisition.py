"""How a scan came from the anatomy: the forward model of an acquisition between two parallel grids."""

from __future__ import annotations

from core.geometry.grid import Grid
from core.operators.linear import Matrix, Separable
from core.operators.profile import profile_matrix
from core.settings.scans import Acquisition


def acquisition_operator(source: Grid, target: Grid, acquisition: Acquisition) -> Separable:
    """The map of an image on ``target`` to the scan on ``source`` that would be measured of it.

    Along the slice axis acts the slice profile with its gap; along the others a Gaussian with the voxel size as its FWHM
    (the profiles of UniRes, Brudfors et al. 2018). An axis of ``source`` that is not coarser than that of ``target``
    is linearly interpolated, and is the identity where the voxels coincide.

    Args:
        source: grid of the scan as measured.
        target: grid of the anatomy; parallel to ``source``.
        acquisition: slice profile and gap.

    Raises:
        GridError: where the grids are not parallel.
    """
    maps = target.index_map(source)

    def along(axis: int) -> Matrix:
        sliced = axis == source.slice_axis
        profile, gap = (acquisition.slice_profile, acquisition.slice_gap) if sliced else ("gaussian", 0.0)
        return profile_matrix(target.shape[axis], source.shape[axis], *maps[axis], profile, gap=gap)

    return Separable((along(0), along(1), along(2)))
