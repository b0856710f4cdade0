"""Sizes of the networks: as the papers have them, small for a CPU, tiny for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from core.errors import UsageError

Size = Literal["paper", "small", "tiny"]


@dataclass(frozen=True)
class Preset:
    """A network of a size.

    Attributes:
        network: name for ``core.networks.build``.
        config: its arguments.
        multiple: patches have edges of multiples of this many voxels.
        patch: edge that it is trained with.
    """

    network: str
    config: dict[str, Any]
    multiple: int
    patch: int


def _unet(channels: list[int], units: int, patch: int) -> Preset:
    """No normalisation: the level of intensities is what super-resolution has to keep."""
    shape = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": channels, "strides": [2] * (len(channels) - 1)}
    return Preset("UNet", shape | {"num_res_units": units, "norm": None, "act": "LEAKYRELU"}, 2 ** (len(channels) - 1), patch)


PRESETS: dict[tuple[str, str], Preset] = {
    ("unet-3d", "small"): _unet([32, 64, 128], 0, 32),
    ("unet-3d", "tiny"): _unet([8, 16, 32], 0, 16),
    ("resunet-3d", "small"): _unet([32, 64, 128], 2, 32),
    ("resunet-3d", "tiny"): _unet([8, 16, 32], 2, 16),
}


def preset(method: str, size: Size) -> Preset:
    """The network of a method in a size.

    Raises:
        UsageError: a method or size that there is not.
    """
    try:
        return PRESETS[method, size]
    except KeyError:
        raise UsageError(
            "preset-unknown", f"one of {', '.join(map('/'.join, PRESETS))}", f"{method}/{size}", "choose one"
        ) from None
