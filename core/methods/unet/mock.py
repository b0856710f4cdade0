"""Models of the U-Nets for tests."""

from __future__ import annotations

from core.methods.unet import presets
from core.models.mock import write_mock


def write(folder: str, method: str) -> None:
    """Write a tiny model with random weights for a method of this family."""
    size = {"unet-3d": presets.unet_tiny, "resunet-3d": presets.resunet_tiny}[method]
    write_mock(folder, size(), residual=True)
