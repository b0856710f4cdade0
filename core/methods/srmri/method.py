"""SRMRI and what it is compared with, as methods: few noise levels on volumes by default, the paper's samplers on slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field

from core.diffusion.samplers import Langevin
from core.geometry.grid import Array, Grid
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import IterativeMethod, State
from core.methods.srmri.sampling import few_steps, sampler, slice_walk
from core.methods.srmri.sampling.few_steps import Pace, Volume
from core.methods.srmri.sampling.sampler import Pull, Rules
from core.methods.srmri.sampling.slice_walk import Stack
from core.methods.srmri.score_model import ScoreModel

RHO = 0.28 / math.sqrt(360 * 256)  # the authors', whose reduced slices have 360 x 256 pixels


class SamplerSettings(MethodSettings):
    """Settings of the samplers on slices."""

    model: str = Field(title="Model", description="folder of a score model")
    scales: int = Field(2000, ge=2, title="Scales", description="noise levels from the largest to the least")
    rho: float = Field(RHO, gt=0, title="Rho", description="length of a gradient, in roots of the measured pixels of a slice")
    squared: bool = Field(default=False, title="Squared", description="gradients of the squared norm; rho is then as it is")
    snr: float = Field(0.16, gt=0, title="SNR", description="of the corrector")
    order: Literal["corrector", "predictor"] = Field(
        "corrector", title="Order", description="which is first: the corrector (authors), or the predictor (algorithm 1)"
    )
    projection: Literal["inverse", "nearest"] = Field(
        "inverse", title="Projection", description="from measured to restored pixels: pseudo-inverse, or nearest (authors)"
    )
    noisy_end: bool = Field(default=False, title="Noisy end", description="keep the last noise, as the authors' code does")


class SrmriSettings(SamplerSettings):
    """Settings of SRMRI."""

    sampler: Literal["few", "slices"] = Field(
        "few", title="Sampler", description="few levels on the volume with an exact data step, or the paper's on its slices"
    )
    levels: int = Field(15, ge=1, le=100, title="Levels", description="of the few")
    first: float = Field(0.4, gt=0, title="First", description="noise that the few begin with, of the 99.9th percentile")
    trust: float = Field(8.0, gt=0, title="Trust", description="in the score model, lambda of DiffPIR")
    fresh: float = Field(0.3, ge=0, le=1, title="Fresh", description="share of new noise at each of the few, zeta of DiffPIR")
    k: int = Field(2, ge=1, title="k", description="of the paper's: a gradient at every k-th scale, wavelet fusion at the others")
    fusion: bool = Field(default=True, title="Fusion", description="at those others; without, nothing pulls there")
    level: int | None = Field(
        None, ge=1, title="Level", description="of the wavelets; default: log2 of the factor along each axis; paper: 2"
    )
    noisy_band: bool = Field(default=True, title="Noisy band", description="noise in the fused band; the authors' has none")


class SliceSampler(IterativeMethod[Stack]):
    """What the samplers on slices have in common. A step is a noise level of all slices."""

    Settings: ClassVar[type[MethodSettings]] = SamplerSettings
    needs_model: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 5000.0
    voxels_per_second: ClassVar[float] = 20.0
    pull: ClassVar[Pull]
    settings: SamplerSettings

    @cached_property
    def rules(self) -> Rules:
        """How it walks."""
        return rules_of(self.settings, self.pull)

    def total(self) -> int:
        """Noise levels."""
        return self.settings.scales

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Stack:
        """The slices; see ``stack_of``."""
        (scan,) = measured
        return slice_walk.stack_of(ScoreModel.load(self.settings.model), self.rules, self.settings.scales, scan, target)

    def start(self, problem: Stack) -> State:
        """Noise."""
        return slice_walk.begin(problem)

    def step(self, problem: Stack, state: State) -> Mapping[str, float]:
        """A level; tells how far the expected slices are from the scan."""
        return slice_walk.advance(problem, state)

    def result(self, problem: Stack, state: State) -> list[Array]:
        """The slices as a scan."""
        return [slice_walk.image_of(problem, state)]


def rules_of(settings: SamplerSettings, pull: Pull) -> Rules:
    """How a sampler of these settings walks."""
    own = settings if isinstance(settings, SrmriSettings) else None
    return Rules(
        pull,
        period=own.k if own else 1,
        rho=settings.rho,
        squared=settings.squared,
        predictor_first=settings.order == "predictor",
        corrector=Langevin(settings.snr),
        nearest=settings.projection == "nearest",
        fusion=own.fusion if own else True,
        level=own.level if own else None,
        noisy_band=own.noisy_band if own else True,
        noisy_end=settings.noisy_end,
        ancestral=settings.scales < sampler.FEWEST,
    )


class ScoreSde(SliceSampler):
    """Predictor-corrector with the scan put in the place of what slices say of it (Song et al. 2021)."""

    name: ClassVar[str] = "score-sde"
    pull: ClassVar[Pull] = "score-sde"


class Dps(SliceSampler):
    """Diffusion posterior sampling (Chung et al. 2023)."""

    name: ClassVar[str] = "dps"
    pull: ClassVar[Pull] = "dps"


class Mcg(SliceSampler):
    """Manifold constrained gradients (Chung et al. 2022): as DPS, then the scan is put in place."""

    name: ClassVar[str] = "mcg"
    pull: ClassVar[Pull] = "mcg"


class Srmri(IterativeMethod["Stack | Volume"]):
    """Few levels on volumes, or the paper's algorithm 1 on slices."""

    name: ClassVar[str] = "srmri"
    Settings: ClassVar[type[MethodSettings]] = SrmriSettings
    fuses: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 80.0
    voxels_per_second: ClassVar[float] = 5e3
    settings: SrmriSettings

    @property
    def pace(self) -> Pace:
        """Of the few levels."""
        return Pace(self.settings.levels, self.settings.first, 0.01, self.settings.trust, self.settings.fresh)

    @property
    def few(self) -> bool:
        """Whether it takes few levels."""
        return self.settings.sampler == "few"

    def total(self) -> int:
        """Noise levels."""
        return self.settings.levels if self.few else self.settings.scales

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Stack | Volume:
        """The scans as a volume, or the slices of one."""
        model = ScoreModel.load(self.settings.model)
        if self.few:
            return few_steps.volume_of(model, measured, target)
        return slice_walk.stack_of(model, rules_of(self.settings, "srmri"), self.settings.scales, measured[0], target)

    def start(self, problem: Stack | Volume) -> State:
        """The interpolated scan under noise, or noise."""
        return few_steps.begin(problem, self.pace) if isinstance(problem, Volume) else slice_walk.begin(problem)

    def step(self, problem: Stack | Volume, state: State) -> Mapping[str, float]:
        """A level."""
        return few_steps.advance(problem, self.pace, state) if isinstance(problem, Volume) else slice_walk.advance(problem, state)

    def result(self, problem: Stack | Volume, state: State) -> list[Array]:
        """The restored scans."""
        return few_steps.images_of(problem, state) if isinstance(problem, Volume) else [slice_walk.image_of(problem, state)]
