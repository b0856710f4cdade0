"""The search for a code: Adam with a falling rate, the code of least observed loss, an end where the loss has settled.

All that goes on from step to step lies in arrays and plain values, so that a search that was cut off goes on with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import RestorationError
from core.methods.adam import move
from core.methods.inverse_sr.search.data_term import Terms
from core.methods.iterative import State

Variables = Mapping[str, Tensor]
Codes = dict[str, NDArray[np.float32]]

WATCHED = 50  # steps over which the loss must fall to be worth going on
UNKNOWN = 1e300  # a loss that was not looked at yet; JSON knows no infinity
FIRST, SECOND, BEST = "first moment of ", "second moment of ", "best "


@dataclass(frozen=True)
class Pace:
    """How far and how long a search goes.

    Attributes:
        steps: at most.
        rate: of Adam at the first step (paper: 0.07, to the end).
        end: of the rate's cosine, as a share of ``rate``.
        settled: a search ends where 50 steps lower the best loss by less than this share; 0: never.
    """

    steps: int
    rate: float
    end: float = 0.01
    settled: float = 0.0

    def rate_at(self, step: int) -> float:
        """Of step ``step``, from 0."""
        return self.rate * (self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


@dataclass(frozen=True, eq=False)
class Loss:
    """What is minimised.

    Attributes:
        terms: of the variables: losses of the image that they make.
        share: length of the features' gradient as a share of that of the voxels, at the first step; sets their weight.
        beside: a further loss of the variables at a step, such as a prior's; None for none. It does not choose the best code.
        beside_share: of its gradient, as ``share``.
    """

    terms: Callable[[Variables], Terms]
    share: float = 1.0
    beside: Callable[[Variables, int], Tensor] | None = None
    beside_share: float = 0.0


def begin(state: State, codes: Codes) -> None:
    """Put a new search into a state."""
    for name, code in codes.items():
        state.arrays |= {name: code.copy(), BEST + name: code.copy()}
        state.arrays |= {FIRST + name: np.zeros_like(code), SECOND + name: np.zeros_like(code)}
    state.values |= {"made": 0, "best": UNKNOWN, "watched": UNKNOWN}


def best(state: State, names: Mapping[str, object]) -> Codes:
    """The codes of least loss."""
    return {name: state.arrays[BEST + name] for name in names}


def advance(state: State, loss: Loss, pace: Pace, free: Mapping[str, NDArray[np.float32]], device: str) -> dict[str, float]:
    """A step of the search.

    Args:
        state: changed in place; ``over`` tells whether a further step is worth it.
        loss: what is minimised.
        pace: how far.
        free: by variable 1 where it may change, 0 where it is known; in a shape that multiplies.
        device: of torch.

    Returns:
        the losses by name.

    Raises:
        RestorationError: diverged.
    """
    made = int(state.values["made"])
    variables = {name: torch.from_numpy(state.arrays[name]).to(device).requires_grad_() for name in free}
    terms = loss.terms(variables)
    total = terms.pixels
    if terms.features is not None:
        total = total + _weighted(state, "weight", terms.features, terms.pixels, variables, loss.share)
    figures = _figures(total, terms)
    _keep_best(state, figures["loss"], variables)
    if loss.beside is not None:
        beside = loss.beside(variables, made)
        total = total + _weighted(state, "weight beside", beside, total, variables, loss.beside_share)
    gradients = torch.autograd.grad(total, list(variables.values()), allow_unused=True)
    for name, gradient in zip(variables, gradients, strict=True):
        if gradient is not None:
            moments = state.arrays[FIRST + name], state.arrays[SECOND + name]
            move(state.arrays[name], moments, gradient.cpu().numpy() * free[name], made, pace.rate_at(made))
    state.values["made"] = made + 1
    return figures


def over(state: State, pace: Pace) -> bool:
    """Whether a search has made its steps, or its loss has settled; to be asked once after each step."""
    made = int(state.values["made"])
    if made >= pace.steps:
        return True
    if made % WATCHED or not pace.settled:
        return False
    before, now = float(state.values["watched"]), float(state.values["best"])
    state.values["watched"] = now
    return before < UNKNOWN and before - now < pace.settled * before


def _figures(total: Tensor, terms: Terms) -> dict[str, float]:
    figures = {"loss": float(total.detach()), "difference": float(terms.pixels.detach())}
    if not math.isfinite(figures["loss"]):
        raise RestorationError("diverged", "a finite loss", str(figures["loss"]), "take a lower rate")
    return figures if terms.features is None else figures | {"features": float(terms.features.detach())}


def _keep_best(state: State, value: float, variables: Variables) -> None:
    """Remember the variables where their loss is the least so far."""
    if value < float(state.values["best"]):
        state.values["best"] = value
        for name in variables:
            state.arrays[BEST + name] = state.arrays[name].copy()


def _weighted(state: State, name: str, part: Tensor, main: Tensor, variables: Variables, share: float) -> Tensor:
    """A part of the loss times its weight: at the first step its gradient is ``share`` times as long as that of the main part."""
    if state.values["made"] == 0:
        length = _length(part, variables)
        state.values[name] = share * _length(main, variables) / length if length > 0 else 0.0
    return part * float(state.values[name])


def _length(part: Tensor, variables: Variables) -> float:
    gradients = torch.autograd.grad(part, list(variables.values()), retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None))
