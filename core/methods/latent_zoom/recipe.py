"""How the systems are trained, each on BSRGAN-light's coarse slices of the cohort's persons.

latent-zoom: an autoencoder with a codebook; a diffusion model of its codes, which are kept on disk; EDSR on what the two make of
persons that the diffusion model has not seen; beyond the paper a regression that sampling can start from, and a network of codes
between two. The others: one network each.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from core.diffusion.declared import build_schedule
from core.diffusion.predictions import Prediction
from core.diffusion.samplers import ddim, prior
from core.methods.latent_zoom import examples, latent, presets
from core.methods.latent_zoom.examples import COARSE, SHARE, Slices, scaled, share
from core.methods.latent_zoom.objectives import Absolute, Betweening, CodeDenoising, Middling, Quantising, SrganTraining
from core.methods.latent_zoom.presets import AUTOENCODER, BETWEEN, DEBLUR, DENOISER, FINER, LATENT, REGRESSION, SCHEDULE
from core.models.bundle import NETWORK, Filled, save_bundle
from core.networks import build
from core.networks.preset import Preset
from core.operators.bsrgan_light import degraded, draw_of
from core.training.batch import Batch
from core.training.data.cached import Cached
from core.training.objectives.base import Objective
from core.training.recipe import Context, Draw, Recipe, Stage, Trained

VARIANTS = 4  # crops of each slice whose codes are kept
PLAIN = 10  # of an autoencoder's steps one in so many is without the codebook, at their beginning
USES = 8  # of what is dear to make, at least: a short training keeps less
SAMPLED = 512  # slices made by the diffusion model on which EDSR learns
STEPS = 20  # of the sampler that makes them
NUMBER = "number"
SALT = 1  # added to the seed of the degradation of a crop that is drawn again


# -- objectives -----------------------------------------------------------------------------------------------------------------


def _quantising(network: nn.Module, context: Context) -> Objective:
    """Without the discriminator for the first half of the steps, and without the codebook for the first tenth."""
    config = context.preset.config
    width, depth = (64, 3) if config["in_channels"] == 3 else (16, 2)
    discriminator = build("PatchDiscriminator", {"channels": config["in_channels"], "width": width, "depth": depth})
    steps = context.training.steps
    return Quantising(network, discriminator, warmup=steps // 2, plain=steps // PLAIN)


def _denoising(network: nn.Module, context: Context) -> Objective:
    return CodeDenoising(network, _told(context.preset))


def _told(preset: Preset) -> Prediction:
    """What the U-Net of a size tells, the noise where the size says nothing."""
    return preset.prediction or "eps"


def _absolute(network: nn.Module, _: Context) -> Objective:
    return Absolute(network)


def _srgan(network: nn.Module, context: Context) -> Objective:
    """The generator alone for the first half of the steps."""
    discriminator = build("SRGANDiscriminator", presets.srgan_discriminator(context.preset))
    return SrganTraining(network, discriminator, warmup=context.training.steps // 2)


def _betweening(network: nn.Module, context: Context) -> Objective:
    return Betweening(network, context.earlier[AUTOENCODER])


def _middling(network: nn.Module, _: Context) -> Objective:
    return Middling(network)


# -- examples of the diffusion model, and of what sharpens its slices -----------------------------------------------------------


class Coded(Dataset[Batch]):
    """Codes of crops that are drawn once and kept, with coarse slices that are degraded anew each time.

    Args:
        draw: whose slices, of what size, and how many.
        autoencoder: that codes them.
        context: of the stage.
    """

    def __init__(self, draw: Draw, autoencoder: nn.Module, context: Context) -> None:
        self.of, self.crops = draw, Slices(draw, examples.alone)
        slices = sum(sum(subject.grid.shape) for subject in draw.subjects)
        self.distinct = min(VARIANTS * slices, _uses(draw)) if draw.part == "train" else draw.length

        @torch.no_grad()
        def change(example: Batch) -> Batch:
            code = latent.encode(autoencoder, example.truth[None].to(context.device))[0].cpu().half()
            return Batch(code, code)

        self.codes = Cached(self.crops, change, f"{context.folder}/{draw.part}", distinct=self.distinct, length=draw.length)

    def __len__(self) -> int:
        return self.of.length

    def __getitem__(self, index: int) -> Batch:
        """Codes (3, rows / 4, columns / 4), with the coarse slice as a condition."""
        image = self.crops[index % self.distinct].truth[0].numpy() / np.float32(2) + np.float32(0.5)
        seen = scaled(degraded(np.asarray(image, np.float32), draw_of(self.of.seed + SALT, index)))
        code = self.codes[index].truth.float()
        return Batch(code, code, {COARSE: seen})


def _uses(draw: Draw) -> int:
    """How many examples of a training are used often enough to be kept."""
    return max(1, draw.length // USES)


def coded(draw: Draw, context: Context) -> Dataset[Batch]:
    """Codes of crops, of the persons that are not kept for the network that sharpens."""
    return Coded(share(draw, last=False), context.earlier[AUTOENCODER], context)


class _Numbered(Dataset[Batch]):
    """Examples that say their number."""

    def __init__(self, slices: Slices) -> None:
        self.slices = slices

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Batch:
        example = self.slices[index]
        return Batch(example.inputs, example.truth, {**example.conditions, NUMBER: torch.tensor(index)})


def blurred(draw: Draw, context: Context) -> Dataset[Batch]:
    """What the diffusion model makes of coarse slices of persons whom it has not seen, or of the codes between two of them."""
    unet, autoencoder, schedule = context.earlier[DENOISER], context.earlier[AUTOENCODER], build_schedule(SCHEDULE)
    times, predicts = latent.times(STEPS, clean=False), _told(context.presets[DENOISER])

    def codes(seen: Tensor, number: int) -> Tensor:
        def noise(use: int) -> Tensor:
            draw_noise = torch.Generator().manual_seed(number << 10 | use)
            return torch.randn((1, LATENT, *seen.shape[2:]), generator=draw_noise).to(seen)

        return ddim(latent.denoiser(unet, seen, schedule, predicts), prior(schedule, noise), schedule, times, noise, eta=1.0)

    @torch.no_grad()
    def change(example: Batch) -> Batch:
        seen, number = example.inputs[:, None, None].to(context.device), int(example.conditions[NUMBER])
        way, below = float(example.conditions[SHARE]), codes(seen[0], 2 * number)
        made = below if way == 0 else below - (below - codes(seen[1], 2 * number + 1)) * way
        image = latent.decode(autoencoder, latent.quantised(made, latent.codebook(autoencoder)))
        return Batch(image[0].cpu(), example.truth)

    slices = _Numbered(Slices(share(draw, last=True), examples.coarse_pair))
    distinct = min(SAMPLED, _uses(draw) if draw.part == "train" else draw.length)
    return Cached(slices, change, f"{context.folder}/{draw.part}", distinct=distinct, length=draw.length)


# -- what is written ------------------------------------------------------------------------------------------------------------


def write(folder: str, trained: Trained) -> None:
    """Write the model of three parts."""
    parts = {role: Filled(preset.network, preset.config, trained.weights[role]) for role, preset in trained.presets.items()}
    save_bundle(
        folder,
        parts,
        trained.card,
        schedule=SCHEDULE,
        prediction=_told(trained.presets[DENOISER]),
        multiple=max(preset.multiple for preset in trained.presets.values()),
    )


def write_alone(folder: str, trained: Trained) -> None:
    """Write the model of one network."""
    preset = trained.presets[NETWORK]
    part = Filled(preset.network, preset.config, trained.weights[NETWORK])
    save_bundle(folder, {NETWORK: part}, trained.card, multiple=FINER)


LATENT_ZOOM = Recipe(
    "latent-zoom",
    "latent-zoom",
    {"paper": presets.paper, "small": presets.small, "tiny": presets.tiny},
    [
        Stage(_quantising, AUTOENCODER, examples.drawn(examples.alone)),
        Stage(_denoising, DENOISER, coded),
        Stage(_absolute, DEBLUR, blurred, share=0.25),
        Stage(_absolute, REGRESSION, examples.drawn(examples.coarse), share=0.5),
        Stage(_betweening, BETWEEN, examples.drawn(examples.at_share, examples.anywhere), share=0.25),
    ],
    write,
    degrades=False,
)
SIZES = ("paper", "small", "tiny")
BICUBIC_AE = Recipe(
    "bicubic-ae",
    "bicubic-ae",
    {size: partial(presets.slices, size) for size in SIZES},
    [Stage(_middling, examples=examples.drawn(examples.between))],
    write_alone,
    degrades=False,
)
SRGAN_SI = Recipe(
    "srgan-si",
    "srgan-si",
    {size: partial(presets.srgan, size) for size in SIZES},
    [Stage(_srgan, examples=examples.drawn(examples.coarse))],
    write_alone,
    degrades=False,
)
WDSR_SI = Recipe(
    "wdsr-si",
    "wdsr-si",
    {size: partial(presets.wdsr, size) for size in SIZES},
    [Stage(_absolute, examples=examples.drawn(examples.coarse))],
    write_alone,
    degrades=False,
)
