"""By what a scan is known again, whatever it is called and wherever it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Print:
    """A scan's digests.

    Attributes:
        person: whose scan it is, by the cohort's label.
        key: of the scan.
        sha256: of its files.
    """

    person: str
    key: str
    sha256: str

    def describe(self) -> str:
        """The person, and which of their scans."""
        return f"{self.person} ({self.key})"


SHOWN = 5  # scans that a refusal names


def some(names: Iterable[str]) -> str:
    """The first of some names in a line."""
    every = list(names)
    return ", ".join(every[:SHOWN]) + (" …" if len(every) > SHOWN else "")
