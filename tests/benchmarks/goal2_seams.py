"""Goal 2: a small convolutional network in patches against the same network on the whole volume, beside MONAI and TorchIO."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from core.geometry.blend import blend
from core.geometry.grid import Array
from core.geometry.tiles import Tiling, halo_patches, patches
from tests.benchmarks.goal1_blending import PATCH, SHAPE
from tests.benchmarks.harness import Row, installed, missing, share, tell, within

OVERLAP, REACH = 16, 3  # three convolutions of 3x3x3 see 3 voxels around
Network = Callable[[torch.Tensor], torch.Tensor]


def network() -> Network:
    """Three convolutions with random weights, zero-padded as nearly all are."""
    torch.manual_seed(0)
    conv = torch.nn.Conv3d
    relu = torch.nn.ReLU
    layers = [conv(1, 8, 3, padding=1), relu(), conv(8, 8, 3, padding=1), relu(), conv(8, 1, 3, padding=1)]
    return torch.no_grad()(torch.nn.Sequential(*layers).eval())


def ours(image: Array, net: Network, tiling: Tiling) -> Array:
    """Through our tiles."""
    return blend(tiling, lambda tile: net(torch.from_numpy(image[tile.read.slices])[None, None]).numpy()[0, 0])


def monai(image: Array, net: Network) -> Array:
    """Through MONAI's sliding window."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer((PATCH,) * 3, 1, OVERLAP / PATCH, mode="gaussian")
    return np.asarray(inferer(torch.from_numpy(image)[None, None], net))[0, 0]


def torchio(image: Array, net: Network) -> Array:
    """Through TorchIO's grid."""
    import torchio as tio

    sampler = tio.GridSampler(tio.Subject(scan=tio.ScalarImage(tensor=torch.from_numpy(image)[None])), PATCH, OVERLAP)
    aggregator = tio.GridAggregator(sampler, overlap_mode="hann")
    for patch in sampler:
        aggregator.add_batch(net(patch["scan"].data[None]), patch[tio.LOCATION][None])
    return np.asarray(aggregator.get_output_tensor())[0]


def rows() -> list[Row]:
    """Largest differences as fractions of the range, and what the halo costs."""
    torch.set_num_threads(1)
    image, net = np.random.default_rng(0).random(SHAPE, dtype=np.float32) + 1, network()
    whole = net(torch.from_numpy(image)[None, None]).numpy()[0, 0]
    halo = halo_patches(SHAPE, PATCH, REACH)

    def seam(found: Array) -> float:
        return float(np.abs(found - whole).max() / np.ptp(whole))

    hann, gaussian = (seam(ours(image, net, patches(SHAPE, PATCH, OVERLAP, window))) for window in ("hann", "gaussian"))
    what = f"overlap {OVERLAP}, largest seam / range"
    other = missing(2, what, "torchio")
    if installed("torchio"):
        other = share(2, f"{what}, hann (TorchIO hann)", hann, seam(torchio(image, net)), 1)
    redundancy = sum(float(np.prod(tile.read.shape)) for tile in halo.tiles()) / float(np.prod(SHAPE))
    return [
        share(2, f"{what}, gaussian (MONAI gaussian)", gaussian, seam(monai(image, net)), 1 / 50),
        other,
        within(2, "halo, largest seam / range", seam(ours(image, net, halo)), 1e-6),
        within(2, "halo, voxels predicted / voxels", redundancy, 1.35),
    ]


if __name__ == "__main__":
    tell(rows())
