"""3D U-Nets as methods."""

from __future__ import annotations

from typing import ClassVar

from core.methods.patch_network import NetworkMethod


class UNet3D(NetworkMethod):
    """3D U-Net that adds to the interpolated scan what it lacks (a baseline of DiffusionIQT)."""

    name: ClassVar[str] = "unet-3d"


class ResUNet3D(NetworkMethod):
    """3D U-Net of residual units, likewise."""

    name: ClassVar[str] = "resunet-3d"
