"""KernelGAN (Bell-Kligler et al. 2019): the kernel by which a scan, reduced once more, looks as it does itself.

    G     convolutions of 7, 5, 3, 1, 1, 1 pixels, 64 channels, linear: together a kernel of 13 x 13 and a stride of 2
    D     a convolution of 7 pixels and six of 1, so that it sees patches of 7 x 7; spectral norm
    G's   |D(G(x)) - 1| + 5 (G(x) - bicubic)^2 + 0.5 |sum k - 1| + 0.5 |k m| + 1 (centre - 6.5)^2 + 5 |k|^0.2         means
    D's   (|D(y) - 1| + |D(G(x))|) / 2

The weight of the bicubic part falls by 100 every 200 steps once G has found the bicubic kernel, to 5e-6; below 5e-3 the last
two parts begin. The authors test its error, of three channels summed, against 0.4; ours is one channel's, relative to the
variance of the bicubic image. Noise on what D sees is drawn afresh each step. Spectral norms are exact, not by power iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.geometry.grid import Array
from core.methods.iterative import State
from core.methods.srmri.zero_shot.crops import Crops
from core.methods.srmri.zero_shot.kernel import centre, centre_of_mass, composed
from core.methods.srmri.zero_shot.learner import Learner
from core.operators.kernels import kernel_matrix

SIZES = (7, 5, 3, 1, 1, 1)
WIDTH, SIDE, FACTOR = 64, 13, 2
CROP, LEAST = 64, 32  # pixels of G's input, and at the least
RATE, BETAS, TENFOLD = 2e-4, (0.5, 0.999), 750  # steps after which the rate falls tenfold
NOISE = 1 / 255  # of what D sees, of [-1, 1]
BICUBIC, FALL, LEAST_BICUBIC, EVERY, ENOUGH = 5.0, 100.0, 5e-6, 200, 5e-3
ALIKE, IN_A_ROW = 0.05, 3  # share of the picture's variance that G's error is below, how often, once it has the bicubic kernel
SUM, BORDERS, CENTRED, SPARSE, POWER = 0.5, 0.5, 1.0, 5.0, 0.2


class Generator(nn.Module):
    """G: 150,656 weights."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, *[WIDTH] * (len(SIZES) - 1), 1]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, size, bias=False) for a, b, size in zip(widths, widths[1:], SIZES, strict=False)
        )
        self.apply(_begin)

    def kernel(self) -> Tensor:
        """Its kernel, (13, 13)."""
        return composed([layer.weight for layer in self.layers])[0, 0]  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        """Reduced pictures, by the one kernel that its layers come to."""
        return functional.conv2d(x, self.kernel()[None, None], stride=FACTOR)


class Discriminator(nn.Module):
    """D: 24,705 weights. What follows its first convolution sees one place at a time: matrices on its features."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, WIDTH, 7)
        self.others = nn.ModuleList(nn.Conv2d(WIDTH, out, 1) for out in [*[WIDTH] * 5, 1])
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH, track_running_stats=False) for _ in range(5))
        self.apply(_begin)

    def weights(self) -> list[Tensor]:
        """Of its convolutions, with spectral norms of 1 (Miyato et al. 2018)."""
        return [_normed(layer.weight) for layer in (self.first, *self.others)]

    def judge(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """How real each patch of pictures is, from 0 to 1, by ``weights``."""
        first, *others, last = weights
        *biases, bias = [layer.bias for layer in self.others]
        places = functional.conv2d(x, first, self.first.bias).flatten(2).transpose(1, 2).flatten(0, 1)
        for weight, own, norm in zip(others, biases, self.norms, strict=True):
            places = functional.relu(norm(functional.linear(places, weight.flatten(1), own)))  # type: ignore[arg-type]
        return torch.sigmoid(functional.linear(places, last.flatten(1), bias))  # type: ignore[arg-type]


def _normed(weight: Tensor) -> Tensor:
    """Over its largest singular value, whose gradient is that of u' W v."""
    matrix = weight.flatten(1)
    with torch.no_grad():
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    norm: Tensor = u[:, 0] @ matrix @ v[0]
    return weight / norm


def _begin(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_normal_(module.weight, 0.1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def border_mask() -> Tensor:
    """30 times (1 - a Gaussian of 13 pixels whose peak is 1), 0 in the inner 9 x 9."""
    line = np.exp(-((np.arange(SIDE) - SIDE // 2) ** 2) / (2 * SIDE**2))
    mask = 30 * (1 - np.outer(line, line))
    mask[2:-2, 2:-2] = 0
    return torch.from_numpy(mask).float()


@dataclass(frozen=True, eq=False)
class Search:
    """The search for the kernel of a scan.

    Attributes:
        crops: of its slices, on [-1, 1].
        generator: G.
        discriminator: D.
        seed: of what is drawn.
    """

    crops: Crops
    generator: Learner
    discriminator: Learner
    seed: tuple[int, ...]

    @classmethod
    def of(cls, slices: Array, seed: tuple[int, ...], device: str = "cpu") -> Search:
        """The search in slices (n, h, w) of values from 0 to about 1."""
        crops = Crops(2 * slices - 1, LEAST)
        generator = Learner.seeded("generator", Generator, 0, device)
        return cls(crops, generator, Learner.seeded("discriminator", Discriminator, 1, device), seed)

    def begin(self, state: State) -> None:
        """Weights, and the schedule's values."""
        state.arrays |= self.generator.begin() | self.discriminator.begin()
        state.values |= {"bicubic": BICUBIC, "in_a_row": 0, "alike_at": 0}

    def step(self, state: State) -> dict[str, float]:
        """One of G, then one of D."""
        made = state.step
        draw = np.random.default_rng([*self.seed, made])
        rate = RATE * 0.1 ** (made // TENFOLD)
        generator, discriminator = (each.holding(state) for each in (self.generator, self.discriminator))
        assert isinstance(generator, Generator)  # noqa: S101 - made in ``of``
        assert isinstance(discriminator, Discriminator)  # noqa: S101
        weights = discriminator.weights()
        shown = self.crops.draw(draw, CROP, 2)[0].to(self.generator.device)
        fake = generator(shown)
        judged = discriminator.judge(_noisy(fake, draw), [weight.detach() for weight in weights])
        loss, error = _losses(state, generator, shown, fake)
        figures = {"kernel_loss": self.generator.learn(state, loss + (judged - 1).abs().mean(), made, rate, BETAS)}
        real = self.crops.draw(draw, fake.shape[-1])[0].to(fake)
        seen, made_up = (discriminator.judge(_noisy(each, draw), weights) for each in (real, fake.detach()))
        loss = ((seen - 1).abs().mean() + made_up.abs().mean()) / 2
        figures["discriminator_loss"] = self.discriminator.learn(state, loss, made, rate, BETAS)
        _schedule(state, error)
        return figures

    def kernel(self, state: State) -> Array:
        """As G has it, (13, 13)."""
        with torch.no_grad():
            kernel: Tensor = self.generator.holding(state).kernel()  # type: ignore[operator]
            return np.asarray(kernel.cpu().numpy(), np.float32)


def _losses(state: State, generator: Generator, shown: Tensor, fake: Tensor) -> tuple[Tensor, float]:
    """G's loss beside D's judgement, and its error against the bicubic picture over that one's variance."""
    kernel, bicubic = generator.kernel(), float(state.values["bicubic"])
    picture = _bicubic(shown, fake.shape[-2:])
    error = functional.mse_loss(fake, picture)
    loss = bicubic * error + SUM * (kernel.sum() - 1).abs() + BORDERS * (kernel * border_mask().to(kernel)).abs().mean()
    if bicubic < ENOUGH:
        away = centre_of_mass(kernel) - centre(SIDE, FACTOR)
        loss = loss + CENTRED * away.square().mean() + SPARSE * (kernel.abs() + 1e-12).pow(POWER).mean()
    return loss, float(error.detach()) / max(float(picture.var()), 1e-12)


def _noisy(x: Tensor, draw: np.random.Generator) -> Tensor:
    return x + NOISE * torch.from_numpy(draw.standard_normal(x.shape, np.float32)).to(x)


def _bicubic(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bicubic picture where G's is: its borders are cut, as G's layers do."""
    rows, columns = (
        torch.from_numpy(kernel_matrix(n, m, FACTOR, SIDE // 2 + 0.5, "bicubic")).to(x)
        for n, m in zip(x.shape[-2:], shape, strict=True)
    )
    return rows @ x @ columns.T


def _schedule(state: State, error: float) -> None:
    """The weight of the bicubic part for the next step."""
    values = state.values
    if not values["alike_at"]:
        values["in_a_row"] = int(values["in_a_row"]) + 1 if error < ALIKE else 0
        values["alike_at"] = state.step + 1 if values["in_a_row"] == IN_A_ROW else 0
    elif (state.step + 1) % EVERY == 0:
        values["bicubic"] = max(float(values["bicubic"]) / FALL, LEAST_BICUBIC)
