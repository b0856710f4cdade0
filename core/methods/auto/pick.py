"""The choice: a table of cells by contrast, distance of slices and gap, each with what did best there on persons held out.

The table is what ``isovox evaluate any-scan CROPS --methods cubic cubic+repair unires+repair anyscan+repair …`` wrote as
``choice.json``: on cubes of 112 voxels from the brains of eight persons that models were validated, not trained on, all repaired,
as a run repairs them. What is surely better than the method for any scan, paired by person, stands before it, the highest lower
bound first; what ties with it stands behind. (A table of before, without paired figures, has the highest lower bound first.)
Nobody held out has sharp scans but in T1w: the other contrasts were drawn from theirs (``tests.benchmarks.drawn_contrasts``),
and the reasons say so. ``models`` are the models that were measured; of another one no figures are told.

Without the repair, the baseline of all gains gains nothing, and so is passed over; the others keep their order.
What is in no cell goes to a method that is for any scan and needs no training; so does what every trained model refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from core.methods.registry import baseline
from core.models.domain import Facts
from core.settings.base import Settings

TABLE = Path(__file__).with_name("table.json")
OTHERWISE = "unires"


class Cell(Settings):
    """Scans that are alike, and what did best on them.

    Attributes:
        contrast: BIDS suffix, with the contrast agent where one was given: "ce-gadolinium_T1w".
        spacing: of the slices, mm: least and most.
        gap: between slices, as a fraction of the spacing: least and most.
        methods: the best first; measured as ``isovox evaluate`` scores whole volumes.
        gains: of each, repaired, over cubic interpolation as it is: dB, mean by person; and its 90 % interval's lower end.
        paired: the same of its difference to the method for any scan, by person; None of that one, and where it was not measured.
        persons: on whom it was measured.
        drawn: whether the contrast was drawn from their T1w scans, for want of sharp ones.
    """

    contrast: str
    spacing: tuple[float, float]
    gap: tuple[float, float]
    methods: tuple[str, ...] = Field(min_length=1)
    gains: tuple[tuple[float, float], ...]
    paired: tuple[tuple[float, float] | None, ...] = ()
    persons: int
    drawn: bool = False

    def holds(self, facts: Facts) -> bool:
        """Whether a scan lies in the cell."""
        if facts.look != self.contrast or facts.slice_spacing is None or facts.slice_gap is None or facts.orientation is None:
            return False  # cubes have no slices, though their edge counts as a distance
        return self.spacing[0] <= facts.slice_spacing <= self.spacing[1] and self.gap[0] <= facts.slice_gap <= self.gap[1]

    def scans(self) -> str:
        """Which scans, in words."""
        drawn = " (drawn from T1w)" if self.drawn else ""
        return f"{self.contrast}{drawn} with slices {self.spacing[0]:g} to {self.spacing[1]:g} mm apart"

    def why(self, place: int, facts: Facts, *, same: bool) -> str:
        """What was measured of the method at that place, in words; of another model than was measured, no figures.

        Args:
            place: of the method in ``methods``.
            facts: of the scan: heads were not measured, nor restorations that are not repaired.
            same: whether its model is the one that was measured.
        """
        best = f"did {'' if place == 0 else 'next '}best on {self.scans()}"
        if not same:
            return f"{best} with another model; the one in use was not measured"
        gain, least = self.gains[place]
        measured = f"repaired, {gain:+.2f} dB over cubic in brains of {self.persons} persons (mean, {least:+.2f} at least)"
        head = "; of heads, as this scan is, it was not measured" if facts.anatomy == "head" else ""
        bare = "" if facts.repaired else "; without the repair, as here, it was not measured"
        return f"{best}: {measured}{head}{bare}"

    def before_otherwise(self) -> tuple[str, ...]:
        """The methods that did better than the one which is for any scan."""
        return self.methods[: self.methods.index(OTHERWISE)] if OTHERWISE in self.methods else self.methods


class Table(Settings):
    """All cells.

    Attributes:
        models: sha256 of the models that were measured, by the methods' names.
        cells: what was measured.
    """

    models: dict[str, str] = {}
    cells: tuple[Cell, ...]


@lru_cache(maxsize=1)
def table() -> Table:
    """The table that lies beside this file."""
    return Table.model_validate(json.loads(TABLE.read_text(encoding="utf-8")))


def among() -> Sequence[str]:
    """All methods that the table names."""
    return tuple(dict.fromkeys([*(name for cell in table().cells for name in cell.before_otherwise()), OTHERWISE]))


def ranked(facts: Facts, models: Mapping[str, str]) -> list[tuple[str, str]]:
    """Methods for a scan, the best first, each with why; the last one is for any scan.

    Args:
        facts: what is known of the scan.
        models: sha256 of those in use, by the methods' names.
    """
    cell = next((cell for cell in table().cells if cell.holds(facts)), None)
    names = cell.before_otherwise() if cell else ()
    same = {name: name not in models or table().models.get(name, models[name]) == models[name] for name in names}
    best = [(name, cell.why(place, facts, same=same[name])) for place, name in enumerate(names)] if cell else []
    if not facts.repaired:
        best = [(name, why) for name, why in best if name != baseline()]
    return [*best, (OTHERWISE, "" if best else _why_otherwise(facts, cell))]


def _why_otherwise(facts: Facts, cell: Cell | None) -> str:
    """Why no other method was thought of for a scan of a cell, or of none."""
    if cell:
        return f"nothing did surely better on {cell.scans()} ({cell.persons} persons)"
    if facts.sliced is False:
        return "the scan has no slices"
    if facts.contrast is None:
        return "its contrast is not told (name it in a table's column suffix)"
    return "no trained model was measured on such scans"
