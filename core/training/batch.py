"""What a network learns from in one go: inputs, truth and what else it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Examples to learn from; without the first axis, one of them.

    Attributes:
        inputs: what the network is shown, (n, channels, …), commonly degraded patches on the truth's grid.
        truth: what it should make of them, (n, channels, …).
        conditions: what else it is told of each, by name, (n, …).
    """

    inputs: Tensor
    truth: Tensor
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many examples."""
        return len(self.inputs)

    def to(self, device: str | torch.device) -> Batch:
        """The same on a device of torch."""
        return self._each(lambda tensor: tensor.to(device))

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads without a copy; torch's loader asks for it by this name."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        conditions = {name: change(tensor) for name, tensor in self.conditions.items()}
        return Batch(change(self.inputs), change(self.truth), conditions)


def stacked(examples: Sequence[Batch]) -> Batch:
    """Examples, each without the first axis, as a batch; all must be told the same conditions by name."""
    return _together(examples, torch.stack)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches, one after the other, as a batch."""
    return _together(batches, torch.cat)


def _together(parts: Sequence[Batch], how: Callable[[list[Tensor]], Tensor]) -> Batch:
    conditions = {name: how([part.conditions[name] for part in parts]) for name in parts[0].conditions}
    return Batch(how([part.inputs for part in parts]), how([part.truth for part in parts]), conditions)
