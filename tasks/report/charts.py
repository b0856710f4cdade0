"""Histograms and courses as shapes of an inline SVG, in its own coordinates; the templates draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array

WIDTH, HEIGHT = 340, 170  # of the drawing; small, so that its letters stay readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 12, 12, 10, 38
BINS = 96
FEW = 7  # steps that have a mark each
WIDE = 50  # times by which values must differ to be drawn logarithmically
BARS = 24
EACH = 80  # scans up to which each one has a block of its own


@dataclass(frozen=True)
class Tick:
    """A mark on the horizontal axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A line through the drawing."""

    name: str
    points: str


@dataclass(frozen=True)
class Block:
    """A rectangle: one scan, or the scans of a bin."""

    x: float
    y: float
    width: float
    height: float
    text: str
    flagged: bool


@dataclass(frozen=True)
class Chart:
    """A drawing with a horizontal axis.

    Attributes:
        title: what is shown.
        text: the same in a sentence, for those who do not see it.
        ticks: of the axis.
        curves: lines, or none.
        blocks: rectangles, or none.
        limits: places of thresholds.
    """

    title: str
    text: str
    ticks: list[Tick]
    curves: tuple[Curve, ...] = ()
    blocks: tuple[Block, ...] = ()
    limits: tuple[float, ...] = ()


def _round_step(length: float) -> float:
    """About a sixth of ``length``: 1, 2 or 5 times a power of ten."""
    rough = length / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def ticks(low: float, high: float) -> list[Tick]:
    """Round numbers within a range, with their places in the drawing."""
    step = _round_step(high - low)
    values = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [Tick(across(float(value), low, high), signed(f"{value + 0.0:,.{digits}f}")) for value in values]


def signed(text: str) -> str:
    """The text of a number, with a true minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")


def across(value: float, low: float, high: float) -> float:
    """The place of a value on an axis from ``low`` to ``high``."""
    return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)


def up(share: float) -> float:
    """The height of a share of the drawing, 0 at the axis."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)


def intensities(images: Mapping[str, Array], low: float, high: float) -> Chart:
    """Histograms of images over one another.

    Args:
        images: by name.
        low: intensity up to which voxels are left out, such as the background's.
        high: end of the axis.
    """
    high = max(high if high > low else low + 1.0, low + 4 * BINS * float(np.spacing(np.float32(abs(low)))))  # bins have a width
    counts = {name: np.histogram(image, bins=BINS, range=(low, high))[0] / image.size for name, image in images.items()}
    top = max(float(share.max()) for share in counts.values()) or 1.0
    places = [across(low + (n + 0.5) * (high - low) / BINS, low, high) for n in range(BINS)]
    curves = [
        Curve(name, " ".join(f"{x},{up(float(y) / top)}" for x, y in zip(places, share, strict=True)))
        for name, share in counts.items()
    ]
    text = f"Share of voxels by intensity from {low:.4g} to {high:.4g}, one line each for {', '.join(images)}."
    return Chart("Intensities in the foreground", text, ticks(low, high), curves=tuple(curves))


def course(title: str, rows: Sequence[tuple[int, float]]) -> Chart:
    """How a figure went, step by step.

    Args:
        title: of the figure.
        rows: number of the step and value, in order; at least one. Where all are positive and the largest is more than 50
            times the least, the drawing is logarithmic.
    """
    steps, values = np.array([step for step, _ in rows]), np.array([value for _, value in rows], dtype=float)
    logarithmic = bool(values.min() > 0 and values.max() > WIDE * values.min())
    heights = np.log(values) if logarithmic else values
    low, high = float(heights.min()), float(heights.max())
    shares = (heights - low) / (high - low) if high > low else np.full(len(rows), 0.5)
    first, last = float(steps[0]), float(max(steps[-1], steps[0] + 1))
    points = " ".join(f"{across(float(step), first, last)},{up(float(share))}" for step, share in zip(steps, shares, strict=True))
    scale = ", logarithmic" if logarithmic else ""
    text = (
        f"{title}: from {values[0]:.3g} after step {steps[0]} to {values[-1]:.3g} after step {steps[-1]}; "
        f"the drawing spans {values.min():.3g} to {values.max():.3g}{scale}."
    )
    few = [Tick(across(n, first, last), str(n)) for n in range(int(first), int(last) + 1)]
    return Chart(title, text, few if len(few) <= FEW else ticks(first, last), curves=(Curve("restored", points),))


def distribution(title: str, values: Sequence[tuple[str, float]], flagged: frozenset[str], limits: Sequence[float] = ()) -> Chart:
    """How a figure is distributed over a cohort.

    Args:
        title: of the figure.
        values: key and value of each scan; at least one.
        flagged: keys of the scans that failed this very check.
        limits: thresholds, drawn as lines.
    """
    numbers = np.array([value for _, value in values])
    low, high = _range([*numbers.tolist(), *limits], limits)
    bins = np.clip(((numbers - low) / (high - low) * BARS).astype(int), 0, BARS - 1)
    blocks = (
        _blocks(values, bins, flagged) if len(values) <= EACH else _bars(numbers, bins, [key in flagged for key, _ in values])
    )
    text = (
        f"{title}: {len(values)} scans from {numbers.min():.3g} to {numbers.max():.3g}, median {np.median(numbers):.3g}; "
        f"{sum(key in flagged for key, _ in values)} beyond the threshold."
    )
    marks = tuple(across(limit, low, high) for limit in limits)
    return Chart(title, text, ticks(low, high), blocks=tuple(blocks), limits=marks)


def _range(numbers: Sequence[float], limits: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis, so that the last of the limits lies between two bins."""
    low, high = min(numbers), max(numbers)
    gap = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, width = low - gap, (high - low + 2 * gap) / (BARS - 1)
    low -= width - (limits[-1] - low) % width if limits else 0.0
    return low, low + BARS * width


def _blocks(values: Sequence[tuple[str, float]], bins: np.ndarray, flagged: frozenset[str]) -> list[Block]:
    """A block a scan, stacked in its bin."""
    width = (WIDTH - LEFT - RIGHT) / BARS
    height = min(14.0, (HEIGHT - BOTTOM - TOP) / int(np.bincount(bins).max()))
    stacked: dict[int, int] = {}
    blocks = []
    for (key, value), at in zip(values, bins.tolist(), strict=True):
        stacked[at] = stacked.get(at, 0) + 1
        y = HEIGHT - BOTTOM - stacked[at] * height
        blocks.append(
            Block(round(LEFT + at * width, 1), round(y, 1), width - 1, height - 1, f"{key}: {value:.3g}", key in flagged)
        )
    return blocks


def _bars(numbers: np.ndarray, bins: np.ndarray, flagged: Sequence[bool]) -> list[Block]:
    """A bar a bin; one that holds a flagged scan is marked."""
    width = (WIDTH - LEFT - RIGHT) / BARS
    counts = np.bincount(bins, minlength=BARS)
    marked = set(bins[np.array(flagged, dtype=bool)].tolist())
    blocks = []
    for at in np.flatnonzero(counts).tolist():
        y = up(counts[at] / counts.max())
        inside = numbers[bins == at]
        text = f"{counts[at]} scans, {inside.min():.3g} to {inside.max():.3g}"
        blocks.append(Block(round(LEFT + at * width, 1), y, width - 1, round(HEIGHT - BOTTOM - y, 1), text, at in marked))
    return blocks
