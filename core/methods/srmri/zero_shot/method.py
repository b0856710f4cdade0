"""KernelGAN and ZSSR as a method: the kernel of a scan first, then a network that undoes it; both learn from its slices alone.

A step is one of Adam, of either. Crops come from all slices; there is one kernel and one network a scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.geometry.slices import SliceStack, brackets
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import Beside, IterativeMethod, State
from core.methods.srmri.zero_shot import kernel_gan, zssr
from core.methods.srmri.zero_shot.kernel import cleaned, spreads, twice
from core.models.domain import Domain

KERNEL = "kernel"  # in the state, once it is found
FACTORS = (2, 4)


class ZeroShotSettings(MethodSettings):
    """Settings of KernelGAN and ZSSR."""

    kernel_steps: int = Field(3000, ge=1, title="Kernel steps", description="of the search for the kernel")
    steps: int = Field(3000, ge=1, title="Steps", description="of the network that undoes it, at most")
    turns: Literal[1, 8] = Field(1, title="Turns", description="ways to lay a slice whose median is taken; ZSSR alone: 8")
    projections: int = Field(2, ge=0, title="Back-projections", description="on each output, and once more on their median")
    noise: float = Field(0.0, ge=0, title="Noise", description="in reduced crops, of the 99.9th percentile; noisy scans: 0.0125")


@dataclass(frozen=True, eq=False)
class Scan:
    """What the steps need.

    Attributes:
        axis: along which the slices follow each other.
        slices: measured ones (n, h, w), over the 99.9th percentile, target pixels ``factor`` times as fine.
        factor: 2 or 4.
        search: for the kernel.
        study: of the network.
        measured: the scan.
        target: grid of the result.
    """

    axis: int
    slices: Array
    factor: int
    search: kernel_gan.Search
    study: zssr.Study
    measured: Measured
    target: Grid

    @property
    def upper(self) -> np.float32:
        """The scan's 99.9th percentile."""
        return np.float32(self.measured.stats.upper if self.measured.stats.upper > 0 else 1.0)


class KernelGanZssr(IterativeMethod[Scan]):
    """See the module."""

    name: ClassVar[str] = "kernelgan-zssr"
    Settings: ClassVar[type[MethodSettings]] = ZeroShotSettings
    scans: ClassVar[Domain] = Domain(kinds=("in-plane",))
    bytes_per_voxel: ClassVar[float] = 60.0
    voxels_per_second: ClassVar[float] = 2e3
    settings: ZeroShotSettings

    def total(self) -> int:
        """Steps of both."""
        return self.settings.kernel_steps + self.settings.steps

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Scan:
        """The slices, and the networks as they begin."""
        (scan,) = measured
        axis, factor = _layout(scan.grid, target)
        upper = np.float32(scan.stats.upper if scan.stats.upper > 0 else 1.0)
        grid = coarser(target.with_axis(scan.grid, axis), axis, factor)
        slices = np.array(SliceStack(grid, axis).planes(interpolate(scan.image, scan.grid, grid, 3)) / upper, np.float32)
        device, seed = "cuda" if torch.cuda.is_available() else "cpu", tuple(int(each) for each in scan.noise)
        search = kernel_gan.Search.of(slices, (*seed, 0), device)
        study = zssr.Study.of(slices, factor, (*seed, 1), self.settings.noise, device)
        return Scan(axis, slices, factor, search, study, scan, target)

    def start(self, problem: Scan) -> State:
        """Random weights; nothing is found."""
        state = State({KERNEL: np.zeros((0, 0), np.float32)})
        problem.search.begin(state)
        problem.study.begin(state)
        return state

    def step(self, problem: Scan, state: State) -> Mapping[str, float]:
        """One of the search; after the last, the kernel is kept; then one of the network."""
        made = state.step - self.settings.kernel_steps
        if made < 0:
            figures = problem.search.step(state)
            if made == -1:
                kernel = cleaned(problem.search.kernel(state))
                state.arrays[KERNEL] = kernel if problem.factor == FACTORS[0] else twice(kernel)
            return figures
        figures = problem.study.step(state, _kernel(state), made)
        state.finished = problem.study.done(state)
        return figures

    def result(self, problem: Scan, state: State) -> list[Array]:
        """Each slice made finer; those between the scan's own interpolated."""
        rows, columns = (n for at, n in enumerate(problem.target.shape) if at != problem.axis)
        finer = np.empty((len(problem.slices), rows, columns), np.float32)
        for place, plane in enumerate(problem.slices):
            shown = torch.from_numpy(plane.copy())[None, None].to(problem.study.learner.device)
            fine = problem.study.restored(state, shown, _kernel(state), self.settings.turns, self.settings.projections)
            finer[place] = fine[0, 0, :rows, :columns].cpu().numpy()
        between = brackets(problem.measured.grid, problem.target, problem.axis)
        low, share = finer[between.below], between.share.astype(np.float32)[:, None, None]
        image = (low - (low - finer[between.above]) * share) * problem.upper
        return [np.ascontiguousarray(np.moveaxis(image, 0, problem.axis))]

    def beside(self, problem: Scan, state: State) -> Beside:
        """The spread of the kernel, in restored pixels, and when the search had found the bicubic one."""
        down, right = spreads(state.arrays[KERNEL])
        alike = float(state.values["alike_at"])
        figures = {"kernel_sd_rows": down, "kernel_sd_columns": right, "kernel_bicubic_at": alike}
        return Beside(figures=[figures | {"kernel_factor": float(problem.factor)}])


def _kernel(state: State) -> Tensor:
    return torch.from_numpy(state.arrays[KERNEL].copy())


def _layout(source: Grid, target: Grid) -> tuple[int, int]:
    """The axis of the slices, along which the scan is finest for the target, and the factor within them."""
    factors = [scale for scale, _ in target.index_map(source)]
    axis = min((1, 0, 2), key=lambda at: round(factors[at], 3))
    within = max(factor for at, factor in enumerate(factors) if at != axis)
    return axis, min(FACTORS, key=lambda factor: abs(np.log2(within / factor)))


def coarser(target: Grid, axis: int, factor: int) -> Grid:
    """Rows and columns ``factor`` times as coarse as the target's, over all of it."""
    moved, shape = np.eye(4), list(target.shape)
    for at in range(3):
        if at != axis:
            moved[at, at], moved[at, 3] = factor, (factor - 1) / 2
            shape[at] = -(-shape[at] // factor)
    return Grid((shape[0], shape[1], shape[2]), target.affine @ moved)
