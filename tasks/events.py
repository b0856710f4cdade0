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


Tell = Callable[[Advanced], None]


def nobody(event: Advanced) -> None:
    """Tell nobody."""
