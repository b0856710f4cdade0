"""What a network is trained for: each objective names its players, and gives each player's loss on a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.diffusion.samplers import ancestral, prior
from core.diffusion.schedules import Cosine, continuous_times
from core.methods.diffusion_iqt.cross_batch import x0_of
from core.training.losses import psnr, relativistic_discriminator_loss, relativistic_generator_loss

SCHEDULE = Cosine()
LAST = 0.01  # of the last convolution's weights


class Objective(nn.Module, ABC):
    """Networks that learn, and their losses.

    Attributes:
        network: the one that will restore.
        players: names of the submodules that learn, in the order in which they take their steps.
        betas: of Adam.
        kept: which of its weights are kept, in words.
        keeps_last: whether those of the last validation are kept, rather than those with the highest score.
    """

    players: ClassVar[tuple[str, ...]] = ("network",)
    kept: ClassVar[str] = "the best by the validation's PSNR"
    keeps_last: ClassVar[bool] = False
    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, player: str, inputs: Tensor, truth: Tensor, draw: torch.Generator, step: int) -> Tensor:
        """The loss; by this name processes that train together are told when gradients are due."""
        return self.loss(player, inputs, truth, draw, step)

    def at_work(self, step: int) -> tuple[str, ...]:  # noqa: ARG002 - all of them, all the time
        """The players that learn at a step."""
        return self.players

    @abstractmethod
    def loss(self, player: str, inputs: Tensor, truth: Tensor, draw: torch.Generator, step: int) -> Tensor:
        """A player's loss.

        Args:
            player: one of ``players``.
            inputs: degraded patches on the truth's grid, (n, 1, p, p, p).
            truth: likewise.
            draw: for what is random; on the CPU, so that every device draws alike.
            step: number of the step, from 0.
        """

    @abstractmethod
    def restore(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """What a network (the trained one or its average) makes of degraded patches; for validation."""

    def score(self, network: nn.Module, inputs: Tensor, truth: Tensor, restored: Tensor) -> Tensor:  # noqa: ARG002
        """What weights are chosen by: PSNR of each patch in dB, (n,); the higher, the better.

        Args:
            network: of the weights.
            inputs: degraded patches on the truth's grid, (n, 1, p, p, p).
            truth: likewise.
            restored: what ``restore`` made of them.
        """
        return psnr(restored, truth)


class Regression(Objective):
    """The truth less its interpolation, in least squares: 3D U-Net and ResU-Net."""

    def loss(self, player: str, inputs: Tensor, truth: Tensor, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Mean squared error."""
        return nn.functional.mse_loss(self.restore(self.network, inputs), truth)

    def restore(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Input plus what the network adds."""
        restored: Tensor = inputs + network(inputs).float()
        return restored


class Adversarial(Regression):
    """ESRGAN (Wang et al. 2018): least absolute error first, then with a relativistic average discriminator.

    Args:
        network: the generator.
        discriminator: gives (n, …) logits of patches (n, 1, p, p, p).
        warmup: steps of the generator alone.

    The last weights are kept: textures cost PSNR (Blau and Michaeli 2018), by which those before the discriminator would be best.
    """

    kept: ClassVar[str] = "the last, for the textures that a discriminator teaches cost PSNR"
    keeps_last: ClassVar[bool] = True
    players: ClassVar[tuple[str, ...]] = ("network", "discriminator")
    weight: ClassVar[float] = 5e-3  # of the adversarial part beside the absolute error (ESRGAN's ratio)

    def __init__(self, network: nn.Module, discriminator: nn.Module, warmup: int) -> None:
        super().__init__(network)
        self.discriminator, self.warmup = discriminator, warmup

    def at_work(self, step: int) -> tuple[str, ...]:
        """The generator alone, then both."""
        return self.players if step >= self.warmup else self.players[:1]

    def loss(self, player: str, inputs: Tensor, truth: Tensor, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Absolute and adversarial loss of the generator; relativistic loss of the discriminator."""
        if player == "network":
            restored = self.restore(self.network, inputs)
            content = nn.functional.l1_loss(restored, truth)
            if step < self.warmup:
                return content
            real, fake = self.discriminator(truth).detach(), self.discriminator(restored)
            return content + self.weight * relativistic_generator_loss(real, fake)
        with torch.no_grad():
            restored = self.restore(self.network, inputs)
        return relativistic_discriminator_loss(self.discriminator(truth), self.discriminator(restored))


class Diffusion(Objective):
    """DiffusionIQT: the network sees the interpolated scan and the truth under noise, and tells the truth.

    Continuous time t ~ U(0, 1), one for all patches of a block; cosine log-SNR; squared error of x0.

    Weights are chosen by what they are trained for. By PSNR of a sample they cannot be: a network that knows the posterior draws
    from it, and so has twice the error of one that has only learned to blur.
    """

    kept: ClassVar[str] = "the best by the validation's error of the truth that is predicted under noise"
    held_times: ClassVar[tuple[float, ...]] = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the validation
    steps: ClassVar[int] = 20  # of the sampler

    def loss(self, player: str, inputs: Tensor, truth: Tensor, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Squared error of the predicted truth."""
        times = torch.rand(len(truth), generator=draw).tolist()
        return nn.functional.mse_loss(self._predicted(self.network, inputs, truth, times, draw), truth)

    def _predicted(self, network: nn.Module, inputs: Tensor, truth: Tensor, times: list[float], draw: torch.Generator) -> Tensor:
        """The truth as told from the truth under noise, of times t a patch."""
        alpha, sigma = torch.tensor([SCHEDULE.alpha_sigma(t) for t in times]).to(truth).T[:, :, None, None, None, None]
        noisy = alpha * truth + sigma * torch.randn(truth.shape, generator=draw).to(truth)
        log_snr = torch.tensor([SCHEDULE.log_snr(t) for t in times]).to(truth)
        return x0_of(network, noisy, inputs, log_snr).float()

    def score(self, network: nn.Module, inputs: Tensor, truth: Tensor, restored: Tensor) -> Tensor:  # noqa: ARG002
        """PSNR of the truth predicted under noise, in dB, mean over levels of noise."""
        draws = [(t, torch.Generator().manual_seed(number)) for number, t in enumerate(self.held_times)]
        each = [psnr(self._predicted(network, inputs, truth, [t] * len(truth), draw), truth) for t, draw in draws]
        return torch.stack(each).mean(0)

    def restore(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """A sample by the ancestral sampler, from noise that is the same each time."""

        def denoise(x: Tensor, t: float) -> Tensor:
            return x0_of(network, x, inputs, torch.full((len(x),), SCHEDULE.log_snr(t)).to(x)).float()

        def noise(number: int) -> Tensor:
            return torch.randn(inputs.shape, generator=torch.Generator().manual_seed(number)).to(inputs)

        return ancestral(denoise, prior(SCHEDULE, noise), SCHEDULE, continuous_times(self.steps), noise)


def prepared(network: nn.Module) -> nn.Module:
    """Weights as He et al. 2015 draw them, a last convolution that adds next to nothing: it begins at the interpolation."""
    convolutions = [one for one in network.modules() if isinstance(one, (nn.Conv3d, nn.ConvTranspose3d))]
    for one in convolutions:
        taps = one.weight[0, 0].numel() * one.in_channels
        fan_in = taps / math.prod(one.stride) if isinstance(one, nn.ConvTranspose3d) else taps
        nn.init.normal_(one.weight, std=math.sqrt(2 / fan_in))
        if one.bias is not None:
            nn.init.zeros_(one.bias)
    with torch.no_grad():
        convolutions[-1].weight.mul_(LAST)
    return network
