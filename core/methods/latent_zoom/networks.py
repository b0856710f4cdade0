"""The networks that are not diffusers': EDSR, codes between two, WDSR-B, SRGAN's two, autoencoder of slices, patch discriminator.

Slices (n, channels, rows, columns) are in -1..1, but for the autoencoder of slices, whose are in 0..1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

LEAK = 0.2  # of SRGAN's and the patch discriminator's activations
KERAS_EPSILON = 1e-3  # of batch normalisation in Keras, in which SRGAN's parent project is written
MOMENTUM, LAST_MOMENTUM = 0.2, 0.01  # torch's, of Keras' 0.8 and its default 0.99


def _conv(channels: int, to: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(channels, to, size, padding=size // 2)


# -- deblurring and regression --------------------------------------------------------------------------------------------------


class _EdsrBlock(nn.Module):
    """Adds to its input two convolutions of it; its sums are not scaled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width, 3), nn.ReLU(), _conv(width, width, 3))

    def forward(self, image: Tensor) -> Tensor:
        added: Tensor = self.body(image)
        return image + added


class EDSR(nn.Module):
    """EDSR (Lim et al. 2017) at scale 1, which sharpens decoded slices.

    Args:
        channels: of the slices.
        width: of the features.
        blocks: residual blocks.
        residual: whether what it makes is added to its input. In the paper it is not; a short training gains from it.
    """

    def __init__(self, channels: int, width: int, blocks: int, *, residual: bool = False) -> None:
        super().__init__()
        self.head, self.tail, self.residual = _conv(channels, width, 3), _conv(width, channels, 3), residual
        self.body = nn.Sequential(*(_EdsrBlock(width) for _ in range(blocks)), _conv(width, width, 3))
        if residual:
            nn.init.zeros_(self.tail.weight)
            nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """Slices of the same shape."""
        features = self.head(image)
        made: Tensor = self.tail(features + self.body(features))
        return image + made if self.residual else made


class CodesBetween(nn.Module):
    """Codes between those of two slices: their lerp, and what a residual network of both adds, which is nothing at the two.

    It begins as the lerp.

    Args:
        channels: of a code.
        width: of the features.
        blocks: residual blocks.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.head = _conv(2 * channels + 1, width, 3)
        self.body = nn.Sequential(*(_EdsrBlock(width) for _ in range(blocks)))
        self.tail = _conv(width, channels, 3)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, below: Tensor, above: Tensor, share: Tensor) -> Tensor:
        """Codes (n, channels, rows, columns) at a share (n, 1, 1, 1) of the way from those below to those above."""
        shown = torch.cat([below, above, share.expand(-1, 1, *below.shape[2:])], 1)
        added: Tensor = self.tail(self.body(self.head(shown)))
        return below - (below - above) * share + 4 * share * (1 - share) * added


class WDSR(nn.Module):
    """WDSR-B (Yu et al. 2018), 4 times finer: wide before each activation, narrow after, weights normalised.

    Args:
        channels: of the slices.
        width: of the features.
        blocks: residual blocks.
        expansion: of the width before an activation.
    """

    def __init__(self, channels: int, width: int, blocks: int, expansion: int = 6) -> None:
        super().__init__()
        self.head = weight_norm(_conv(channels, width, 3))
        self.body = nn.Sequential(*(_WdsrBlock(width, expansion) for _ in range(blocks)))
        self.tail = weight_norm(_conv(width, 16 * channels, 3))
        self.skip = weight_norm(_conv(channels, 16 * channels, 5))

    def forward(self, image: Tensor) -> Tensor:
        """Slices with 4 times the rows and columns."""
        made: Tensor = self.tail(self.body(self.head(image))) + self.skip(image)
        return nn.functional.pixel_shuffle(made, 4)


class _WdsrBlock(nn.Module):
    """1 x 1 to the wide, 1 x 1 to four fifths of the width, 3 x 3 back."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        narrow = int(width * 0.8)
        wide = weight_norm(_conv(width, width * expansion, 1))
        self.body = nn.Sequential(
            wide, nn.ReLU(), weight_norm(_conv(width * expansion, narrow, 1)), weight_norm(_conv(narrow, width, 3))
        )

    def forward(self, image: Tensor) -> Tensor:
        added: Tensor = self.body(image)
        return image + added


# -- SRGAN ----------------------------------------------------------------------------------------------------------------------


def _norm(width: int, momentum: float = MOMENTUM) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, KERAS_EPSILON, momentum)


class _SrganBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width, 3), _norm(width), nn.PReLU(width), _conv(width, width, 3), _norm(width))

    def forward(self, image: Tensor) -> Tensor:
        added: Tensor = self.body(image)
        return image + added


class SRGAN(nn.Module):
    """SRGAN's generator (Ledig et al. 2017), 4 times finer.

    Args:
        channels: of the slices.
        width: of the features.
        blocks: residual blocks.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Sequential(_conv(channels, width, 9), nn.PReLU(width))
        self.body = nn.Sequential(
            *(_SrganBlock(width) for _ in range(blocks)), _conv(width, width, 3), _norm(width, LAST_MOMENTUM)
        )
        ups = [layer for _ in range(2) for layer in (_conv(width, 4 * width, 3), nn.PixelShuffle(2), nn.PReLU(width))]
        self.tail = nn.Sequential(*ups, _conv(width, channels, 9), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Slices with 4 times the rows and columns, in -1..1."""
        features = self.head((image + 1) / 2)  # the parent project shows it 0..1
        made: Tensor = self.tail(features + self.body(features))
        return made


class SRGANDiscriminator(nn.Module):
    """SRGAN's discriminator: a logit for each slice of one size, which its dense layer ties it to.

    Args:
        channels: of the slices.
        width: of the first features; the last have 8 times as many.
        edge: rows and columns of a slice, a multiple of 16.
        dense: of the layer before the last.
    """

    def __init__(self, channels: int, width: int, edge: int, dense: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(channels, width, 3), nn.LeakyReLU(LEAK)]
        before = width
        for number, stride in enumerate((2, 1, 2, 1, 2, 1, 2)):
            to = width * 2 ** ((number + 1) // 2)
            layers += [nn.Conv2d(before, to, 3, stride, 1), _norm(to), nn.LeakyReLU(LEAK)]
            before = to
        features = before * (edge // 16) ** 2
        layers += [nn.Flatten(), nn.Linear(features, dense), nn.LeakyReLU(LEAK), nn.Linear(dense, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 1)."""
        logits: Tensor = self.layers(image)
        return logits


class PatchDiscriminator(nn.Module):
    """A discriminator of patches (Isola et al. 2017): a logit for each of the places of a slice.

    Args:
        channels: of the slices.
        width: of the first features.
        depth: convolutions with stride 2.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(LEAK)]
        before = width
        for number in range(1, depth + 1):
            to = width * min(2**number, 8)
            stride = 2 if number < depth else 1
            layers += [nn.Conv2d(before, to, 4, stride, 1, bias=False), nn.BatchNorm2d(to), nn.LeakyReLU(LEAK)]
            before = to
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 1, places, places)."""
        logits: Tensor = self.layers(image)
        return logits


# -- the autoencoder of slices --------------------------------------------------------------------------------------------------


def _pair(width: int, to: int) -> list[nn.Module]:
    return [_conv(width, to, 3), nn.LeakyReLU(), _conv(to, to, 3), nn.LeakyReLU()]


class SliceAutoencoder(nn.Module):
    """The autoencoder between whose codes slices are interpolated (Sander et al. 2022), a quarter of the size along each axis.

    Its first convolution, of one pixel, pads by one on each side, as in the authors' code; two poolings take that away again.

    Args:
        width: of the first level; the second has twice as many.
        latent: channels of a code.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 1, padding=1),
            *_pair(width, width),
            nn.BatchNorm2d(width),
            nn.AvgPool2d(2),
            *_pair(width, 2 * width),
            nn.BatchNorm2d(2 * width),
            nn.AvgPool2d(2),
            _conv(2 * width, 4 * width, 3),
            nn.LeakyReLU(),
            _conv(4 * width, latent, 3),
        )
        self.decoder = nn.Sequential(
            *_pair(latent, 2 * width),
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            *_pair(2 * width, width),
            nn.BatchNorm2d(width),
            nn.Upsample(scale_factor=2),
            _conv(width, width, 3),
            nn.LeakyReLU(),
            _conv(width, 1, 3),
            nn.Sigmoid(),
        )

    def encode(self, image: Tensor) -> Tensor:
        """Codes (n, latent, rows / 4, columns / 4) of slices (n, 1, rows, columns) whose sides are multiples of 4."""
        code: Tensor = self.encoder(image)
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Slices (n, 1, rows, columns) in 0..1."""
        image: Tensor = self.decoder(code)
        return image

    def forward(self, image: Tensor) -> Tensor:
        """The decoded codes."""
        return self.decode(self.encode(image))
