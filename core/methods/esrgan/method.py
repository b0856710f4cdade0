"""ESRGAN's generator as a method."""

from __future__ import annotations

from typing import ClassVar

from core.methods.patch_network import NetworkMethod


class ESRGAN3D(NetworkMethod):
    """ESRGAN's generator (Wang et al. 2018) in three dimensions, which adds to the interpolated scan what it lacks."""

    name: ClassVar[str] = "esrgan-3d"
