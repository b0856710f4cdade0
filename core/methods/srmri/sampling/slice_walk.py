"""The paper's samplers on all slices of a scan, one noise level a step; see ``sampler``.

Where the network sees neighbours, mirrored slices beyond either end walk along with noise of their own: it learned from slices
whose noise is independent, and takes noise that two of them share for what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from core.diffusion.schedules import ve_times
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.geometry.slices import mirrored
from core.methods.base import Measured
from core.methods.iterative import State
from core.methods.shown import Undo, shown
from core.methods.srmri.sampling.kernel_operator import KernelOperator
from core.methods.srmri.sampling.planes import (
    SliceOperator,
    check_uncoupled,
    fusion_levels,
    plane_axes,
    plane_operators,
    reduced_axes,
)
from core.methods.srmri.sampling.sampler import USES, Noise, Rules, Scene, moved, settled
from core.methods.srmri.score_model import ScoreModel
from core.methods.srmri.zero_shot.unknown import Unknown
from core.models.scaling import UPPER
from core.noise import axis_key, normal_tensor

SLICES = "slices"  # name of what grows in the state


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of a scan.

    Attributes:
        model: the score model.
        rules: of the sampler.
        levels: how many.
        axis: along which the slices follow each other.
        operators: of each slice; none before a kernel that is searched is found.
        seen: measured slices (slices, m, k), those mirrored beyond the ends with them, in the networks' units.
        raised: them interpolated onto the target, (slices, h, w).
        measured: the scan as it is shown.
        target: grid of the result.
    """

    model: ScoreModel
    rules: Rules
    levels: int
    axis: int
    operators: Sequence[SliceOperator]
    seen: Array
    raised: Array
    measured: Measured
    target: Grid

    @cached_property
    def sigmas(self) -> list[float]:
        """Falling, 0 at the end."""
        return [self.model.schedule.alpha_sigma(t)[1] if t >= 0 else 0.0 for t in ve_times(self.levels)]

    @property
    def around(self) -> int:
        """How many slices are mirrored beyond either end."""
        return self.model.network.neighbours


def stack_of(model: ScoreModel, rules: Rules, levels: int, measured: Measured, target: Grid) -> Stack:
    """The problem of a scan.

    Raises:
        RestorationError: slices-coupled, not-separable.
    """
    axis, _ = plane_axes(reduced_axes(measured, target))
    measured, around = shown(measured), model.network.neighbours
    raised = UPPER.apply(interpolate(measured.image, measured.grid, target, 3), measured.stats)
    image = UPPER.apply(measured.image, measured.stats)
    seen, raised = (_extended(np.moveaxis(each, axis, 0), around) for each in (image, raised))
    each = plane_operators(measured, target, axis, model.device)
    operators = [each[place] for place in _places(len(each), around)]
    return Stack(model, rules, levels, axis, operators, seen, raised, measured, target)


def _places(count: int, around: int) -> list[int]:
    """Which of so many slices stands at each place, those mirrored beyond the ends with them."""
    places: list[int] = mirrored(np.arange(-around, count + around), count).tolist()
    return places


def _extended(slices: Array, around: int) -> Array:
    return np.ascontiguousarray(slices[_places(len(slices), around)])


def unknown_stack(model: ScoreModel, rules: Rules, levels: int, unknown: Unknown, target: Grid) -> Stack:
    """The problem of a scan whose kernel is searched; see ``knowing``.

    Raises:
        RestorationError: slices-coupled.
    """
    axis, scan = unknown.axis, unknown.scan
    check_uncoupled(len(unknown.slices), target.shape[axis], axis)
    raised = np.moveaxis(UPPER.apply(interpolate(scan.image, scan.grid, target, 3), scan.stats), axis, 0)
    seen, raised = (_extended(each, model.network.neighbours) for each in (unknown.slices, raised))
    return Stack(model, rules, levels, axis, (), seen, raised, scan, target)


def knowing(stack: Stack, kernel: Array, factor: int) -> Stack:
    """The problem once the kernel of its slices, (k, k), is known."""
    rows, columns = stack.raised.shape[1:]
    operator = KernelOperator(torch.from_numpy(kernel.copy()).to(stack.model.device), factor, (rows, columns))
    return replace(stack, operators=[operator] * len(stack.raised))


def slice_noise(stack: Stack, place: int, number: int) -> Tensor:
    """Standard normal noise of a slice, (1, 1, h, w), by its place and the number of the use alone."""
    at = (place - stack.around) % len(stack.raised)  # slices of the scan first, as if none were mirrored
    box = Box((at, 0, 0), (at + 1, *stack.raised.shape[1:]))
    return normal_tensor(box, axis_key(stack.measured.noise, stack.axis), number, stack.model.device)[None]


def begin(stack: Stack) -> State:
    """Pure noise of the largest sigma."""
    noise = [slice_noise(stack, place, 0)[0, 0] for place in range(len(stack.raised))]
    return State({SLICES: np.ascontiguousarray((torch.stack(noise) * stack.sigmas[0]).cpu().numpy())})


def advance(stack: Stack, state: State, number: int) -> Mapping[str, float]:
    """The level of that number, of all slices; tells rho at a gradient.

    Each slice sees its neighbours at its own noise: as they were before the level while it moves, as they moved while it settles.
    """
    now, then = stack.sigmas[number : number + 2]
    before, apart = state.arrays[SLICES], []

    def move(scene: Scene, x: Tensor, noise: Noise) -> Tensor:
        x, residual = moved(scene, stack.rules, x, number, (now, then), noise)
        apart.append(residual / len(before))
        return x

    after = _each(stack, before, number, move)
    if stack.rules.predictor_first and then > 0:
        after = _each(stack, after, number, lambda scene, x, noise: settled(scene, stack.rules, x, then, noise))
    state.arrays[SLICES] = after
    figures = {"residual": sum(apart), "sigma": now}
    return figures | ({"rho": stack.rules.length(stack.seen[0].size)} if stack.rules.differentiates(number) else {})


def _each(stack: Stack, slices: Array, number: int, change: Callable[[Scene, Tensor, Noise], Tensor]) -> Array:
    """All slices after a change of each, which sees the others as they are."""
    made = np.empty_like(slices)
    for place in range(len(slices)):
        x = torch.from_numpy(slices[place].copy())[None, None].to(stack.model.device)
        noise: Noise = partial(_used, stack, place, number)
        made[place] = change(_scene(stack, slices, place), x, noise)[0, 0].cpu().numpy()
    return made


def _used(stack: Stack, place: int, number: int, use: int) -> Tensor:
    return slice_noise(stack, place, 1 + number * USES + use)


def _scene(stack: Stack, before: Array, place: int) -> Scene:
    slabs, middle = stack.model.slabs(before, place, 0), stack.model.network.neighbours

    def denoise(x: Tensor, sigma: float) -> Tensor:
        around = torch.cat([slabs[:, :middle], x, slabs[:, middle + 1 :]], 1)
        return stack.model.expected(around, sigma, stack.axis)

    def there(array: Array) -> Tensor:
        return torch.from_numpy(array[place].copy())[None, None].to(stack.model.device)

    operator = stack.operators[place]
    fuses = operator.kept is None and any(fusion_levels(operator))
    return Scene(denoise, operator, there(stack.seen), there(stack.raised) if fuses else None)


def image_of(stack: Stack, state: State, undo: Undo = UPPER.undo) -> Array:
    """The restored scan in its own unit."""
    slices = state.arrays[SLICES][stack.around : len(stack.raised) - stack.around]
    return np.ascontiguousarray(undo(np.moveaxis(slices, 0, stack.axis), stack.measured.stats))
