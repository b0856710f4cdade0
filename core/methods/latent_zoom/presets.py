"""Sizes of the networks: paper, and small and tiny, which a CPU can train; mock for tests.

The paper's show a slice as three equal channels and decode three unequal ones. Ours work on one channel, without attention in the
autoencoder, with a narrow decoder and a small EDSR: at few steps these two are most of the work.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.diffusion.predictions import Prediction
from core.networks.preset import Preset

AUTOENCODER, DENOISER, DEBLUR = "autoencoder", "denoiser", "deblur"
REGRESSION, BETWEEN = "regression", "between"  # beyond the paper: what sampling can start from, codes between two
FINER = 4  # rows and columns of a slice for one of its code, and of the scan that the diffusion model is shown
SCHEDULE: dict[str, Any] = {"kind": "scaled-linear", "steps": 1000, "first": 0.0015, "last": 0.0155}
LATENT = 3  # channels of a code


def vq(channels: int, widths: tuple[int, ...], blocks: int, codes: int, groups: int, *, attention: bool) -> dict[str, Any]:
    """Arguments of diffusers' VQModel; ``attention``: in the middle, as CompVis' configuration leaves it."""
    return {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "block_out_channels": list(widths),
        "layers_per_block": blocks,
        "latent_channels": LATENT,
        "num_vq_embeddings": codes,
        "vq_embed_dim": LATENT,
        "norm_num_groups": groups,
        "mid_block_add_attention": attention,
    }


def unet(shown: int, widths: tuple[int, ...], blocks: int, head: int, groups: int) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DModel: attention at the last level and in the middle, convolutions to change the level."""
    levels = len(widths)
    return {
        "in_channels": LATENT + shown,
        "out_channels": LATENT,
        "down_block_types": ["DownBlock2D"] * (levels - 1) + ["AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D"] + ["UpBlock2D"] * (levels - 1),
        "block_out_channels": list(widths),
        "layers_per_block": blocks,
        "attention_head_dim": head,
        "norm_num_groups": groups,
    }


def edsr(channels: int, width: int, blocks: int, *, residual: bool) -> dict[str, Any]:
    """Arguments of EDSR."""
    return {"channels": channels, "width": width, "blocks": blocks, "residual": residual}


def between(width: int, blocks: int) -> dict[str, Any]:
    """Arguments of the network of codes between two."""
    return {"channels": LATENT, "width": width, "blocks": blocks}


def _system(
    vq_config: dict[str, Any],
    unet_config: dict[str, Any],
    edsr_config: dict[str, Any],
    finer: Preset,
    between_config: dict[str, Any],
    patch: int,
    prediction: Prediction,
) -> dict[str, Preset]:
    """The networks by role.

    ``prediction`` is what the U-Net learns to tell: the noise, as the paper's, or the velocity. At the schedule's end an error of
    0.01 in the noise is one of 0.39 in the codes, which only a long training takes away; an error in the velocity never grows.
    """
    multiple = FINER * 2 ** (len(unet_config["block_out_channels"]) - 1)
    return {
        AUTOENCODER: Preset("VQModel", vq_config, multiple, patch),
        DENOISER: Preset("UNet2DModel", unet_config, multiple, patch, prediction=prediction),
        DEBLUR: Preset("EDSR", edsr_config, multiple, patch),
        REGRESSION: replace(finer, patch=patch),
        BETWEEN: Preset("CodesBetween", between_config, multiple, patch),
    }


# -- the latent diffusion model -------------------------------------------------------------------------------------------------


def paper() -> dict[str, Preset]:
    """55,322,782, 113,622,563 and 1,222,147 parameters; beyond the paper 615,088 and 599,811."""
    return _system(
        vq(3, (128, 256, 512), 2, 8192, 32, attention=True),
        unet(3, (160, 320, 320, 640), 2, 32, 32),
        edsr(3, 64, 16, residual=False),
        wdsr("paper"),
        between(64, 8),
        256,
        "eps",
    )


def small() -> dict[str, Preset]:
    """About 2.6, 5.0 and 0.04 million parameters."""
    return _system(
        vq(1, (32, 64, 128), 1, 2048, 16, attention=False),
        unet(1, (48, 96, 96, 144), 1, 16, 16),
        edsr(1, 16, 8, residual=True),
        wdsr("small"),
        between(32, 4),
        128,
        "v",
    )


def tiny() -> dict[str, Preset]:
    """About 0.6, 1.2 and 0.02 million parameters."""
    return _system(
        vq(1, (16, 32, 64), 1, 512, 8, attention=False),
        unet(1, (32, 64, 64), 1, 16, 16),
        edsr(1, 16, 4, residual=True),
        wdsr("tiny"),
        between(16, 2),
        96,
        "v",
    )


def mock() -> dict[str, Preset]:
    """For tests."""
    finer = Preset("WDSR", {"channels": 1, "width": 5, "blocks": 1}, FINER, 32)
    autoencoder, denoiser = vq(1, (4, 4, 4), 1, 16, 2, attention=False), unet(1, (4, 8), 1, 4, 2)
    return _system(autoencoder, denoiser, edsr(1, 4, 1, residual=True), finer, between(4, 1), 32, "eps")


# -- the systems that it is held against ----------------------------------------------------------------------------------------


def srgan(size: str) -> Preset:
    """SRGAN's generator; the paper's has 1,550,659 trained parameters."""
    channels, width, blocks, patch = {"paper": (3, 64, 16, 96), "small": (1, 32, 6, 96), "tiny": (1, 16, 3, 64)}[size]
    return Preset("SRGAN", {"channels": channels, "width": width, "blocks": blocks}, FINER, patch)


def srgan_discriminator(generator: Preset) -> dict[str, Any]:
    """Arguments of the discriminator beside a generator; the paper's has 23,565,505 trained parameters."""
    width = generator.config["width"]
    return {"channels": generator.config["channels"], "width": width, "edge": generator.patch, "dense": 16 * width}


def wdsr(size: str) -> Preset:
    """WDSR-B; the paper's has 615,088 parameters with its norms."""
    channels, width, blocks, patch = {"paper": (3, 32, 32, 96), "small": (1, 32, 8, 96), "tiny": (1, 16, 3, 64)}[size]
    return Preset("WDSR", {"channels": channels, "width": width, "blocks": blocks}, FINER, patch)


def slices(size: str) -> Preset:
    """The autoencoder of slices; the paper's has 443,777 parameters."""
    width, latent, patch = {"paper": (32, 128, 220), "small": (16, 32, 96), "tiny": (8, 16, 64)}[size]
    return Preset("SliceAutoencoder", {"width": width, "latent": latent}, FINER, patch)
