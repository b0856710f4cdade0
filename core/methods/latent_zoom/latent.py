"""How diffusers' two networks are asked: slices to codes and back, the nearest entries of the codebook, noisy codes.

A network of several channels is shown a slice in each of them. Codes have no scale of their own here: ``scaling_factor`` of
diffusers' class is never used, as in the paper's model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.diffusion.predictions import Denoise, Prediction
from core.diffusion.predictions import denoiser as of_prediction
from core.diffusion.schedules import CLEAN, Schedule, ddim_times
from core.errors import UsageError
from core.methods.latent_zoom.presets import LATENT
from core.methods.slicewise import padded

TIMES = 1000  # of the schedule
CHUNK = 1 << 14  # places of codes whose distances to the codebook are held at once


def encode(autoencoder: nn.Module, image: Tensor) -> Tensor:
    """Codes (n, 3, rows / 4, columns / 4), before quantisation, of slices (n, 1 or the network's, rows, columns) in -1..1."""
    network: Any = autoencoder
    codes: Tensor = network.encode(image.expand(-1, network.config.in_channels, -1, -1)).latents
    return codes


def decode(autoencoder: nn.Module, codes: Tensor) -> Tensor:
    """Slices (n, the network's channels, 4 rows, 4 columns) of codes, as they are: nothing is quantised."""
    network: Any = autoencoder
    image: Tensor = network.decode(codes, force_not_quantize=True).sample
    return image


def codebook(autoencoder: nn.Module) -> Tensor:
    """Its entries (codes, channels)."""
    network: Any = autoencoder
    entries: Tensor = network.quantize.embedding.weight
    return entries


def quantised(codes: Tensor, entries: Tensor) -> Tensor:
    """The entry of the codebook that is nearest to each place of codes (n, channels, rows, columns)."""
    places = codes.movedim(1, -1).reshape(-1, codes.shape[1])
    nearest = [entries[torch.cdist(part, entries).argmin(1)] for part in torch.split(places, CHUNK)]
    return torch.cat(nearest).reshape(codes.movedim(1, -1).shape).movedim(-1, 1).contiguous()


def times(steps: int, *, clean: bool, first: int = TIMES) -> list[float]:
    """Timesteps of latent diffusion's samplers, the last one 0, whose bit of noise quantisation hides, or the clean code.

    Args:
        steps: as the papers count.
        clean: whether the last is the clean code.
        first: of the schedule's timesteps, from which on they are laid, 2 to 1000.

    Raises:
        UsageError: ddim-grid, of all the schedule, for a count by which the samplers' grid leaves it.
    """
    grid = _grid(steps, first)
    return [*grid[:-1], CLEAN] if clean else grid


def _grid(steps: int, first: int) -> list[float]:
    """The samplers' own grid; of a part of the schedule that it does not fit, even steps, at most through every timestep.

    A count made for all the schedule seldom fits a part: the paper's 200 steps have no whole stride in 300 timesteps.
    """
    try:
        return ddim_times(steps, first)
    except UsageError:
        if first == TIMES:
            raise
    count = min(steps, first - 1)
    return [float(round((first - 1) * (1 - n / count))) for n in range(count + 1)]


def told(network: nn.Module, codes: Tensor, shown: Tensor, t: Tensor) -> Tensor:
    """What the network tells of codes (n, 3, rows, columns) under noise: the noise, or another prediction.

    Args:
        network: diffusers' U-Net.
        codes: under noise.
        shown: coarse slices (n, 1, rows, columns) in -1..1.
        t: timesteps (n,).
    """
    unet: Any = network
    channels = unet.config.in_channels - LATENT
    prediction: Tensor = unet(torch.cat([codes, shown.expand(-1, channels, -1, -1)], 1), t).sample
    return prediction


def denoiser(network: nn.Module, shown: Tensor, schedule: Schedule, predicts: Prediction = "eps") -> Denoise:
    """The expected codes behind noisy ones, for the samplers; sides of any length.

    Args:
        network: diffusers' U-Net.
        shown: coarse slices (n, 1, rows, columns) in -1..1.
        schedule: signal and noise of a timestep.
        predicts: what the network tells.
    """
    unet: Any = network
    multiple = 2 ** (len(unet.config.block_out_channels) - 1)

    def prediction(codes: Tensor, t: float) -> Tensor:
        when = torch.full((len(codes),), int(t), dtype=torch.long, device=codes.device)
        both = torch.cat([codes, shown], 1)
        return padded(lambda each: told(network, each[:, :LATENT], each[:, LATENT:], when), multiple)(both)

    return of_prediction(prediction, schedule, predicts)
