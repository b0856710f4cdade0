"""A network whose weights lie in the state of a restoration, with the moments of Adam, so that it goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from core.geometry.grid import Array
from core.methods.adam import BETAS, move
from core.methods.iterative import State


@dataclass(frozen=True, eq=False)
class Learner:
    """See the module.

    Attributes:
        name: of its arrays in the state.
        network: with whatever weights were put in last.
        device: of torch.
    """

    name: str
    network: nn.Module
    device: str = "cpu"

    @classmethod
    def seeded(cls, name: str, make: Callable[[], nn.Module], seed: int, device: str) -> Learner:
        """With random weights, the same for the same seed; torch's own generator stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = make()
        return cls(name, network.to(device), device)

    def begin(self) -> dict[str, Array]:
        """Arrays for a state: the weights, and moments of 0."""
        weights = np.asarray(parameters_to_vector(self.network.parameters()).detach().cpu().numpy(), np.float32).copy()
        return {self.name: weights, f"{self.name}_first": np.zeros_like(weights), f"{self.name}_second": np.zeros_like(weights)}

    def holding(self, state: State) -> nn.Module:
        """The network with the weights of a state."""
        weights = torch.from_numpy(state.arrays[self.name].copy()).to(self.device)
        vector_to_parameters(weights, self.network.parameters())
        return self.network

    def learn(self, state: State, loss: Tensor, made: int, rate: float, betas: tuple[float, float] = BETAS) -> float:
        """A step of Adam down a loss of the network, after ``made`` others; gives the loss."""
        gradients = torch.autograd.grad(loss, list(self.network.parameters()))
        gradient = np.asarray(torch.cat([each.flatten() for each in gradients]).cpu().numpy(), np.float32)
        moments = state.arrays[f"{self.name}_first"], state.arrays[f"{self.name}_second"]
        move(state.arrays[self.name], moments, gradient, made, rate, betas)
        return float(loss.detach())
