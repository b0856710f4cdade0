"""A model for tests: seeded weights, small."""

from __future__ import annotations

import torch

from core.models.bundle import Filled, save_bundle
from core.networks import build
from landweber.presets import tiny


def write(folder: str, method: str) -> None:
    """Write a model of two parts with random weights."""
    torch.manual_seed(0)
    networks = {role: (preset, build(preset.network, preset.config)) for role, preset in tiny().items()}
    parts = {role: Filled(preset.network, preset.config, net.state_dict()) for role, (preset, net) in networks.items()}
    save_bundle(folder, parts, "for tests")
