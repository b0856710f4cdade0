"""How a network is trained: its sizes, its objective, and what becomes of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.networks.preset import Preset

if TYPE_CHECKING:
    from core.training.objectives import Objective


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: on the command line.
        method: that restores with what is trained.
        presets: the network's sizes by name, each a function that gives it.
        objective: of a preset and the count of steps, what is trained for, its networks with random weights.
        residual: the network gives what is to be added to its input.
        kept: which weights are kept, in words.
    """

    name: str
    method: str
    presets: Mapping[str, Callable[[], Preset]]
    objective: Callable[[Preset, int], Objective]
    residual: bool
    kept: str

    def preset(self, size: str) -> Preset:
        """The network in a size.

        Raises:
            UsageError: a size that there is not.
        """
        if size not in self.presets:
            raise UsageError("preset-unknown", f"a size of {self.name}: {', '.join(self.presets)}", size, "choose one")
        return self.presets[size]()
