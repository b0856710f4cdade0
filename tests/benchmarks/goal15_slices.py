"""Goal 15: a 2-D network over the slices of a volume, against MONAI's ``SliceInferer`` with the same network.

Ours takes whole planes, padded to what the network needs, one at a time on a CPU. MONAI's takes windows: of 64 x 64 with its
usual overlap, or, where asked, of a whole plane, which leaves the same work to the network and what is around it to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.engine.restore import Source, restore_scan
from core.geometry.grid import Array, Grid
from core.methods.base import Measured
from core.methods.slicewise import Slice, SliceMethod, padded
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats
from tests.benchmarks.harness import Row, faster, in_turns, share, tell

SHAPE, WINDOW, MULTIPLE, ROUNDS, TIMES = (128, 160, 64), (64, 64), 4, 3, 1.3


def unet() -> nn.Module:
    """MONAI's 2-D U-Net of 16, 32 and 64 channels, with random weights."""
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(2, 1, 1, (16, 32, 64), (2, 2), num_res_units=1).eval()


class Sliced(SliceMethod):
    """A network along one axis."""

    name: ClassVar[str] = "sliced"

    def __init__(self, network: nn.Module, axis: int) -> None:
        super().__init__()
        self.network, self.axis = padded(network, MULTIPLE), axis

    def axes(self, source: Grid) -> tuple[int, ...]:  # noqa: ARG002
        """The one axis."""
        return (self.axis,)

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002
        """The network's output."""
        return self.network(planes)


def ours(method: Sliced, measured: Measured) -> Array:
    """Slab by slab through the engine."""
    tiling = method.tiling(measured.grid, measured.grid, TilingSettings())
    ((_, (array,)),) = restore_scan(method, [Source.in_memory(measured)], measured.grid, tiling, SHAPE[2])
    return array


def monai(network: nn.Module, axis: int, image: Array, window: Sequence[int]) -> Array:
    """MONAI's inferer."""
    from monai.inferers import SliceInferer

    inferer = SliceInferer(axis, window, 1)
    with torch.no_grad():
        made = inferer(torch.from_numpy(image)[None, None], network)
    assert isinstance(made, Tensor)
    return made.numpy()[0, 0]


def against(network: nn.Module, axis: int, measured: Measured, window: Sequence[int]) -> tuple[float, float]:
    """CPU seconds of both sides along an axis."""
    method, image = Sliced(network, axis), measured.image
    mine, peer = in_turns([lambda: ours(method, measured), lambda: monai(network, axis, image, window)], ROUNDS)
    return mine, peer


def rows() -> list[Row]:
    """Against windows, and against whole planes, where the network has the same work on both sides."""
    network, what = unet(), f"MONAI SliceInferer: {SHAPE} in axial slices"
    image, plane = np.random.default_rng(0).gamma(2, 50, SHAPE).astype(np.float32), SHAPE[:2]
    measured = Measured(image, Grid(SHAPE, np.eye(4)), scan_stats(image), SliceProfile())
    np.testing.assert_allclose(ours(Sliced(network, 2), measured), monai(network, 2, image, plane), rtol=1e-3, atol=1e-3)
    return [
        faster(15, f"{what}, windows of {WINDOW}, seconds", *against(network, 2, measured, WINDOW), TIMES),
        share(15, f"{what}, windows of a plane, seconds", *against(network, 2, measured, plane), 1.1),
    ]


if __name__ == "__main__":
    tell(rows())
