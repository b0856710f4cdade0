"""The network that learns from nothing but the scan: it works in planes, and its answers are averaged over planes and flips.

In a plane through the slices' axis a scan looks as its own slices do that were degraded along one axis, aliasing and all (Zhao
et al. 2021). So what the network learnt on slices it applies to the planes of both directions, flipped in four ways each.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from core.geometry.grid import Array

SHOWN = 3  # channels that differ from place to place: interpolation, correction, distance to the nearest slice
CHANNELS, BLOCKS = 48, 6
CELL = 2
AT_ONCE = 16  # planes


class _Block(nn.Module):
    """Two convolutions that are added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.second(nn.functional.relu(self.first(features)))
        return features + 0.1 * added


class PlaneNet(nn.Module):
    """Residual blocks at half the resolution (Lim et al. 2017, Shi et al. 2016); before it learns it adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(SHOWN * CELL**2, CHANNELS, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(CHANNELS) for _ in range(BLOCKS)))
        self.image = nn.Conv2d(CHANNELS, CELL**2, 3, padding=1)
        nn.init.zeros_(self.image.weight)
        if self.image.bias is not None:
            nn.init.zeros_(self.image.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """The restored plane, (n, 1, h, w).

        Args:
            inputs: (n, 3, h, w) with even edges: interpolation, its smooth correction, distance to the nearest slice's centre;
                degraded along w.
        """
        features = self.blocks(self.head(nn.functional.pixel_unshuffle(inputs, CELL)))
        return inputs[:, :1] + inputs[:, 1:2] + nn.functional.pixel_shuffle(self.image(features), CELL)


def seeded() -> PlaneNet:
    """The network with the same random weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PlaneNet()


def restored(network: nn.Module, channels: Array, axis: int, device: str) -> Array:
    """The mean of what the network makes of the planes of both directions, in all flips.

    Args:
        network: on ``device``.
        channels: (3 or more, x, y, z), see ``core.methods.anyscan.inputs``.
        axis: of the slices.
        device: of torch.

    Returns:
        float32 (x, y, z).
    """
    total = np.zeros(channels.shape[1:], np.float32)
    for across in (at for at in range(3) if at != axis):
        order = (across, next(at for at in range(3) if at not in {across, axis}), axis)
        planes = channels[:SHOWN].transpose(1 + order[0], 0, 1 + order[1], 1 + order[2])
        done = [_averaged(network, planes[at : at + AT_ONCE], device) for at in range(0, len(planes), AT_ONCE)]
        total += np.concatenate(done).transpose(np.argsort(order))
    return total / np.float32(2)


def _averaged(network: nn.Module, planes: Array, device: str) -> Array:
    """Planes (n, 3, h, w) restored, the mean over four flips; (n, h, w)."""
    _, _, h, w = planes.shape
    filled = np.pad(planes, ((0, 0), (0, 0), (0, h % CELL), (0, w % CELL)), mode="symmetric")
    shown = torch.from_numpy(np.ascontiguousarray(filled)).to(device)
    flips = [[at for at, flipped in zip((2, 3), which, strict=True) if flipped] for which in product((False, True), repeat=2)]
    with torch.no_grad():
        total = sum((network(shown.flip(axes)).flip(axes) for axes in flips), torch.zeros_like(shown[:, :1]))
    return np.asarray((total / len(flips))[:, 0, :h, :w].cpu().numpy(), np.float32)
