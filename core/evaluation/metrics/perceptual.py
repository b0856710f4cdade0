"""LPIPS (Zhang et al. 2018): how far apart two images are in the features of a network trained on photographs.

As Kim et al. 2023 report it: torchmetrics with VGG-16, over slices of a volume, each scaled to 0..1 by its own extremes.
It needs torchmetrics, torchvision and VGG's weights, which torchvision fetches once; none of them comes with isovox.
Where one is not to be had, that is said; no other figure takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import IsovoxError
from core.evaluation.metrics.restoration import minmax
from core.geometry.grid import Array

if TYPE_CHECKING:
    from collections.abc import Callable

SLICES = 8
STEP = 10  # voxels between slices; less in volumes under 160 voxels
REMEDY = "install them (pip install torchmetrics torchvision), and let torchvision fetch VGG-16 once"


def lpips_slices(image: Array) -> Array:
    """The slices that are compared: eight across axis 1, every tenth from 40 before the middle, each scaled to 0..1.

    Args:
        image: (x, y, z), or one slice, (x, y), which is then compared alone.

    Returns:
        float32 (8, 3, x, z) or (1, 3, x, y), the three channels alike.
    """
    if image.ndim == 2:
        return np.repeat(minmax(image)[None, None], 3, axis=1)
    n = image.shape[1]
    step = max(1, min(STEP, n // (2 * SLICES)))
    at = np.clip(n // 2 + step * (np.arange(SLICES) - SLICES // 2), 0, n - 1)
    slices = np.stack([minmax(image[:, index]) for index in at])
    return np.repeat(slices[:, None], 3, axis=1)


class Lpips:
    """LPIPS of volumes, and of single slices.

    Args:
        network: takes two (n, 3, height, width) tensors in 0..1 and gives one figure; by default torchmetrics' with VGG-16.

    Raises:
        IsovoxError: lpips-missing, where a package or the weights are not to be had.
    """

    def __init__(self, network: Callable[[Any, Any], Any] | None = None) -> None:
        self._network = vgg() if network is None else network

    def __call__(self, image: Array, truth: Array) -> float:
        """The distance of two volumes, or of two slices, of one shape, 0 where equal; less is better."""
        import torch

        with torch.no_grad():
            return float(self._network(*(torch.from_numpy(lpips_slices(volume)) for volume in (image, truth))))


def vgg() -> Callable[[Any, Any], Any]:
    """LPIPS of torchmetrics with VGG-16, of two (n, 3, height, width) tensors in 0..1.

    Raises:
        IsovoxError: lpips-missing, where a package or the weights are not to be had.
    """
    try:
        import torchvision  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        network: Callable[[Any, Any], Any] = LearnedPerceptualImagePatchSimilarity(net_type="vgg", normalize=True).eval()
    except Exception as error:
        got = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise IsovoxError("lpips-missing", "torchmetrics, torchvision and VGG-16's weights for LPIPS", got, REMEDY) from error
    return network
