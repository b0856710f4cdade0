"""Features in which a restored scan ought to be like the measured one: gradients at several scales, or LPIPS.

The measured slices alone count. Features are taken within them: across thick slices there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

if TYPE_CHECKING:
    from typing import Protocol

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


Kind = Literal["gradients", "lpips", "none"]

SCALES = 3  # of which each has half the resolution of that before
CHUNK = 8  # slices at a time through LPIPS


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
        rest, mask = avg_pool2d(rest, 2), -torch.nn.functional.max_pool2d(-mask, 2)
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
    return lambda image, other: network.net(image, other, normalize=True).mean()


def features_of(kind: Kind, fill: float) -> Features | None:
    """The features of a setting; None for none.

    Raises:
        IsovoxError: lpips-missing.
    """
    if kind == "none":
        return None
    return gradients if kind == "gradients" else Lpips(fill=fill)
