"""An autoencoder that a CPU can train: its convolutions work at half resolution and below, voxels are shuffled into channels.

    image --unshuffle--> 8 channels at 1/2 --blocks, stride 2, blocks--> mean and spread of the code at 1/4
    code --blocks, nearest x2, blocks--> 8 channels at 1/2 --shuffle--> image

Three quarters of the work of a decoder at full resolution lie there, so this one costs half as much at twice the channels.
Nothing is normalised over a patch: a crop is coded like the whole. The paper's own networks are MONAI's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.networks.shuffle import shuffle, unshuffle

HALF = (2, 2, 2)
MOMENTUM = 0.02  # of the statistics of codes
LOG_VARIANCE = -30.0, 20.0


class Residual(nn.Module):
    """Adds to its input two convolutions of it.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(width, width, 3, padding=1), nn.Conv3d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, width, x, y, z) to the same shape."""
        added: Tensor = self.second(nn.functional.silu(self.first(nn.functional.silu(image))))
        return image + added


class Doubled(nn.Module):
    """Twice the voxels along each axis, by the nearest, and a convolution.

    Args:
        width: channels of the input.
        to: of the output.
    """

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(width, to, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, width, x, y, z) to (n, to, 2x, 2y, 2z)."""
        mixed: Tensor = self.mix(nn.functional.interpolate(image, scale_factor=2.0, mode="nearest"))
        return mixed


class ShuffleAutoencoder(nn.Module):
    """A variational autoencoder of volumes, a quarter of their size along each axis; see the module.

    Args:
        latent: channels of a code.
        half: channels at half resolution.
        quarter: at a quarter.
        blocks: residual blocks at each of them.

    Attributes:
        latent_mean, latent_std: of each channel of the codes, as training saw them; priors work on codes that they standardise.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, latent: int, half: int, quarter: int, blocks: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv3d(8, half, 3, padding=1),
            *(Residual(half) for _ in range(blocks)),
            nn.Conv3d(half, quarter, 3, stride=2, padding=1),
            *(Residual(quarter) for _ in range(blocks)),
            nn.Conv3d(quarter, 2 * latent, 3, padding=1),
        )
        self.blocks = nn.ModuleList(
            [
                nn.Conv3d(latent, quarter, 3, padding=1),
                *(Residual(quarter) for _ in range(blocks)),
                Doubled(quarter, half),
                *(Residual(half) for _ in range(blocks)),
                nn.Conv3d(half, 8, 3, padding=1),
            ]
        )
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_std", torch.ones(latent))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the codes of images (n, 1, x, y, z) whose edges are multiples of 4."""
        mean, log_variance = self.encoder(unshuffle(image, HALF)).chunk(2, 1)
        return mean, (0.5 * log_variance.clamp(*LOG_VARIANCE)).exp()

    def decode(self, code: Tensor) -> Tensor:
        """Images (n, 1, x, y, z) of codes (n, latent, x / 4, y / 4, z / 4)."""
        for block in self.blocks:
            code = block(code)
        return self.opened(code)

    def opened(self, features: Tensor) -> Tensor:
        """The image that the last block's channels are."""
        return shuffle(features, HALF)

    def forward(self, image: Tensor) -> Tensor:
        """The decoded means."""
        return self.decode(self.encode(image)[0])

    @torch.no_grad()
    def observe(self, codes: Tensor) -> None:
        """Take codes of a training into the statistics."""
        axes, codes = [0, 2, 3, 4], codes.float()  # of any precision
        self.latent_mean.lerp_(codes.mean(axes), MOMENTUM)
        self.latent_std.lerp_(codes.std(axes), MOMENTUM)
