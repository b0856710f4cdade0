"""Tiny models with random weights from a seed, by which pipelines are tested without training."""

from __future__ import annotations

from core.networks.preset import Preset

CARD = "Never trained: random weights, for tests.\n"


def write_mock(folder: str, preset: Preset, *, residual: bool, slices_last: bool = True, seed: int = 0) -> None:
    """Write a model with random weights.

    Args:
        folder: where, local or s3://.
        preset: of its network.
        residual: see ``core.models.bundle.Bundle``.
        slices_last: likewise.
        seed: of the weights.
    """
    import torch

    from core.models.bundle import save_model
    from core.networks import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build(preset.network, preset.config).state_dict()
    multiple = preset.takes
    save_model(folder, preset.network, preset.config, state, CARD, residual=residual, slices_last=slices_last, multiple=multiple)
