"""A model of MONAI's UNet for tests."""

from __future__ import annotations

from core.models.mock import write_mock
from core.networks.preset import Preset

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}


def write(folder: str, method: str) -> None:  # noqa: ARG001 - one method
    """Write a tiny model with random weights."""
    write_mock(folder, Preset("UNet", UNET, 16, 16), residual=True, slices_last=False)
