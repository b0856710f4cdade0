"""What a training tells while it runs: events, to one callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from core.training.batch import Batch


@dataclass(frozen=True)
class StepTaken:
    """The optimisers took a step.

    Attributes:
        step: how many have been taken.
    """

    step: int


@dataclass(frozen=True)
class Validated:
    """The average of the weights was held against the held-out examples.

    Attributes:
        figures: by name, with "step".
        held: the examples, on the CPU.
        restored: what the average made of them.
        shown: volumes to be drawn side by side, (n, 1, x, y, z) each; none where there is nothing to see.
    """

    figures: dict[str, float]
    held: Batch
    restored: Tensor
    shown: tuple[Tensor, ...] = ()


Event = StepTaken | Validated
Tell = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Tell nobody."""
