"""InverseSR: the code of a brain prior whose image, seen through the scan's operator, is like the scan (Wang et al. 2023).

    inverse-sr-ldm      searches z_T and the conditions through the 46 steps of DDIM and the decoder (eq. 3, algorithm 1)
    inverse-sr-decoder  searches z_0 through the decoder (eq. 4), from the prior's mean code
    inverse-sr          the second where at least one in five voxels was measured, else the first
    inverse-sr-red      as the second, from another method's result, with a diffusion prior of one step (RED-diff)

Beyond the paper: the rate falls, the code of least loss is taken, a settled search ends, gain and offset are fitted, the scan
stays on its own grid (see ``frame``), several starts give a mean and its standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from core.errors import UsageError
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured, Method, MethodSettings
from core.methods.inverse_sr.cost import free_memory
from core.methods.inverse_sr.frame import Frame, picked, registered, seam
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.search.chain import STEPS, chain, times_of, unchain
from core.methods.inverse_sr.search.data_term import DataTerm, Kind, Norm, Observation, Terms, features_of, slice_axis
from core.methods.inverse_sr.search.descent import Codes, Loss, Pace, Variables, advance, begin, best, over
from core.methods.iterative import Beside, IterativeMethod, State
from core.methods.shown import filled, shown
from core.models.bundle import read_bundle
from core.models.scaling import floor
from core.noise import Key, normal
from core.operators.forward_model import Identity

Strategy = Literal["ldm", "decoder"]

ENOUGH = 1 / 5  # of the restored voxels measured, from which the decoder alone is searched
FILLED = 0.8  # of the free memory, that activations may take


def start_of(said: str) -> Method:
    """The method whose result is refined.

    Args:
        said: METHOD, or METHOD=MODEL.

    Raises:
        UsageError: no such method, or a model missing or not wanted.
    """
    from core.methods.registry import build_method

    name, _, model = said.partition("=")
    return build_method(name, {}, model or None)


class InversionSettings(MethodSettings):
    """Settings that all share."""

    model: str = Field(title="Model", description="folder of a brain prior: decoder, encoder and noise network")
    steps: int = Field(600, ge=1, title="Steps", description="of the search at most")
    rate: float = Field(0.07, gt=0, title="Rate", description="of Adam at the first step; it falls by a cosine")
    settled: float = Field(
        0.01, ge=0, lt=1, title="Settled", description="end where 50 steps lower the loss by less than this share; 0: all steps"
    )
    loss: Norm = Field("l1", title="Loss", description="of the voxels: absolute or squared differences")
    features: Kind = Field(
        "gradients", title="Features", description="beside the voxels: gradients within slices at three scales, lpips, or none"
    )
    feature_share: float = Field(
        1.0, ge=0, title="Features' share", description="length of their gradient at the first step, relative to the voxels'"
    )
    fill: Literal[0, 1] = Field(1, title="Fill", description="of what was not measured, where features are LPIPS; authors: 1")
    start: str = Field(
        "", title="Start", description="a method whose result is refined, or METHOD=MODEL; default: the prior's mean, or noise"
    )
    starts: int = Field(1, ge=1, le=32, title="Starts", description="from 2 on the result is their mean, with a map of their SD")
    register_scan: bool = Field(
        default=True, title="Register", description="find the scan in the prior's frame; else its header's world is taken for it"
    )
    keep_measured: bool = Field(
        default=True, title="Keep measured", description="put voxels back that the target has as measured (dropped slices, masks)"
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", title="Precision", description="of the networks' arithmetic")

    @field_validator("start")
    @classmethod
    def _startable(cls, said: str) -> str:
        """Refuse before any scan what no method could be built of."""
        try:
            if said:
                start_of(said)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return said


class LdmSettings(InversionSettings):
    """Settings of a search through the chain."""

    last: int = Field(STEPS, ge=1, le=STEPS, title="Last steps", description="of the chain that are searched through; paper: 46")


@dataclass(frozen=True, eq=False)
class Inverse:
    """A scan, or several of a person, that are to be explained by a prior.

    Attributes:
        prior: decoder, encoder and noise network.
        strategy: what is searched.
        frame: of the prior in the world of the scans.
        data: what the scans say of an image of the prior.
        measured: the scans.
        target: grid of the result.
        conditions: (1, how many) as the search begins.
        free: (1, how many), 1 where a condition is searched, 0 where it is known.
        recompute: whether to make activations anew for gradients, where memory is short.
    """

    prior: Prior
    strategy: Strategy
    frame: Frame
    data: DataTerm
    measured: Sequence[Measured]
    target: Grid
    conditions: Array
    free: Array
    recompute: bool = False

    @property
    def key(self) -> Key:
        """Of what is drawn."""
        return self.measured[0].noise


class Inversion(IterativeMethod[Inverse]):
    """What the four have in common; ``strategy`` is None where the scan decides.

    A step is one of the search. Searches from several starts follow one another; after each, its image on the target grid goes
    into a running mean and variance.
    """

    name: ClassVar[str] = "inverse-sr"
    revision: ClassVar[int] = 2  # what a mask covers has no say
    Settings: ClassVar[type[MethodSettings]] = LdmSettings
    strategy: ClassVar[Strategy | None] = None
    end: ClassVar[float] = 0.01
    fuses: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 120.0
    voxels_per_second: ClassVar[float] = 2e4
    settings: InversionSettings

    @property
    def depends_on(self) -> dict[str, Any]:
        """The method whose result is refined: its revision, its weights, and what its own numbers depend on."""
        if not self.settings.start:
            return {}
        method, model = start_of(self.settings.start), self.settings.start.partition("=")[2]
        weights = {"weights": read_bundle(model).digest} if model else {}
        more = {"depends_on": dict(method.depends_on)} if method.depends_on else {}
        return {"start": {"method": method.name, "revision": method.revision, **weights, **more}}

    # -- the problem ------------------------------------------------------------------------------------------------------------

    def total(self) -> int:
        """Steps of all starts at most."""
        return self.settings.steps * self.settings.starts

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Inverse:
        """The scans in the frame of the prior.

        Raises:
            RestorationError: not-registered, outside-prior.
        """
        prior = Prior.load(self.settings.model)
        known, free = prior.known(measured[0].covariates or {})
        known_of = [shown(scan) for scan in measured]
        frame = self._frame(known_of[0], prior)
        features = features_of(self.settings.features, float(self.settings.fill))
        data = DataTerm([observation(scan, frame) for scan in known_of], features, self.settings.loss)
        strategy = self.strategy or ("decoder" if observed(measured, target) >= ENOUGH else "ldm")
        return Inverse(prior, strategy, frame, data, list(measured), target, known, free, self._is_short(prior))

    def _frame(self, scan: Measured, prior: Prior) -> Frame:
        """Where the prior's window lies in the scan's world; what its mask covers is taken for what is around it."""
        if not self.settings.register_scan:
            return Frame(prior.window)
        whole = replace(scan, image=filled(scan.image, scan.mask))
        return registered(whole, prior.mean_image(), prior.window)

    # -- the search -------------------------------------------------------------------------------------------------------------

    def start(self, problem: Inverse) -> State:
        """The first of the starts."""
        state = State({}, {"start": 0})
        if self.settings.start:
            state.arrays["base"] = self._encoded(problem, self._result_of(problem))
        begin(state, self._codes(problem, state))
        return state

    def step(self, problem: Inverse, state: State) -> dict[str, float]:
        """A step of the search; at the end of one, its image is taken in and the next begins."""
        loss = Loss(lambda variables: self._terms(problem, variables), self.settings.feature_share)
        figures = advance(state, self._beside(problem, loss), self._pace(), self._free(problem), problem.prior.device)
        if over(state, self._pace()):
            self._conclude(problem, state)
        return figures

    def result(self, problem: Inverse, state: State) -> list[Array]:
        """The mean of the starts, measured voxels in their places."""
        means = [state.arrays[f"mean {n}"] for n in range(len(problem.measured))]
        return [self._kept(scan, problem.target, mean) for scan, mean in zip(problem.measured, means, strict=True)]

    def beside(self, problem: Inverse, state: State) -> Beside:
        """The standard deviation over the starts, and the seams about measured slices before and after they were put back."""
        scans = problem.measured
        figures = [self._told(problem, scan, state.arrays[f"mean {n}"]) for n, scan in enumerate(scans)]
        if self.settings.starts < 2:
            return Beside(figures=figures)
        count = np.float32(self.settings.starts - 1)
        spread = [np.sqrt(state.arrays[f"squares {n}"] / count) for n in range(len(scans))]
        return Beside(
            {"sd": [self._kept(scan, problem.target, sd, known=0.0) for scan, sd in zip(scans, spread, strict=True)]}, figures
        )

    @property
    def about_maps(self) -> dict[str, dict[str, Any]]:
        """The spread is that of a search from several starts, not of samples: what it keeps of a posterior's is not known."""
        if (starts := self.settings.starts) < 2:
            return {}
        words = f"Of {starts} searches from other starts, not of samples: what it keeps of a posterior's spread is not known."
        return {"sd": {"Description": words, "Starts": starts, "Steps": self.settings.steps}}

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _pace(self) -> Pace:
        return Pace(self.settings.steps, self.settings.rate, self.end, self.settings.settled)

    def _times(self) -> list[float]:
        return times_of(getattr(self.settings, "last", STEPS))

    def _free(self, problem: Inverse) -> dict[str, Array]:
        free = {"z": np.ones(1, np.float32)}
        return free | {"conditions": problem.free} if problem.strategy == "ldm" else free

    def _beside(self, problem: Inverse, loss: Loss) -> Loss:  # noqa: ARG002 - here for the prior of one step
        return loss

    def _latent(self, problem: Inverse, variables: Variables) -> Tensor:
        """z_0."""
        if problem.strategy == "decoder":
            return variables["z"]
        prior = problem.prior
        z, conditions = variables["z"], variables["conditions"]
        return chain(prior.epsilon, z, conditions, prior.schedule, self._times(), recompute=problem.recompute)

    def _image(self, problem: Inverse, variables: Variables) -> Tensor:
        """(x, y, z) on the prior's grid."""
        with self._arithmetic(problem):
            image = problem.prior.decode(self._latent(problem, variables), recompute=problem.recompute)[0, 0]
        return image if image.dtype == torch.float64 else image.float()

    def _arithmetic(self, problem: Inverse) -> torch.autocast:
        """That of the networks; codes, losses and steps are float32 in any."""
        return torch.autocast(problem.prior.device, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _terms(self, problem: Inverse, variables: Variables) -> Terms:
        return problem.data(self._image(problem, variables))

    def _noise(self, problem: Inverse, number: int) -> Array:
        """Standard normal in the shape of a code, of a number of its own."""
        channels, *size = problem.prior.shape
        box = Box.whole((size[0], size[1], size[2]))
        return np.stack([normal(box, problem.key, number * channels + n) for n in range(channels)])[None]

    def _codes(self, problem: Inverse, state: State) -> Codes:
        """From where the search of a start begins."""
        number, prior = int(state.values["start"]), problem.prior
        noise = self._noise(problem, number)
        base = state.arrays["base"] if "base" in state.arrays else prior.mean_code  # noqa: SIM401 - dear to make
        about = base + prior.code_statistics[1] * noise if number else base
        if problem.strategy == "decoder":
            return {"z": np.ascontiguousarray(about, np.float32)}
        times = self._times()
        if "base" in state.arrays:
            with torch.no_grad():
                code, conditions = (
                    torch.from_numpy(np.ascontiguousarray(array)).to(prior.device) for array in (about, problem.conditions)
                )
                z = unchain(prior.epsilon, code, conditions, prior.schedule, times).cpu().numpy()
        else:
            alpha, sigma = prior.schedule.alpha_sigma(times[0])
            z = noise if len(times) > STEPS else np.float32(alpha) * base + np.float32(sigma) * noise
        return {"z": np.ascontiguousarray(z, np.float32), "conditions": problem.conditions.copy()}

    def _result_of(self, problem: Inverse) -> Array:
        """The first scan as another method restores it, on the target grid; what a mask covers as what is around it."""
        from core.engine.restore import restore_whole
        from core.methods.registry import method_entry

        method = start_of(self.settings.start)
        masked = method_entry(method.name).takes.mask != "none"
        scans = [_whole(scan, masked=masked) for scan in problem.measured]
        return restore_whole(method, scans if method.fuses else scans[:1], problem.target)

    def _encoded(self, problem: Inverse, image: Array) -> Array:
        """The code of an image on the target grid."""
        first, prior = problem.data.observations[0], problem.prior
        there = interpolate(image, problem.target, problem.frame.window, 3)
        values = np.ascontiguousarray((there - np.float32(first.low)) / np.float32(first.span))
        with torch.no_grad():
            return prior.encode(torch.from_numpy(values)[None, None].to(prior.device)).cpu().numpy()

    def _conclude(self, problem: Inverse, state: State) -> None:
        """Take the best code's image into the mean and the squares, and begin the next start."""
        codes = best(state, self._free(problem))
        with torch.no_grad():
            image = self._image(problem, {name: torch.from_numpy(code).to(problem.prior.device) for name, code in codes.items()})
        take_in(state, self.brought(problem, image.cpu().numpy()))
        state.finished = int(state.values["start"]) >= self.settings.starts
        if not state.finished:
            begin(state, self._codes(problem, state))

    def brought(self, problem: Inverse, image: Array) -> list[Array]:
        """An image of the prior as each scan would have it, on the target grid and in the scan's own units."""
        brought = []
        for scan, observation, line in zip(problem.measured, problem.data.observations, problem.data.lines(image), strict=True):
            there = np.float32(observation.low) + np.float32(observation.span) * (
                np.float32(line[0]) * image + np.float32(line[1])
            )
            elsewhere = interpolate(filled(scan.image, scan.mask), scan.grid, problem.target, 3)
            brought.append(problem.frame.bring(there, problem.target, elsewhere))
        return brought

    def _kept(self, scan: Measured, target: Grid, image: Array, known: float | None = None) -> Array:
        """An image with measured voxels in their places, or with ``known`` there."""
        measured = picked(scan, target) if self.settings.keep_measured else None
        if measured is not None:
            image = measured.put(image, known)
        return np.ascontiguousarray(image, np.float32)

    def _told(self, problem: Inverse, scan: Measured, image: Array) -> dict[str, float]:
        """Figures of a scan's result; what lies beyond the prior's window is not filled by it, but as what is around it."""
        figures = {} if problem.frame.likeness is None else {"likeness_to_prior": problem.frame.likeness}
        if scan.mask is not None and scan.mask.any():
            figures["mask_beyond_prior"] = float(np.mean(~problem.frame.holds(scan.grid)[scan.mask]))
        if (measured := picked(scan, problem.target)) is None:
            return figures
        return figures | {
            "slice_seam_before": seam(image, measured),
            "slice_seam": seam(self._kept(scan, problem.target, image), measured),
        }

    def _is_short(self, prior: Prior) -> bool:
        """Whether memory is too short to keep all activations."""
        steps = 0 if self.strategy == "decoder" else getattr(self.settings, "last", STEPS)
        size = 2 if self.settings.precision == "bfloat16" else 4
        return prior.bytes_kept(steps, size) > FILLED * free_memory(prior.device)


def take_in(state: State, images: Sequence[Array]) -> None:
    """Count a start, and take its images into the running means and sums of squares (Welford 1962)."""
    count = int(state.values["start"]) + 1
    state.values["start"] = count
    for n, image in enumerate(images):
        mean = state.arrays.get(f"mean {n}", np.zeros_like(image))
        squares = state.arrays.get(f"squares {n}", np.zeros_like(image))
        off = image - mean
        mean = mean + off / np.float32(count)
        state.arrays |= {f"mean {n}": mean, f"squares {n}": squares + off * (image - mean)}


def _whole(scan: Measured, *, masked: bool) -> Measured:
    """A scan as a method is given it whose result is refined: what its mask covers is what is around it.

    Args:
        scan: as measured.
        masked: whether the method takes masks; to another all of the scan is measured.
    """
    known = shown(scan)
    known = replace(known, image=filled(known.image, known.mask))
    return known if masked else replace(known, mask=None, forward=Identity() if scan.forward.needs_mask else scan.forward)


def observation(scan: Measured, frame: Frame) -> Observation:
    """A scan in the frame and the units of the prior."""
    low = max(scan.stats.minimum, floor(scan.stats))
    span = max(scan.stats.upper - low, 1e-6)
    values = (scan.image - np.float32(low)) / np.float32(span)
    inside = frame.holds(scan.grid)
    if scan.mask is not None:
        inside, values = inside & ~scan.mask, np.where(scan.mask, np.float32(0), values)
    return Observation(scan.operator(frame.window), values, inside, slice_axis(scan.grid), low, span)


def observed(measured: Sequence[Measured], target: Grid) -> float:
    """How much of the restored voxels was measured: 1 in 4 of slices 4 voxels apart, whatever their profile; 1 at most."""
    voxel = math.prod(target.spacing)
    return min(1.0, sum(_share(scan, voxel) for scan in measured))


def _share(scan: Measured, voxel: float) -> float:
    missing = 0.0 if scan.mask is None else float(scan.mask.mean())
    return min(1.0, voxel / math.prod(scan.grid.spacing)) * (1 - missing) * scan.forward.sampled


class InverseAuto(Inversion):
    """Chooses by what was measured."""


class InverseDecoder(Inversion):
    """Searches the code of the decoder."""

    name: ClassVar[str] = "inverse-sr-decoder"
    Settings: ClassVar[type[MethodSettings]] = InversionSettings
    strategy: ClassVar[Strategy | None] = "decoder"


class InverseLdm(Inversion):
    """Searches the noise from which the chain starts, and the conditions."""

    name: ClassVar[str] = "inverse-sr-ldm"
    strategy: ClassVar[Strategy | None] = "ldm"
