"""A perceptual distance of slices, which goes beside errors of voxels: LPIPS, or gradients where its VGG cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from core.errors import IsovoxError

SCALES = 3  # of gradients
Distance = Callable[[Tensor, Tensor], Tensor]


def gradients_apart(image: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of slices (n, c, rows, columns), summed over three resolutions."""
    rest, total = image - truth, image.new_zeros(())
    for _ in range(SCALES):
        total = total + rest.diff(dim=2).abs().mean() + rest.diff(dim=3).abs().mean()
        if min(rest.shape[2:]) < 4:
            break
        rest = nn.functional.avg_pool2d(rest, 2)
    return total


def perceptual() -> tuple[str, Distance]:
    """The perceptual distance of slices in -1..1 and its name: LPIPS, or gradients where its VGG cannot be had."""
    from core.evaluation.metrics.perceptual import vgg

    try:
        network: Any = vgg()
    except IsovoxError:
        return "gradients at three resolutions, in place of LPIPS, whose VGG is not at hand", gradients_apart

    def lpips(image: Tensor, truth: Tensor) -> Tensor:
        shown = [((each + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1) for each in (image, truth)]
        distance: Tensor = network.to(image.device)(*shown)  # no part of the objective, and so not moved with it
        return distance

    return "LPIPS", lpips
