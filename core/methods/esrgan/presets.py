"""Sizes of the generator: paper (the count of parameters that Kim et al. 2023 report), small for a CPU, tiny for tests.

Like the authors' it does not normalise, so a patch's answer does not depend on where the patch was cut.
"""

from __future__ import annotations

from core.networks.preset import Preset


def _esrgan(factors: tuple[int, int, int], width: int, blocks: int, head: int, patch: int) -> Preset:
    """The slices come last, so the last factor is that of thick slices; in their plane, a factor spares time."""
    shape = {"factors": list(factors), "width": width, "growth": width // 2, "blocks": blocks, "head": head}
    return Preset("ESRGAN", shape, max(factors), patch)


def paper() -> Preset:
    """29 million parameters."""
    return _esrgan((1, 1, 4), 64, 13, 64, 32)


def small() -> Preset:
    """One million parameters."""
    return _esrgan((2, 2, 4), 32, 2, 8, 32)


def tiny() -> Preset:
    """For tests."""
    return _esrgan((2, 2, 4), 8, 2, 2, 16)
