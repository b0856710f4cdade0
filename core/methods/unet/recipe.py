"""How the U-Nets are trained: in least squares, on what the interpolation lacks."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from core.methods.unet import presets
from core.training.objectives.base import Objective
from core.training.objectives.regression import Regression
from core.training.recipe import Context, Recipe, Stage, write_network

LAST = 0.01  # of the last convolution's weights


def prepared(network: nn.Module) -> nn.Module:
    """Weights as He et al. 2015 draw them, a last convolution that adds next to nothing: it begins at the interpolation."""
    convolutions = [module for module in network.modules() if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d))]
    for convolution in convolutions:
        taps = convolution.weight[0, 0].numel() * convolution.in_channels
        fan_in = taps / math.prod(convolution.stride) if isinstance(convolution, nn.ConvTranspose3d) else taps
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / fan_in))
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    with torch.no_grad():
        convolutions[-1].weight.mul_(LAST)
    return network


def _plain(network: nn.Module, _: Context) -> Objective:
    return Regression(prepared(network))


def _residual(network: nn.Module, _: Context) -> Objective:
    return Regression(network)


WRITE = partial(write_network, residual=True)
UNET = Recipe(
    "unet-3d",
    "unet-3d",
    {"paper": presets.unet_paper, "small": presets.unet_small, "tiny": presets.unet_tiny},
    [Stage(_plain)],
    WRITE,
)
RESUNET = Recipe(
    "resunet-3d",
    "resunet-3d",
    {"paper": presets.resunet_paper, "small": presets.resunet_small, "tiny": presets.resunet_tiny},
    [Stage(_residual)],
    WRITE,
)
