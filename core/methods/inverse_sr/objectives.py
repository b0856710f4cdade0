"""What the networks of a prior learn: an autoencoder its images, a denoiser the noise in their codes (Pinaya et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from core.diffusion.declared import build_schedule
from core.diffusion.samplers import ddim
from core.diffusion.schedules import ddim_times
from core.errors import IsovoxError
from core.methods.inverse_sr.latent import decode, encode, epsilon
from core.methods.inverse_sr.presets import SCHEDULE
from core.methods.inverse_sr.windows import PERSON
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.base import Objective
from core.training.objectives.denoising import Denoising

SCALES = 3  # of gradients
TIMES = 1000  # of the schedule
SHOWN_STEPS = 10  # of the sampler of the validation

Distance = Callable[[Tensor, Tensor], Tensor]


def gradients_apart(image: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of volumes (n, 1, x, y, z), summed over three resolutions."""
    rest, total = image - truth, image.new_zeros(())
    for _ in range(SCALES):
        total = total + torch.stack([rest.diff(dim=axis).abs().mean() for axis in (2, 3, 4)]).sum()
        if min(rest.shape[2:]) < 4:
            break
        rest = nn.functional.avg_pool3d(rest, 2)
    return total


class SlicesApart:
    """LPIPS of slices across all three axes, every fourth (the "2.5-D" term of the authors' later training); cut to 0..1.

    Args:
        network: module that takes two (n, 3, height, width) tensors in 0..1; it goes to the device of the images.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        """The mean over the axes."""
        parts, network = [], self._network.to(image.device)
        image, truth = image.clamp(0, 1), truth.clamp(0, 1)
        for axis in (2, 3, 4):
            pair = [volume.movedim(axis, 1).flatten(0, 1)[::4].expand(-1, 3, -1, -1) for volume in (image, truth)]
            parts.append(network(*pair))
        return torch.stack(parts).mean()


def perceptual() -> tuple[str, float, Distance]:
    """The perceptual term: its name, its weight, and the distance; of gradients where VGG cannot be had.

    LPIPS has the weight of the authors' later training. Gradients differ about as much as voxels, and so weigh more.
    """
    from core.evaluation.metrics.perceptual import vgg

    try:
        return "LPIPS of slices", 0.002, SlicesApart(vgg())
    except IsovoxError:
        return "gradients at three resolutions, in place of LPIPS, whose VGG is not at hand", 0.2, gradients_apart


class Autoencoding(Objective):
    """Absolute error, a perceptual term, a least-squares GAN on patches (Mao et al. 2017), and the codes' divergence from normal.

    Weights are those of the authors' later training; the divergence is summed over a code and averaged over the batch.

    Args:
        network: MONAI's autoencoder, or ours.
        discriminator: a list of maps of volumes, the last of them logits of patches.
        warmup: steps without the discriminator.
    """

    trained: ClassVar[tuple[str, ...]] = ("network", "discriminator")
    adversarial: ClassVar[float] = 0.005
    divergence: ClassVar[float] = 1e-8

    def __init__(self, network: nn.Module, discriminator: nn.Module, warmup: int) -> None:
        super().__init__(network)
        self.discriminator, self.warmup = discriminator, warmup
        name, self.weight, self._distance = perceptual()
        self.about = f"Perceptual term: {name}"

    def learning(self, step: int) -> tuple[str, ...]:
        """The autoencoder alone, then both."""
        return self.trained if step >= self.warmup else self.trained[:1]

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:
        """The loss of the autoencoder, on codes that are drawn; or of the discriminator."""
        network: Any = self.network
        with torch.set_grad_enabled(module == "network" and torch.is_grad_enabled()):
            mean, spread = network.encode(batch.inputs)
            drawn = mean + spread * torch.randn(mean.shape, generator=draw).to(mean)
            image = network.decode(drawn)
        if module == "discriminator":
            return self._unmasked(image, batch.truth)
        if hasattr(network, "observe"):
            network.observe(mean)
        loss: Tensor = nn.functional.l1_loss(image, batch.truth) + self.weight * self._distance(image, batch.truth)
        loss = loss + self.divergence * _divergence(mean, spread)
        if step >= self.warmup:
            loss = loss + self.adversarial * (self.discriminator(image)[-1] - 1).square().mean()
        return loss

    def _unmasked(self, image: Tensor, truth: Tensor) -> Tensor:
        """The discriminator's own loss: 0 for decoded patches, 1 for true ones."""
        fake, real = self.discriminator(image.detach())[-1], self.discriminator(truth)[-1]
        loss: Tensor = 0.5 * (fake.square().mean() + (real - 1).square().mean())
        return loss

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """What the mean codes are decoded to."""
        return decode(network, encode(network, batch.inputs))

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR: the ceiling of all that is restored with this autoencoder."""
        return {"psnr": psnr(restored, held.truth)}


def _divergence(mean: Tensor, spread: Tensor) -> Tensor:
    """Of the codes' normal distributions from the standard one, in nats."""
    mean, spread = mean.float(), spread.float()  # a sum over all of a code
    nats = 0.5 * (mean.square() + spread.square() - 1 - spread.square().clamp_min(1e-30).log())
    return nats.flatten(1).sum(1).mean()


def noise_in_codes(network: nn.Module, noisy: Tensor, batch: Batch, times: Sequence[float]) -> Tensor:
    """What MONAI's U-Net takes for the noise in codes of whole timesteps, told what is known of the persons."""
    whole = torch.tensor([int(t) for t in times], device=noisy.device)
    return epsilon(network, noisy, whole, batch.conditions[PERSON])


class CodeDenoising(Denoising):
    """The noise in codes at whole timesteps; see ``noise_in_codes``.

    Args:
        network: MONAI's U-Net.
        decoded: image of a code, to be looked at.
    """

    held_times: ClassVar[tuple[float, ...]] = (100, 300, 500, 700, 900)

    def __init__(self, network: nn.Module, decoded: Callable[[Tensor], Tensor]) -> None:
        super().__init__(network, noise_in_codes, build_schedule(SCHEDULE), "eps")
        self.decoded = decoded

    def times(self, count: int, draw: torch.Generator) -> list[float]:
        """Evenly drawn."""
        return [float(t) for t in torch.randint(TIMES, (count,), generator=draw).tolist()]

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """Codes by DDIM without noise, for the persons of the batch; of the truth the shape alone is known."""
        start = torch.randn(batch.truth.shape, generator=torch.Generator().manual_seed(0)).to(batch.truth)
        return ddim(self._denoise(network, batch), start, self.schedule, ddim_times(SHOWN_STEPS), lambda _: start)

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Standard deviation of sampled codes: 1 where they are like those of the training."""
        return {"sampled_sd": restored.flatten(1).std(1)}

    def shown(self, held: Batch, restored: Tensor) -> Sequence[Tensor]:
        """Samples beside the images of true codes."""
        device = next(self.network.parameters()).device
        with torch.no_grad():
            images: list[Tensor] = [self.decoded(code[:4].to(device)) for code in (restored, held.truth)]
        return [image.cpu() for image in images]
