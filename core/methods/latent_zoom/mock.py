"""Models for tests: random weights, a few channels."""

from __future__ import annotations

import torch
from torch import nn

from core.methods.latent_zoom import presets
from core.models.bundle import NETWORK, Filled, save_bundle
from core.models.mock import CARD
from core.networks import build
from core.networks.preset import Preset

SYSTEMS = {
    "bicubic-ae": Preset("SliceAutoencoder", {"width": 2, "latent": 4}, presets.FINER, 32),
    "srgan-si": Preset("SRGAN", {"channels": 1, "width": 4, "blocks": 1}, presets.FINER, 32),
    "wdsr-si": Preset("WDSR", {"channels": 1, "width": 5, "blocks": 1}, presets.FINER, 32),
}


def _wake(network: nn.Module) -> nn.Module:
    """Give numbers to layers that begin as zeros, so that nothing is switched off."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return network


def write(folder: str, method: str) -> None:
    """Write a model with random weights."""
    sizes = {NETWORK: SYSTEMS[method]} if method in SYSTEMS else presets.mock()
    facts = {} if method in SYSTEMS else {"schedule": presets.SCHEDULE, "prediction": sizes[presets.DENOISER].prediction}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {role: _wake(build(preset.network, preset.config)) for role, preset in sizes.items()}
    parts = {role: Filled(sizes[role].network, sizes[role].config, net.state_dict()) for role, net in networks.items()}
    save_bundle(folder, parts, CARD, multiple=next(iter(sizes.values())).multiple, **facts)
