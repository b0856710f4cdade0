"""ZSSR (Shocher et al. 2018) with a known kernel: a network learns to undo that kernel on the scan, and is applied to it.

pair      a crop of the scan, reduced by the kernel and interpolated, and the crop itself
network   eight convolutions of 3 x 3 whose sum with the interpolated picture is the finer one: 222,336 weights
loss      absolute error, weighted by the gradient's size
rate      1e-3, a tenth where the error no longer falls by more than it scatters (1.5 slope > -its deviation), until 9e-6
result    of each turned and mirrored picture: back-projected, turned back; their median, back-projected once more
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from core.geometry.grid import Array
from core.methods.iterative import State
from core.methods.srmri.zero_shot.crops import Crops
from core.methods.srmri.zero_shot.kernel import raised, reduced
from core.methods.srmri.zero_shot.learner import Learner

WIDTH, LAYERS, VARIANCE = 64, 8, 0.1  # of the weights as they begin, over their number
CROP, LEAST = 128, 8  # pixels
FIRST_RATE, LAST_RATE, FALL = 1e-3, 9e-6, 10.0
LOOKED, CHECKED, WINDOW, RATIO = 50, 60, 256, 1.5  # steps between errors and between checks, steps that a check sees
JUDGED = 4  # slices whose middles are looked at
ERRORS, CHANGED = "errors", "rate_changed"  # in the state


class Undo(nn.Module):
    """The network: interpolated slices (n, 1, h, w) to finer ones of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, *[WIDTH] * (LAYERS - 1), 1]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=(VARIANCE / layer.weight[0].numel()) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices."""
        added: Tensor = self.layers(x)
        return x + added


@dataclass(frozen=True, eq=False)
class Study:
    """A scan that a network learns from.

    Attributes:
        crops: of its slices, values from 0 to about 1.
        learner: the network.
        factor: finer pixels for one of the scan.
        seed: of what is drawn.
        noise: standard deviation of what is added to reduced crops.
    """

    crops: Crops
    learner: Learner
    factor: int
    seed: tuple[int, ...]
    noise: float = 0.0

    @classmethod
    def of(cls, slices: Array, factor: int, seed: tuple[int, ...], noise: float = 0.0, device: str = "cpu") -> Study:
        """The study of slices (n, h, w)."""
        return cls(Crops(slices, LEAST), Learner.seeded("undo", Undo, 2, device), factor, seed, noise)

    def begin(self, state: State) -> None:
        """Weights, rate, and errors so far: none."""
        state.arrays |= self.learner.begin() | {ERRORS: np.zeros(0)}
        state.values |= {"rate": FIRST_RATE, CHANGED: 0}

    def step(self, state: State, kernel: Tensor, made: int) -> dict[str, float]:
        """One of Adam, after ``made``; falls to the last rate where nothing more is to be learnt."""
        draw = np.random.default_rng([*self.seed, made])
        truth, weight = (each.to(self.learner.device) for each in self.crops.draw(draw, CROP, self.factor))
        network = self.learner.holding(state)
        restored = network(self._shown(truth, kernel, draw))
        loss = ((restored - truth).abs() * weight).mean()
        figures = {"loss": self.learner.learn(state, loss, made, float(state.values["rate"]))}
        if (made + 1) % LOOKED == 0:
            figures["held_error"] = self._error(state, kernel)
            state.arrays[ERRORS] = np.append(state.arrays[ERRORS], figures["held_error"])
        if (made + 1) % CHECKED == 0:
            self._slow(state, made + 1)
        return figures

    def done(self, state: State) -> bool:
        """Whether the rate has fallen to its end."""
        return float(state.values["rate"]) < LAST_RATE

    def _shown(self, truth: Tensor, kernel: Tensor, draw: np.random.Generator | None = None) -> Tensor:
        coarse = reduced(truth, kernel, self.factor)
        if draw is not None and self.noise:
            coarse = coarse + self.noise * torch.from_numpy(draw.standard_normal(coarse.shape, np.float32)).to(coarse)
        return raised(coarse, truth.shape[-2:])

    def _error(self, state: State, kernel: Tensor) -> float:
        """Mean squared error of the middles of a few slices, which the network makes of them reduced."""
        planes, network = self.crops.padded, self.learner.holding(state)
        places = np.linspace(0, len(planes) - 1, JUDGED + 2)[1:-1].round().astype(int)
        sides = [min(CROP, n // self.factor * self.factor) for n in planes.shape[1:]]
        rows, columns = (slice((n - side) // 2, (n - side) // 2 + side) for n, side in zip(planes.shape[1:], sides, strict=True))
        truth = torch.from_numpy(planes[places][:, None, rows, columns].copy()).to(self.learner.device)
        with torch.no_grad():
            each = [network(self._shown(plane[None], kernel)) - plane for plane in truth]
        return float(torch.stack(each).double().square().mean())

    def _slow(self, state: State, made: int) -> None:
        """A lower rate where the last errors lie about a line that hardly falls, long enough after the last change."""
        last = state.arrays[ERRORS][-(WINDOW // LOOKED) :]
        if made - int(state.values[CHANGED]) <= WINDOW or len(last) < WINDOW // LOOKED:
            return
        at = LOOKED * np.arange(len(last), dtype=np.float64)
        (slope, _), covariance = np.polyfit(at, last, 1, cov=True)
        if -RATIO * slope < float(np.sqrt(covariance[0, 0])):
            state.values |= {"rate": float(state.values["rate"]) / FALL, CHANGED: made}

    def restored(self, state: State, planes: Tensor, kernel: Tensor, turns: int, projections: int) -> Tensor:
        """Slices (1, 1, h, w) of the scan ``factor`` times as fine.

        Args:
            state: with the weights.
            planes: one slice.
            kernel: by which it was reduced.
            turns: 1, or 8: the slice turned and mirrored, whose median is taken.
            projections: how often what the result lacks of the slice is put back.
        """
        network, shape = self.learner.holding(state), [self.factor * n for n in planes.shape[-2:]]
        start, each = raised(planes, shape), []
        with torch.no_grad():
            for number in range(turns):
                fine = _turned(network(_turned(start, number)), number, back=True)
                each.append(projected(fine, planes, kernel, self.factor, projections))
            return projected(torch.stack(each).quantile(0.5, 0), planes, kernel, self.factor, projections)


def _turned(x: Tensor, number: int, *, back: bool = False) -> Tensor:
    """One of the eight ways to lay a slice, or back from it."""
    turns, flip = number % 4, number >= 4
    if not back:
        return (x.flip(3) if flip else x).rot90(turns, (2, 3))
    x = x.rot90(-turns, (2, 3))
    return x.flip(3) if flip else x


def projected(fine: Tensor, planes: Tensor, kernel: Tensor, factor: int, times: int) -> Tensor:
    """What a finer slice lacks of the measured one, put back by interpolation (Irani & Peleg 1991)."""
    for _ in range(times):
        fine = fine + raised(planes - reduced(fine, kernel, factor), fine.shape[-2:])
    return fine
