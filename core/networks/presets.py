"""Sizes of the networks: paper (the count of parameters that Kim et al. 2023 report), small for a CPU, tiny for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from core.errors import UsageError
from core.methods.diffusion_iqt.cross_batch import ACROSS, NEIGHBOURS

Size = Literal["paper", "small", "tiny"]


@dataclass(frozen=True)
class Preset:
    """A network of a size.

    Attributes:
        network: name for ``core.networks.build``.
        config: its arguments.
        multiple: patches have edges of multiples of this many voxels.
        patch: edge in voxels that it is trained with.
    """

    network: str
    config: dict[str, Any]
    multiple: int
    patch: int

    @property
    def neighbours(self) -> int:
        """Patches that the network must see together: 27, of a block of 3 x 3 x 3 (``cross_batch``), or one."""
        return NEIGHBOURS if self.config.get("cross_batch") else 1

    @property
    def takes(self) -> int:
        """Patches to restore have edges of multiples of this; DiffusionIQT normalises over them, and wants them as trained."""
        return self.block if self.network == "DiffusionIQT" else self.multiple

    @property
    def block(self) -> int:
        """Edge in voxels of what is drawn for training: that of the patch, or of the block that ``split`` cuts."""
        return self.patch if self.neighbours == 1 else ACROSS * self.patch


# The baselines do not normalise. Instance and group norm subtract the patch's own mean: the answer at a voxel would depend on
# where the patch was cut, a dark patch would be amplified to the noise of a bright one, and the reach of the network would be the
# whole patch rather than finite. Without them, learning what is to be added to the interpolation keeps intensities, as EDSR (Lim
# et al. 2017) and ESRGAN found. DiffusionIQT normalises over each patch, as its paper has it.
def _unet(widths: list[int], units: int, patch: int) -> Preset:
    """MONAI's UNet, of plain convolutions or of residual units; its first convolution halves the grid, which spares time.

    Transposed convolutions go up: the gradient of trilinear interpolation is not deterministic on a GPU.
    """
    shape = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": widths, "strides": [2] * (len(widths) - 1)}
    return Preset("UNet", shape | {"num_res_units": units, "norm": None, "act": "LEAKYRELU"}, 2 ** (len(widths) - 1), patch)


def _esrgan(factors: tuple[int, int, int], width: int, blocks: int, head: int, patch: int) -> Preset:
    """The slices come last, so the last factor is that of thick slices; in their plane, a factor spares time."""
    shape = {"factors": list(factors), "width": width, "growth": width // 2, "blocks": blocks, "head": head}
    return Preset("ESRGAN", shape, max(factors), patch)


def _iqt(patch: int, sizes: dict[str, int], parts: dict[str, bool]) -> Preset:
    """With cross-batch, ``patch`` is that of each of the 27 neighbours, cut from blocks of three times that edge."""
    return Preset("DiffusionIQT", {**sizes, **parts}, 8, patch)


IQT_SIZES: dict[Size, tuple[int, dict[str, int]]] = {
    "paper": (32, {"base": 64, "groups": 8, "heads": 8, "head_width": 64}),
    "small": (16, {"base": 16, "groups": 8, "heads": 4, "head_width": 32}),
    "tiny": (8, {"base": 4, "groups": 2, "heads": 2, "head_width": 8}),
}
ABLATIONS = {  # the rows of table 2
    "diffusion-iqt-base": {"deep_feature": False, "cross_batch": False},
    "diffusion-iqt-deep": {"deep_feature": True, "cross_batch": False},
    "diffusion-iqt": {"deep_feature": True, "cross_batch": True},
}

PRESETS: dict[tuple[str, str], Preset] = {
    ("unet-3d", "paper"): _unet([80, 160, 320, 640, 1256], 0, 32),
    ("unet-3d", "small"): _unet([48, 96, 192], 0, 32),
    ("unet-3d", "tiny"): _unet([8, 16, 32, 48], 0, 16),
    ("resunet-3d", "paper"): _unet([44, 88, 176, 352, 720], 2, 32),
    ("resunet-3d", "small"): _unet([32, 64, 128], 2, 32),
    ("resunet-3d", "tiny"): _unet([8, 16, 32], 2, 16),
    ("esrgan-3d", "paper"): _esrgan((1, 1, 4), 64, 13, 64, 32),
    ("esrgan-3d", "small"): _esrgan((2, 2, 4), 32, 2, 8, 32),
    ("esrgan-3d", "tiny"): _esrgan((2, 2, 4), 8, 2, 2, 16),
} | {
    (method, size): _iqt(patch, sizes, parts) for method, parts in ABLATIONS.items() for size, (patch, sizes) in IQT_SIZES.items()
}


def preset(method: str, size: Size) -> Preset:
    """The network of a method in a size.

    Args:
        method: "unet-3d", "resunet-3d", "esrgan-3d", "diffusion-iqt", or "diffusion-iqt-base" (neither deep feature module nor
            cross-batch) and "diffusion-iqt-deep" (without cross-batch), the ablation of the paper's table 2.
        size: "paper" (published count of parameters), "small" (one to two million) or "tiny" (for tests).

    Raises:
        UsageError: a method or size that there is not.
    """
    if (found := PRESETS.get((method, size))) is None:
        raise UsageError("preset-unknown", f"one of {', '.join(map('/'.join, PRESETS))}", f"{method}/{size}", "choose one")
    return found
