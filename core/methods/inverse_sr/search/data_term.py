"""What scans say of an image: each is seen through its operator, scaled to the scan's intensities, and held against it.

    image x --A--> A x --gain, offset--> seen      loss = mean |seen - y| over what was measured + weight * distance of features

Gain and offset are the least-squares line through the voxels that count, found anew for each image; no gradient passes through
them. Losses of several scans of a person add, and so do their gradients.

Features in which a restored scan ought to be like the measured one are gradients at several scales, or LPIPS. The measured slices
alone count, and features are taken within them: across thick slices there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from core.errors import RestorationError
from core.geometry.grid import Array, Grid
from core.operators.autograd import as_torch
from core.operators.linear import Kept, LinearOperator

Norm = Literal["l1", "l2"]
Kind = Literal["gradients", "lpips", "none"]

STEEPEST = 4.0  # gain at most, and one over it at least: a bad image is not made to fit by making it flat
FEWEST = 32  # voxels that a scan must have in the frame of the prior
SCALES = 3  # of which each has half the resolution of that before
CHUNK = 8  # slices at a time through LPIPS


@dataclass(frozen=True, eq=False)
class Observation:
    """A scan as the search knows it, in units of the prior: 0 is its darkest value, 1 its 99.9th percentile.

    Attributes:
        operator: A, from images on the prior's grid.
        values: float32 or float64 (x, y, z).
        kept: True where a voxel was measured and lies in the frame of the prior.
        axis: across the slices.
        low, span: of the scan's own unit: ``low + span * values``.
    """

    operator: LinearOperator
    values: Array
    kept: Kept
    axis: int
    low: float = 0.0
    span: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scan that tells nothing.

        Raises:
            RestorationError: outside-prior.
        """
        if (count := int(np.count_nonzero(self.kept))) < FEWEST:
            wanted, got = f"at least {FEWEST} measured voxels in the frame of the prior", str(count)
            raise RestorationError("outside-prior", wanted, got, "look at the scan's header, or choose another method")


Line = tuple[float, float]  # gain and offset


def line_through(seen: Array, values: Array, kept: Kept) -> Line:
    """Gain and offset of the least-squares line from ``seen`` to ``values`` over the voxels that count; see ``STEEPEST``."""
    x, y = seen[kept].astype(np.float64), values[kept].astype(np.float64)
    mean_x, mean_y = float(x.mean()), float(y.mean())
    variance = float(np.square(x - mean_x).mean())
    gain = float(((x - mean_x) * (y - mean_y)).mean()) / variance if variance > 0 else 1.0
    gain = min(max(gain, 1 / STEEPEST), STEEPEST)
    return gain, mean_y - gain * mean_x


@dataclass(frozen=True, eq=False)
class Terms:
    """The losses of an image.

    Attributes:
        pixels: mean absolute (or squared) difference, summed over the scans.
        features: distance of features, likewise; None where none are looked at.
        lines: gain and offset of each scan.
    """

    pixels: Tensor
    features: Tensor | None
    lines: list[Line]


class Features(Protocol):
    """How far apart two scans are in some features."""

    def __call__(self, seen: Tensor, measured: Tensor, kept: Tensor, axis: int) -> Tensor:
        """A distance, 0 where equal.

        Args:
            seen: what would be measured of the restored image, (x, y, z), about 0 to 1.
            measured: likewise.
            kept: 1 where voxels count, 0 elsewhere.
            axis: across the slices.
        """


@dataclass(frozen=True, eq=False)
class DataTerm:
    """Scans that explain one image.

    Attributes:
        observations: at least one.
        features: beside the voxels' differences; None for none.
        norm: of the voxels' differences.
        fitted: whether gain and offset are found; else they are 1 and 0.
    """

    observations: Sequence[Observation]
    features: Features | None = None
    norm: Norm = "l1"
    fitted: bool = True

    def __call__(self, image: Tensor) -> Terms:
        """The losses of an image (x, y, z) on the prior's grid."""
        pixels, features, lines = image.new_zeros(()), image.new_zeros(()), []
        for observation in self.observations:
            seen, measured = as_torch(observation.operator)(image), torch.from_numpy(observation.kept).to(image)
            values = torch.from_numpy(observation.values).to(image)
            line = self.line(seen.detach().cpu().numpy(), observation)
            seen = seen * line[0] + line[1]
            rest = (seen - values) * measured
            pixels = pixels + (rest.abs() if self.norm == "l1" else rest.square()).sum() / measured.sum()
            if self.features is not None:
                features = features + self.features(seen, values, measured, observation.axis)
            lines.append(line)
        return Terms(pixels, None if self.features is None else features, lines)

    def line(self, seen: Array, observation: Observation) -> Line:
        """Gain and offset of a scan, of what would be measured of an image."""
        return line_through(seen, observation.values, observation.kept) if self.fitted else (1.0, 0.0)

    def lines(self, image: Array) -> list[Line]:
        """Gain and offset of each scan, for an image on the prior's grid."""
        return [self.line(observation.operator.forward(image), observation) for observation in self.observations]


Objective = Callable[[Tensor], Terms]


def slice_axis(grid: Grid) -> int:
    """The axis across a scan's slices; the last where its voxels are cubes."""
    return 2 if grid.slice_axis is None else grid.slice_axis


# -- features --------------------------------------------------------------------------------------------------------------------


def gradients(seen: Tensor, measured: Tensor, kept: Tensor, axis: int) -> Tensor:
    """Mean absolute difference of the gradients within the slices, at three scales; see ``Features``.

    A gradient counts where both of its voxels do. As gradients are linear, those of the difference are looked at.
    """
    rest = (_slices(seen, axis) - _slices(measured, axis)) * (mask := _slices(kept, axis))
    total = rest.new_zeros(())
    for _ in range(SCALES):
        total = total + _mean_gradient(rest, mask)
        if min(rest.shape[-2:]) < 4:
            break
        rest, mask = avg_pool2d(rest, 2), -max_pool2d(-mask, 2)
    return total


def _slices(image: Tensor, axis: int) -> Tensor:
    """(slices, 1, height, width)."""
    return image.movedim(axis, 0)[:, None]


def _mean_gradient(rest: Tensor, kept: Tensor) -> Tensor:
    total, count = rest.new_zeros(()), 0.0
    for axis in (-2, -1):
        n = rest.shape[axis] - 1
        both = kept.narrow(axis, 0, n) * kept.narrow(axis, 1, n)
        total = total + (rest.diff(dim=axis) * both).abs().sum()
        count = count + float(both.sum())
    return total / max(count, 1.0)


class Lpips:
    """LPIPS of the slices, voxels that do not count filled with one value on both sides (the authors: 1, white).

    Args:
        network: takes two (n, 3, height, width) tensors in 0..1; by default that of ``core.evaluation.metrics.perceptual``.
        fill: value.

    Raises:
        IsovoxError: lpips-missing.
    """

    def __init__(self, network: Callable[[Any, Any], Any] | None = None, fill: float = 1.0) -> None:
        self._network, self._fill = network or _network(), fill

    def __call__(self, seen: Tensor, measured: Tensor, kept: Tensor, axis: int) -> Tensor:
        """The mean over the slices; see ``Features``."""
        pair = [_slices(image * kept + self._fill * (1 - kept), axis).expand(-1, 3, -1, -1) for image in (seen, measured)]
        parts = [
            len(part) * self._network(part, other)
            for part, other in zip(*(torch.split(image, CHUNK) for image in pair), strict=True)
        ]
        total: Tensor = torch.stack(parts).sum() / len(pair[0])
        return total


@lru_cache(maxsize=1)
def _network() -> Callable[[Any, Any], Any]:
    from core.evaluation.metrics.perceptual import vgg

    network: Any = vgg()
    return lambda image, other: network.to(image.device).net(image, other, normalize=True).mean()


def features_of(kind: Kind, fill: float) -> Features | None:
    """The features of a setting; None for none.

    Raises:
        IsovoxError: lpips-missing.
    """
    if kind == "none":
        return None
    return gradients if kind == "gradients" else Lpips(fill=fill)
