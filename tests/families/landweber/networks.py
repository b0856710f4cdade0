"""The two parts of the prior."""

from __future__ import annotations

from torch import Tensor, nn


class Features(nn.Module):
    """Features of an image, (n, 1, x, y, z) to (n, channels, x, y, z).

    Args:
        channels: how many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, channels, 3, padding=1, padding_mode="replicate")

    def forward(self, image: Tensor) -> Tensor:
        """The features."""
        features: Tensor = self.layer(image)
        return features


class Correction(nn.Module):
    """What is to be added to an image of these features, (n, channels, x, y, z) to (n, 1, x, y, z).

    Args:
        channels: how many features there are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv3d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The correction."""
        correction: Tensor = self.layer(features)
        return correction
