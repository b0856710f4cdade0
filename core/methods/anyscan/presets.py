"""Sizes of the network: large for a GPU, small for two cores (1.1 million weights), tiny for tests."""

from __future__ import annotations

from core.methods.anyscan.inputs import CHANNELS, SUB
from core.networks.preset import Preset


def _sized(channels: int, blocks: int, patch: int) -> Preset:
    return Preset("AnyScanNet", {"in_channels": CHANNELS, "channels": channels, "blocks": blocks}, SUB, patch)


def large() -> Preset:
    """8 million weights."""
    return _sized(128, 12, 64)


def small() -> Preset:
    """1.1 million weights."""
    return _sized(64, 6, 32)


def tiny() -> Preset:
    """For tests."""
    return _sized(8, 1, 16)
