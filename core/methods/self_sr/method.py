"""Restoration by a network that learns from the scan itself (Zhao et al. 2021, SMORE; Remedios et al. 2025, ECLARE).

Within its slices a scan is sharp. Degraded along either axis there as it is across the slices, by its own profile and spacing,
it gives a network pairs to learn from that have the scan's own contrast, anatomy and noise.

    start=anyscan   from a trained network, on the volume that it restores: 150 steps of Adam at 1e-4 in 3-D patches
    start=none      from random weights, on the measured slices: 1500 steps in planes; two directions and four flips are averaged

The fit is kept where slabs that it did not see gain 0.05 dB by it; otherwise the result is what there was before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from core.geometry.grid import Array, Grid
from core.methods.adam import move
from core.methods.anyscan.inputs import Units, slices_of
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import Beside, IterativeMethod, State
from core.methods.self_sr.lesson import Lesson, lesson_of
from core.methods.self_sr.pupils import Beginner, Experienced, Pupil
from core.operators.forward_model import SliceProfile

GAIN = 0.05  # dB that held-out slabs must gain
LOOKED_AT = 16  # patches of the held-out slabs, along each of the two axes
TINY = 1e-12  # of a squared error, of volumes that are all alike


class SelfSettings(MethodSettings):
    """Settings of self-supervision."""

    model: str | None = Field(None, title="Model", description="folder of the model that it begins with")
    start: Literal["anyscan", "none"] = Field(
        "anyscan", title="Start", description="from a trained network, or from none: random weights and the measured slices alone"
    )
    steps: int | None = Field(
        None, ge=1, title="Steps", description="of Adam; default: 150 from a trained network, 1500 from none"
    )


@dataclass(eq=False)
class Study:
    """A scan, and who learns from it.

    Attributes:
        scan: as measured.
        target: grid of the result.
        pupil: who learns.
        lesson: made of the volume in the state, once.
        network: of the pupil, with whatever weights were put in last.
    """

    scan: Measured
    target: Grid
    pupil: Pupil
    lesson: Lesson | None = None
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        """Make the network."""
        self.network = self.pupil.fresh()

    def holding(self, weights: Array) -> nn.Module:
        """The network with these weights."""
        vector_to_parameters(torch.from_numpy(weights.copy()).to(self.pupil.device), self.network.parameters())
        return self.network


class SelfSR(IterativeMethod[Study]):
    """Learns, then restores; see the module. A step is one of Adam; between two of them lie the weights and their moments."""

    name: ClassVar[str] = "self-sr"
    revision: ClassVar[int] = 3  # over two flips, as the any-scan network
    Settings: ClassVar[type[MethodSettings]] = SelfSettings
    needs_model: ClassVar[bool] = True
    evens = True
    bytes_per_voxel: ClassVar[float] = 72.0
    voxels_per_second: ClassVar[float] = 5e4
    settings: SelfSettings

    @cached_property
    def _pupil(self) -> Pupil:
        return Experienced(self.settings.model) if self.settings.model else Beginner()

    def total(self) -> int:
        """Steps of Adam."""
        return self.settings.steps or (Beginner if self.settings.start == "none" else Experienced).steps

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Study:
        """The scan and a network."""
        (scan,) = measured
        return Study(scan, target, self._pupil)

    def start(self, problem: Study) -> State:
        """The volume to learn from, the weights to begin with, the error of held-out slabs; finished where nothing teaches."""
        weights = _vector(problem.network)
        arrays = {"volume": problem.pupil.volume(problem.scan, problem.target), "weights": weights}
        state = State(arrays | {"first": np.zeros_like(weights), "second": np.zeros_like(weights)}, {"kept": False})
        lesson = self._lesson(problem, state)
        if lesson is None:
            state.finished = True
        else:
            state.values["before"] = self._error(problem, lesson, weights)
        return state

    def step(self, problem: Study, state: State) -> dict[str, float]:
        """A step of Adam; after the last, held-out slabs tell whether the fit is kept."""
        lesson = self._lesson(problem, state)
        assert lesson is not None  # noqa: S101 - the state would be finished
        weights, made = state.arrays["weights"], state.step
        loss, gradient = self._loss(problem, lesson, weights, made)
        move(weights, (state.arrays["first"], state.arrays["second"]), gradient, made, problem.pupil.rate(made, self.total()))
        if made + 1 < self.total():
            return {"loss": loss}
        before, after = float(state.values["before"]), self._error(problem, lesson, weights)
        gain = 10 * math.log10(max(before, TINY) / max(after, TINY))
        state.values["kept"] = gain >= GAIN
        state.finished = True
        return {"loss": loss, "held_out_gain": gain}

    def result(self, problem: Study, state: State) -> list[Array]:
        """The scan restored by the network as it learnt, or as it was before where that helped nothing."""
        pupil, scan, target = problem.pupil, problem.scan, problem.target
        if not state.values["kept"]:
            return [pupil.untaught(state.arrays["volume"], scan, target)]
        return [pupil.restored(problem.holding(state.arrays["weights"]).eval(), scan, target)]

    def beside(self, problem: Study, state: State) -> Beside:  # noqa: ARG002
        """What the held-out slabs gained in dB, and whether the fit was kept."""
        figures = {"fit_kept": float(state.values["kept"])}
        for _, gain in state.figures.get("held_out_gain", ()):
            figures["held_out_gain"] = gain
        return Beside(figures=[figures])

    def about(self, source: Grid, target: Grid, figures: Mapping[str, float]) -> dict[str, str]:  # noqa: ARG002
        """What the image is where the network learnt nothing that helped: not what the method's name says."""
        if figures.get("fit_kept", 1.0):
            return {}
        gain = figures.get("held_out_gain")
        why = "the scan is too small, or its slices too thin" if gain is None else f"held-out parts of it gained {gain:+.2f} dB"
        least = "" if gain is None else f", and {GAIN:g} are asked"
        return {"learnt": f"nothing that is used ({why}{least}): restored by {self._pupil.before}"}

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _lesson(self, problem: Study, state: State) -> Lesson | None:
        """Made once of the volume in the state."""
        if problem.lesson is None:
            scan, units = problem.scan, Units.of(problem.scan.stats)
            image = (state.arrays["volume"] - np.float32(units.background)) / np.float32(units.scale)
            axis, (profile, gap) = slices_of(scan.grid), scan.forward.slices
            how = SliceProfile(slice_profile=profile, slice_gap=gap)
            voxel, noise = min(problem.target.spacing), units.noise / units.scale
            spacing, planar = scan.grid.spacing[axis], problem.pupil.planar
            problem.lesson = lesson_of(image, voxel, axis, how, spacing, noise, planar=planar)
        return problem.lesson

    def _loss(self, problem: Study, lesson: Lesson, weights: Array, made: int) -> tuple[float, Array]:
        """Mean absolute error of the patches of a step, and its gradient."""
        network, pupil, total = problem.holding(weights).train(), problem.pupil, 0.0
        network.zero_grad()
        for number in range(pupil.batch):
            draw = np.random.default_rng([*problem.scan.noise, made + 1, number])
            shown, truth = _example(pupil, lesson, draw, lesson.within[int(draw.integers(2))])
            flips = [at for at in range(2, shown.ndim) if draw.random() < 0.5]
            error = (pupil.image(network, shown.flip(flips)) - truth.flip(flips).to(pupil.device)).abs().mean() / pupil.batch
            error.backward()  # type: ignore[no-untyped-call]
            total += float(error.detach())
        # The layers that tell of the error's scale have no part in this loss.
        gradients = [torch.zeros_like(part) if part.grad is None else part.grad for part in network.parameters()]
        return total, np.asarray(torch.cat([gradient.flatten() for gradient in gradients]).cpu().numpy(), np.float32)

    def _error(self, problem: Study, lesson: Lesson, weights: Array) -> float:
        """Mean squared error of held-out patches, degraded along both axes; the same patches each time."""
        network, pupil, errors = problem.holding(weights).eval(), problem.pupil, []
        for number in range(LOOKED_AT):
            for across in lesson.within:
                draw = np.random.default_rng([*problem.scan.noise, 0, number, across])
                shown, truth = _example(pupil, lesson, draw, across, held=True)
                with torch.no_grad():
                    difference = pupil.image(network, shown).cpu() - truth
                errors.append(float(difference.double().square().mean()))
        return float(np.mean(errors))


def _example(
    pupil: Pupil, lesson: Lesson, draw: np.random.Generator, across: int, *, held: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """A patch as the pupil is shown it, and the truth; a batch of one."""
    pair = (pupil.ordered(array, lesson.axis, across) for array in lesson.draw(draw, across, pupil.shown_on, held=held))
    shown, truth = (torch.from_numpy(np.ascontiguousarray(array))[None] for array in pair)
    return shown, truth


def _vector(network: nn.Module) -> Array:
    """All weights, one after the other."""
    return np.asarray(parameters_to_vector(network.parameters()).detach().cpu().numpy(), np.float32).copy()
