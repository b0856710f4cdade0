"""The network: residual blocks on cells of 2 x 2 voxels and a slice, whose voxels are channels.

After Shi et al. 2016 (voxels as channels) and Lim et al. 2017 (EDSR).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.methods.anyscan.inputs import CHANNELS, SUB
from core.networks.shuffle import shuffle, unshuffle

CELL = (2, 2, SUB)
VOXELS = 4 * SUB  # of a cell
SHOWN = 2  # channels that are images
TOLD = CHANNELS - SHOWN - 1  # channels that are the same everywhere; the third is the place in a slice, which a cell knows
GUESS = -3.5  # logarithm of the error's scale before anything is learnt
# Logarithms of the least and the largest scale of an error that a training teaches: 0.25 % of the upper value, and all of it. In
# air the scale would fall without end, and the first error there outweigh all else: without a bound near the noise a training's
# loss jumped from 0.03 to 2,380. Beside a voxel far brighter than all others it would rise without end.
SMALLEST, LARGEST = -6.0, 0.0


class _Block(nn.Module):
    """Two convolutions that are added to what came in; the second one works within the slices."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv3d(channels, channels, 3, padding=1)
        self.other = nn.Conv3d(channels, channels, (3, 3, 1), padding=(1, 1, 0))
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
        channels: of the features.
        blocks: residual ones.
        in_channels: of the inputs, see ``core.methods.anyscan.inputs``.
    """

    def __init__(self, channels: int, blocks: int, in_channels: int = CHANNELS) -> None:
        super().__init__()
        if in_channels != CHANNELS:
            raise ValueError(f"{CHANNELS} in_channels, as core.methods.anyscan.inputs has them; got {in_channels}")
        self.head = nn.Conv3d(SHOWN * VOXELS + TOLD, channels, 3, padding=1)
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
            inputs: (n, 6, x, y, z) on a grid of the slices: even x and y, and z of whole slices, 8 voxels each.

        Raises:
            GridError: edges that are not.
        """
        constant = inputs[:, SHOWN + 1 :, :: CELL[0], :: CELL[1], :: CELL[2]]
        features = self.blocks(self.head(torch.cat([unshuffle(inputs[:, :SHOWN], CELL), constant], 1)))
        added = shuffle(self.image(features), CELL)
        error = shuffle(self.error(features.detach()), CELL)  # what it learns of its errors does not change the image
        return torch.cat([inputs[:, :1] + inputs[:, 1:2] + added, error], 1)
