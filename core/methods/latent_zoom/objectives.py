"""What the networks learn: slices' codes, the noise in them, sharpness, finer slices, and codes between which slices lie.

Images are in -1..1, but for the autoencoder of slices: there they are in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, distributed, nn

from core.diffusion.declared import build_schedule
from core.diffusion.predictions import Denoise, Prediction
from core.diffusion.samplers import ddim
from core.methods.latent_zoom import latent
from core.methods.latent_zoom.examples import ABOVE, COARSE, SHARE
from core.methods.latent_zoom.presets import SCHEDULE
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.base import Objective
from core.training.objectives.denoising import Denoising
from core.training.objectives.perceptual import perceptual

SHOWN_STEPS = 10  # of the sampler of the validation


def psnr_of(image: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB of slices in -1..1, (n,)."""
    return psnr((image + 1) / 2, (truth + 1) / 2)


class OfImages(Objective):
    """An objective whose network makes slices in -1..1."""

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR in dB."""
        return {"psnr": psnr_of(restored, held.truth)}

    def score(self, network: nn.Module, batch: Batch, restored: Tensor) -> Tensor:  # noqa: ARG002
        """PSNR in dB, (n,)."""
        return psnr_of(restored, batch.truth)


# -- the latent diffusion model -------------------------------------------------------------------------------------------------


class Quantising(OfImages):
    """Absolute error, a perceptual term, the codebook's, and an adaptive hinge GAN on patches (Esser et al. 2021, eq. 4 to 7).

    Args:
        network: diffusers' VQModel; its codebook term weighs commitment four times as much as the codebook itself.
        discriminator: logits of patches.
        warmup: steps without the discriminator.
        plain: steps without the codebook, which then takes codes for its entries: begun at random within 1 / entries it draws all
            codes to 0, and a short training (or any, for some hundred steps) learns nothing.
    """

    trained: ClassVar[tuple[str, ...]] = ("network", "discriminator")
    betas: ClassVar[tuple[float, float]] = (0.5, 0.9)
    adversarial: ClassVar[float] = 0.75
    most: ClassVar[float] = 1e4  # of the adaptive weight

    def __init__(self, network: nn.Module, discriminator: nn.Module, warmup: int, plain: int = 0) -> None:
        super().__init__(network)
        self.discriminator, self.warmup, self.plain, self.begins = discriminator, warmup, plain, plain + 1 if plain else 0
        name, self._distance = perceptual()
        self.about = f"Perceptual term: {name}"

    def learning(self, step: int) -> tuple[str, ...]:
        """The autoencoder alone, then both."""
        return self.trained if step >= self.warmup else self.trained[:1]

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:
        """The loss of the autoencoder, or of the discriminator."""
        network: Any = self.network
        truth = batch.truth.expand(-1, network.config.in_channels, -1, -1)
        with torch.set_grad_enabled(module == "network" and torch.is_grad_enabled()):
            codes = latent.encode(network, truth)
            if step == self.plain > 0 and module == "network":
                self._take(codes, draw)
            snapped, codebook = network.quantize(codes)[:2] if step >= self.plain else (codes, codes.new_zeros(()))
            image = latent.decode(network, snapped)
        if module == "discriminator":
            real, fake = self.discriminator(truth), self.discriminator(image.detach())
            hinge: Tensor = 0.5 * (nn.functional.relu(1 - real).mean() + nn.functional.relu(1 + fake).mean())
            return hinge
        content: Tensor = nn.functional.l1_loss(image, truth) + self._distance(image, truth)
        total: Tensor = content + codebook
        if step < self.warmup:
            return total
        fooled = -self.discriminator(image).mean()
        weighed: Tensor = total + self.adversarial * self._weight(content, fooled) * fooled
        return weighed

    @torch.no_grad()
    def _take(self, codes: Tensor, draw: torch.Generator) -> None:
        """The codebook's entries become codes (n, channels, rows, columns) of places that are drawn.

        Of several processes all take the first one's: each has other codes, and gradients alone are shared.
        """
        places, entries = codes.movedim(1, -1).flatten(0, -2), latent.codebook(self.network)
        chosen = torch.randint(len(places), (len(entries),), generator=draw)
        entries.copy_(places[chosen.to(places.device)])
        if distributed.is_initialized():
            distributed.broadcast(entries, 0)

    def _weight(self, content: Tensor, fooled: Tensor) -> Tensor:
        """How much longer the content's gradient is at the last layer than the discriminator's; 1 where no gradient is wanted."""
        if not content.requires_grad:
            return content.new_ones(())
        network: Any = self.network
        last = network.decoder.conv_out.weight
        lengths = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (content, fooled)]
        weight: Tensor = (lengths[0] / (lengths[1] + 1e-4)).clamp(0, self.most).detach()
        return weight

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The decoded entries of the codebook."""
        codes = latent.encode(network, batch.inputs)
        return latent.decode(network, latent.quantised(codes, latent.codebook(network))).mean(1, keepdim=True)


def told_of_codes(network: nn.Module, noisy: Tensor, batch: Batch, times: Sequence[float]) -> Tensor:
    """What diffusers' U-Net tells of noisy codes at whole timesteps, shown the coarse slices."""
    whole = torch.tensor([int(t) for t in times], device=noisy.device)
    return latent.told(network, noisy, batch.conditions[COARSE], whole)


class CodeDenoising(Denoising):
    """The noise in codes at whole timesteps, or their velocity; see ``told_of_codes``."""

    held_times: ClassVar[tuple[float, ...]] = (100, 300, 500, 700, 900)

    def __init__(self, network: nn.Module, predicts: Prediction) -> None:
        super().__init__(network, told_of_codes, build_schedule(SCHEDULE), predicts)

    def times(self, count: int, draw: torch.Generator) -> list[float]:
        """Evenly drawn."""
        return [float(t) for t in torch.randint(latent.TIMES, (count,), generator=draw).tolist()]

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """Codes by DDIM without noise; of the truth the shape alone is known."""
        start = torch.randn(batch.truth.shape, generator=torch.Generator().manual_seed(0)).to(batch.truth)
        denoise: Denoise = self._denoise(network, batch)
        return ddim(denoise, start, self.schedule, latent.times(SHOWN_STEPS, clean=True), lambda _: start)

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """RMS distance of sampled codes from the true ones, in standard deviations of these."""
        apart = (restored - held.truth).square().flatten(1).mean(1).sqrt()
        return {"codes_apart": apart / held.truth.flatten(1).std(1).clamp_min(1e-6)}


# -- finer and sharper slices ---------------------------------------------------------------------------------------------------


class Absolute(OfImages):
    """Slices of slices, in absolute errors (EDSR, WDSR)."""

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Mean absolute error."""
        image: Tensor = self.network(_as_wide(self.network, batch.inputs))
        return nn.functional.l1_loss(image, batch.truth.expand_as(image))

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """What the network makes of its inputs."""
        image: Tensor = network(_as_wide(network, batch.inputs))
        return image.mean(1, keepdim=True)


def _as_wide(network: nn.Module, image: Tensor) -> Tensor:
    """One channel shown in as many as a network has."""
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return image.expand(-1, first.in_channels, -1, -1)


class SrganTraining(OfImages):
    """Squared error first; then a perceptual distance and 0.001 of a GAN beside a discriminator (Ledig et al. 2017, eq. 3 to 6).

    Args:
        network: the generator.
        discriminator: a logit for each slice.
        warmup: steps of the generator alone, in squared errors.

    The last weights are kept: textures cost PSNR, by which those before the discriminator would be best.
    """

    kept: ClassVar[str] = "the last, for the textures that a discriminator teaches cost PSNR"
    keeps_last: ClassVar[bool] = True
    trained: ClassVar[tuple[str, ...]] = ("network", "discriminator")
    adversarial: ClassVar[float] = 1e-3

    def __init__(self, network: nn.Module, discriminator: nn.Module, warmup: int) -> None:
        super().__init__(network)
        self.discriminator, self.warmup = discriminator, warmup
        name, self._distance = perceptual()
        self.about = f"Perceptual term: {name}"

    def learning(self, step: int) -> tuple[str, ...]:
        """The generator alone, then both."""
        return self.trained if step >= self.warmup else self.trained[:1]

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002 - draws nothing
        """The loss of the generator, or of the discriminator."""
        with torch.set_grad_enabled(module == "network" and torch.is_grad_enabled()):
            image: Tensor = self.network(_as_wide(self.network, batch.inputs))
        truth = batch.truth.expand_as(image)
        if module == "discriminator":
            real, fake = self.discriminator(truth), self.discriminator(image.detach())
            return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()
        if step < self.warmup:
            return nn.functional.mse_loss(image, truth)
        return self._distance(image, truth) + self.adversarial * nn.functional.softplus(-self.discriminator(image)).mean()

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """What the generator makes of its inputs."""
        image: Tensor = network(_as_wide(network, batch.inputs))
        return image.mean(1, keepdim=True)


# -- codes between two ----------------------------------------------------------------------------------------------------------


class Betweening(OfImages):
    """Absolute error of the slice that is decoded of codes between two, anywhere on the way.

    Args:
        network: of codes below and above, and the share of the way.
        autoencoder: that codes and decodes; it does not learn any more.
    """

    def __init__(self, network: nn.Module, autoencoder: nn.Module) -> None:
        super().__init__(network)
        self._frozen = (autoencoder,)  # in a tuple: no part of the objective

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002 - draws nothing
        """Mean absolute error."""
        image = self._between(self.network, batch)
        return nn.functional.l1_loss(image, batch.truth.expand_as(image))

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The slices of the network's codes."""
        return self._between(network, batch).mean(1, keepdim=True)

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR in dB of it, and of the slices of lerped codes."""
        of_lerp = [self._between(_lerp, each.to(self._device)).mean(1, keepdim=True).cpu() for each in _singles(held)]
        return super().figures(held, restored) | {"psnr_lerp": psnr_of(torch.cat(of_lerp), held.truth)}

    @property
    def _device(self) -> torch.device:
        return next(self._frozen[0].parameters()).device

    def _between(self, network: Callable[..., Tensor], batch: Batch) -> Tensor:
        (autoencoder,) = self._frozen
        with torch.no_grad():
            below, above = (latent.encode(autoencoder, each) for each in (batch.inputs, batch.conditions[ABOVE]))
        return latent.decode(autoencoder, network(below, above, batch.conditions[SHARE].to(below).reshape(-1, 1, 1, 1)))


def _lerp(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    return below - (below - above) * share


def _singles(batch: Batch) -> list[Batch]:
    """Each example of a batch as a batch."""
    return [
        Batch(batch.inputs[n : n + 1], batch.truth[n : n + 1], {name: each[n : n + 1] for name, each in batch.conditions.items()})
        for n in range(len(batch))
    ]


# -- the autoencoder of slices --------------------------------------------------------------------------------------------------


class Middling(Objective):
    """Squared error of decoded slices, and a perceptual distance of the slice half-way between two from the true one.

    Sander et al. 2022 weigh VGG's features by 0.001 on brains; LPIPS and gradients, which are means, by ``weight``.
    """

    weight: ClassVar[float] = 0.05

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        name, self._distance = perceptual()
        self.about = f"Perceptual term: {name}"

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002 - draws nothing
        """Both."""
        network: Any = self.network
        outer = torch.cat([batch.inputs, batch.conditions[ABOVE]])
        codes = network.encode(outer)
        below, above = codes.chunk(2)
        decoded, middle = network.decode(codes), network.decode((below + above) / 2)
        return nn.functional.mse_loss(decoded, outer) + self.weight * self._distance(middle * 2 - 1, batch.truth * 2 - 1)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The decoded slice half-way between the two."""
        autoencoder: Any = network
        below, above = (autoencoder.encode(each) for each in (batch.inputs, batch.conditions[ABOVE]))
        image: Tensor = autoencoder.decode((below + above) / 2)
        return image

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR in dB of it, and of the mean of the two slices."""
        mean = (held.inputs + held.conditions[ABOVE]) / 2
        return {"psnr": psnr(restored, held.truth), "psnr_mean": psnr(mean, held.truth)}
