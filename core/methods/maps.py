"""The maps that methods make beside a restored image, and what each says; what is of one method is in its ``about_maps``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a map says.

    Attributes:
        title: over its pictures.
        description: a sentence, for its sidecar.
    """

    title: str
    description: str


MEANINGS = {
    "uncertainty": Meaning(
        "Uncertainty: half width of the 90 % interval",
        "Half width of the interval around the restored image in which the truth should lie with a probability of 90 %, in the "
        "image's unit.",
    ),
    "sd": Meaning(
        "Uncertainty: standard deviation over several restorations",
        "Standard deviation over several restorations of the scan, voxel by voxel, in the image's unit.",
    ),
}


def meaning_of(name: str) -> Meaning:
    """What a map of this name says; of one that nobody declared, its name."""
    return MEANINGS.get(name) or Meaning(name.replace("_", " "), f"{name} of the restored image, voxel by voxel.")
