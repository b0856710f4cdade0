"""How far a restored scan can be trusted: what it says of the measured scan, voxel by voxel, against the noise.

The restored image x, seen again through the acquisition A, ought to be the measured scan y up to its noise:

    A x - y            /noise SD: the consistency map and its RMS             anything that was not measured
    mean over 12 mm    /foreground mean: largest anywhere                     a lesion planted, erased or inflated
    fit by -grad y     displacement in mm                                     a shift, half a voxel of it
    mean(A x)/mean(y)  gain                                                   a scaling

Beside these: finite values, the measured range, the volume of head or brain, gradients at the faces of tiles; and, where cubic
interpolation is at hand, how A x - y and the image's detail compare with its (``core.engine.against_cubic``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from core.engine.against_cubic import (
    AS_MADE,
    REPAIRED,
    Again,
    detail_ratios,
    grey_levels,
    repeated_planes,
    residual_ratios,
    stripes,
)
from core.engine.consistency import explained_again, explained_by_repair, left_by_repair
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.geometry.tiles import Tiling
from core.methods.base import Measured
from core.methods.shown import without_masked
from core.operators.linear import Kept, Separable
from core.settings.run import QualityThresholds
from core.stats import foreground_threshold, head_threshold

LOCAL_MM = 12.0  # edge of the cubes over which A x - y is averaged
NEIGHBOURS = 3  # planes on either side with which a tile's face is compared
LEAST_SEAM = 0.7  # averages of overlapping tiles are smoother by less; a plane that was repeated at a face gives 0.5
EDGE = 1e-3  # voxels: what is rounding, at the edge of the field of view
THIN = 16  # planes that are looked at together where whole volumes would take memory
PERIOD = 8  # measured voxels, at most, after which target planes are again in phase with the measured ones

Problem = tuple[str, str]
NO_HEAD: Problem = ("no-head", "no voxel of the measured scan is above 0: there is no head to hold the restored one against")


def brief(value: float) -> str:
    """A number to three digits, all of it from 1000 on, and nothing finer than a thousandth."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(float(f'{value:.3g}'), 3) + 0.0:g}"


@dataclass(frozen=True)
class Check:
    """A figure that is held against a threshold.

    Attributes:
        figure: name in ``Quality.figures``.
        threshold: name of the setting in ``QualityThresholds``.
        title: what it is, for tables and reasons.
        unit: in which it is told; "%" for a ratio that is told in percent, "" for one that is not.
    """

    figure: str
    threshold: str
    title: str
    unit: str = ""

    def tell(self, value: float) -> str:
        """A value of the figure with its unit, to three digits, and no finer than a thousandth."""
        return f"{brief(value * 100)} %" if self.unit == "%" else f"{brief(value)} {self.unit}".rstrip()


CHECKS = (
    Check("consistency", "max_consistency", "consistency with the measured scan", "noise SD"),
    Check("local", "max_local", "largest local difference", "%"),
    Check("shift", "max_shift", "shift against the measured scan", "mm"),
    Check("gain_error", "max_gain_error", "error of the gain", "%"),
    Check("overshoot", "max_overshoot", "values beyond the measured range", "%"),
    Check("seam", "max_seam", "gradient across tile faces, relative to elsewhere"),
    Check("volume_change", "max_volume_change", "change of the volume of head or brain", "%"),
    Check("consistency_ratio", "max_consistency_ratio", "consistency relative to cubic interpolation's"),
    Check("slice_ratio", "max_slice_ratio", "consistency of a slice relative to cubic interpolation's"),
    Check("cluster_ratio", "max_cluster_ratio", "largest cluster of differences relative to cubic interpolation's"),
    Check("again_ratio", "max_again_ratio", "what a second repair would change, relative to cubic interpolation's"),
    Check("spot_ratio", "max_spot_ratio", "largest spot that a second repair would change, relative to cubic interpolation's"),
    Check("blur", "max_blur", "detail within the slices: cubic interpolation over restored"),
    Check("grain", "max_grain", "detail within the slices over cubic interpolation's, relative to what sharp anatomy would show"),
    Check(
        "across", "max_across", "detail across the slices over cubic interpolation's, relative to what sharp anatomy would show"
    ),
    Check("stripes", "max_stripes", "planes brighter and darker in turn", "%"),
    Check("repeated", "max_repeated", "difference of neighbouring planes: usual over least"),
    Check("levels", "max_levels", "grey levels of the measured scan relative to the restored one's"),
)


@dataclass(frozen=True)
class Quality:
    """What was found.

    Attributes:
        figures: by name, all finite.
        consistency_map: float32 on the measured grid, (A x - y) in standard deviations of the noise.
        problems: (code, one-line reason) for each check that failed; codes are the figures' names, "non-finite" and "no-head".
    """

    figures: dict[str, float]
    consistency_map: Array
    problems: list[Problem]


@dataclass(frozen=True)
class Baseline:
    """Cubic interpolation of the scan, that a restored one is held against.

    Attributes:
        image: float32, on the target grid; as interpolated.
        repaired: whether the restored scan was, so that cubic interpolation counts as if it were too.
        fused: whether other scans told of the image too: they add detail that this one lacks, which is then not compared.
    """

    image: Array
    repaired: bool
    fused: bool = False


def assess(
    measured: Measured,
    restored: Array,
    target: Grid,
    tiling: Tiling,
    thresholds: QualityThresholds,
    cubic: Baseline | None = None,
) -> Quality:
    """Assess a restored scan against the measured one.

    Args:
        measured: the scan that was restored; in its mask, where it has one, nothing is held against it, and no value counts.
        restored: float32 (x, y, z) on ``target``; voxels that are not finite are counted, and taken as 0 elsewhere.
        target: its grid, parallel to the measured one.
        tiling: how the work was cut, for the seam score.
        thresholds: from which a scan is flagged.
        cubic: where the restored scan has the measured one's contrast; None leaves out the figures relative to it.

    Returns:
        figures, map and problems.
    """
    if measured.mask is not None and measured.mask.any():
        measured = without_masked(measured)
        cubic = cubic and replace(cubic, image=interpolate(measured.image, measured.grid, target, 3))
    bad = restored.size - int(np.count_nonzero(np.isfinite(restored)))
    image = restored if bad == 0 else np.nan_to_num(restored, nan=0.0, posinf=0.0, neginf=0.0)
    operator = measured.operator(target)
    again = operator.forward(image)
    held = measured if measured.mask is None else replace(measured, image=np.where(measured.mask, np.float32(0), measured.image))
    seen = _seen(target, measured.grid)  # outside nothing was restored
    residual = np.where(seen, again - held.image, np.float32(0))
    figures = {"non_finite": float(bad), "noise_sd": measured.stats.noise_sd}
    figures |= _consistency(held, again, residual)
    figures |= _volume(measured, image, target)
    figures |= {"overshoot": _overshoot(measured, image), "seam": seam_score(image, target, measured, tiling)}
    if cubic is not None:
        plain = np.where(seen, operator.forward(cubic.image) - held.image, np.float32(0))
        figures |= _against_cubic(held, image, residual, plain, target, cubic)
        figures |= {} if cubic.fused else _detail(held, image, cubic.image)
    problems = [NO_HEAD] * bool(measured.image.max() <= 0 and measured.image.any()) + _problems(figures, thresholds)
    return Quality(figures, np.divide(residual, measured.stats.noise_sd, dtype=np.float32), problems)


def limit_of(check: Check, figures: Mapping[str, float], thresholds: QualityThresholds) -> float:
    """From which magnitude of a figure a scan is flagged.

    Args:
        check: of the figure.
        figures: of the scan; a local difference may be so much larger than cubic interpolation's as a cluster may, since beside
            bright fluid even good interpolation leaves more than the threshold.
        thresholds: as set.
    """
    allowed: float = getattr(thresholds, check.threshold)
    return max(allowed, thresholds.max_cluster_ratio * figures.get("local_cubic", 0.0)) if check.figure == "local" else allowed


def _problems(figures: dict[str, float], thresholds: QualityThresholds) -> list[Problem]:
    problems = [("non-finite", f"{figures['non_finite']:.0f} voxels are not finite")] if figures["non_finite"] else []
    for check in CHECKS:
        if check.figure not in figures:
            continue
        value, allowed = figures[check.figure], limit_of(check, figures, thresholds)
        if check.figure == "seam" and value < LEAST_SEAM:
            problems.append(("seam", f"{check.title} is {check.tell(value)} (at least {check.tell(LEAST_SEAM)})"))
        if abs(value) > allowed:
            reason = f"{check.title} is {check.tell(value)} (at most {check.tell(allowed)})"
            problems.append((check.figure.replace("_", "-"), reason))
    return problems


def _consistency(measured: Measured, again: Array, residual: Array) -> dict[str, float]:
    """Figures of A x - y: over the head of either, in cubes, as a displacement and as a gain."""
    threshold = head_threshold(measured.image, measured.stats)
    inside = (measured.image > threshold) | (again > threshold)
    squares = float(np.mean(np.square(residual[inside], dtype=np.float64))) if inside.any() else 0.0
    return {
        "consistency": squares**0.5 / measured.stats.noise_sd,
        "local": _local(residual, measured.grid) / (measured.stats.foreground_mean or 1.0),
        "shift": _shift(measured.image, residual, inside, measured.grid),
        "gain_error": _gain_error(measured.image, residual),
    }


def _against_cubic(
    measured: Measured, restored: Array, residual: Array, plain: Array, target: Grid, cubic: Baseline
) -> dict[str, float]:
    """Figures of A x - y relative to cubic interpolation's."""
    image, stats = measured.image, measured.stats
    inside = (image > head_threshold(image, stats)) | (image + residual > head_threshold(image, stats))
    before, again = plain, None
    if cubic.repaired:
        before = left_by_repair(plain, target, measured)
    # The repairs of several scans undo each other's in part; of turned scans, and beside masks, they are no closed form.
    if cubic.repaired and not cubic.fused and isinstance(measured.operator(target), Separable):
        ours = explained_again(restored, residual, target, measured)
        again = Again(ours, explained_by_repair(before, target, measured))
    floors = REPAIRED if cubic.repaired else AS_MADE
    ratios = residual_ratios(residual, before, image, inside, measured.grid, stats.noise_sd, floors, again)
    return ratios | {"local_cubic": _local(before, measured.grid) / (stats.foreground_mean or 1.0)}


def usual_detail(name: str, factor: float) -> float:
    """How much more detail than cubic interpolation a sharp head has; what is restored well must not be flagged for it.

    Of T1w, T2w and FLAIR in slices 2 to 8 voxels thick the truth has, within the slices, 1.14 to 1.27 times the detail at 2 and
    1.8 to 2.4 times at 8; across them 1.6 to 2.4 times at 2, 3.3 to 7.3 at 4 and 9 to 22 at 8.

    Args:
        name: "grain" or "across".
        factor: restored voxels a slice.
    """
    return max(1.0, math.sqrt(factor / 2) if name == "grain" else factor**2 / 5)


def _detail(measured: Measured, image: Array, cubic: Array) -> dict[str, float]:
    """Figures of the image's detail relative to cubic interpolation's."""
    axis, repeated, turns = measured.grid.slice_axis, 1.0, 0.0
    factor = 1.0 if axis is None else image.shape[axis] / measured.image.shape[axis]
    if axis is not None:
        ends, shown = math.ceil(factor), _shown(measured, axis, factor)
        repeated = repeated_planes(image[shown], cubic[shown], axis, ends)
        turns = stripes(image[shown], axis, ends) if factor > 1 else 0.0
    ratios = detail_ratios(image, cubic, axis, measured.stats.noise_sd)
    ratios |= {name: ratios[name] / usual_detail(name, factor) for name in ("grain", "across") if name in ratios}
    return ratios | {"stripes": turns, "repeated": repeated, "levels": grey_levels(image, measured.image)}


def _shown(measured: Measured, axis: int, factor: float) -> tuple[slice, ...]:
    """The planes without those of black slices at either end, beside which every restoration rings.

    Args:
        measured: the scan.
        axis: across its slices.
        factor: restored planes a slice.
    """
    others = tuple(at for at in range(3) if at != axis)
    full = np.flatnonzero((measured.image > head_threshold(measured.image, measured.stats)).any(others))
    first, last = (int(full[0]), int(full[-1]) + 1) if full.size else (0, measured.image.shape[axis])
    return tuple(slice(math.ceil(first * factor), math.floor(last * factor)) if at == axis else slice(None) for at in range(3))


def _gain_error(image: Array, residual: Array) -> float:
    """Relative change of the mean; of a scan whose mean is not positive (z-scores) of that of its bright voxels."""
    if image.mean(dtype=np.float64) <= 0:
        bright = image > foreground_threshold(image)
        image, residual = image[bright], residual[bright]
    mean = float(image.mean(dtype=np.float64)) if image.size else 0.0
    return float(residual.mean(dtype=np.float64)) / mean if mean > 0 else 0.0


def _local(residual: Array, grid: Grid) -> float:
    """The largest mean of ``residual`` over cubes of 12 mm, or what of them lies in the scan, by its magnitude."""
    from scipy.ndimage import uniform_filter

    size = [max(1, round(LOCAL_MM / step)) for step in grid.spacing]
    lines = [
        uniform_filter(np.ones(n, np.float32), width, mode="constant") for n, width in zip(residual.shape, size, strict=True)
    ]
    within = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    return float(np.abs(uniform_filter(residual, size, mode="constant") / within).max())


def _shift(image: Array, residual: Array, inside: Kept, grid: Grid) -> float:
    """Length in mm of the displacement d that explains the residual best: A x - y = -grad(y) d + g y, by least squares."""
    axes = [axis for axis in range(3) if image.shape[axis] > 1]
    slopes = [np.gradient(image, grid.spacing[axis], axis=axis)[inside] for axis in axes]
    terms = np.stack([image[inside], *slopes])
    products = np.array([[np.dot(a, b) for b in terms] for a in terms], dtype=np.float64)
    right = np.array([np.dot(a, residual[inside]) for a in terms], dtype=np.float64)
    return float(np.linalg.norm(np.linalg.lstsq(products, right, rcond=None)[0][1:]))


def _volume(measured: Measured, image: Array, target: Grid) -> dict[str, float]:
    """Volume of the head in mm^3, and its change; within the measured field of view.

    Its surface lies where the measured scan has half the median of the head: at any other level thick slices move it.
    """
    head = measured.image[measured.image > head_threshold(measured.image, measured.stats)]
    threshold = float(np.median(head)) / 2 if head.size else 0.0
    before = np.count_nonzero(measured.image > threshold) * float(np.prod(measured.grid.spacing))
    parts = (Box((x, 0, 0), (min(x + THIN, image.shape[0]), *image.shape[1:])) for x in range(0, image.shape[0], THIN))
    inside = sum(np.count_nonzero((image[box.slices] > threshold) & _seen(measured.grid, target.crop(box))) for box in parts)
    after = inside * float(np.prod(target.spacing))
    return {"volume_mm3": after, "measured_volume_mm3": before, "volume_change": float(after / before - 1) if before else 0.0}


def _seen(source: Grid, target: Grid) -> Kept:
    """The voxels of ``target`` whose centres lie in the field of view of ``source``."""
    move = np.linalg.solve(source.affine, target.affine)
    inside = np.ones((1, 1, 1), dtype=np.bool_)
    for n, (*steps, first) in zip(source.shape, move[:3], strict=True):
        lines = (np.arange(m) * step for m, step in zip(target.shape, steps, strict=True))
        places = first + sum(
            np.expand_dims(line, tuple({0, 1, 2} - {axis})) for axis, line in enumerate(lines) if np.ptp(line) > EDGE
        )
        inside = inside & (places > -0.5 - EDGE) & (places < n - 0.5 + EDGE)
    return inside


def _overshoot(measured: Measured, image: Array) -> float:
    """How far the image leaves the measured range, relative to that range; 0 within."""
    stats = measured.stats
    beyond = max(float(image.max()) - stats.maximum, stats.minimum - float(image.min()), 0.0)
    return beyond / ((stats.maximum - stats.minimum) or 1.0)


def seam_score(image: Array, target: Grid, measured: Measured, tiling: Tiling) -> float:
    """Mean absolute gradient across the faces of tiles, relative to elsewhere.

    Anatomy has edges of its own, so every gradient is taken relative to the measured scan's at the same place. Gradients of
    interpolated scans moreover have the period of the measured slices, so a face is compared with planes in the same
    phase: whole periods away, on either side.

    Args:
        image: on ``target``.
        target: its grid.
        measured: the scan that was restored, on a grid parallel to ``target`` where there are several tiles.
        tiling: whose inner faces (of reading and writing) are looked at.

    Returns:
        about 1 where there is no seam; 1 for a single tile.

    Raises:
        GridError: several tiles of a grid that is turned against the measured one.
    """
    if len(tiling) == 1:
        return 1.0
    at, expected = 0.0, 0.0
    for axis, (scale, _) in enumerate(target.index_map(measured.grid)):
        for face, others in _faces(tiling, axis, _period(scale)):
            here, *there = (_measured_gradient(measured, target, axis, plane) for plane in (face, *others))
            if here > 0 and sum(there) > 0:
                at += _gradient(image, axis, face)
                expected += here * sum(_gradient(image, axis, plane) for plane in others) / sum(there)
    return at / expected if expected > 0 else 1.0


def _measured_gradient(measured: Measured, target: Grid, axis: int, face: int) -> float:
    """Mean absolute difference between the measured planes on either side of a face of the target grid."""
    scale, offset = measured.grid.index_map(target)[axis]
    above = math.floor(scale * (face - 0.5) + offset) + 1
    return _gradient(measured.image, axis, above) if 0 < above < measured.image.shape[axis] else 0.0


def _period(scale: float) -> int:
    """Target voxels after which target planes lie alike to the measured ones (of size ``scale``), nearly."""
    return max(1, Fraction(scale).limit_denominator(PERIOD).numerator)


def _faces(tiling: Tiling, axis: int, period: int) -> Iterator[tuple[int, list[int]]]:
    """Each inner face of an axis (n: between voxels n - 1 and n), and those near by that are no tile's face."""
    n = tiling.shape[axis]
    ends = {
        end
        for interval in tiling.axes[axis]
        for end in (interval.read_start, interval.read_stop, interval.write_start, interval.write_stop)
    }
    for face in sorted(ends - {0, n}):
        steps = [face + sign * k * period for k in range(1, NEIGHBOURS + 1) for sign in (-1, 1)]
        if others := [step for step in steps if 0 < step < n and step not in ends]:
            yield face, others


def _gradient(image: Array, axis: int, face: int) -> float:
    """Mean absolute difference across a plane between voxels."""
    before, after = (np.take(image, at, axis=axis) for at in (face - 1, face))
    return float(np.abs(after - before).mean(dtype=np.float64))
