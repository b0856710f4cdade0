"""Sizes of the prior: paper (Pinaya et al. 2022, as InverseSR uses it), small and tiny, which a CPU can train.

Windows are in mm of MNI space. The paper's lies where the saver's affine of the authors' bundle puts it, in LAS; ours are in RAS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.errors import UsageError
from core.geometry.grid import Grid, Triple
from core.models.generative import Condition, GenerativePrior
from core.networks.preset import Preset

AUTOENCODER, DENOISER = "autoencoder", "denoiser"
ROLES = (AUTOENCODER, DENOISER)
CODED = 4  # voxels of the image for one of the code along each axis, of our autoencoder
SCHEDULE: dict[str, Any] = {"kind": "scaled-linear", "steps": 1000, "first": 0.0015, "last": 0.0205}
SAMPLES = 16  # of the mean code of our own: minutes on a CPU core, where the paper's 10,000 are days
CENTRE = (0.0, -17.0, 8.0)  # of the brain, mm of MNI space

PAPER_CONDITIONS = (
    Condition(name="sex"),
    Condition(name="age", low=44, high=82),
    Condition(name="ventricular_volume"),  # 0 to 1 of ranges that were never published
    Condition(name="brain_volume"),
)
OWN_CONDITIONS = (Condition(name="sex"), Condition(name="age", low=18, high=60))


def window(shape: Triple, voxel: float) -> Grid:
    """A grid of cubes in RAS whose middle is ``CENTRE``."""
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [middle - voxel * (n - 1) / 2 for middle, n in zip(CENTRE, shape, strict=True)]
    return Grid(shape, affine)


def paper_window() -> Grid:
    """1 mm, in LAS."""
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = 80.48, -125.48, -60.55
    return Grid((160, 224, 160), affine)


def autoencoder_kl(latent: int, channels: tuple[int, ...], groups: int) -> dict[str, Any]:
    """Arguments of MONAI's autoencoder as the paper has it: two blocks a level, no attention."""
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "num_res_blocks": [2] * len(channels),
        "channels": list(channels),
        "attention_levels": [False] * len(channels),
        "latent_channels": latent,
        "norm_num_groups": groups,
        "norm_eps": 1e-6,
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    }


def unet(
    latent: int, conditions: int, channels: tuple[int, ...], groups: int, *, blocks: int = 1, upcast: bool = False
) -> dict[str, Any]:
    """Arguments of MONAI's U-Net as the paper has it: attention with one head below the first level, conditions by both ways."""
    return {
        "spatial_dims": 3,
        "in_channels": latent + conditions,
        "out_channels": latent,
        "num_res_blocks": [blocks] * len(channels),
        "channels": list(channels),
        "attention_levels": [level > 0 for level in range(len(channels))],
        "norm_num_groups": groups,
        "norm_eps": 1e-6,
        "resblock_updown": True,
        "num_head_channels": [0, *channels[1:]],
        "with_conditioning": True,
        "transformer_num_layers": 1,
        "cross_attention_dim": conditions,
        "upcast_attention": upcast,
    }


def facts_of(networks: Mapping[str, Preset]) -> GenerativePrior:
    """Window and conditions of a size."""
    facts = networks[AUTOENCODER].prior
    if facts is None:
        raise UsageError("preset-unfit", "networks of a prior, with its window", "none", "take a preset of brain-ldm")
    return facts


def paper() -> dict[str, Preset]:
    """13,766,248 and 553,168,899 parameters, codes of 3 x 20 x 28 x 20."""
    facts = GenerativePrior(window=paper_window().to_json(), conditions=PAPER_CONDITIONS)
    denoiser = unet(3, 4, (256, 512, 768), 32, blocks=2, upcast=True)
    return {
        AUTOENCODER: Preset("AutoencoderKL", autoencoder_kl(3, (64, 128, 128, 128), 32), 32, 224, prior=facts),
        DENOISER: Preset("DiffusionModelUNet", denoiser, 32, 224, prior=facts),
    }


def _own(
    grid: Grid, latent: int, widths: tuple[int, int], channels: tuple[int, int], patch: int, samples: int
) -> dict[str, Preset]:
    half, quarter = widths
    facts = GenerativePrior(window=grid.to_json(), conditions=OWN_CONDITIONS, samples=samples)
    denoiser = unet(latent, len(OWN_CONDITIONS), channels, 8)
    return {
        AUTOENCODER: Preset("ShuffleAutoencoder", {"latent": latent, "half": half, "quarter": quarter}, 8, patch, prior=facts),
        DENOISER: Preset("DiffusionModelUNet", denoiser, 8, max(grid.shape), prior=facts),
    }


def small() -> dict[str, Preset]:
    """3.5 million parameters, 2 mm, codes of 8 x 20 x 28 x 20; the autoencoder learns from crops."""
    return _own(window((80, 112, 80), 2.0), 8, (32, 64), (32, 64), 64, SAMPLES)


def tiny() -> dict[str, Preset]:
    """2.9 million parameters, 3 mm, codes of 8 x 14 x 16 x 14."""
    return _own(window((56, 64, 56), 3.0), 8, (24, 48), (32, 64), 64, SAMPLES)


def mock() -> dict[str, Preset]:
    """For tests: 10 mm, codes of 2 x 4 x 6 x 4."""
    return _own(window((16, 24, 16), 10.0), 2, (4, 8), (8, 16), 24, 2)


SIZES = {"paper": paper, "small": small, "tiny": tiny}
