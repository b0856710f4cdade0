"""By what a scan is known again, whatever it is called and wherever it lies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Print:
    """A scan's digests.

    Attributes:
        person: whose scan it is, by the cohort's label.
        key: of the scan.
        sha256: of its files.
        voxels: digest of its voxels, which stays where a file is packed anew; empty of a scan that cannot be read.
    """

    person: str
    key: str
    sha256: str
    voxels: str

    def describe(self) -> str:
        """The person, and which of their scans."""
        return f"{self.person} ({self.key})"

    def is_among(self, digests: Collection[str]) -> bool:
        """Whether the digest of its files or of its voxels is one of these."""
        return self.sha256 in digests or (bool(self.voxels) and self.voxels in digests)


SHOWN = 5  # scans that a refusal names


def some(names: Iterable[str]) -> str:
    """The first of some names in a line."""
    every = list(names)
    return ", ".join(every[:SHOWN]) + (" …" if len(every) > SHOWN else "")
