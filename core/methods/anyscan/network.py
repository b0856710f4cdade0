"""The network: residual blocks at half the resolution, with voxels as channels (Shi et al. 2016; Lim et al. 2017, EDSR)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.networks.shuffle import shuffle, unshuffle

CELL = (2, 2, 2)
VOXELS = 8  # of a cell
GUESS = -3.5  # logarithm of the error's scale before anything is learnt


class _Block(nn.Module):
    """Two convolutions that are added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.other = (nn.Conv3d(channels, channels, 3, padding=1) for _ in range(2))
        with torch.no_grad():
            self.other.weight.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.other(nn.functional.relu(self.one(features)))
        return features + added


class AnyScanNet(nn.Module):
    """The restored image and the error that is expected of it.

    It begins at the interpolation with its smooth correction, channels 0 and 1. Nothing is normalised, so the answer at a voxel
    depends on a bounded neighbourhood alone.

    Args:
        in_channels: of the inputs, see ``core.methods.anyscan.inputs``.
        channels: of the features.
        blocks: residual ones.
    """

    def __init__(self, in_channels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Conv3d(in_channels * VOXELS, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(blocks)))
        self.image = nn.Conv3d(channels, VOXELS, 3, padding=1)
        self.error = nn.Conv3d(channels, VOXELS, 3, padding=1)
        with torch.no_grad():
            self.image.weight.mul_(0.1)
            self.error.weight.mul_(0.1)
            if self.error.bias is not None:
                self.error.bias.fill_(GUESS)

    def forward(self, inputs: Tensor) -> Tensor:
        """The image and the logarithm of the scale of a Laplace error, (n, 2, x, y, z).

        Args:
            inputs: (n, channels, x, y, z) with even edges.
        """
        features = self.blocks(self.head(unshuffle(inputs, CELL)))
        added = shuffle(self.image(features), CELL)
        error = shuffle(self.error(features.detach()), CELL)  # what it learns of its errors does not change the image
        return torch.cat([inputs[:, :1] + inputs[:, 1:2] + added, error], 1)
