"""Thick slices of any kind: the ranges that a recipe draws its forward models from, and scans that are made by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array, Grid
from core.models.domain import Domain
from core.operators.forward_model import SliceProfile
from core.operators.profile import Profile


@dataclass(frozen=True)
class SliceRanges:
    """Which thick slices there may be.

    Attributes:
        spacing: least and most distance of the slices' centres, mm.
        gap: the largest, as a fraction of that distance; half of the scans have none.
        profiles: sensitivities across a slice, equally often.
        noise: the largest standard deviation of noise that is added, as a fraction of the image's 99.9th percentile.
        in_plane: least and most voxel size within the slices of the scans that a model is for, mm; examples have the sharp scans'
            own, to which what restores brings a scan first; None: not stated.
        noisiest: the largest noise of the scans that a model is for, in the unit of ``noise``; None: not stated.
    """

    spacing: tuple[float, float]
    gap: float
    profiles: tuple[Profile, ...]
    noise: float
    in_plane: tuple[float, float] | None = None
    noisiest: float | None = None

    def draw(self, draw: np.random.Generator) -> tuple[SliceProfile, float]:
        """A forward model, and the distance of its slices in mm."""
        gap = float(draw.uniform(0, self.gap)) if draw.random() < 0.5 else 0.0
        profile = self.profiles[int(draw.integers(len(self.profiles)))]
        return SliceProfile(slice_profile=profile, slice_gap=gap), float(draw.uniform(*self.spacing))

    @property
    def domain(self) -> Domain:
        """The scans that a model is for that has seen such slices; what voxels it makes hangs on the sharp scans."""
        return Domain(
            slice_spacing=self.spacing,
            slice_gap=(0.0, self.gap),
            slice_profiles=self.profiles,
            in_plane=self.in_plane,
            noise=None if self.noisiest is None else (0.0, self.noisiest),
            orientations=("axial", "coronal", "sagittal"),
        )

    def describe(self) -> str:
        """In words, as cards say it."""
        (low, high), profiles = self.spacing, " or ".join(self.profiles)
        return f"{profiles} slices {low:g} to {high:g} mm apart, gaps up to {100 * self.gap:.3g} %, along any axis"


def coarse_grid(grid: Grid, axis: int, spacing: float, phase: float) -> Grid:
    """The grid of the thick slices that fit into a sharp one.

    Args:
        grid: sharp.
        axis: of the slices.
        spacing: distance of their centres, mm; not below the sharp voxel.
        phase: how far the first slice is moved, 0 to 1 of a spacing.
    """
    step = spacing / grid.spacing[axis]
    first = (step - 1) / 2 + phase * step
    count = max(1, int((grid.shape[axis] - 0.5 - first) // step) + 1)
    moved, shape = np.eye(4), list(grid.shape)
    moved[axis, axis], moved[axis, 3], shape[axis] = step, first, count
    return Grid((shape[0], shape[1], shape[2]), grid.affine @ moved)


def measured(image: Array, grid: Grid, coarse: Grid, how: SliceProfile, noise: float, draw: np.random.Generator) -> Array:
    """The scan on ``coarse`` that would be measured of a sharp image; float32.

    Args:
        image: float32 on ``grid``.
        grid: sharp.
        coarse: of the scan.
        how: its slices.
        noise: standard deviation of the normal noise that is added, in the image's unit.
        draw: for the noise.
    """
    seen = np.asarray(how.operator(coarse, grid).forward(image), np.float32)
    return seen + np.float32(noise) * draw.standard_normal(seen.shape, np.float32)
