"""How far a model's own idea of its errors is from what they are, as measured on persons that it was not trained on.

A map of uncertainty is the half width of the interval in which the truth lies with a probability of 90 %. What a network makes of
it by itself is stretched as far as held-out persons ask for at the scan's distance of slices, whatever the size of the restored
voxels: split conformal prediction (Angelopoulos & Bates 2021, section 2.3) with |error| / map as the score.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from core.errors import UsageError, WeightsError
from core.io import files
from core.settings.base import Settings, wrong

FILE = "calibration.json"
UNCERTAINTY = "uncertainty"  # name of the map
LEVEL = 0.9
OUTSIDE = "Nominal: the scan is outside what the model is for, so the interval may hold fewer voxels than it says."


class Stretch(Settings):
    """By how much maps must be stretched at a distance of slices.

    Attributes:
        spacing: distance of the slices' centres, mm.
        stretch: by which a map is multiplied, as the network makes it.
        persons: on whom it was measured.
        contrasts: of their scans, as evaluations call them; empty where that is not known.
    """

    spacing: Annotated[float, Field(gt=0)]
    stretch: Annotated[float, Field(gt=0)]
    persons: int
    contrasts: tuple[str, ...] = ()


class Calibration(Settings):
    """Stretches of a model by rising distance of slices; empty: its maps are as the network makes them."""

    stretches: tuple[Stretch, ...] = ()

    def at(self, spacing: float) -> float:
        """The stretch where slices lie so many mm apart; 1 without any.

        Linear between the distances that were measured, and beyond them as at the nearest.
        """
        if not self.stretches:
            return 1.0
        return float(np.interp(spacing, [each.spacing for each in self.stretches], [each.stretch for each in self.stretches]))

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Those that it was measured of at every distance."""
        common = set.intersection(*(set(each.contrasts) for each in self.stretches)) if self.stretches else set()
        return tuple(sorted(common))

    def told(self, look: str | None) -> str:
        """Whether maps of a scan are calibrated, in a sentence.

        Args:
            look: the scan's contrast as evaluations call it; None where it is not known.
        """
        if not self.stretches:
            return "Nominal: the model was never calibrated, so the interval may hold fewer voxels than it says."
        if look in self.contrasts:
            return f"Calibrated for {look} on persons held out of its training; on scans of other scanners it may hold fewer."
        on = " and ".join(self.contrasts) or "contrasts that are not told"
        of = f"not for {look}" if look else "and this scan's contrast is not known"
        return f"Nominal: calibrated for {on}, {of}, so the interval may hold fewer voxels than it says."


def read_calibration(folder: str) -> Calibration:
    """That of a model; an empty one where it has none.

    Raises:
        WeightsError: calibration-unreadable.
    """
    try:
        return Calibration.model_validate(files.read_json(files.join(folder, FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return Calibration()
    except ValueError as error:
        wanted = f"a model's {FILE} in {folder}"
        raise WeightsError("calibration-unreadable", wanted, wrong(error), "correct or remove it") from error


def read_stretches(uri: str, method: str | None = None) -> tuple[Stretch, ...]:
    """What an evaluation found of a method's maps.

    Args:
        uri: of its ``calibration.json``.
        method: its label there; None where there is one alone.

    Raises:
        UsageError: calibration-unreadable, calibration-method.
    """
    try:
        known = TypeAdapter(dict[str, tuple[Stretch, ...]]).validate_python(files.read_json(uri))
    except (OSError, ValueError) as error:
        got = wrong(error) if isinstance(error, ValueError) else str(error)
        remedy = "name the calibration.json that isovox evaluate any-scan wrote"
        raise UsageError("calibration-unreadable", "stretches of an evaluation", got[:200], remedy) from error
    wanted = method or (next(iter(known)) if len(known) == 1 else "")
    if not known.get(wanted):
        names = ", ".join(known) or "no methods with such maps"
        raise UsageError("calibration-method", f"one of {names}", method or "none", "name it by --method")
    return known[wanted]


def note_stretches(folder: str, stretches: Sequence[Stretch]) -> Calibration:
    """Write what an evaluation found into a model; its weights and digest stay, its maps are made anew.

    What the model had before is replaced: an evaluation tells the whole stretch, whatever calibration it ran with.

    Args:
        folder: of the model.
        stretches: of the evaluation.

    Returns:
        the model's calibration from now on.
    """
    made = Calibration(stretches=tuple(sorted(stretches, key=lambda each: each.spacing)))
    files.write_atomic(files.join(folder, FILE), (json.dumps(made.model_dump(mode="json"), indent=2) + "\n").encode())
    return made
