"""PSNR of patches, and the relativistic average GAN (Jolicoeur-Martineau 2018; Wang et al. 2018, section 3.2).

The discriminator of a relativistic GAN tells not whether a patch is true, but whether it is truer than the others are on average:

    D(true, restored) = sigmoid(C(true) - E[C(restored)])
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """PSNR of patches (n, …) in dB, (n,); range 1."""
    return -10 * (image - truth).square().flatten(1).mean(1).clamp_min(1e-12).log10()


def _relative(score: Tensor, other: Tensor) -> Tensor:
    """Logits less the mean of the others, in float32."""
    return score.float() - other.float().mean()


def relativistic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(real, fake)] - E[log(1 - D(fake, real))] (equation 1 of Wang et al. 2018); 2 log 2 where it cannot tell.

    Args:
        real: logits of true patches.
        fake: logits of restored patches, through which nothing should flow back to the generator.
    """
    return functional.softplus(-_relative(real, fake)).mean() + functional.softplus(_relative(fake, real)).mean()


def relativistic_generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log(1 - D(real, fake))] - E[log D(fake, real)] (equation 2 of Wang et al. 2018): the discriminator's, turned round.

    Args:
        real: logits of true patches.
        fake: logits of restored patches.
    """
    return relativistic_discriminator_loss(fake, real)
