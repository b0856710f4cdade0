"""Models for tests: random weights, seeded."""

from __future__ import annotations

import torch
from torch import nn

from core.methods.srmri.presets import SCORE, facts_of, mock
from core.models.bundle import Filled, save_bundle
from core.models.mock import CARD
from core.networks import build


def _wake(network: nn.Module) -> None:
    """Give numbers to layers that begin as next to nothing, so that nothing is switched off."""
    for parameter in network.parameters():
        if parameter.abs().max() < 1e-3:
            nn.init.normal_(parameter, std=0.05)


def write(folder: str, method: str) -> None:  # noqa: ARG001 - one score model for all
    """Write a tiny model with random weights."""
    preset = mock()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(preset.network, preset.config)
        _wake(network)
    part = Filled(preset.network, preset.config, network.state_dict())
    save_bundle(folder, {SCORE: part}, CARD, **facts_of(preset))
