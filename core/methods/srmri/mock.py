"""Models for tests: random weights, seeded."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from core.methods.srmri.presets import SCORE, facts_of, mock
from core.methods.srmri.supervised.presets import NETWORKS, sizes, takes
from core.models.bundle import Filled, save_bundle
from core.models.mock import CARD, write_mock
from core.networks import build


def _wake(network: nn.Module) -> None:
    """Give numbers to layers that begin as next to nothing, so that nothing is switched off."""
    for parameter in network.parameters():
        if parameter.abs().max() < 1e-3:
            nn.init.normal_(parameter, std=0.05)


def write(folder: str, method: str) -> None:
    """Write a tiny model with random weights: of the method's own network, or the score model that the others share."""
    if method in NETWORKS:
        preset = sizes(method)["tiny"]()
        write_mock(folder, replace(preset, multiple=takes(preset)), residual=False, slices_last=False)
        return
    preset = mock()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(preset.network, preset.config)
        _wake(network)
    part = Filled(preset.network, preset.config, network.state_dict())
    save_bundle(folder, {SCORE: part}, CARD, **facts_of(preset))
