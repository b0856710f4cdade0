"""How a prior is trained: an autoencoder of the images on its window, then a denoiser of the codes, which are kept on disk."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from core.methods.inverse_sr.latent import decode, encode
from core.methods.inverse_sr.objectives import Autoencoding, CodeDenoising
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, SCHEDULE, SIZES, facts_of
from core.methods.inverse_sr.windows import Windows
from core.models.bundle import Filled, save_bundle
from core.models.generative import GenerativePrior
from core.training.batch import Batch
from core.training.data.cached import Cached
from core.training.objectives.base import Objective
from core.training.recipe import Context, Draw, Recipe, Stage, Trained

VARIANTS = 4  # of each person's image whose codes are kept


def _facts(context: Context) -> GenerativePrior:
    return facts_of({AUTOENCODER: context.preset})


def discriminator(network: str) -> nn.Module:
    """A discriminator of patches (Isola et al. 2017), as wide as the authors' for their autoencoder."""
    from monai.networks.nets import PatchDiscriminator

    width, depth = (96, 3) if network == "AutoencoderKL" else (16, 2)
    made: nn.Module = PatchDiscriminator(spatial_dims=3, channels=width, in_channels=1, num_layers_d=depth)
    return made


def _autoencoding(network: nn.Module, context: Context) -> Objective:
    """Without the discriminator for the first half of the steps."""
    return Autoencoding(network, discriminator(context.preset.network), warmup=context.training.steps // 2)


def images(draw: Draw, context: Context) -> Dataset[Batch]:
    """Images on the window; crops to train on, where they are smaller."""
    facts = _facts(context)
    return Windows(draw, facts, context.shared, draw.patch if draw.patch < max(facts.grid.shape) else None)


def _denoising(network: nn.Module, context: Context) -> Objective:
    return CodeDenoising(network, partial(decode, context.earlier[AUTOENCODER]))


def coded(draw: Draw, context: Context) -> Dataset[Batch]:
    """Codes of whole windows."""
    autoencoder: Any = context.earlier[AUTOENCODER]

    @torch.no_grad()
    def change(example: Batch) -> Batch:
        code = encode(autoencoder, example.truth[None].to(context.device))[0].cpu()
        return Batch(code, code, example.conditions)

    windows = Windows(draw, _facts(context), context.shared)
    distinct = len(draw.subjects) * (VARIANTS if draw.part == "train" else 1)
    return Cached(windows, change, f"{context.folder}/{draw.part}", distinct=distinct, length=draw.length)


def write(folder: str, trained: Trained) -> None:
    """Write the prior."""
    parts = {role: Filled(preset.network, preset.config, trained.weights[role]) for role, preset in trained.presets.items()}
    save_bundle(folder, parts, trained.card, schedule=SCHEDULE, prediction="eps", prior=facts_of(trained.presets))


BRAIN_LDM = Recipe(
    "brain-ldm",
    "inverse-sr",
    SIZES,
    [Stage(_autoencoding, AUTOENCODER, images), Stage(_denoising, DENOISER, coded)],
    write,
    degrades=False,
)
