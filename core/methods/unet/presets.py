"""Sizes of the U-Nets: paper (the count of parameters that Kim et al. 2023 report), small for a CPU, tiny for tests.

They do not normalise. Instance and group norm subtract the patch's own mean: the answer at a voxel would depend on where the
patch was cut, a dark patch would be amplified to the noise of a bright one, and the reach of the network would be the whole patch
rather than finite. Without them, learning what is to be added to the interpolation keeps intensities, as EDSR (Lim et al. 2017)
found.
"""

from __future__ import annotations

from core.networks.preset import Preset


def _unet(widths: list[int], units: int, patch: int) -> Preset:
    """MONAI's UNet, of plain convolutions or of residual units; its first convolution halves the grid, which spares time.

    Transposed convolutions go up: the gradient of trilinear interpolation is not deterministic on a GPU.
    """
    shape = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": widths, "strides": [2] * (len(widths) - 1)}
    return Preset("UNet", shape | {"num_res_units": units, "norm": None, "act": "LEAKYRELU"}, 2 ** (len(widths) - 1), patch)


def unet_paper() -> Preset:
    """49 million parameters."""
    return _unet([80, 160, 320, 640, 1256], 0, 32)


def unet_small() -> Preset:
    """One million parameters."""
    return _unet([48, 96, 192], 0, 32)


def unet_tiny() -> Preset:
    """For tests."""
    return _unet([8, 16, 32, 48], 0, 16)


def resunet_paper() -> Preset:
    """37 million parameters."""
    return _unet([44, 88, 176, 352, 720], 2, 32)


def resunet_small() -> Preset:
    """One million parameters."""
    return _unet([32, 64, 128], 2, 32)


def resunet_tiny() -> Preset:
    """For tests."""
    return _unet([8, 16, 32], 2, 16)
