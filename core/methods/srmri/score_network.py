"""NCSN++ (Song et al. 2021, "Score-SDE", appendix H) as SRMRI uses it: slices of any size, attention by level.

    slice --conv--> blocks --FIR, half--> blocks ... middle (attention) ... blocks <--FIR, double-- ... --conv--> / sigma
    slice --FIR, half, conv--> added to the features of every coarser level ("residual" progressive input)

Modules lie in one list in the order of the authors' code, so that their checkpoints fit by name. Groups of the norms: a quarter
of the channels, at most 32. All sums of two are divided by the square root of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

FIR = (1.0, 3.0, 3.0, 1.0)
FOURIER = 16.0  # standard deviation of the frequencies that the logarithm of sigma is seen in
EPSILON = 1e-6
ROOT = math.sqrt(2)
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
PLANES = 3  # sagittal, coronal, axial


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=EPSILON)


def _started(layer: Layer, scale: float = 1.0) -> Layer:
    """Weights uniform by fan average (Glorot & Bengio 2010) times the root of ``scale``, next to nothing for 0; no bias."""
    nn.init.xavier_uniform_(layer.weight, math.sqrt(max(scale, 1e-10)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _conv(channels: int, out: int, size: int = 3, scale: float = 1.0) -> nn.Conv2d:
    return _started(nn.Conv2d(channels, out, size, padding=size // 2), scale)


def _filter(like: Tensor, gain: float) -> Tensor:
    """The separable FIR filter [1, 3, 3, 1] as depthwise weights, of sum ``gain``."""
    line = like.new_tensor(FIR)
    square = torch.outer(line, line)
    return (square * (gain / square.sum())).expand(like.shape[1], 1, 4, 4)


def halved(x: Tensor) -> Tensor:
    """Every other row and column of the filtered images (n, c, 2h, 2w)."""
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1)), _filter(x, 1.0), stride=2, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """Images (n, c, h, w) with zeros between rows and columns, filtered to (n, c, 2h, 2w); constants keep their value inside."""
    return functional.conv_transpose2d(x, _filter(x, 4.0), stride=2, padding=1, groups=x.shape[1])


class Fourier(nn.Module):
    """Sines and cosines of a number in fixed random frequencies.

    Args:
        size: how many frequencies.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(size) * FOURIER, requires_grad=False)

    def forward(self, number: Tensor) -> Tensor:
        """(n,) to (n, 2 size)."""
        angles = number[:, None] * self.W[None] * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], 1)


class Mix(nn.Module):
    """A linear map of the channels."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(channels, channels))
        self.b = nn.Parameter(torch.zeros(channels))
        nn.init.xavier_uniform_(self.W, math.sqrt(max(scale, 1e-10)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        mixed = torch.einsum("nchw,cd->ndhw", x, self.W)
        return mixed + self.b[None, :, None, None]


class Attention(nn.Module):
    """Every place attends to all others, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = _norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2 = (Mix(channels, 0.1) for _ in range(3))
        self.NIN_3 = Mix(channels, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        h = self.GroupNorm_0(x)
        q, k, v = (each(h).flatten(2).transpose(1, 2) for each in (self.NIN_0, self.NIN_1, self.NIN_2))
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        added: Tensor = self.NIN_3(seen)
        return (x + added) / ROOT


class Block(nn.Module):
    """BigGAN's residual block: norm, swish, (resampling,) conv, sigma, norm, swish, dropout, conv.

    Args:
        channels: in.
        out: channels out.
        embedded: of the noise level.
        resample: "" or "down" or "up".
    """

    def __init__(self, channels: int, out: int, embedded: int, resample: str = "") -> None:
        super().__init__()
        resamples: dict[str, Callable[[Tensor], Tensor]] = {"": nn.Identity(), "down": halved, "up": doubled}
        self.resample = resamples[resample]
        self.GroupNorm_0, self.Conv_0 = _norm(channels), _conv(channels, out)
        self.Dense_0 = _started(nn.Linear(embedded, out))
        self.GroupNorm_1, self.Conv_1 = _norm(out), _conv(out, out, scale=0.0)
        if channels != out or resample:
            self.Conv_2 = _conv(channels, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, out, h, w), or half or double of h and w."""
        h = self.Conv_0(self.resample(functional.silu(self.GroupNorm_0(x))))
        h = h + self.Dense_0(functional.silu(embedding))[:, :, None, None]
        h = self.Conv_1(functional.silu(self.GroupNorm_1(h)))
        x = self.resample(x)
        both: Tensor = (self.Conv_2(x) if hasattr(self, "Conv_2") else x) + h
        return both / ROOT


class Pyramid(nn.Module):
    """The input of the level above, filtered, halved, and brought to the level's channels."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.Conv2d_0 = _conv(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, 2h, 2w) to (n, out, h, w): the filter, then a convolution that takes every other place."""
        wide = functional.conv2d(functional.pad(x, (2, 2, 2, 2)), _filter(x, 1.0), groups=x.shape[1])
        return functional.conv2d(wide, self.Conv2d_0.weight, self.Conv2d_0.bias, stride=2)


class NCSNpp(nn.Module):
    """The network F of a slice and its noise level; see the module, and ``denoised`` for what its output means.

    Args:
        width: channels of the first level.
        multiples: of the width, a level.
        blocks: of each level on the way down; one more on the way up.
        attention: levels with attention beside the middle.
        neighbours: slices on either side, as channels; the middle one comes out.
        planes: whether it is told which way the slices lie.
        preconditioned: inputs, outputs and noise levels scaled as in EDM (Karras et al. 2022, table 1); else as Song et al.'s.
        sigma_data: standard deviation of sharp slices, of EDM's scalings.
    """

    def __init__(
        self,
        width: int = 64,
        multiples: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (),
        neighbours: int = 0,
        *,
        planes: bool = False,
        preconditioned: bool = False,
        sigma_data: float = 0.25,
    ) -> None:
        super().__init__()
        self.blocks, self.levels, self.attention = blocks, len(multiples), frozenset(attention)
        self.neighbours, self.preconditioned, self.sigma_data = neighbours, preconditioned, sigma_data
        embedded = 4 * width
        modules: list[nn.Module] = [
            Fourier(width),
            _started(nn.Linear(2 * width, embedded)),
            _started(nn.Linear(embedded, embedded)),
        ]
        modules += self._build([width * multiple for multiple in multiples], 2 * neighbours + 1, embedded)
        self.all_modules = nn.ModuleList(modules)
        if planes:
            self.plane = nn.Embedding(PLANES, embedded)
            nn.init.zeros_(self.plane.weight)

    def _build(self, widths: Sequence[int], channels: int, embedded: int) -> list[nn.Module]:
        """All that comes after the noise level's embedding, in the order of the forward pass."""
        now, pyramid, skipped = widths[0], channels, [widths[0]]
        modules: list[nn.Module] = [_conv(channels, now)]
        for level, out in enumerate(widths):
            for _ in range(self.blocks):
                modules.append(Block(now, out, embedded))
                modules += [Attention(out)] * (level in self.attention)
                now = out
                skipped.append(now)
            if level < self.levels - 1:
                modules += [Block(now, now, embedded, "down"), Pyramid(pyramid, now)]
                pyramid = now
                skipped.append(now)
        modules += [Block(now, now, embedded), Attention(now), Block(now, now, embedded)]
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(self.blocks + 1):
                modules.append(Block(now + skipped.pop(), out, embedded))
                now = out
            modules += [Attention(now)] * (level in self.attention)
            modules += [Block(now, now, embedded, "up")] * (level > 0)
        return [*modules, _norm(now), _conv(now, 1, scale=0.0)]

    def forward(self, x: Tensor, noise: Tensor, plane: Tensor | None = None) -> Tensor:
        """The raw output.

        Args:
            x: (n, 2 neighbours + 1, h, w), h and w multiples of 2^(levels - 1).
            noise: (n,) its level, log sigma, or a quarter of it where it is preconditioned.
            plane: (n,) 0 to 2, where it is told.

        Returns:
            (n, 1, h, w).
        """
        modules = iter(self.all_modules)
        fourier, first, second = next(modules), next(modules), next(modules)
        embedding = second(functional.silu(first(fourier(noise))))
        if plane is not None and hasattr(self, "plane"):
            embedding = embedding + self.plane(plane)
        h, skipped = self._down(x, embedding, modules)
        h = next(modules)(h, embedding)
        h = next(modules)(h)  # the middle's attention
        h = next(modules)(h, embedding)
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks + 1):
                h = next(modules)(torch.cat([h, skipped.pop()], 1), embedding)
            h = next(modules)(h) if level in self.attention else h
            h = next(modules)(h, embedding) if level else h
        h = functional.silu(next(modules)(h))
        out: Tensor = next(modules)(h)
        return out

    def _down(self, x: Tensor, embedding: Tensor, modules: Iterator[nn.Module]) -> tuple[Tensor, list[Tensor]]:
        """The features of the coarsest level, and those that the way up sees again."""
        pyramid, h = x, next(modules)(x)
        skipped = [h]
        for level in range(self.levels):
            for _ in range(self.blocks):
                h = next(modules)(h, embedding)
                h = next(modules)(h) if level in self.attention else h
                skipped.append(h)
            if level < self.levels - 1:
                h = next(modules)(h, embedding)
                pyramid = (next(modules)(pyramid) + h) / ROOT
                h = pyramid
                skipped.append(h)
        return h, skipped


def denoised(network: NCSNpp, x: Tensor, sigma: Tensor, plane: Tensor | None = None) -> Tensor:
    """The expected sharp slices D = x + sigma^2 score, of slices under normal noise.

    Raw, the network sees 2 x - 1 (the authors' for data in 0 to 1), and its output over sigma is the score. Preconditioned, D =
    c_skip x + c_out F(c_in x, ln sigma / 4) with c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2), c_in =
    1 / sqrt(sigma^2 + s^2), for s the data's standard deviation.

    Args:
        network: F.
        x: (n, 2 neighbours + 1, h, w), of which the middle channel is restored.
        sigma: (n,) standard deviations, above 0.
        plane: (n,) ways that the slices lie, 0 sagittal, 1 coronal, 2 axial, for networks that are told.

    Returns:
        (n, 1, h, w).
    """
    middle, each = x[:, network.neighbours : network.neighbours + 1], sigma.reshape(-1, 1, 1, 1)
    if not network.preconditioned:
        score: Tensor = network(2 * x - 1, sigma.log(), plane)
        return middle + each * score
    both = each.square() + network.sigma_data**2
    output: Tensor = network(x / both.sqrt(), sigma.log() / 4, plane)
    return middle * (network.sigma_data**2 / both) + output * (each * network.sigma_data / both.sqrt())
