"""Diffusion: the network sees the truth under noise, and tells the truth, the noise or their velocity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.diffusion.predictions import Denoise, Prediction, denoiser, q_sample, v_from_x0
from core.diffusion.samplers import ancestral, prior
from core.diffusion.schedules import Schedule, continuous_times
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.base import Objective

Predict = Callable[[nn.Module, Tensor, Batch, Sequence[float]], Tensor]


class Denoising(Objective):
    """What a network tells from the truth under noise and the inputs, in least squares; one time an example.

    Args:
        network: that learns.
        predict: of network, noisy images (n, c, …), their batch and the time of each to what the network tells.
        schedule: signal and noise at each time, continuous or whole.
        predicts: what the network tells, "x0" (the truth), "eps" (the noise) or "v" (the velocity).

    Weights are chosen by what they are trained for. By PSNR of a sample they cannot be: a network that knows the posterior draws
    from it, and so has twice the error of one that has only learned to blur.
    """

    kept: ClassVar[str] = "the best by the validation's error of the truth that is predicted under noise"
    held_times: ClassVar[tuple[float, ...]] = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the validation
    steps: int = 20  # of the sampler

    def __init__(self, network: nn.Module, predict: Predict, schedule: Schedule, predicts: Prediction = "x0") -> None:
        super().__init__(network)
        self.predict, self.schedule, self.predicts = predict, schedule, predicts

    def times(self, count: int, draw: torch.Generator) -> list[float]:
        """Times to learn at; here of a continuous schedule, t ~ U(0, 1)."""
        return [float(t) for t in torch.rand(count, generator=draw).tolist()]

    def sampled_times(self) -> list[float]:
        """Falling times at which the sampler of the validation stops."""
        return continuous_times(self.steps)

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Squared error of what the network tells."""
        times = self.times(len(batch), draw)
        noise = torch.randn(batch.truth.shape, generator=draw).to(batch.truth)
        predicted = self._told(self.network, q_sample(batch.truth, times, noise, self.schedule), batch, times)
        return nn.functional.mse_loss(predicted, self._wanted(batch.truth, noise, times))

    def _wanted(self, truth: Tensor, noise: Tensor, times: list[float]) -> Tensor:
        if self.predicts == "x0":
            return truth
        if self.predicts == "eps":
            return noise
        levels = [self.schedule.alpha_sigma(t) for t in times]
        each = zip(truth, noise, levels, strict=True)
        return torch.stack([v_from_x0(image * alpha + n * sigma, image, (alpha, sigma)) for image, n, (alpha, sigma) in each])

    def _told(self, network: nn.Module, noisy: Tensor, batch: Batch, times: Sequence[float]) -> Tensor:
        return self.predict(network, noisy, batch, times).float()

    def _denoise(self, network: nn.Module, batch: Batch) -> Denoise:
        """The truth that the network expects behind noisy images of a batch, all of one time."""
        return denoiser(lambda noisy, t: self._told(network, noisy, batch, [t] * len(noisy)), self.schedule, self.predicts)

    def score(self, network: nn.Module, batch: Batch, restored: Tensor) -> Tensor:  # noqa: ARG002
        """PSNR of the truth predicted under noise, in dB, mean over levels of noise that are the same each time."""
        each, denoise = [], self._denoise(network, batch)
        for number, t in enumerate(self.held_times):
            noise = torch.randn(batch.truth.shape, generator=torch.Generator().manual_seed(number)).to(batch.truth)
            noisy = q_sample(batch.truth, [t] * len(batch), noise, self.schedule)
            each.append(psnr(denoise(noisy, t), batch.truth))
        return torch.stack(each).mean(0)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """A sample by the ancestral sampler, from noise that is the same each time; of the truth it knows the shape alone."""
        like = batch.truth

        def noise(number: int) -> Tensor:
            return torch.randn(like.shape, generator=torch.Generator().manual_seed(number)).to(like)

        start = prior(self.schedule, noise)
        return ancestral(self._denoise(network, batch), start, self.schedule, self.sampled_times(), noise)
