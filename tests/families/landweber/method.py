"""Gradient steps towards the measured scan, each followed by a learned correction: x <- x + r A'(y - A x), x <- x + s C(F(x))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import IterativeMethod, State
from core.models.bundle import Bundle, read_bundle
from core.models.cache import load_network
from core.operators.linear import LinearOperator


class LandweberSettings(MethodSettings):
    """Settings of the toy."""

    model: str = Field(title="Model", description="folder of a model with features and a correction")
    iterations: int = Field(6, ge=1, title="Iterations", description="gradient steps")
    rate: float = Field(0.5, gt=0, title="Rate", description="length of a gradient step")
    trust: float = Field(0.1, ge=0, le=1, title="Trust", description="share of the learned correction that is added")


@dataclass(frozen=True, eq=False)
class Fit:
    """What the steps need: the scan in units of its upper value, its operator and the target grid."""

    operator: LinearOperator
    image: Array
    upper: float
    start: Array


class Landweber(IterativeMethod[Fit]):
    """The toy: see the module."""

    name: ClassVar[str] = "landweber"
    Settings: ClassVar[type[MethodSettings]] = LandweberSettings
    needs_model: ClassVar[bool] = True
    settings: LandweberSettings

    @cached_property
    def bundle(self) -> Bundle:
        """What the model's config says."""
        return read_bundle(self.settings.model)

    def total(self) -> int:
        """Gradient steps."""
        return self.settings.iterations

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Fit:
        """The scan and its operator."""
        (scan,) = measured
        upper = scan.stats.upper if scan.stats.upper > 0 else 1.0
        start = interpolate(scan.image, scan.grid, target, 1) / np.float32(upper)
        return Fit(scan.operator(target), scan.image / np.float32(upper), upper, start)

    def start(self, problem: Fit) -> State:
        """The scan interpolated linearly."""
        return State({"image": problem.start.copy()})

    def step(self, problem: Fit, state: State) -> dict[str, float]:
        """A gradient step and a correction; tells the root mean square of what the scan still lacks."""
        image = state.arrays["image"]
        lacking = problem.image - problem.operator.forward(image)
        image += np.float32(self.settings.rate) * problem.operator.adjoint(lacking)
        image += np.float32(self.settings.trust) * self._correction(image)
        return {"residual": float(np.sqrt(np.mean(np.square(lacking, dtype=np.float64))))}

    def result(self, problem: Fit, state: State) -> list[Array]:
        """The image in the scan's own units."""
        return [np.ascontiguousarray(state.arrays["image"] * np.float32(problem.upper))]

    def _correction(self, image: Array) -> Array:
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None]
            for role in ("features", "correction"):
                tensor = load_network(self.settings.model, self.bundle, "cpu", role)(tensor)
        return np.asarray(tensor[0, 0].numpy())
