"""One noise level of the paper's samplers on slices: predictor, corrector, and what pulls a slice towards the scan after them.

    predictor       x + (s_i^2 - s_j^2) score + sqrt(s_i^2 - s_j^2) z         s_j the next level
    corrector       x + e score + sqrt(2 e) z,  e = 2 (snr |z| / |score|)^2
    score-sde       x - T H x + T (y + H s z)        T the pseudo-inverse, or nearest pixels
    dps             x - rho grad |y - H D|                                    D = x_i + s_i^2 score, gradient to x_i
    mcg             as dps, then as score-sde
    srmri           as dps at every k-th level; else the band of wavelets that the scan measured becomes the scan's

All norms are of one slice. Sources: SRMRI (algorithm 1), Song et al. 2021, Chung et al. 2022 (MCG) and 2023 (DPS).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from core.diffusion.samplers import Langevin, reverse_diffusion, ve_ancestral
from core.methods.srmri.sampling.planes import SliceOperator, fused, fusion_levels

Pull = Literal["score-sde", "dps", "mcg", "srmri"]
Denoiser = Callable[[Tensor, float], Tensor]  # a slice (1, 1, h, w) and sigma to the expected one
Noise = Callable[[int], Tensor]  # of a use within a level
PREDICTING, CORRECTING, BAND, USES = 0, 1, 2, 4  # uses; the band's noise after the predictor, and 1 more after the corrector
FEWEST = 200  # levels, below which the predictor leaves too much variance (19 % at 50, 136 % at 20) and is replaced


@dataclass(frozen=True, eq=False)
class Scene:
    """A slice that is to be restored.

    Attributes:
        denoise: the score model on it.
        operator: H.
        seen: y, (1, 1, m, k).
        raised: y interpolated, (1, 1, h, w), whose band is taken; None: the range-space replacement takes fusion's place.
    """

    denoise: Denoiser
    operator: SliceOperator
    seen: Tensor
    raised: Tensor | None = None


@dataclass(frozen=True)
class Rules:
    """How a sampler walks.

    Attributes:
        pull: what brings a slice towards the scan.
        period: k: every how many levels there is a gradient ("srmri").
        rho: of the gradient; of a norm in units of the root of the number of measured pixels.
        squared: whether it is the norm's square.
        predictor_first: as algorithm 1; else corrector first, and a pull after each of the two, as the authors' code.
        corrector: Langevin.
        nearest: whether T repeats pixels, else it is the pseudo-inverse.
        fusion: whether the levels between two gradients are pulled at all; the paper's table 4 has a row without.
        level: of the wavelets; None: log2 of the factor, by axis.
        noisy_band: whether the scan's band gets the noise of the level; the authors' does not.
        noisy_end: whether the last slice keeps its noise.
        ancestral: whether the predictor has the posterior's variance.
    """

    pull: Pull
    period: int = 2
    rho: float = 0.28 / math.sqrt(360 * 256)
    squared: bool = False
    predictor_first: bool = False
    corrector: Langevin = field(default_factory=Langevin)
    nearest: bool = False
    fusion: bool = True
    level: int | None = None
    noisy_band: bool = True
    noisy_end: bool = False
    ancestral: bool = False

    def differentiates(self, number: int) -> bool:
        """Whether there is a gradient at the level of this number, from 0."""
        return self.pull in {"dps", "mcg"} or (self.pull == "srmri" and number % self.period == 0)

    def length(self, pixels: int) -> float:
        """What a gradient is multiplied by, of a slice of so many measured pixels."""
        return self.rho if self.squared else self.rho * math.sqrt(pixels)


def gradient_of(scene: Scene, x: Tensor, sigma: float, *, squared: bool) -> tuple[Tensor, Tensor, float]:
    """D, the gradient of |y - H D| (or its square) to x, and |y - H D|; slices one by one, weights frozen.

    The gradient is 0 where y = H D, as in a slice of which nothing was measured: there the norm has no slope, its square has 0.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        expected = scene.denoise(leaf, sigma)
        square = (scene.seen - scene.operator(expected)).square().sum()
        loss = square if squared or not square else square.sqrt()
        (gradient,) = torch.autograd.grad(loss, leaf)
    return expected.detach(), gradient, math.sqrt(float(square.detach()))


def moved(scene: Scene, rules: Rules, x: Tensor, number: int, sigmas: tuple[float, float], noise: Noise) -> tuple[Tensor, float]:
    """A slice at the next level, before what ``settled`` does.

    Args:
        scene: the slice's.
        rules: of the sampler.
        x: (1, 1, h, w) at the first of ``sigmas``.
        number: of the level, from 0.
        sigmas: this level's and the next one's, 0 at the end.
        noise: standard normal by use, of this level.

    Returns:
        the slice, and the root mean square of y - H D.
    """
    now, then = sigmas
    if not rules.predictor_first:
        nearer, gradient, _ = _corrected(scene, rules, x, number, now, noise)
        x = _pulled(scene, rules, nearer, gradient, now, lambda: noise(BAND + 1))
    expected, gradient, apart = _expected(scene, rules, x, number, now)
    predict = ve_ancestral if rules.ancestral else reverse_diffusion
    next_one = predict(x, expected, now, then, noise(PREDICTING) if then > 0 or rules.noisy_end else None)
    x = _pulled(scene, rules, next_one, gradient, then, lambda: noise(BAND))
    return x, apart / math.sqrt(scene.seen.numel())


def settled(scene: Scene, rules: Rules, x: Tensor, sigma: float, noise: Noise) -> Tensor:
    """A slice that has moved to a level, corrected there where the predictor is first.

    It is apart from ``moved`` because the corrector looks at neighbours, which must have reached that level, too.

    Args:
        scene: the slice's, with its neighbours at ``sigma``.
        rules: of the sampler.
        x: (1, 1, h, w) at ``sigma``.
        sigma: of the level; at 0 nothing is left to correct.
        noise: as of the move.
    """
    if not rules.predictor_first or sigma == 0:
        return x
    with torch.no_grad():
        return rules.corrector.correct(x, scene.denoise(x, sigma), sigma, noise(CORRECTING))


def _expected(scene: Scene, rules: Rules, x: Tensor, number: int, sigma: float) -> tuple[Tensor, Tensor | None, float]:
    """D, the gradient where there is one at this level, and |y - H D|."""
    if rules.differentiates(number):
        return gradient_of(scene, x, sigma, squared=rules.squared)
    with torch.no_grad():
        expected = scene.denoise(x, sigma)
        return expected, None, float((scene.seen - scene.operator(expected)).square().sum().sqrt())


def _corrected(
    scene: Scene, rules: Rules, x: Tensor, number: int, sigma: float, noise: Noise
) -> tuple[Tensor, Tensor | None, float]:
    expected, gradient, apart = _expected(scene, rules, x, number, sigma)
    return rules.corrector.correct(x, expected, sigma, noise(CORRECTING)), gradient, apart


def _pulled(scene: Scene, rules: Rules, x: Tensor, gradient: Tensor | None, sigma: float, noise: Callable[[], Tensor]) -> Tensor:
    """A slice after its move, nearer to the scan."""
    if gradient is not None:
        x = x - rules.length(scene.seen.numel()) * gradient
        return replaced(scene, rules, x, sigma, noise()) if rules.pull == "mcg" else x
    if rules.pull == "srmri" and not rules.fusion:
        return x
    if rules.pull == "srmri" and scene.raised is not None:
        return banded(scene, rules, x, sigma, noise())
    return replaced(scene, rules, x, sigma, noise())


def replaced(scene: Scene, rules: Rules, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
    """T (y + H sigma z - H x) is added: what the scan says of a slice is put in the place of what the slice says."""
    rest = scene.seen + scene.operator(noise * sigma) - scene.operator(x)
    if not rules.nearest:
        return x + scene.operator.inverse(rest)
    return x + torch.nn.functional.interpolate(rest, x.shape[-2:], mode="nearest")


def banded(scene: Scene, rules: Rules, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
    """Wavelet fusion with the interpolated scan."""
    assert scene.raised is not None  # noqa: S101 - asked before
    levels = fusion_levels(scene.operator) if rules.level is None else (rules.level, rules.level)
    band = scene.raised + sigma * noise if rules.noisy_band else scene.raised
    return torch.from_numpy(fused(x[0, 0].cpu().numpy(), band[0, 0].cpu().numpy(), levels))[None, None].to(x)
