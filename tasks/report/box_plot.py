"""Box plots as shapes of an inline SVG: a row a method, quartiles, median, and a dot a scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.report.charts import LEFT, RIGHT, WIDTH, Tick, ticks

ROW = 36  # of a method: its name, and its box below
TOP = 6
FOOT = 34  # axis and its numbers

Across = Callable[[float], float]  # the place of a value along the axis


@dataclass(frozen=True)
class BoxRow:
    """A method: places along the axis.

    Attributes:
        name: of the method.
        y: of the middle of its box.
        ends: of the outermost scans within 1.5 times the box's length of it (Tukey).
        quartiles: 25th and 75th percentile.
        median: of the scans.
        dots: a scan each: place, height, what to say.
        best: whether its mean is the best.
        text: the same in words.
    """

    name: str
    y: float
    ends: tuple[float, float]
    quartiles: tuple[float, float]
    median: float
    dots: list[tuple[float, float, str]]
    best: bool
    text: str


@dataclass(frozen=True)
class BoxPlot:
    """A metric over methods."""

    title: str
    text: str
    ticks: list[Tick]
    rows: list[BoxRow]
    height: int

    @property
    def axis(self) -> int:
        """Height of the axis."""
        return self.height - FOOT


def box_plot(title: str, values: Mapping[str, Sequence[tuple[str, float]]], best: Collection[str]) -> BoxPlot:
    """How a metric is distributed over the scans, by method.

    Args:
        title: of the metric.
        values: finite; scan and value by method, at least one of each.
        best: the methods to stand out.
    """
    every = [value for each in values.values() for _, value in each]
    gap = (max(every) - min(every)) * 0.05 or abs(max(every)) * 0.05 or 1.0
    low, high = min(every) - gap, max(every) + gap

    def across(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    rows = [_row(name, each, n, across, best=name in best) for n, (name, each) in enumerate(values.items())]
    text = f"{title} by method: " + "; ".join(row.text for row in rows)
    return BoxPlot(title, text, ticks(low, high), rows, TOP + ROW * len(rows) + FOOT)


def _row(name: str, values: Sequence[tuple[str, float]], number: int, across: Across, *, best: bool) -> BoxRow:
    numbers = np.array([value for _, value in values])
    first, middle, third = (float(quartile) for quartile in np.percentile(numbers, [25, 50, 75]))
    reach = 1.5 * (third - first)
    inside = numbers[(numbers >= first - reach) & (numbers <= third + reach)]
    y = TOP + ROW * number + 25.0
    dots = [
        (across(value), round(y + 5 * math.sin(2.4 * n), 1), f"{scan}: {value:.4g}") for n, (scan, value) in enumerate(values)
    ]
    places = [across(value) for value in (float(inside.min()), float(inside.max()), first, third, middle)]
    text = f"{name} median {middle:.4g}, from {numbers.min():.4g} to {numbers.max():.4g}"
    return BoxRow(name, y, (places[0], places[1]), (places[2], places[3]), places[4], dots, best, text)
