"""A scan whose slices were reduced by a kernel that nobody tells: the slices, the search for the kernel, what is told of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from core.errors import RestorationError
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.geometry.slices import SliceStack
from core.methods.base import Measured
from core.methods.iterative import Beside, State
from core.methods.shown import shown
from core.methods.srmri.zero_shot.kernel import cleaned, spreads, twice
from core.methods.srmri.zero_shot.kernel_gan import Search
from core.models.scaling import UPPER

KERNEL = "kernel"  # in the state, once it is found
FACTORS = (2, 4)
UNEVEN = 0.1  # of a factor: so far the scan's pixels may be from it


@dataclass(frozen=True, eq=False)
class Unknown:
    """See the module.

    Attributes:
        axis: along which the slices follow each other.
        factor: restored pixels for one of the slices': 2 or 4.
        slices: (n, h, w), in the networks' units.
        scan: as it is shown.
        search: for the kernel.
    """

    axis: int
    factor: int
    slices: Array
    scan: Measured
    search: Search

    @classmethod
    def of(cls, scan: Measured, target: Grid, seed: int = 0) -> Unknown:
        """The search in a scan.

        Raises:
            RestorationError: kernel-mask: some of it was not measured; kernel-factor: its slices are not 2 or 4 times as coarse.
        """
        if scan.mask is not None:
            wanted, remedy = "a scan without a mask, where its kernel is searched", "leave out the mask, or the search"
            raise RestorationError("kernel-mask", wanted, "one with a mask", remedy)
        scan = shown(scan)
        axis, factor = _layout(scan.grid, target)
        grid = coarser(target.with_axis(scan.grid, axis), axis, factor)
        image = UPPER.apply(interpolate(scan.image, scan.grid, grid, 3), scan.stats)
        slices = np.array(SliceStack(grid, axis).planes(image), np.float32)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(axis, factor, slices, scan, Search.of(slices, (*(int(each) for each in scan.noise), seed), device))

    def step(self, state: State, *, last: bool) -> dict[str, float]:
        """One of the search; after the last, the kernel is kept."""
        figures = self.search.step(state)
        if last:
            kernel = cleaned(self.search.kernel(state))
            state.arrays[KERNEL] = kernel if self.factor == FACTORS[0] else twice(kernel)
        return figures

    def told(self, state: State) -> Beside:
        """The kernel, its spread in restored pixels, and when the search had found the bicubic one."""
        kernel = state.arrays[KERNEL]
        down, right = spreads(kernel)
        alike = float(state.values["alike_at"])
        figures = {"kernel_sd_rows": down, "kernel_sd_columns": right, "kernel_bicubic_at": alike}
        return Beside(figures=[figures | {"kernel_factor": float(self.factor)}], pictures={KERNEL: [kernel]})


def _layout(source: Grid, target: Grid) -> tuple[int, int]:
    """The axis of the slices, along which the scan is finest for the target, and the factor within them.

    A kernel is learned from slices that are reduced alike along rows and columns, and a network learns from these alone.

    Raises:
        RestorationError: kernel-factor.
    """
    factors = [scale for scale, _ in target.index_map(source)]
    axis = min((1, 0, 2), key=lambda at: round(factors[at], 3))
    within = [factor for at, factor in enumerate(factors) if at != axis]
    nearest = min(FACTORS, key=lambda factor: abs(np.log2(max(within) / factor)))
    if max(abs(each / nearest - 1) for each in within) > UNEVEN:
        rows, columns = ("RAS"[at] for at in range(3) if at != axis)
        wanted = (
            "a scan 2 or 4 times as coarse as the restored voxels along both axes of its slices, where its kernel is searched"
        )
        got = f"{within[0]:.3g} times along {rows} and {within[1]:.3g} times along {columns}"
        remedy = "choose a voxel size of a half or a quarter of the slices' pixels, or a method that searches no kernel"
        raise RestorationError("kernel-factor", wanted, got, remedy)
    return axis, nearest


def coarser(target: Grid, axis: int, factor: int) -> Grid:
    """Rows and columns ``factor`` times as coarse as the target's, over all of it."""
    moved, shape = np.eye(4), list(target.shape)
    for at in range(3):
        if at != axis:
            moved[at, at], moved[at, 3] = factor, (factor - 1) / 2
            shape[at] = -(-shape[at] // factor)
    return Grid((shape[0], shape[1], shape[2]), target.affine @ moved)
