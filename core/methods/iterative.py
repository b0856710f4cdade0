"""Methods that restore step by step: what lies between two steps is a value, which the engine puts on disk and goes on from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from core.errors import RestorationError
from core.geometry.grid import Array, Box, Grid
from core.geometry.tiles import Tile, Tiling, volume
from core.methods.base import Measured, Method
from core.settings.scans import TilingSettings

Problem = TypeVar("Problem")
Scalar = bool | int | float | str
Figures = dict[str, list[tuple[int, float]]]


@dataclass
class State:
    """All that a restoration needs beside its problem to go on; a step changes it in place.

    Attributes:
        arrays: by name, C-contiguous, of any type that numpy and safetensors share; their bytes come back as they were.
        values: plain values beside them.
        figures: what the steps told, by name: number of the step (from 1) and value.
        step: how many steps were made.
        finished: the method needs no more of them.
    """

    arrays: dict[str, NDArray[Any]]
    values: dict[str, Scalar] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    step: int = 0
    finished: bool = False

    def count(self, figures: Mapping[str, float]) -> None:
        """Count a step and what it told.

        Raises:
            RestorationError: "diverged": a figure that is not finite.
        """
        self.step += 1
        for name, value in figures.items():
            if not math.isfinite(value):
                wanted, got = f"a finite figure {name!r} of every step", f"{value} at step {self.step}"
                raise RestorationError("diverged", wanted, got, "look at the scan's intensities, or take smaller steps")
            self.figures.setdefault(name, []).append((self.step, float(value)))


@dataclass(frozen=True)
class Beside:
    """What a restoration tells beside its images.

    Attributes:
        maps: by a name of letters and digits ("sd"), for each scan a float32 image on the target grid; written beside the
            restored image as ``desc-restored<Name>``, and drawn on the scan's page.
        pictures: by name, for each scan a small array (rows, columns) of finite values, such as a kernel; kept in the scan's
            record and drawn on its page.
        figures: for each scan figures by name, finite; they join those of its quality.
    """

    maps: Mapping[str, Sequence[Array]] = field(default_factory=dict)
    figures: Sequence[Mapping[str, float]] = ()
    pictures: Mapping[str, Sequence[Array]] = field(default_factory=dict)


class IterativeMethod(Method, Generic[Problem]):
    """A method that restores whole scans in steps.

    The engine calls ``prepare`` and ``start`` once, then ``step`` until the state is finished or ``total`` steps were made, and
    ``result`` at the end. A killed run calls ``prepare`` again and goes on with the state that was kept: so the first two must
    give the same for the same scans, and a step must depend on nothing but problem and state. Random numbers are drawn by the
    voxel and the step's number (``core.noise``), or from a generator whose state is among the values.
    """

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:  # noqa: ARG002
        """The whole volume: every voxel depends on all others."""
        return volume(target.shape)

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:  # noqa: ARG002
        """The whole scan."""
        return Box.whole(source.shape)

    @abstractmethod
    def total(self) -> int:
        """How many steps are made at most; known from the settings alone."""

    @abstractmethod
    def prepare(self, measured: Sequence[Measured], target: Grid) -> Problem:
        """What the steps need and do not change, such as operators; it is made anew where a run goes on, and never stored.

        Args:
            measured: one scan, or several of one person where the method fuses.
            target: grid of the result, whose axes are parallel to those of ``measured[0].grid``.
        """

    @abstractmethod
    def start(self, problem: Problem) -> State:
        """The state before the first step; ``finished`` where there is nothing to do."""

    @abstractmethod
    def step(self, problem: Problem, state: State) -> Mapping[str, float]:
        """Make a step: change the arrays and values of ``state``, and set ``finished`` where no further step is worth it.

        Returns:
            figures of the step by name, such as its loss; finite. The same names need not come at every step.
        """

    @abstractmethod
    def result(self, problem: Problem, state: State) -> list[Array]:
        """The restored scans: float32 of the target's shape, one for each that was measured.

        Raises:
            RestorationError: where the method cannot give a finite answer.
        """

    def beside(self, problem: Problem, state: State) -> Beside:  # noqa: ARG002 - here for methods that tell more
        """Maps and figures beside ``result``, such as its uncertainty."""
        return Beside()

    def steps(self, problem: Problem, state: State) -> Iterator[State]:
        """Make the steps that are left; gives the state after each."""
        while not state.finished and state.step < self.total():
            state.count(self.step(problem, state))
            yield state

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """All steps at once; see ``Method.restore``."""
        problem = self.prepare(measured, target)
        state = self.start(problem)
        for _ in self.steps(problem, state):
            pass
        return self.result(problem, state)
