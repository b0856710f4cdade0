"""Goal 1: what tiling and blending cost beyond the network, and what they change, against MONAI and TorchIO.

The network is the identity, with its answers ready, so that it takes no time of its own. Each side returns the whole volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle

import numpy as np
import torch

from core.geometry.blend import blend
from core.geometry.grid import Array
from core.geometry.tiles import Tiling, patches
from tests.benchmarks.harness import Row, faster, in_turns, installed, missing, share, tell, within

SHAPE, PATCH, ROUNDS = (160, 224, 160), 64, 15
AIM = 0.75


class Identity:
    """The identity network, whose answers are ready from the second time on, so that what is measured is all the rest."""

    def __init__(self) -> None:
        self._answers: list[torch.Tensor] = []
        self._ready: Iterator[torch.Tensor] | None = None

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """A new contiguous tensor, or the one that was given at this place in the order of the first time."""
        if self._ready is not None:
            return next(self._ready)
        self._answers.append(batch.clone(memory_format=torch.contiguous_format))
        return self._answers[-1]

    def fix(self) -> None:
        """From now on give the answers of the first time."""
        self._ready = cycle(self._answers)


def ours(image: Array, overlap: int, network: Identity) -> Array:
    """Our tiles, blended."""
    tiling = patches(SHAPE, PATCH, overlap, "gaussian")
    return blend(tiling, lambda tile: network(torch.from_numpy(image[tile.read.slices])).numpy())


def monai(image: Array, overlap: int, network: Identity) -> Array:
    """MONAI's sliding window over the volume."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer((PATCH,) * 3, 1, overlap / PATCH, mode="gaussian", cache_roi_weight_map=True)
    return np.asarray(inferer(torch.from_numpy(image)[None, None], network))[0, 0]


def torchio(image: Array, overlap: int, network: Identity) -> Array:
    """TorchIO's grid sampler and aggregator."""
    import torchio as tio

    sampler = tio.GridSampler(tio.Subject(scan=tio.ScalarImage(tensor=torch.from_numpy(image)[None])), PATCH, overlap)
    aggregator = tio.GridAggregator(sampler, overlap_mode="hann")
    for patch in sampler:
        aggregator.add_batch(network(patch["scan"].data[None]), patch[tio.LOCATION][None])
    return np.asarray(aggregator.get_output_tensor())[0]


def against(image: Array, overlap: int) -> list[Row]:
    """Cost and error at one overlap."""
    sides = {"ours": ours, "MONAI gaussian": monai} | ({"TorchIO hann": torchio} if installed("torchio") else {})
    networks = [Identity() for _ in sides]
    works = [partial(side, image, overlap, network) for side, network in zip(sides.values(), networks, strict=True)]
    errors = [float(np.abs(work() - image).max()) for work in works]
    for network in networks:
        network.fix()
    seconds = dict(zip(sides, in_turns(works, ROUNDS), strict=True))
    what = f"overlap {overlap}, CPU s beyond the network"
    other = missing(1, what, "torchio")
    if "TorchIO hann" in seconds:
        other = faster(1, f"{what} (TorchIO hann)", seconds["ours"], seconds["TorchIO hann"], 1)
    return [
        share(1, f"{what} (MONAI gaussian)", seconds["ours"], seconds["MONAI gaussian"], AIM),
        other,
        within(1, f"overlap {overlap}, error of identity (MONAI)", errors[0], 0, errors[1]),
    ]


def exactness() -> list[Row]:
    """Voxels that differ by a bit, for an image of noise, a constant and a ramp."""
    x, y, z = (np.arange(n, dtype=np.float32) for n in SHAPE)
    images = {
        "noise": np.random.default_rng(0).normal(size=SHAPE).astype(np.float32),
        "constant": np.full(SHAPE, 0.1, np.float32),
        "ramp": np.float32(0.3) * x[:, None, None] + np.float32(0.7) * y[:, None] + z,
    }
    tilings = [patches(SHAPE, PATCH, overlap, window) for overlap in (16, 32) for window in ("hann", "gaussian")]
    return [
        within(1, f"{name}: voxels that differ by a bit", sum(_differ(image, tiling) for tiling in tilings), 0)
        for name, image in images.items()
    ]


def _differ(image: Array, tiling: Tiling) -> int:
    found = blend(tiling, lambda tile: image[tile.read.slices])
    return int(np.count_nonzero(found.view(np.uint32) != image.view(np.uint32)))


def rows() -> list[Row]:
    """Exactness, then cost at both overlaps."""
    torch.set_num_threads(1)
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return [*exactness(), *against(image, 16), *against(image, 32)]


if __name__ == "__main__":
    tell(rows())
