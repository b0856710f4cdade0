"""The page of an evaluation: table, box plots, one scan in detail; one HTML text that needs nothing beside itself."""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.geometry.grid import Array, Box, Grid
from tasks.report.box_plot import BoxPlot, box_plot
from tasks.report.citation import Citation
from tasks.report.pages import flat, render
from tasks.report.pictures import PLANES, Plane, Scale, Window, head_box, places, positions, strip, window_of

SLICES = 7  # of each plane
TRUTH, INPUT = "truth", "input"
APART = Scale(1.0, signed=False)


@dataclass(frozen=True)
class Detail:
    """One scan to look at; the pictures' functions know it by ``source`` and ``target``.

    Attributes:
        scan: its key.
        source: the truth.
        target: its canonical grid.
        images: on ``target``, by name; the first is the input by nearest neighbour.
        figures: a line under each, by name.
        apart: by name, where an image parts from the truth within what the scan measured: 0 to 1 (2 where it is its opposite).
    """

    scan: str
    source: Array
    target: Grid
    images: Mapping[str, Array]
    figures: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A method by a metric."""

    text: str
    best: bool
    marks: str
    why: str = ""


@dataclass(frozen=True)
class Line:
    """A method in the table."""

    letter: str
    method: str
    model: str
    cells: list[Cell]
    seconds: str
    scans: int
    failed: int


@dataclass(frozen=True)
class EvaluationView:
    """An evaluation, to be looked at.

    Attributes:
        title: of the page.
        facts: what was done, by name.
        columns: title and meaning of each metric in the table.
        lines: of the table.
        values: scan and value by method, by title of the metric; for the box plots.
        best: methods with the best mean, by title of the metric.
        comparisons: of pairs of methods: metric, a, b, scans, difference, interval, p, p after Holm, which is better.
        notes: what to know of the table.
        failures: scan, method and reason.
        settings: JSON.
        detail: a scan to look at; None where no scan was restored by all.
        citation: words to cite.
    """

    title: str
    facts: Mapping[str, str]
    columns: Sequence[tuple[str, str]]
    lines: Sequence[Line]
    values: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]
    best: Mapping[str, Collection[str]]
    comparisons: Sequence[tuple[str, ...]]
    notes: Sequence[str]
    failures: Sequence[tuple[str, str, str]]
    settings: Mapping[str, Any]
    detail: Detail | None
    citation: Citation | None = None


def letters(count: int) -> list[str]:
    """A mark for each method: a to z, then aa, ab and so on."""
    alphabet = string.ascii_lowercase
    return [
        alphabet[n] if n < len(alphabet) else alphabet[n // len(alphabet) - 1] + alphabet[n % len(alphabet)] for n in range(count)
    ]


@dataclass(frozen=True)
class Card:
    """An image of the detail, in one plane: strips of slices of itself, of its error and of where it disagrees with the truth."""

    name: str
    image: str
    error: str
    figures: str
    apart: str = ""


@dataclass(frozen=True)
class Section:
    """A plane of the detail."""

    plane: Plane
    cards: list[Card]
    places: list[str]
    ratio: float

    @property
    def middle(self) -> int:
        """The slice that is shown first."""
        return len(self.places) // 2


def error_scale(errors: Sequence[Array]) -> Scale:
    """One scale for all methods: that of their median, so that one that fails leaves the others visible."""
    ends = [Scale.of(error).end for error in errors]
    return Scale(float(sorted(ends)[(len(ends) - 1) // 2]))


def _section(detail: Detail, plane: Plane, box: Box, window: Window, errors: Mapping[str, Array], scale: Scale) -> Section:
    at = positions(plane, box, SLICES)
    cards = [Card(TRUTH, strip(detail.source, plane, at, box, window.grey), "", "")]
    for name, image in detail.images.items():
        pictures = strip(image, plane, at, box, window.grey), strip(errors[name], plane, at, box, scale.colour)
        apart = strip(detail.apart[name], plane, at, box, APART.colour) if name in detail.apart else ""
        cards.append(Card(name, *pictures, detail.figures.get(name, ""), apart))
    sizes = [size * n for axis, (size, n) in enumerate(zip(detail.target.spacing, box.shape, strict=True)) if axis != plane.axis]
    return Section(plane, cards, places(detail, plane, at), sizes[0] / sizes[1])


def _pictures(detail: Detail) -> dict[str, Any]:
    window, box = window_of(detail), head_box(detail)
    gain = np.float32(100 / (window.high - window.low))
    errors = {name: (image - detail.source) * gain for name, image in detail.images.items()}
    scale = error_scale([errors[name][box.slices] for name in list(errors)[1:]] or list(errors.values()))
    sections = [_section(detail, plane, box, window, errors, scale) for plane in PLANES]
    return {"scan": detail.scan, "sections": sections, "window": window, "scale": scale, "apart": APART if detail.apart else None}


def box_plots(view: EvaluationView) -> list[BoxPlot]:
    """A box plot a metric."""
    return [box_plot(title, values, view.best.get(title, ())) for title, values in view.values.items() if values]


def evaluation_page(view: EvaluationView) -> str:
    """The page of an evaluation.

    Raises:
        GridError: for a detail whose grid is not canonical.
    """
    return render(
        "evaluation.html",
        view=view,
        plots=box_plots(view),
        detail=_pictures(view.detail) if view.detail else None,
        said=list(flat(view.settings)),
        citation=view.citation,
        placed=("left", "right", "up", "down"),
    )
