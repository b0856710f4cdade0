"""SRMRI and what it is compared with, as methods: few noise levels on volumes by default, the paper's samplers on slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field

from core.diffusion.samplers import Langevin
from core.errors import RestorationError
from core.geometry.grid import Array, Grid, Triple
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import Beside, IterativeMethod, State
from core.methods.samples import SPREAD, SampledSettings, drawn
from core.methods.shown import Undo
from core.methods.srmri import cost
from core.methods.srmri.sampling import few_steps, sampler, several, slice_walk
from core.methods.srmri.sampling.few_steps import ANEW, FIRST, Pace, Volume
from core.methods.srmri.sampling.sampler import Pull, Rules
from core.methods.srmri.sampling.slice_walk import Stack
from core.methods.srmri.score_model import ScoreModel
from core.methods.srmri.zero_shot.unknown import KERNEL, Unknown
from core.models.scaling import UPPER

RHO = 0.28 / math.sqrt(360 * 256)  # the authors', whose reduced slices have 360 x 256 pixels
RHO_SCALES = 2000  # that it belongs to
LAST = 0.01  # sigma that the few levels end with


class SamplerSettings(SampledSettings):
    """Settings of the samplers on slices."""

    model: str = Field(title="Model", description="folder of a score model")
    scales: int = Field(RHO_SCALES, ge=2, title="Scales", description="noise levels from the largest to the least")
    rho: float | None = Field(
        None,
        gt=0,
        title="Rho",
        description="length of a gradient, in roots of the measured pixels of a slice; default: the authors' at 2000 scales, "
        "and of fewer so much longer that the sum over all scales stays",
    )
    squared: bool = Field(default=False, title="Squared", description="gradients of the squared norm; rho is then as it is")
    snr: float = Field(0.16, gt=0, title="SNR", description="of the corrector")
    order: Literal["corrector", "predictor"] = Field(
        "corrector", title="Order", description="which is first: the corrector (authors), or the predictor (algorithm 1)"
    )
    projection: Literal["inverse", "nearest"] = Field(
        "inverse", title="Projection", description="from measured to restored pixels: pseudo-inverse, or nearest (authors)"
    )
    noisy_end: bool = Field(
        default=False, title="Noisy end", description="keep the last noise, as the authors' code does; of 200 scales and more"
    )
    kernel_steps: int = Field(
        0,
        ge=0,
        title="Kernel steps",
        description="of KernelGAN's search, before all else, for the kernel that reduced the slices; 0: the kernel is known",
    )


class SrmriSettings(SamplerSettings):
    """Settings of SRMRI."""

    sampler: Literal["few", "slices"] = Field(
        "few", title="Sampler", description="few levels on the volume with an exact data step, or the paper's on its slices"
    )
    levels: int = Field(15, ge=1, le=100, title="Levels", description="of the few")
    first: float | None = Field(
        None,
        ge=LAST,
        title="First",
        description="noise that the few begin with, of the 99.9th percentile; "
        f"default: {FIRST:g}, of scans with a mask {ANEW:g}, so that what it covers is drawn anew; they end with {LAST}",
    )
    trust: float = Field(0.1, gt=0, title="Trust", description="in the score model, lambda of DiffPIR")
    fresh: float = Field(1.0, ge=0, le=1, title="Fresh", description="share of new noise at each of the few, zeta of DiffPIR")
    k: int = Field(2, ge=1, title="k", description="of the paper's: a gradient at every k-th scale, wavelet fusion at the others")
    fusion: bool = Field(default=True, title="Fusion", description="at those others; without, nothing pulls there")
    level: int | None = Field(
        None, ge=1, title="Level", description="of the wavelets; default: log2 of the factor along each axis; paper: 2"
    )
    noisy_band: bool = Field(default=True, title="Noisy band", description="noise in the fused band; the authors' has none")


@dataclass(frozen=True, eq=False)
class Problem:
    """What the steps need.

    Attributes:
        posed: the slices of a scan, or scans as a volume.
        unknown: a scan whose kernel is searched first; None: it is known.
    """

    posed: Stack | Volume
    unknown: Unknown | None = None


class SliceSampler(IterativeMethod[Problem]):
    """What the samplers have in common. A step is one of the search for a kernel, or a noise level of all slices."""

    Settings: ClassVar[type[MethodSettings]] = SamplerSettings
    needs_model: ClassVar[bool] = True
    revision: ClassVar[int] = 3  # what a mask covers has no say, what lies below 0 is shifted
    bytes_per_voxel: ClassVar[float] = 80.0
    voxels_per_second: ClassVar[float] = 24.0  # of the tiny model in 2,000 scales with gradients
    pull: ClassVar[Pull]
    settings: SamplerSettings

    @cached_property
    def rules(self) -> Rules:
        """How it walks."""
        return rules_of(self.settings, self.pull)

    @property
    def depends_on(self) -> dict[str, Any]:
        """The length of gradients where the number of scales alone says it, and it is not the published one."""
        said = self.settings.rho is not None or self.settings.scales == RHO_SCALES
        return {} if said or not self.graded else {"rho": self.rules.rho}

    @property
    def levels(self) -> int:
        """How many noise levels."""
        return self.settings.scales

    @property
    def passes(self) -> int:  # type: ignore[override]
        """One for each sample."""
        return super().passes * self.settings.samples

    @property
    def graded(self) -> float:
        """Share of the levels that have a gradient."""
        return 1 / self.rules.period if self.rules.differentiates(0) else 0.0

    @property
    def evaluations(self) -> float:
        """Of the score model for a voxel of a sample; one with gradient counts as several."""
        return cost.evaluations(self.levels, self.graded, predictor_first=self.rules.predictor_first)

    @property
    def speed(self) -> float:
        """By the size of the score model and the levels; the search for a kernel is not counted."""
        return cost.voxels_per_second(self.settings.model, self.evaluations)

    def working(self, shape: Triple, source: Grid, target: Grid) -> float:  # noqa: ARG002
        """Of the slice in hand, which is the largest that a volume of that shape can have."""
        return cost.slice_bytes(self.settings.model, math.prod(shape) // min(shape), gradient=self.graded > 0)

    @property
    def about_maps(self) -> dict[str, dict[str, Any]]:
        """How samples are drawn; how much of a posterior's spread they keep is not known."""
        if (samples := self.settings.samples) < 2:
            return {}
        words = f"Of {samples} samples in {self.levels} noise levels; what they keep of a posterior's spread is not known."
        return {SPREAD: {"Description": words, "Samples": samples, "Steps": self.levels}}

    def total(self) -> int:
        """Steps of the search, and noise levels of each sample."""
        return self.settings.kernel_steps + self.settings.samples * self.levels

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Problem:
        """The scan, or scans, and the search for a kernel where one is wanted.

        Raises:
            RestorationError: slices-coupled, not-separable; kernel-mask, kernel-scans: no kernel can be searched.
        """
        unknown = None
        if self.settings.kernel_steps:
            if len(measured) > 1:
                wanted, got = "one scan, where its kernel is searched", f"{len(measured)}"
                raise RestorationError("kernel-scans", wanted, got, "restore them apart, or leave out the search")
            unknown = Unknown.of(measured[0], target)
        return Problem(self._posed(measured, target, unknown), unknown)

    def _posed(self, measured: Sequence[Measured], target: Grid, unknown: Unknown | None) -> Stack | Volume:
        model, levels = ScoreModel.load(self.settings.model), self.settings.scales
        if unknown is not None:
            return slice_walk.unknown_stack(model, self.rules, levels, unknown, target)
        return slice_walk.stack_of(model, self.rules, levels, measured[0], target)

    def start(self, problem: Problem) -> State:
        """Noise, or a search that has found nothing."""
        if problem.unknown is None:
            return self._begin(problem.posed)
        state = State({})
        problem.unknown.search.begin(state)
        return state

    def step(self, problem: Problem, state: State) -> Mapping[str, float]:
        """A step of the search, or a level; tells how far the expected slices are from the scan."""
        number, unknown = state.step - self.settings.kernel_steps, problem.unknown
        if number >= 0:
            posed = problem.posed if unknown is None else _knowing(problem.posed, unknown, state)
            return self._sampled(posed, state, *divmod(number, self.levels))
        assert unknown is not None  # noqa: S101 - there are steps of a search
        figures = unknown.step(state, last=number == -1)
        if number == -1:  # the networks of the search are done with
            state.arrays = {KERNEL: state.arrays[KERNEL]} | self._begin(problem.posed).arrays
        return figures

    def _sampled(self, posed: Stack | Volume, state: State, sample: int, number: int) -> Mapping[str, float]:
        """A level of a sample; after the last, it is counted in, and the next begins."""
        figures = self._advance(_drawn(posed, sample), state, number)
        if number < self.levels - 1 or self.settings.samples == 1:
            return figures
        several.count_in(state, state.arrays[_place(posed)], sample)
        last = sample == self.settings.samples - 1
        following = {_place(posed): state.arrays[several.MEAN]} if last else self._begin(_drawn(posed, sample + 1)).arrays
        state.arrays |= following
        return figures

    def result(self, problem: Problem, state: State) -> list[Array]:
        """The restored scans: of several samples their mean."""
        return _images(problem.posed, state, UPPER.undo)

    def beside(self, problem: Problem, state: State) -> Beside:
        """The kernel that was found, where one was searched, and the standard deviation of several samples."""
        beside = problem.unknown.told(state) if problem.unknown else Beside()
        if (samples := self.settings.samples) < 2:
            return beside
        spread = replace(state, arrays={_place(problem.posed): several.spread_of(state, samples)})
        return replace(beside, maps={**beside.maps, SPREAD: _images(problem.posed, spread, UPPER.undo_spread)})

    def _begin(self, posed: Stack | Volume) -> State:
        assert isinstance(posed, Stack)  # noqa: S101 - what it poses
        return slice_walk.begin(posed)

    def _advance(self, posed: Stack | Volume, state: State, number: int) -> Mapping[str, float]:
        assert isinstance(posed, Stack)  # noqa: S101
        return slice_walk.advance(posed, state, number)


def _place(posed: Stack | Volume) -> str:
    """Name of the array that a sample grows in."""
    return few_steps.IMAGE if isinstance(posed, Volume) else slice_walk.SLICES


def _images(posed: Stack | Volume, state: State, undo: Undo) -> list[Array]:
    if isinstance(posed, Volume):
        return few_steps.images_of(posed, state, undo)
    return [slice_walk.image_of(posed, state, undo)]


def _drawn(posed: Stack | Volume, sample: int) -> Stack | Volume:
    """The problem with the noise of a sample; that of the first is the scan's own."""
    if sample == 0:
        return posed
    if isinstance(posed, Volume):
        return replace(posed, measured=drawn(posed.measured, sample))
    return replace(posed, measured=drawn([posed.measured], sample)[0])


def _knowing(posed: Stack | Volume, unknown: Unknown, state: State) -> Stack | Volume:
    kernel = state.arrays[KERNEL]
    if isinstance(posed, Volume):
        return few_steps.knowing(posed, unknown, kernel)
    return slice_walk.knowing(posed, kernel, unknown.factor)


def published_rho(scales: int) -> float:
    """The authors', of another number of scales so that the lengths of all gradients together stay."""
    return RHO * (RHO_SCALES / scales)


def rules_of(settings: SamplerSettings, pull: Pull) -> Rules:
    """How a sampler of these settings walks."""
    own = settings if isinstance(settings, SrmriSettings) else None
    return Rules(
        pull,
        period=own.k if own else 1,
        rho=published_rho(settings.scales) if settings.rho is None else settings.rho,
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


class Srmri(SliceSampler):
    """Few levels on volumes, or the paper's algorithm 1 on slices."""

    name: ClassVar[str] = "srmri"
    revision: ClassVar[int] = 5  # few levels have a data step on both axes
    pull: ClassVar[Pull] = "srmri"
    Settings: ClassVar[type[MethodSettings]] = SrmriSettings
    fuses: ClassVar[bool] = True
    voxels_per_second: ClassVar[float] = 1e4  # of the tiny model in few levels
    settings: SrmriSettings

    def pace(self, posed: Volume) -> Pace:
        """Of the few levels."""
        first = self.settings.first or (ANEW if posed.masked else FIRST)
        return Pace(self.settings.levels, first, LAST, self.settings.trust, self.settings.fresh)

    @property
    def few(self) -> bool:
        """Whether it takes few levels."""
        return self.settings.sampler == "few"

    @property
    def graded(self) -> float:
        """As of the others; few levels have no gradients."""
        return 0.0 if self.few else super().graded

    @property
    def evaluations(self) -> float:
        """As of the others; few levels take one each."""
        return float(self.levels) if self.few else super().evaluations

    @property
    def levels(self) -> int:
        """How many noise levels."""
        return self.settings.levels if self.few else self.settings.scales

    def _posed(self, measured: Sequence[Measured], target: Grid, unknown: Unknown | None) -> Stack | Volume:
        if self.few:
            return few_steps.volume_of(ScoreModel.load(self.settings.model), measured, target)
        return super()._posed(measured, target, unknown)

    def _begin(self, posed: Stack | Volume) -> State:
        return few_steps.begin(posed, self.pace(posed)) if isinstance(posed, Volume) else super()._begin(posed)

    def _advance(self, posed: Stack | Volume, state: State, number: int) -> Mapping[str, float]:
        if isinstance(posed, Volume):
            return few_steps.advance(posed, self.pace(posed), state, number)
        return super()._advance(posed, state, number)
