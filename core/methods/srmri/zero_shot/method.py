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
from core.geometry.slices import brackets
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import Beside, IterativeMethod, State
from core.methods.srmri.zero_shot import zssr
from core.methods.srmri.zero_shot.unknown import KERNEL, Unknown
from core.models.domain import Domain
from core.models.scaling import UPPER


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
        unknown: its slices, and the search for their kernel.
        study: of the network.
        measured: the scan.
        target: grid of the result.
    """

    unknown: Unknown
    study: zssr.Study
    measured: Measured
    target: Grid


class KernelGanZssr(IterativeMethod[Scan]):
    """See the module."""

    name: ClassVar[str] = "kernelgan-zssr"
    Settings: ClassVar[type[MethodSettings]] = ZeroShotSettings
    revision: ClassVar[int] = 2  # what lies below 0 is shifted
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
        unknown = Unknown.of(scan, target)
        device, seed = "cuda" if torch.cuda.is_available() else "cpu", tuple(int(each) for each in scan.noise)
        study = zssr.Study.of(unknown.slices, unknown.factor, (*seed, 1), self.settings.noise, device)
        return Scan(unknown, study, scan, target)

    def start(self, problem: Scan) -> State:
        """Random weights; nothing is found."""
        state = State({KERNEL: np.zeros((0, 0), np.float32)})
        problem.unknown.search.begin(state)
        problem.study.begin(state)
        return state

    def step(self, problem: Scan, state: State) -> Mapping[str, float]:
        """One of the search; after the last, the kernel is kept; then one of the network."""
        made = state.step - self.settings.kernel_steps
        if made < 0:
            return problem.unknown.step(state, last=made == -1)
        figures = problem.study.step(state, _kernel(state), made)
        state.finished = problem.study.done(state)
        return figures

    def result(self, problem: Scan, state: State) -> list[Array]:
        """Each slice made finer; those between the scan's own interpolated."""
        unknown = problem.unknown
        rows, columns = (n for at, n in enumerate(problem.target.shape) if at != unknown.axis)
        finer = np.empty((len(unknown.slices), rows, columns), np.float32)
        for place, plane in enumerate(unknown.slices):
            shown = torch.from_numpy(plane.copy())[None, None].to(problem.study.learner.device)
            fine = problem.study.restored(state, shown, _kernel(state), self.settings.turns, self.settings.projections)
            finer[place] = fine[0, 0, :rows, :columns].cpu().numpy()
        between = brackets(problem.measured.grid, problem.target, unknown.axis)
        low, share = finer[between.below], between.share.astype(np.float32)[:, None, None]
        image = UPPER.undo(low - (low - finer[between.above]) * share, unknown.scan.stats)
        return [np.ascontiguousarray(np.moveaxis(image, 0, unknown.axis))]

    def beside(self, problem: Scan, state: State) -> Beside:
        """The kernel; see ``Unknown.told``."""
        return problem.unknown.told(state)


def _kernel(state: State) -> Tensor:
    return torch.from_numpy(state.arrays[KERNEL].copy())
