"""What work on many scans tells while it runs: events, to one callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Advanced:
    """Something was finished.

    Attributes:
        unit: what is counted: "scans", "restored", "tiles" or "steps".
        count: how many more.
    """

    unit: str
    count: int = 1


@dataclass(frozen=True)
class Reached:
    """How far all the work has come; told now and then, also while a scan is restored.

    Attributes:
        per_cent: that are over.
    """

    per_cent: float


@dataclass(frozen=True)
class Began:
    """It became known how many there are to do.

    Attributes:
        unit: what is counted.
        total: how many there are.
    """

    unit: str
    total: int


Event = Advanced | Reached | Began
Tell = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Tell nobody."""
