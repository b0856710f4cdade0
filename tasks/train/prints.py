"""By what a scan is known again, whatever it is called and wherever it lies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.errors import UsageError, listed


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


def check_parts(parts: Mapping[str, Sequence[Print]]) -> None:
    """Refuse a split of which two parts hold one scan, under two persons' labels: what is learned from must not be held out.

    Args:
        parts: digests of the scans by part of the split.

    Raises:
        UsageError: split-leak.
    """
    first: dict[str, tuple[str, Print]] = {}
    copies = []
    for part, scans in parts.items():
        for scan in scans:
            same = [first.setdefault(digest, (part, scan)) for digest in (scan.sha256, scan.voxels) if digest]
            if earlier := next((other for other in same if other[0] != part), None):
                copies.append(f"{earlier[1].describe()} of {earlier[0]}, which is {scan.describe()} of {part}")
    if copies:
        remedy = "leave one of the two out (--exclude), or put both persons into one part (--validation, --test)"
        raise UsageError("split-leak", "each scan in one part of the split", listed(copies, 5), remedy)
