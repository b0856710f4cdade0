"""Codes of a prior's networks: MONAI's autoencoder or ours, and MONAI's U-Net.

Codes have unit variance where the autoencoder knows the statistics of its own; the paper's are taken as they are.
Nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.geometry.grid import Triple
from core.methods.inverse_sr.networks import plainly
from core.methods.inverse_sr.presets import AUTOENCODER, CODED, DENOISER

Shape = tuple[int, int, int, int]


def code_shape(parts: Mapping[str, Any], window: Triple) -> Shape:
    """(channels, x, y, z) of the codes of images of ``window`` voxels.

    Args:
        parts: the networks by role, each with ``config``: of a bundle, or of presets.
        window: shape of an image.
    """
    config = parts[AUTOENCODER].config
    coarser = 2 ** (len(config["channels"]) - 1) if "channels" in config else CODED
    x, y, z = (n // coarser for n in window)
    return int(parts[DENOISER].config["out_channels"]), x, y, z


def statistics(autoencoder: nn.Module) -> tuple[Tensor | float, Tensor | float]:
    """Mean and standard deviation of an autoencoder's codes, as (channels, 1, 1, 1); 0 and 1 where it tells none."""
    if not hasattr(autoencoder, "latent_std"):
        return 0.0, 1.0
    mean, std = (autoencoder.get_buffer(name)[:, None, None, None] for name in ("latent_mean", "latent_std"))
    return mean, std


def encode(autoencoder: Any, image: Tensor) -> Tensor:
    """The mean codes of images (n, 1, x, y, z), standardised."""
    mean, std = statistics(autoencoder)
    return cast("Tensor", (autoencoder.encode(image)[0] - mean) / std)


def decode(autoencoder: Any, code: Tensor, *, recompute: bool = False) -> Tensor:
    """Images (n, 1, x, y, z) of standardised codes.

    Args:
        autoencoder: MONAI's, or ours.
        code: (n, channels, x, y, z).
        recompute: keep for the gradient of each block its input alone, and make the rest of it anew.
    """
    mean, std = statistics(autoencoder)
    image, run = code * std + mean, _anew if recompute else plainly
    if not hasattr(autoencoder, "post_quant_conv"):
        return cast("Tensor", autoencoder.decode(image, run))
    for block in (autoencoder.post_quant_conv, *autoencoder.decoder.blocks):
        image = run(block, image)
    return image


def _anew(block: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Run a block of which its input alone is kept."""
    return cast("Tensor", checkpoint(block, image, use_reentrant=False))


def epsilon(denoiser: nn.Module, code: Tensor, times: Tensor, conditions: Tensor) -> Tensor:
    """The noise in codes: conditions beside them as maps, and as the one token of the cross-attention.

    Args:
        denoiser: MONAI's U-Net.
        code: (n, channels, x, y, z).
        times: whole timesteps (n,).
        conditions: (n, how many).
    """
    maps = conditions[:, :, None, None, None].expand(-1, -1, *code.shape[2:])
    return cast("Tensor", denoiser(torch.cat([code, maps.to(code)], 1), times, context=conditions[:, None, :].to(code)))
