"""Sizes of DiffusionIQT: paper (the count of parameters that Kim et al. 2023 report), small for a CPU, tiny for tests.

It normalises over each patch, as its paper has it, and so restores patches of the size that it was trained with.
The three rows of the paper's table 2 differ in their parts: base, with the deep feature module, and with cross-batch as well.
"""

from __future__ import annotations

from functools import partial

from core.methods.diffusion_iqt.cross_batch import ACROSS
from core.networks.preset import Preset

PAPER = {"base": 64, "groups": 8, "heads": 8, "head_width": 64}
SMALL = {"base": 16, "groups": 8, "heads": 4, "head_width": 32}
TINY = {"base": 4, "groups": 2, "heads": 2, "head_width": 8}


def _preset(patch: int, sizes: dict[str, int], *, deep_feature: bool, cross_batch: bool) -> Preset:
    """With cross-batch, ``patch`` is that of each of the 27 neighbours, cut from blocks of three times that edge."""
    config = {**sizes, "deep_feature": deep_feature, "cross_batch": cross_batch}
    return Preset("DiffusionIQT", config, 8, patch, across=ACROSS if cross_batch else 1, only_as_trained=True)


def paper(*, deep_feature: bool = True, cross_batch: bool = True) -> Preset:
    """15 million parameters."""
    return _preset(32, PAPER, deep_feature=deep_feature, cross_batch=cross_batch)


def small(*, deep_feature: bool = True, cross_batch: bool = True) -> Preset:
    """One million parameters."""
    return _preset(16, SMALL, deep_feature=deep_feature, cross_batch=cross_batch)


def tiny(*, deep_feature: bool = True, cross_batch: bool = True) -> Preset:
    """For tests."""
    return _preset(8, TINY, deep_feature=deep_feature, cross_batch=cross_batch)


def sizes(*, deep_feature: bool, cross_batch: bool) -> dict[str, partial[Preset]]:
    """All sizes of a row of table 2, by name."""
    each = {"paper": paper, "small": small, "tiny": tiny}
    return {name: partial(size, deep_feature=deep_feature, cross_batch=cross_batch) for name, size in each.items()}
