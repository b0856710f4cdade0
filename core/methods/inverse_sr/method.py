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
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.resample import interpolate
from core.methods.base import Measured, MethodSettings
from core.methods.inverse_sr.cost import all_memory, free_memory, seconds
from core.methods.inverse_sr.frame import Frame, picked, registered, seam
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.scans import observation, observed, whole
from core.methods.inverse_sr.search.chain import STEPS, chain, times_of, unchain
from core.methods.inverse_sr.search.data_term import DataTerm, Observation, Terms, features_of
from core.methods.inverse_sr.search.descent import Codes, Loss, Pace, Variables, advance, begin, best, over
from core.methods.inverse_sr.settings import InversionSettings, LdmSettings, PriorSettings, start_of
from core.methods.iterative import Beside, IterativeMethod, State
from core.methods.shown import filled, shown
from core.models.bundle import read_bundle
from core.noise import Key, normal

Strategy = Literal["ldm", "decoder"]

ENOUGH = 1 / 5  # of the restored voxels measured, from which the decoder alone is searched
ROUNDING = 1e-9  # of that share
FILLED = 0.8  # of the free memory, that activations may take


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
    """What all have in common; ``strategy`` is None where the scan decides.

    Searches from several starts follow one another; after each, its image on the target grid goes into a running mean and
    variance.
    """

    revision: ClassVar[int] = 2  # what a mask covers has no say
    strategy: ClassVar[Strategy | None] = None
    counted: ClassVar[str] = "Steps"  # what a search is made of, as sidecars call it
    fuses: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 120.0
    settings: PriorSettings

    @property
    @abstractmethod
    def each(self) -> int:
        """Steps of a start at most."""

    @property
    def speed(self) -> float:
        """By the work of all steps in the prior, whose window does not grow with the result: of one as large as it."""
        prior = Prior.load(self.settings.model)
        work = self.each * self.settings.starts * self._work(prior)
        return math.prod(prior.window.shape) / seconds(work, register=self.settings.register_scan)

    def working(self, shape: Triple, source: Grid, target: Grid) -> float:  # noqa: ARG002 - that of the prior's window counts
        """Of the weights, and of the activations that gradients need."""
        prior = Prior.load(self.settings.model)
        return 4 * prior.cost(0).weights + self._kept_for_gradients(prior)

    @abstractmethod
    def _work(self, prior: Prior) -> float:
        """Floating-point operations of a step."""

    def _kept_for_gradients(self, prior: Prior) -> float:  # noqa: ARG002 - here for searches with gradients
        """Bytes."""
        return 0.0

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
        return self.each * self.settings.starts

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Inverse:
        """The scans in the frame of the prior.

        Raises:
            RestorationError: not-registered, outside-prior.
        """
        prior = Prior.load(self.settings.model)
        known, free = prior.known(measured[0].covariates or {})
        known_of = [shown(scan) for scan in measured]
        frame = self._frame(known_of[0], prior)
        data = self._data([observation(scan, frame) for scan in known_of])
        strategy = self.strategy or ("decoder" if observed(measured, target) >= ENOUGH - ROUNDING else "ldm")
        return Inverse(prior, strategy, frame, data, list(measured), target, known, free, self._is_short(prior, strategy))

    def _data(self, observations: Sequence[Observation]) -> DataTerm:
        """What the scans say of an image."""
        return DataTerm(observations)

    def _is_short(self, prior: Prior, strategy: Strategy) -> bool:  # noqa: ARG002 - here for searches with gradients
        """Whether memory is too short to keep all activations."""
        return False

    def _frame(self, scan: Measured, prior: Prior) -> Frame:
        """Where the prior's window lies in the scan's world; what its mask covers is taken for what is around it."""
        if not self.settings.register_scan:
            return Frame(prior.window)
        whole = replace(scan, image=filled(scan.image, scan.mask))
        return registered(whole, prior.mean_image(), prior.window)

    # -- what it gives ----------------------------------------------------------------------------------------------------------

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
        return {"sd": {"Description": words, "Starts": starts, self.counted: self.each}}

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _arithmetic(self, problem: Inverse) -> torch.autocast:
        """That of the networks; codes, losses and steps are float32 in any."""
        return torch.autocast(problem.prior.device, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _noise(self, problem: Inverse, number: int) -> Array:
        """Standard normal in the shape of a code, of a number of its own."""
        channels, *size = problem.prior.shape
        box = Box.whole((size[0], size[1], size[2]))
        return np.stack([normal(box, problem.key, number * channels + n) for n in range(channels)])[None]

    def _result_of(self, problem: Inverse) -> Array:
        """The first scan as another method restores it, on the target grid; what a mask covers as what is around it."""
        from core.engine.restore import restore_whole
        from core.methods.registry import method_entry

        method = start_of(self.settings.start)
        masked = method_entry(method.name).takes.mask != "none"
        scans = [whole(scan, masked=masked) for scan in problem.measured]
        return restore_whole(method, scans if method.fuses else scans[:1], problem.target)

    def _encoded(self, problem: Inverse, image: Array) -> Array:
        """The code of an image on the target grid."""
        first, prior = problem.data.observations[0], problem.prior
        there = interpolate(image, problem.target, problem.frame.window, 3)
        values = np.ascontiguousarray((there - np.float32(first.low)) / np.float32(first.span))
        with torch.no_grad():
            return prior.encode(torch.from_numpy(values)[None, None].to(prior.device)).cpu().numpy()

    def brought(self, problem: Inverse, image: Array) -> list[Array]:
        """An image of the prior as each scan would have it, on the target grid and in the scan's own units."""
        brought = []
        for scan, seen, line in zip(problem.measured, problem.data.observations, problem.data.lines(image), strict=True):
            there = np.float32(seen.low) + np.float32(seen.span) * (np.float32(line[0]) * image + np.float32(line[1]))
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


class Search(Inversion):
    """By gradients of the loss, a step each."""

    Settings: ClassVar[type[MethodSettings]] = InversionSettings
    end: ClassVar[float] = 0.01  # of the rate, at the last step
    settings: InversionSettings

    @property
    def each(self) -> int:
        """As said."""
        return self.settings.steps

    def _data(self, observations: Sequence[Observation]) -> DataTerm:
        return DataTerm(observations, features_of(self.settings.features, float(self.settings.fill)), self.settings.loss)

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

    def _terms(self, problem: Inverse, variables: Variables) -> Terms:
        return problem.data(self._image(problem, variables))

    def _codes(self, problem: Inverse, state: State) -> Codes:
        """From where the search of a start begins."""
        number, prior, conditions = int(state.values["start"]), problem.prior, problem.conditions
        noise, refined = self._noise(problem, number), "base" in state.arrays
        if problem.strategy == "ldm" and not refined:
            return {"z": self._noisy(prior, noise), "conditions": conditions.copy()}
        base = state.arrays["base"] if refined else prior.mean_code
        about = np.ascontiguousarray(base + prior.code_statistics[1] * noise if number else base, np.float32)
        if problem.strategy == "decoder":
            return {"z": about}
        with torch.no_grad():
            code, person = (torch.from_numpy(np.ascontiguousarray(array)).to(prior.device) for array in (about, conditions))
            z = unchain(prior.epsilon, code, person, prior.schedule, self._times()).cpu().numpy()
        return {"z": np.ascontiguousarray(z, np.float32), "conditions": conditions.copy()}

    def _noisy(self, prior: Prior, noise: Array) -> Array:
        """z_T: noise; of a part of the chain the mean code, which is dear to make, under it."""
        times = self._times()
        if len(times) > STEPS:
            return np.ascontiguousarray(noise, np.float32)
        alpha, sigma = prior.schedule.alpha_sigma(times[0])
        return np.ascontiguousarray(np.float32(alpha) * prior.mean_code + np.float32(sigma) * noise, np.float32)

    def _conclude(self, problem: Inverse, state: State) -> None:
        """Take the best code's image into the mean and the squares, and begin the next start."""
        codes = best(state, self._free(problem))
        with torch.no_grad():
            image = self._image(problem, {name: torch.from_numpy(code).to(problem.prior.device) for name, code in codes.items()})
        take_in(state, self.brought(problem, image.cpu().numpy()))
        state.finished = int(state.values["start"]) >= self.settings.starts
        if not state.finished:
            begin(state, self._codes(problem, state))

    def _is_short(self, prior: Prior, strategy: Strategy) -> bool:
        """See ``Inversion``."""
        return self._bytes(prior, strategy) > FILLED * free_memory(prior.device)

    def _bytes(self, prior: Prior, strategy: Strategy | None) -> int:
        """Of activations, where none is made anew."""
        return prior.bytes_kept(self._searched(strategy), 2 if self.settings.precision == "bfloat16" else 4)

    def _searched(self, strategy: Strategy | None) -> int:
        """Steps of the chain that are searched through; all of them where the scan decides."""
        return 0 if strategy == "decoder" else len(self._times()) - 1

    def _work(self, prior: Prior) -> float:
        return prior.cost(self._searched(self.strategy)).flops

    def _kept_for_gradients(self, prior: Prior) -> float:
        """As many as fit: where memory is too short they are made anew."""
        return min(self._bytes(prior, self.strategy), FILLED * all_memory())


class InverseAuto(Search):
    """Chooses by what was measured."""

    name: ClassVar[str] = "inverse-sr"
    Settings: ClassVar[type[MethodSettings]] = LdmSettings


class InverseDecoder(Search):
    """Searches the code of the decoder."""

    name: ClassVar[str] = "inverse-sr-decoder"
    strategy: ClassVar[Strategy | None] = "decoder"


class InverseLdm(Search):
    """Searches the noise from which the chain starts, and the conditions."""

    name: ClassVar[str] = "inverse-sr-ldm"
    Settings: ClassVar[type[MethodSettings]] = LdmSettings
    strategy: ClassVar[Strategy | None] = "ldm"
