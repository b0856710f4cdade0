"""A prior for tests: random weights, an image of 16 x 24 x 16 voxels of 10 mm."""

from __future__ import annotations

import torch
from torch import nn

from core.methods.inverse_sr.presets import SCHEDULE, facts_of, mock
from core.models.bundle import Filled, save_bundle
from core.models.mock import CARD
from core.networks import build


def _wake(network: nn.Module) -> None:
    """Give numbers to layers that begin as zeros, so that nothing is switched off."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)


def write(folder: str, method: str) -> None:  # noqa: ARG001 - one prior for all
    """Write a prior with random weights."""
    size = mock()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {role: (preset, build(preset.network, preset.config)) for role, preset in size.items()}
        for _, network in networks.values():
            _wake(network)
    parts = {role: Filled(preset.network, preset.config, net.state_dict()) for role, (preset, net) in networks.items()}
    save_bundle(folder, parts, CARD, schedule=SCHEDULE, prediction="eps", prior=facts_of(size))
